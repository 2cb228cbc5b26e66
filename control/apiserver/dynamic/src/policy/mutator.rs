//! A MutatingAdmissionPolicy's expressions, compiled, and what they make of an object. No I/O.
//!
//! Authority: pkg/admission/plugin/policy/mutating/{compilation,patch}; KEP-3962.

use serde_json::{Value, json};
use xebec_api::patch::{self, PatchError};
use xebec_api::status::ApiError;
use xebec_cel::Value as Cel;

use crate::cel::{BUDGET, Budget, Composition, Conditions, Expression, Input, Returns, Stop};
use crate::matching::named_expressions;
use crate::webhook::patch_text;
use crate::{Decoding, Kind, MergeError, Types};

/// How a mutation changes the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Apply,
    JsonPatch,
}

/// One entry of `spec.mutations`.
pub(crate) struct Mutation {
    form: Form,
    expression: Expression,
}

/// The compiled policy.
pub(crate) struct Mutator {
    composition: Composition,
    pub(super) conditions: Option<Conditions>,
    pub(super) mutations: Vec<Mutation>,
    /// `reinvocationPolicy: IfNeeded`.
    pub(super) reinvocable: bool,
}

/// A mutation did not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MutationError {
    /// The policy failed: its failure policy decides.
    Policy(String),
    /// The request fails whatever the failure policy says.
    Fatal(ApiError),
}

impl Mutator {
    /// Compiles a policy; what does not compile is reported when it is evaluated.
    pub(crate) fn compile(policy: &Value) -> Self {
        let spec = &policy["spec"];
        let composition =
            Composition::new(&named_expressions(&spec["variables"]), spec["paramKind"].is_object(), true);
        let conditions = named_expressions(&spec["matchConditions"]);
        let mutations = spec["mutations"].as_array().into_iter().flatten().filter_map(|mutation| {
            let (form, field, returns) = match mutation["patchType"].as_str()? {
                "JSONPatch" => (Form::JsonPatch, "jsonPatch", Returns::Patches),
                "ApplyConfiguration" => (Form::Apply, "applyConfiguration", Returns::Apply),
                _ => return None,
            };
            let source = mutation[field]["expression"].as_str()?;
            Some(Mutation { form, expression: composition.compile(source, returns, true) })
        });
        Self {
            conditions: (!conditions.is_empty()).then(|| Conditions::new(&conditions, &composition)),
            mutations: mutations.collect(),
            reinvocable: spec["reinvocationPolicy"] == "IfNeeded",
            composition,
        }
    }

    /// The object after one mutation, decoded and defaulted as its kind.
    pub(super) fn mutate(
        &self,
        mutation: &Mutation,
        input: &Input<'_>,
        object: &Value,
        kind: &Kind,
        types: &dyn Types,
    ) -> Result<Value, MutationError> {
        let policy = MutationError::Policy;
        if let Some(why) = mutation.expression.error() {
            return Err(policy(why.to_owned()));
        }
        let session = self.composition.session(input);
        let value = session.evaluate(&mutation.expression, &mut Budget::new(BUDGET));
        let value = value.map_err(|stop| match stop {
            Stop::Expression(why) | Stop::Budget(why) => policy(why),
        })?;
        match mutation.form {
            Form::Apply => apply(&value, object, kind, types),
            Form::JsonPatch => json_patch(&value, object, kind, types),
        }
    }
}

fn apply(value: &Cel<'_>, object: &Value, kind: &Kind, types: &dyn Types) -> Result<Value, MutationError> {
    let policy = MutationError::Policy;
    check_type_names(value).map_err(policy)?;
    let mut configuration = value.to_json().map_err(|error| policy(error.to_string()))?;
    if !configuration.is_object() {
        return Err(policy(format!(
            "unsupported return type from ApplyConfiguration expression: {}",
            value.type_name()
        )));
    }
    configuration["apiVersion"] = json!(kind.api_version());
    configuration["kind"] = json!(kind.kind);
    let merged = types.merge(kind, object, &configuration).map_err(|error| match error {
        MergeError::UnknownKind => MutationError::Fatal(ApiError::service_unavailable(format!(
            "Resource kind {kind} not found. There can be a delay between when CustomResourceDefinitions are created \
             and when they are available."
        ))),
        MergeError::Refused(why) => policy(format!("error applying patch: {why}")),
    })?;
    types.decode(kind, merged, Decoding::Lenient).map_err(policy)
}

fn json_patch(
    value: &Cel<'_>,
    object: &Value,
    kind: &Kind,
    types: &dyn Types,
) -> Result<Value, MutationError> {
    let policy = MutationError::Policy;
    let Cel::List(list) = value else {
        return Err(policy("type mismatch: JSONPatchType.expression should evaluate to array".to_owned()));
    };
    let mut operations = Vec::new();
    for item in list.iter() {
        let item = item.map_err(|error| policy(error.to_string()))?;
        operations.push(operation(&item).map_err(policy)?);
    }
    match patch::json_patch(object, &Value::Array(operations)) {
        Ok(patched) => types
            .decode(kind, patched, Decoding::Strict)
            .map_err(|why| MutationError::Fatal(ApiError::internal(why))),
        // A patch whose test fails is not applied, and that is no mistake.
        Err(PatchError::Test(_)) => Ok(object.clone()),
        Err(error) => Err(policy(format!("JSON Patch: {}", patch_text(&error)))),
    }
}

/// One `JSONPatch{..}` as an RFC 6902 operation.
fn operation(value: &Cel<'_>) -> Result<Value, String> {
    let Cel::Object(patch) = value else {
        let got = value.type_name();
        return Err(format!(
            "type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch, got element of {got}"
        ));
    };
    let mut operation = json!({});
    for (name, field) in &patch.fields {
        if name == "value" {
            check_type_names(field)?;
        }
        let json = field.to_json().map_err(|error| {
            format!("JSONPath valueExpression evaluated to a type that could not marshal to JSON: {error}")
        })?;
        if !(name == "from" && json == "") {
            operation[name] = json;
        }
    }
    Ok(operation)
}

/// Whether each `Object.a.b{..}` stands at the field `a.b`.
fn check_type_names(value: &Cel<'_>) -> Result<(), String> {
    let mut wrong = Vec::new();
    if let Cel::Object(object) = value {
        walk(value, &object.type_name, &mut wrong);
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("type mismatch: {}", wrong.join("\n"))) }
}

fn walk(value: &Cel<'_>, path: &str, wrong: &mut Vec<String>) {
    match value {
        Cel::Object(object) => {
            if *object.type_name != *path {
                wrong.push(format!(
                    "unexpected type name {:?}, expected {path:?}, which matches field name path from root Object type",
                    object.type_name
                ));
            }
            for (name, field) in &object.fields {
                walk(field, &format!("{path}.{name}"), wrong);
            }
        }
        Cel::List(xebec_cel::List::Owned(items)) => {
            items.iter().for_each(|item| walk(item, path, wrong));
        }
        Cel::Map(xebec_cel::Map::Owned(entries)) => {
            entries.values().for_each(|(_, value)| walk(value, path, wrong));
        }
        Cel::Optional(Some(inner)) => walk(inner, path, wrong),
        _ => {}
    }
}
