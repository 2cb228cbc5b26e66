//! Query parameters: decoded once, then read by name.

use xebec_api::selector::{FieldSelector, LabelSelector};
use xebec_api::status::ApiError;

use crate::registry::{ListOptions, VersionMatch};
use crate::watch::Selection;

/// A request's query parameters in order.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

/// What to do about fields the schema does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValidation {
    /// Drop them.
    Ignore,
    /// Drop them with a Warning header.
    Warn,
    /// Refuse the request.
    Strict,
}

impl Query {
    /// Parses `a=b&c=d` with percent encoding and `+` for a blank; malformed escapes stay as they are.
    #[must_use]
    pub fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        });
        Self(pairs.collect())
    }

    /// The options of a LIST.
    pub fn list_options(&self) -> Result<ListOptions, ApiError> {
        let resource_version = self.get("resourceVersion").unwrap_or_default().to_owned();
        let version_match = match self.get("resourceVersionMatch").unwrap_or_default() {
            "" => VersionMatch::Unset,
            "NotOlderThan" => VersionMatch::NotOlderThan,
            "Exact" => VersionMatch::Exact,
            other => {
                return Err(ApiError::bad_request(format!(
                    "resourceVersionMatch: Unsupported value: {other:?}: supported values: \"Exact\", \"NotOlderThan\""
                )));
            }
        };
        if version_match != VersionMatch::Unset && resource_version.is_empty() {
            return Err(ApiError::bad_request(
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
            ));
        }
        if version_match == VersionMatch::Exact && resource_version == "0" {
            return Err(ApiError::bad_request(
                "resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ));
        }
        let limit = self.number("limit")?.and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        // As upstream's cache does: a read of "whatever is there" is answered whole.
        let limit = if resource_version == "0" && version_match != VersionMatch::Exact { 0 } else { limit };
        let continue_token = self.get("continue").unwrap_or_default().to_owned();
        Ok(ListOptions { resource_version, version_match, limit, continue_token })
    }

    /// The first value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All values of `name`.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether `name` is given and not `0` or `false`.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !matches!(value, "0" | "false" | "False" | "FALSE"))
    }

    /// A whole number, if given.
    pub fn number(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            ApiError::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax ({name})"))
        })
    }

    /// Whether the write is only to be tried; anything but `All` is refused.
    pub fn dry_run(&self) -> Result<bool, ApiError> {
        let mut dry = false;
        for value in self.all("dryRun") {
            if value != "All" {
                return Err(ApiError::bad_request(format!(
                    "Invalid dryRun: Unsupported value: {value:?}: supported values: \"All\""
                )));
            }
            dry = true;
        }
        Ok(dry)
    }

    /// The `fieldValidation` asked for; `Warn` when absent, as upstream.
    pub fn field_validation(&self) -> Result<FieldValidation, ApiError> {
        match self.get("fieldValidation") {
            None | Some("" | "Warn") => Ok(FieldValidation::Warn),
            Some("Ignore") => Ok(FieldValidation::Ignore),
            Some("Strict") => Ok(FieldValidation::Strict),
            Some(other) => Err(ApiError::bad_request(format!(
                "fieldValidation: Unsupported value: {other:?}: supported values: \"Ignore\", \"Strict\", \"Warn\""
            ))),
        }
    }

    /// The objects a list, watch or deletecollection is about; unknown selectable fields are refused.
    pub fn selection(&self, namespace: &str, known: &[&str], kind: &str) -> Result<Selection, ApiError> {
        let labels =
            match self.get("labelSelector").filter(|text| !text.is_empty()) {
                None => None,
                Some(text) => Some(LabelSelector::parse(text).map_err(|error| {
                    ApiError::bad_request(format!("unable to parse requirement: {error}"))
                })?),
            };
        let fields = match self.get("fieldSelector").filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => Some(Self::field_selector(text, known, kind)?),
        };
        Ok(Selection { namespace: (!namespace.is_empty()).then(|| namespace.to_owned()), labels, fields })
    }

    fn field_selector(text: &str, known: &[&str], kind: &str) -> Result<FieldSelector, ApiError> {
        let selector = FieldSelector::parse(text)
            .map_err(|error| ApiError::bad_request(format!("invalid field selector {text:?}: {error}")))?;
        for requirement in selector.requirements() {
            let field = requirement.field.as_str();
            if !matches!(field, "metadata.name" | "metadata.namespace") && !known.contains(&field) {
                return Err(ApiError::bad_request(format!("field label not supported: {field} for {kind}")));
            }
        }
        Ok(selector)
    }
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |i: usize| bytes.get(i).and_then(|b| char::from(*b).to_digit(16));
        match bytes[at] {
            b'+' => out.push(b' '),
            b'%' => match (hex(at + 1), hex(at + 2)) {
                (Some(high), Some(low)) => {
                    out.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                    at += 2;
                }
                _ => out.push(b'%'),
            },
            other => out.push(other),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes() {
        let query = Query::parse("a=b%2Fc&d=e+f&watch&container=x&bad=%zz&command=a&command=b");
        assert_eq!(query.get("a"), Some("b/c"));
        assert_eq!(query.get("d"), Some("e f"));
        assert!(query.flag("watch"));
        assert!(!Query::parse("watch=false").flag("watch"));
        assert_eq!(query.get("bad"), Some("%zz"));
        assert_eq!(query.all("command").collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        assert!(Query::parse("dryRun=All").dry_run().unwrap());
        assert!(Query::parse("dryRun=Some").dry_run().is_err());
        assert!(Query::parse("fieldValidation=Maybe").field_validation().is_err());
        assert!(Query::parse("limit=x").number("limit").is_err());
        assert!(Query::parse("fieldSelector=spec.x%3D1").selection("", &["spec.y"], "Pod").is_err());
        assert!(Query::parse("fieldSelector=spec.y%3D1").selection("", &["spec.y"], "Pod").is_ok());
    }
}
