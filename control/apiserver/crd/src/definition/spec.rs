//! Validation of a definition's spec, in upstream's order.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_api::names::{is_dns1035_label, is_dns1123_subdomain};
use xebec_kinds::shared::access::{at, list, text, texts};

use super::options::{Options, preserves_unknown};
use super::{Definition, Version, conversion, defaults, names, openapi, version};
use crate::schema::{MAX_DEPTH, Schema, structural_errors};

/// The errors of a spec.
pub(super) fn errors(crd: &Value, options: &Options) -> Vec<FieldError> {
    let definition = Definition::read(crd);
    let shared = Shared::of(&definition.versions);
    let path = Path::new("spec");
    let versions_path = path.child("versions");
    let mut errors = group(&definition.group, &path.child("group"));
    errors.extend(scope(crd, &path.child("scope")));
    errors.extend(missing_schemas(&definition, options, preserves_unknown(crd), &versions_path));
    if preserves_unknown(crd) && definition.versions.iter().any(has_defaults) {
        let detail = "must be false in order to use defaults in the schema";
        errors.push(FieldError::invalid(&path.child("preserveUnknownFields"), true, detail));
    }
    let mut options = options.clone();
    options.require_structural |= !preserves_unknown(crd)
        || definition.versions.iter().any(|version| has_defaults(version) || has_extensions(version));
    for (at, version) in definition.versions.iter().enumerate() {
        let path = versions_path.index(at);
        let messages = is_dns1035_label(&version.name).join(",");
        if !messages.is_empty() {
            errors.push(FieldError::invalid(&path.child("name"), &version.name, messages));
        }
        errors.extend(one_version(version, &shared, &options, &path));
    }
    errors.extend(together(crd, &definition.versions, &versions_path));
    let names_path = path.child("names");
    errors.extend(names::required(&definition.names, &names_path));
    errors.extend(names::errors(&definition.names, &names_path));
    errors.extend(of_all_versions(&definition, &shared, &options, &path));
    let demands = conversion::Demands {
        recognized: options.require_recognized_review,
        ca_bundle: options.require_ca_bundle,
    };
    let conversion_path = path.child("conversion");
    if preserves_unknown(crd) && text(crd, &["spec", "conversion", "strategy"]) == "Webhook" {
        let detail = "must be None if spec.preserveUnknownFields is true";
        errors.push(FieldError::invalid(&conversion_path.child("strategy"), "Webhook", detail));
    }
    errors.extend(conversion::errors(at(crd, &["spec", "conversion"]), demands, &conversion_path));
    errors
}

/// What all versions have alike stands at the top in upstream's internal form.
struct Shared {
    schema: bool,
    subresources: bool,
    columns: bool,
    selectable: bool,
}

impl Shared {
    fn of(versions: &[Version]) -> Self {
        let alike = |same: fn(&Version, &Version) -> bool| {
            versions.first().is_some_and(|first| versions.iter().all(|version| same(first, version)))
        };
        let schema = alike(|a, b| a.has_schema == b.has_schema && a.schema_source == b.schema_source);
        Self {
            schema,
            subresources: alike(|a, b| a.subresources == b.subresources),
            columns: alike(|a, b| a.columns == b.columns),
            // Fields stay with the schema they are checked by: versions with different ones may select alike.
            selectable: schema && alike(|a, b| a.selectable == b.selectable),
        }
    }
}

fn group(group: &str, path: &Path) -> Vec<FieldError> {
    if group.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let messages = is_dns1123_subdomain(group).join(",");
    if !messages.is_empty() {
        return vec![FieldError::invalid(path, group, messages)];
    }
    if !group.contains('.') {
        return vec![FieldError::invalid(path, group, "should be a domain with at least one dot")];
    }
    Vec::new()
}

fn scope(crd: &Value, path: &Path) -> Option<FieldError> {
    match text(crd, &["spec", "scope"]) {
        "" => Some(FieldError::required(path, "")),
        "Cluster" | "Namespaced" => None,
        other => Some(FieldError::not_supported(path, other, &["Cluster", "Namespaced"])),
    }
}

fn missing_schemas(
    definition: &Definition,
    options: &Options,
    preserves: bool,
    path: &Path,
) -> Vec<FieldError> {
    let missing = |version: &Version| version.schema.is_none() && !version.too_deep;
    let versions = definition.versions.iter().enumerate().filter(|(_, version)| missing(version));
    let at = |at: usize| path.index(at).child("schema").child("openAPIV3Schema");
    if options.require_schema {
        return versions.map(|(index, _)| FieldError::required(&at(index), "")).collect();
    }
    let detail = "because otherwise all fields are pruned";
    versions
        .filter(|(_, version)| !preserves && version.served)
        .map(|(index, _)| FieldError::required(&at(index), detail))
        .collect()
}

fn has_defaults(version: &Version) -> bool {
    version.schema.as_ref().is_some_and(|schema| schema.has_defaults())
}

fn has_extensions(version: &Version) -> bool {
    let uses = |schema: &Schema| {
        let ext = &schema.ext;
        ext.embedded
            || ext.preserve_unknown.is_some()
            || ext.int_or_string
            || !ext.list_map_keys.is_empty()
            || ext.list_type.is_some()
            || !ext.validations.is_empty()
    };
    version.schema.as_ref().is_some_and(|schema| schema.any(&mut |schema| uses(schema)))
}

fn one_version(version: &Version, shared: &Shared, options: &Options, path: &Path) -> Vec<FieldError> {
    let mut errors = version::deprecation(version, path);
    if !shared.schema {
        errors.extend(validation(version, version.has_status(), options, &path.child("schema")));
    }
    if !shared.subresources {
        let path = path.child("subresources");
        errors.extend(version::subresources(version.subresources.as_ref(), &path));
    }
    if !shared.columns {
        errors.extend(columns(version, path));
    }
    if !shared.selectable && !version.selectable.is_empty() {
        let path = path.child("selectableFields");
        match version.schema.as_deref().filter(|_| !shared.schema) {
            Some(schema) => {
                let before = options.too_many_selectable.contains(&version.name);
                errors.extend(version::selectable(&version.selectable, schema, &path, before));
            }
            None => {
                let detail = "may only be set when `version.schema.openAPIV3Schema` is not included";
                errors.push(FieldError::invalid(&path, "", detail));
            }
        }
    }
    errors
}

fn columns(version: &Version, path: &Path) -> Vec<FieldError> {
    let path = path.child("additionalPrinterColumns");
    version.columns.iter().enumerate().flat_map(|(at, one)| version::column(one, &path.index(at))).collect()
}

/// What concerns the list of versions.
fn together(crd: &Value, versions: &[Version], path: &Path) -> Vec<FieldError> {
    let shown = at(crd, &["spec", "versions"]);
    let repeated = |at: usize| versions[..at].iter().any(|earlier| earlier.name == versions[at].name);
    let mut errors = Vec::new();
    if (0..versions.len()).any(repeated) {
        errors.push(FieldError::invalid(path, shown, "must contain unique version names"));
    }
    if versions.iter().filter(|version| version.storage).count() != 1 {
        let detail = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid(path, shown, detail));
    }
    if let Some(first) = versions.first() {
        let messages = is_dns1035_label(&first.name).join(",");
        if !messages.is_empty() {
            errors.push(FieldError::invalid(&Path::new("spec").child("version"), &first.name, messages));
        }
    }
    errors
}

/// What all versions share, at the top.
fn of_all_versions(
    definition: &Definition,
    shared: &Shared,
    options: &Options,
    path: &Path,
) -> Vec<FieldError> {
    let Some(first) = definition.versions.first() else { return Vec::new() };
    let mut errors = Vec::new();
    if shared.schema {
        let status = definition.versions.iter().any(Version::has_status);
        errors.extend(validation(first, status, options, &path.child("validation")));
    }
    if shared.subresources {
        errors.extend(version::subresources(first.subresources.as_ref(), &path.child("subresources")));
    }
    if shared.columns {
        errors.extend(columns(first, path));
    }
    if shared.selectable && !first.selectable.is_empty() {
        let path = path.child("selectableFields");
        match first.schema.as_deref().filter(|_| shared.schema) {
            Some(schema) => {
                let before = options.too_many_selectable.contains("");
                errors.extend(version::selectable(&first.selectable, schema, &path, before));
            }
            None => {
                let detail = "may only be set when validations.schema is included";
                errors.push(FieldError::invalid(&path, "", detail));
            }
        }
    }
    errors
}

/// The errors of a version's schema.
fn validation(version: &Version, status: bool, options: &Options, path: &Path) -> Vec<FieldError> {
    let path_of_schema = path.child("openAPIV3Schema");
    if version.too_deep {
        let detail = format!("must not nest deeper than {MAX_DEPTH} levels");
        return vec![FieldError::invalid(&path_of_schema, "", detail)];
    }
    let Some(schema) = version.schema.as_deref() else { return Vec::new() };
    let mut errors = Vec::new();
    if status {
        errors.extend(root_keywords(schema, &version.schema_source, path));
    }
    if schema.nullable {
        let path = path.child("openAPIV3Schema.nullable");
        errors.push(FieldError::forbidden(&path, "nullable cannot be true at the root"));
    }
    let mut unsupported = None;
    let mut cel = openapi::Cel::Off;
    if options.require_structural {
        unsupported = schema.unsupported();
        if unsupported.is_none() {
            let mut found = structural_errors(schema, &path_of_schema);
            if found.is_empty() {
                found = defaults::errors(schema, &path_of_schema, options.require_pruned_defaults);
            }
            if found.is_empty() {
                let accepted = options.unchanged_schemas.contains(&version.name);
                cel = if accepted { openapi::Cel::Accepted } else { openapi::Cel::On };
            }
            errors.extend(found);
        }
    }
    errors.extend(openapi::errors(schema, &path_of_schema, options, cel));
    if let (true, Some(reason)) = (errors.is_empty(), unsupported) {
        errors.push(FieldError::invalid(&path_of_schema, "", reason));
    }
    errors
}

/// With a status subresource the status is validated alone, so the root may not say anything about it.
fn root_keywords(schema: &Schema, source: &Value, path: &Path) -> Option<FieldError> {
    const ALLOWED: &str = "[Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations]";
    let refused = &schema.refused;
    let only = || {
        let detail = format!(
            "only {ALLOWED} fields are allowed at the root of the schema if the status subresource is enabled"
        );
        FieldError::invalid(&path.child("openAPIV3Schema"), source, detail)
    };
    if refused.id || refused.schema || refused.reference {
        return Some(only());
    }
    if !schema.kind.is_empty() && schema.kind != "object" {
        let detail = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        return Some(FieldError::invalid(&path.child("openAPIV3Schema.type"), &schema.kind, detail));
    }
    let (rules, ext) = (&schema.rules, &schema.ext);
    let junctors = [&rules.all_of, &rules.one_of, &rules.any_of];
    let others = schema.nullable
        || schema.default.is_some()
        || rules.max_properties.is_some()
        || rules.min_properties.is_some()
        || junctors.iter().any(|list| !list.is_empty())
        || rules.not.is_some()
        || !rules.allowed.is_empty()
        || schema.additional.is_some()
        || !refused.pattern_properties.is_empty()
        || refused.dependencies.is_some()
        || refused.additional_items.is_some()
        || !refused.definitions.is_empty()
        || ext.embedded
        || ext.int_or_string
        || !ext.list_map_keys.is_empty()
        || ext.list_type.is_some()
        || ext.map_type.is_some();
    others.then(only)
}

/// The errors of what an update changes and may not.
pub(super) fn immutable(crd: &Value, old: &Value, options: &Options) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let fields: [(bool, &[&str]); 4] = [
        (options.immutable_names, &["spec", "scope"]),
        (options.immutable_names, &["spec", "names", "kind"]),
        (true, &["spec", "group"]),
        (true, &["spec", "names", "plural"]),
    ];
    for (_, field) in fields.iter().filter(|(fixed, _)| *fixed) {
        let path = field[1..].iter().fold(Path::new(field[0]), |path, name| path.child(name));
        errors.extend(xebec_kinds::shared::rules::immutable(at(crd, field), at(old, field), &path));
    }
    errors
}

/// The errors of the versions objects are stored in.
pub(super) fn stored_versions(crd: &Value) -> Vec<FieldError> {
    let path = Path::new("status").child("storedVersions");
    let stored = texts(crd, &["status", "storedVersions"]);
    if stored.is_empty() {
        let value = at(crd, &["status", "storedVersions"]);
        return vec![FieldError::invalid(&path, value, "must have at least one stored version")];
    }
    let versions = list(crd, &["spec", "versions"]);
    let mut errors = Vec::new();
    for version in versions.iter().filter(|version| version["storage"] == true) {
        let name = text(version, &["name"]);
        if !stored.contains(&name) {
            let detail = format!("must have the storage version {name}");
            errors.push(FieldError::invalid(&path, &stored, detail));
        }
    }
    for (at, name) in stored.iter().enumerate() {
        if !versions.iter().any(|version| text(version, &["name"]) == *name) {
            let detail = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            );
            errors.push(FieldError::invalid(&path.index(at), name, detail));
        }
    }
    errors
}
