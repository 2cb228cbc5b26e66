//! Priority: `priorityClassName` becomes a number. Pure over the reader.

use serde_json::{Value, json};
use xebec_api::meta;
use xebec_api::status::ApiError;
use xebec_identity::ObjectReader;

use super::{Attributes, Operation};

const GROUP: &str = "scheduling.k8s.io";

/// Sets the pod's priority, class and preemption policy.
pub(super) fn complete_pod(
    attributes: &Attributes<'_>,
    pod: &mut Value,
    reader: &dyn ObjectReader,
) -> Result<(), ApiError> {
    let named = pod["spec"]["priorityClassName"].as_str().filter(|name| !name.is_empty()).map(str::to_owned);
    let class = match &named {
        Some(name) => match reader.get(GROUP, "priorityclasses", "", name) {
            Some(class) => Some(class),
            None => {
                return Err(attributes
                    .target
                    .forbidden(&format!("no PriorityClass with name {name} was found")));
            }
        },
        None => reader
            .list(GROUP, "priorityclasses", None)
            .into_iter()
            .filter(|class| class["globalDefault"] == true)
            .min_by_key(|class| class["value"].as_i64()),
    };
    let value = class.as_ref().and_then(|class| class["value"].as_i64()).unwrap_or(0);
    let policy =
        class.as_ref().and_then(|class| class["preemptionPolicy"].as_str()).unwrap_or("PreemptLowerPriority");
    if let Some(sent) = pod["spec"]["priority"].as_i64()
        && sent != value
    {
        return Err(attributes.target.forbidden(&format!(
            "the integer value of priority ({sent}) must not be provided in pod spec; priority admission controller \
             computed {value} from the given PriorityClass name"
        )));
    }
    if let Some(sent) = pod["spec"]["preemptionPolicy"].as_str()
        && sent != policy
    {
        return Err(attributes.target.forbidden(&format!(
            "the string value of PreemptionPolicy ({sent}) must not be provided in pod spec; priority admission \
             controller computed {policy} from the given PriorityClass name"
        )));
    }
    if let (None, Some(class)) = (&named, &class) {
        pod["spec"]["priorityClassName"] = json!(meta::name(class));
    }
    pod["spec"]["priority"] = json!(value);
    pod["spec"]["preemptionPolicy"] = json!(policy);
    Ok(())
}

/// At most one class is the default for pods that name none.
pub(super) fn check_class(
    attributes: &Attributes<'_>,
    value: Option<&Value>,
    reader: &dyn ObjectReader,
) -> Result<(), ApiError> {
    let Some(class) = value.filter(|class| class["globalDefault"] == true) else { return Ok(()) };
    if !attributes.is(GROUP, "priorityclasses", "") || attributes.operation == Operation::Delete {
        return Ok(());
    }
    let mut others = reader.list(GROUP, "priorityclasses", None).into_iter();
    match others.find(|other| other["globalDefault"] == true && meta::name(other) != meta::name(class)) {
        Some(other) => Err(attributes.target.forbidden(&format!(
            "PriorityClass {} is already marked as default. Only one default can exist",
            meta::name(&other)
        ))),
        None => Ok(()),
    }
}
