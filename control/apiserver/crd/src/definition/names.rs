//! The names of a resource: DNS labels.

use xebec_api::field::{FieldError, Path};
use xebec_api::names::is_dns1035_label;

use super::Names;

/// The errors of names; empty ones have none (the status starts without).
pub(super) fn errors(names: &Names, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (field, value, mixed) in [
        ("plural", &names.plural, false),
        ("singular", &names.singular, false),
        ("kind", &names.kind, true),
        ("listKind", &names.list_kind, true),
    ] {
        if value.is_empty() {
            continue;
        }
        let lower = if mixed { value.to_lowercase() } else { value.clone() };
        let messages = is_dns1035_label(&lower).join(",");
        if !messages.is_empty() {
            let prefix = if mixed { "may have mixed case, but should otherwise match: " } else { "" };
            errors.push(FieldError::invalid(&path.child(field), value, format!("{prefix}{messages}")));
        }
    }
    errors.extend(labels(&names.short_names, &path.child("shortNames")));
    if !names.kind.is_empty() && names.kind == names.list_kind {
        let detail = "kind and listKind may not be the same";
        errors.push(FieldError::invalid(&path.child("listKind"), &names.list_kind, detail));
    }
    errors.extend(labels(&names.categories, &path.child("categories")));
    errors
}

/// The names a definition must have.
pub(super) fn required(names: &Names, path: &Path) -> Vec<FieldError> {
    [
        ("plural", &names.plural),
        ("singular", &names.singular),
        ("kind", &names.kind),
        ("listKind", &names.list_kind),
    ]
    .into_iter()
    .filter(|(_, value)| value.is_empty())
    .map(|(field, _)| FieldError::required(&path.child(field), ""))
    .collect()
}

fn labels(values: &[String], path: &Path) -> Vec<FieldError> {
    let error = |(at, value): (usize, &String)| {
        let messages = is_dns1035_label(value).join(",");
        (!messages.is_empty()).then(|| FieldError::invalid(&path.index(at), value, messages))
    };
    values.iter().enumerate().filter_map(error).collect()
}
