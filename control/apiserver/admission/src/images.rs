//! AlwaysPullImages: nobody runs an image that is on the node without the right to pull it. Pure.

use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::gotext::aggregate;
use xebec_api::meta;
use xebec_api::status::ApiError;

use crate::Call;

const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

fn images(pod: &Value) -> Vec<&Value> {
    LISTS
        .iter()
        .flat_map(|list| meta::list_at(&pod["spec"], &format!("/{list}")))
        .map(|c| &c["image"])
        .collect()
}

/// Whether new images come in: an update that brings none is not looked at.
fn applies(call: &Call<'_>, pod: &Value) -> bool {
    let brings_new = || {
        let before = call.old.map(images).unwrap_or_default();
        images(pod).iter().any(|image| !before.contains(image))
    };
    call.request.creates_pod() || (call.request.updates_pod() && brings_new())
}

/// Sets the pull policy of every container and image volume.
pub(crate) fn mutate(call: &Call<'_>, pod: &mut Value) {
    if !applies(call, pod) {
        return;
    }
    for list in LISTS {
        let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            container["imagePullPolicy"] = json!("Always");
        }
    }
    for volume in pod["spec"].get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        if volume["image"].is_object() {
            volume["image"]["pullPolicy"] = json!("Always");
        }
    }
}

/// Refuses what a later plug-in or webhook has set back.
pub(crate) fn validate(call: &Call<'_>, pod: &Value) -> Result<(), ApiError> {
    if !applies(call, pod) {
        return Ok(());
    }
    let mut errors = Vec::new();
    for list in LISTS {
        for (i, container) in meta::list_at(&pod["spec"], &format!("/{list}")).iter().enumerate() {
            let policy = meta::str_at(container, "/imagePullPolicy");
            if policy != "Always" {
                let path = Path::new("spec").child(list).index(i).child("imagePullPolicy");
                errors.push(FieldError::not_supported(&path, policy, &["Always"]));
            }
        }
    }
    for (i, volume) in meta::list_at(pod, "/spec/volumes").iter().enumerate() {
        let policy = meta::str_at(volume, "/image/pullPolicy");
        if volume["image"].is_object() && policy != "Always" {
            let path = Path::new("spec").child("volumes").index(i).child("image").child("pullPolicy");
            errors.push(FieldError::not_supported(&path, policy, &["Always"]));
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(call.forbidden(pod, aggregate(errors.iter().map(ToString::to_string))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Operation;
    use crate::testing::{World, request};

    #[test]
    fn every_image_is_pulled() {
        let world = World::default();
        let call = world.call(request(Operation::Create, "", "pods", "ns", "p"), None);
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"image": "a", "imagePullPolicy": "Never"}],
            "initContainers": [{"image": "b"}], "volumes": [{"name": "v", "image": {"reference": "c"}}, {"name": "w"}]}});
        assert_eq!(
            validate(&call, &pod).unwrap_err().message,
            "pods \"p\" is forbidden: [spec.initContainers[0].imagePullPolicy: Unsupported value: \"\": supported values: \
             \"Always\", spec.containers[0].imagePullPolicy: Unsupported value: \"Never\": supported values: \"Always\", \
             spec.volumes[0].image.pullPolicy: Unsupported value: \"\": supported values: \"Always\"]"
        );
        mutate(&call, &mut pod);
        validate(&call, &pod).unwrap();
        let old = json!({"spec": {"containers": [{"image": "a", "imagePullPolicy": "Never"}]}});
        let update = world.call(request(Operation::Update, "", "pods", "ns", "p"), Some(&old));
        let mut same = old.clone();
        mutate(&update, &mut same);
        assert_eq!(same, old, "an update without a new image is left alone");
    }
}
