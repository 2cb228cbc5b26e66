//! The registry's view of the kind.

use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_kinds::shared::access::{at, default_text, default_to, list, set, text, texts};
use xebec_kinds::{Column, Context, Facts, Generation, Strategy, generic, table};

use super::options::Options;
use super::{Names, approval, names, options, spec, warnings};

/// The rules of customresourcedefinitions.
#[derive(Clone, Copy, Debug, Default)]
pub struct CustomResourceDefinition;

static FACTS: Facts =
    Facts::cluster("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions")
        .with_status()
        .with_generation(Generation::Spec);

impl Strategy for CustomResourceDefinition {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, crd: &mut Value) {
        let kind = text(crd, &["spec", "names", "kind"]).to_owned();
        if at(crd, &["spec"]).is_object() {
            if !kind.is_empty() {
                default_text(crd, &["spec", "names", "singular"], &kind.to_lowercase());
                default_text(crd, &["spec", "names", "listKind"], &format!("{kind}List"));
            }
            default_to(crd, &["spec", "conversion"], json!({"strategy": "None"}));
            let service = ["spec", "conversion", "webhook", "clientConfig", "service"];
            if at(crd, &service).is_object() {
                let port = [&service[..], &["port"]].concat();
                default_to(crd, &port, 443);
            }
        }
        if list(crd, &["status", "storedVersions"]).is_empty()
            && let Some(storage) = storage_version(crd)
        {
            set(crd, &["status", "storedVersions"], json!([storage]));
        }
    }

    fn prepare_for_create(&self, _ctx: &Context<'_>, crd: &mut Value) {
        generic::prepare_for_create(&FACTS, crd);
        set(crd, &["status", "acceptedNames"], json!({"kind": "", "plural": ""}));
        remember_storage_version(crd);
    }

    fn validate(&self, crd: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, crd);
        let name = text(crd, &["metadata", "name"]);
        let wanted = format!("{}.{}", text(crd, &["spec", "names", "plural"]), text(crd, &["spec", "group"]));
        if !name.is_empty() && name != wanted {
            let detail = "must be spec.names.plural+\".\"+spec.group";
            errors.push(FieldError::invalid(&Path::new("metadata").child("name"), name, detail));
        }
        errors.extend(spec::errors(crd, &Options::create()));
        errors.extend(status_errors(crd));
        errors.extend(spec::stored_versions(crd));
        errors.extend(approval::errors(crd, None));
        errors.extend(preserve_unknown(crd, None));
        errors
    }

    fn prepare_for_update(&self, _ctx: &Context<'_>, crd: &mut Value, old: &Value) {
        generic::prepare_for_update(&FACTS, crd, old);
        remember_storage_version(crd);
    }

    fn validate_update(&self, crd: &Value, old: &Value) -> Vec<FieldError> {
        let options = Options::update(crd, old);
        let mut errors = metadata_update(crd, old);
        errors.extend(spec::errors(crd, &options));
        errors.extend(spec::immutable(crd, old, &options));
        errors.extend(status_errors(crd));
        errors.extend(spec::stored_versions(crd));
        errors.extend(approval::errors(crd, Some(old)));
        errors.extend(preserve_unknown(crd, Some(old)));
        errors
    }

    fn validate_status_update(&self, crd: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = metadata_update(crd, old);
        errors.extend(status_errors(crd));
        errors
    }

    fn columns(&self) -> &[Column] {
        table::NAME_CREATED
    }

    fn row(&self, crd: &Value, _now: jiff::Timestamp) -> Vec<Value> {
        table::name_created_row(crd)
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn warnings(&self, crd: &Value) -> Vec<String> {
        warnings::of(crd)
    }

    fn update_warnings(&self, crd: &Value, old: &Value) -> Vec<String> {
        warnings::of_update(crd, old)
    }
}

fn metadata_update(crd: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = generic::validate(&FACTS, crd);
    errors.extend(generic::validate_update(&FACTS, crd, old));
    errors
}

fn status_errors(crd: &Value) -> Vec<FieldError> {
    let accepted = Names::read(at(crd, &["status", "acceptedNames"]));
    names::errors(&accepted, &Path::new("status").child("acceptedNames"))
}

fn preserve_unknown(crd: &Value, old: Option<&Value>) -> Option<FieldError> {
    let was = old.is_some_and(options::preserves_unknown);
    let path = Path::new("spec").child("preserveUnknownFields");
    let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
    (options::preserves_unknown(crd) && !was).then(|| FieldError::invalid(&path, true, detail))
}

fn storage_version(crd: &Value) -> Option<String> {
    let storage = list(crd, &["spec", "versions"]).iter().find(|version| version["storage"] == true)?;
    Some(text(storage, &["name"]).to_owned())
}

/// The version objects will be stored in joins those they may already be stored in.
fn remember_storage_version(crd: &mut Value) {
    let Some(storage) = storage_version(crd) else { return };
    let mut stored: Vec<String> =
        texts(crd, &["status", "storedVersions"]).into_iter().map(str::to_owned).collect();
    if !stored.contains(&storage) {
        stored.push(storage);
    }
    set(crd, &["status", "storedVersions"], json!(stored));
}
