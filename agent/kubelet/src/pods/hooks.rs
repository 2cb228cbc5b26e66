//! Lifecycle hooks. Enters: a handler of a container. Leaves: success, or why it failed. Called while a container
//! is started (postStart) and before it is stopped (preStop).

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};
use xebec_cri::Runtime;

use crate::{http, spec};

/// What a hook without a limit of its own may take to connect and answer.
const HTTP_LIMIT: Duration = Duration::from_secs(600);

/// Runs a hook; the caller bounds the time. `Err` carries upstream's message.
pub async fn run(
    runtime: &dyn Runtime,
    pod: &Pod,
    container: &Container,
    id: &str,
    pod_ip: &str,
    handler: &LifecycleHandler,
) -> Result<(), String> {
    if let Some(exec) = &handler.exec {
        let command = exec.command.clone().unwrap_or_default();
        let shown = format!("[{}]", command.join(" "));
        let failed = |cause: String| {
            format!(
                "Exec lifecycle hook ({shown}) for Container \"{}\" in Pod \"{}\" failed - error: {cause}",
                container.name,
                spec::long_name(pod)
            )
        };
        let answer = runtime.exec_sync(id, command.clone(), Duration::ZERO).await;
        let answer = answer.map_err(|error| failed(error.to_string()))?;
        if answer.exit_code == 0 {
            return Ok(());
        }
        let output = [answer.stdout, answer.stderr].concat();
        let cause = format!(
            "command '{}' exited with {}: , message: \"{}\"",
            command.join(" "),
            answer.exit_code,
            String::from_utf8_lossy(&output).escape_debug()
        );
        return Err(failed(cause));
    }
    if let Some(action) = &handler.http_get {
        let answer = http::get(action, container, pod_ip, "kube-lifecycle/1.36", HTTP_LIMIT).await;
        return match answer {
            Ok(_) => Ok(()),
            Err(error) => Err(format!(
                "HTTP lifecycle hook ({}) for Container \"{}\" in Pod \"{}\" failed - error: {error}",
                action.path.as_deref().unwrap_or("/"),
                container.name,
                spec::long_name(pod)
            )),
        };
    }
    if let Some(sleep) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(sleep.seconds.max(0).unsigned_abs())).await;
    }
    Ok(())
}
