//! Request bodies: read with a limit, decoded by their encoding, checked against the schema.

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;
use xebec_api::protobuf;
use xebec_api::resource::{self, Resource};
use xebec_api::schema::{self, Finding};
use xebec_api::status::ApiError;

use super::negotiate::{self, Media};
use super::query::FieldValidation;
use crate::registry::Target;
use crate::resources::Custom;

/// Largest accepted body, as upstream.
pub const LIMIT: usize = 3 * 1024 * 1024;

/// Reads the whole body; 413 above [`LIMIT`].
pub async fn read(body: Body) -> Result<Bytes, ApiError> {
    match Limited::new(body, LIMIT).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(ApiError::request_entity_too_large(format!("limit is {LIMIT}")))
        }
        Err(error) => Err(ApiError::bad_request(format!("the body could not be read: {error}"))),
    }
}

/// Decodes a body as one object; findings are duplicate fields.
pub fn decode(headers: &HeaderMap, bytes: &[u8]) -> Result<(Value, Vec<Finding>), ApiError> {
    match negotiate::content_type(headers)? {
        Media::Json => json_or_yaml(bytes, true),
        Media::Yaml => json_or_yaml(bytes, false),
        Media::Protobuf => {
            let value = protobuf::decode(bytes).map_err(|error| {
                ApiError::bad_request(format!("the protobuf body cannot be decoded: {error}"))
            })?;
            Ok((value, Vec::new()))
        }
    }
}

/// Decodes JSON (keeping duplicate fields as findings) or YAML.
pub fn json_or_yaml(bytes: &[u8], json: bool) -> Result<(Value, Vec<Finding>), ApiError> {
    let (value, findings) = if json {
        schema::parse_json_strict(bytes).map_err(|error| ApiError::bad_request(error.to_string()))?
    } else {
        (schema::parse_yaml(bytes).map_err(|error| ApiError::bad_request(error.to_string()))?, Vec::new())
    };
    if !value.is_object() {
        return Err(ApiError::bad_request(
            "couldn't get version/kind; json parse error: the body must be an object",
        ));
    }
    Ok((value, findings))
}

/// Gives the object the version and kind the URL says, or 400 when it says otherwise.
pub fn set_kind(value: &mut Value, api_version: &str, kind: &str) -> Result<(), ApiError> {
    let Some(object) = value.as_object_mut() else {
        return Err(ApiError::bad_request("the body must be an object"));
    };
    let sent = |object: &serde_json::Map<String, Value>, field: &str| {
        object.get(field).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    if let Some(version) = sent(object, "apiVersion")
        && version != api_version
    {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({api_version})"
        )));
    }
    if let Some(wrong) = sent(object, "kind").filter(|sent| sent != kind) {
        return Err(ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): its kind is {wrong}"
        )));
    }
    object.insert("apiVersion".to_owned(), Value::String(api_version.to_owned()));
    object.insert("kind".to_owned(), Value::String(kind.to_owned()));
    Ok(())
}

/// An applied configuration must name the version and kind of the URL itself.
pub fn check_applied_kind(config: &Value, wanted_version: &str, wanted_kind: &str) -> Result<(), ApiError> {
    let (version, kind) = (xebec_api::meta::api_version(config), xebec_api::meta::kind(config));
    if version == wanted_version && kind == wanted_kind {
        return Ok(());
    }
    let separator = if version.contains('/') { "" } else { "/" };
    Err(ApiError::bad_request(format!("invalid object type: {separator}{version}, Kind={kind}")))
}

/// Fields of an applied configuration that its schema does not have: always an error, of the configuration's typing.
pub fn undeclared(config: &mut Value, target: &Target) -> Result<Vec<Finding>, ApiError> {
    let findings = match target.custom.as_deref() {
        Some(custom) => custom.check_fields(config),
        None => {
            xebec_api::meta::drop_nulls(config);
            schema::check(&target.served.api_version(), target.served.kind, config)
        }
    };
    let (mut unknown, mut others) = (Vec::new(), Vec::new());
    for finding in findings {
        match finding {
            Finding::Unknown { path } => {
                let path = crate::registry::path_of(&path, config, target.merge_root());
                unknown.push(format!("{path}: field not declared in schema"));
            }
            other => others.push(other),
        }
    }
    if unknown.is_empty() {
        return Ok(others);
    }
    Err(crate::registry::untyped(target, &crate::registry::complaint_text(&unknown)))
}

/// Checks the object's fields against the schema of its kind (`custom`: of a custom resource) and drops the unknown ones;
/// what is to be warned about. The object's apiVersion and kind are already right.
pub fn check_fields(
    value: &mut Value,
    custom: Option<&dyn Custom>,
    mut findings: Vec<Finding>,
    validation: FieldValidation,
) -> Result<Vec<String>, ApiError> {
    let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    match custom {
        // Null means something where the schema says nullable.
        Some(custom) => findings.extend(custom.check_fields(value)),
        None => {
            xebec_api::meta::drop_nulls(value);
            findings.extend(schema::check(&api_version, &kind, value));
        }
    }
    let (_, version) = resource::split_api_version(&api_version);
    let refused = |reason: &dyn std::fmt::Display| {
        Err(ApiError::bad_request(schema::cannot_be_handled(&kind, version, reason)))
    };
    if let Some(wrong) = findings.iter().find(|finding| finding.is_fatal()) {
        return refused(wrong);
    }
    if findings.is_empty() {
        return Ok(Vec::new());
    }
    if custom.is_none() {
        schema::prune_unknown(&api_version, &kind, value);
    }
    match validation {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(findings.iter().map(ToString::to_string).collect()),
        FieldValidation::Strict => {
            let message = schema::strict_error(&findings).unwrap_or_default();
            refused(&message)
        }
    }
}

/// The object's namespace and name must be the URL's, where the URL says them.
pub fn check_identity(
    value: &mut Value,
    resource: &Resource,
    namespace: &str,
    name: &str,
) -> Result<(), ApiError> {
    let sent_namespace = xebec_api::meta::namespace(value).to_owned();
    let namespace = if resource.namespaced { namespace } else { "" };
    if !sent_namespace.is_empty() && sent_namespace != namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if name.is_empty() {
        return Ok(());
    }
    let sent_name = xebec_api::meta::name(value);
    if sent_name.is_empty() {
        return Err(ApiError::bad_request(format!(
            "the name of the object (based on URL) was undeterminable: name must be provided ({name})"
        )));
    }
    if sent_name != name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({sent_name}) does not match the name on the URL ({name})"
        )));
    }
    Ok(())
}
