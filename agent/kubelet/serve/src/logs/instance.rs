//! Which instance's log a request means. Enters: a container's status. Leaves: an id, or upstream's words why none.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus};

use crate::pods::bare_id;

/// The id of the instance, without the runtime's name.
pub(super) fn choose(
    pod: &str,
    container: &str,
    status: Option<&ContainerStatus>,
    previous: bool,
) -> Result<String, String> {
    let Some(status) = status else {
        return Err(format!("container \"{container}\" in pod \"{pod}\" is not available"));
    };
    let state = status.state.as_ref();
    let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let waiting = state.and_then(|state| state.waiting.as_ref());
    let terminated = state.and_then(|state| state.terminated.as_ref());
    if previous {
        return last.and_then(ended_id).ok_or_else(|| {
            format!("previous terminated container \"{container}\" in pod \"{pod}\" not found")
        });
    }
    if state.is_some_and(|state| state.running.is_some()) {
        let id = status.container_id.as_deref().unwrap_or_default();
        return Ok(bare_id(id).to_owned());
    }
    if terminated.is_some() || last.is_some() {
        // a restart that never got a container leaves only the one before
        return terminated
            .and_then(ended_id)
            .or_else(|| last.and_then(ended_id))
            .ok_or_else(|| format!("container \"{container}\" in pod \"{pod}\" is terminated"));
    }
    let Some(waiting) = waiting else {
        return Err(format!("container \"{container}\" in pod \"{pod}\" is waiting to start - no logs yet"));
    };
    let why = match waiting.reason.as_deref().unwrap_or_default() {
        "ErrImagePull" => "image can't be pulled",
        "ImagePullBackOff" => "trying and failing to pull image",
        reason => reason,
    };
    Err(format!("container \"{container}\" in pod \"{pod}\" is waiting to start: {why}"))
}

fn ended_id(terminated: &ContainerStateTerminated) -> Option<String> {
    let id = terminated.container_id.as_deref().filter(|id| !id.is_empty())?;
    Some(bare_id(id).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn ask(status: Value, previous: bool) -> Result<String, String> {
        let mut whole =
            json!({ "name": "c", "image": "i", "imageID": "i", "ready": false, "restartCount": 0 });
        for (key, value) in status.as_object().unwrap() {
            whole[key] = value.clone();
        }
        let status: ContainerStatus = serde_json::from_value(whole).unwrap();
        choose("p", "c", Some(&status), previous)
    }

    fn ended(id: &str) -> Value {
        json!({ "terminated": { "exitCode": 1, "containerID": id } })
    }

    #[test]
    fn the_instance_follows_the_state() {
        let running = json!({ "state": { "running": {} }, "containerID": "containerd://new", "lastState": ended("containerd://old") });
        assert_eq!(ask(running.clone(), false).unwrap(), "new");
        assert_eq!(ask(running, true).unwrap(), "old");
        assert_eq!(ask(json!({ "state": ended("containerd://end") }), false).unwrap(), "end");
        let unborn = json!({ "state": ended(""), "lastState": ended("containerd://old") });
        assert_eq!(ask(unborn, false).unwrap(), "old");
        let looping = json!({ "state": { "waiting": { "reason": "CrashLoopBackOff" } }, "lastState": ended("containerd://old") });
        assert_eq!(ask(looping, false).unwrap(), "old", "a container in back-off shows what it last said");
    }

    #[test]
    fn the_words_are_those_of_upstream() {
        let waiting =
            |reason: &str| ask(json!({ "state": { "waiting": { "reason": reason } } }), false).unwrap_err();
        assert_eq!(
            waiting("ContainerCreating"),
            r#"container "c" in pod "p" is waiting to start: ContainerCreating"#
        );
        assert_eq!(
            waiting("ErrImagePull"),
            r#"container "c" in pod "p" is waiting to start: image can't be pulled"#
        );
        assert_eq!(
            waiting("ImagePullBackOff"),
            r#"container "c" in pod "p" is waiting to start: trying and failing to pull image"#
        );
        assert_eq!(
            ask(json!({ "state": { "running": {} } }), true).unwrap_err(),
            r#"previous terminated container "c" in pod "p" not found"#
        );
        assert_eq!(
            ask(json!({ "state": ended("") }), false).unwrap_err(),
            r#"container "c" in pod "p" is terminated"#
        );
        assert_eq!(
            ask(json!({}), false).unwrap_err(),
            r#"container "c" in pod "p" is waiting to start - no logs yet"#
        );
        assert_eq!(
            choose("p", "c", None, false).unwrap_err(),
            r#"container "c" in pod "p" is not available"#
        );
    }
}
