//! Rotation of container logs. Enters: the running containers. Leaves: files of at most 10 MiB, five each; the runtime
//! is told to reopen a renamed file, and the name goes back if it does not.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use xebec_cri::Runtime;
use xebec_host::logs::{RotationPolicy, due, rotate_file};

use crate::pods::registry::PodRegistry;

const PERIOD: Duration = Duration::from_secs(10);

/// Rotates until `cancel`.
pub async fn rotate_logs(registry: PodRegistry, runtime: Arc<dyn Runtime>, cancel: CancellationToken) {
    let policy = RotationPolicy::default();
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = cancel.cancelled() => return,
        }
        for view in registry.all() {
            for instance in view.observed.containers.iter().filter(|instance| instance.running()) {
                let log = PathBuf::from(&instance.log_path);
                if let Err(error) = rotate(runtime.as_ref(), &instance.id, &log, &policy).await {
                    tracing::warn!(log = %log.display(), %error, "log not rotated");
                }
            }
        }
    }
}

/// Rotates one log if it is due.
async fn rotate(
    runtime: &dyn Runtime,
    id: &str,
    log: &Path,
    policy: &RotationPolicy,
) -> Result<(), std::io::Error> {
    let size = tokio::fs::metadata(log).await.map_or(0, |data| data.len());
    if !due(size, policy) {
        return Ok(());
    }
    let (from, rules) = (log.to_owned(), *policy);
    let renamed = tokio::task::spawn_blocking(move || rotate_file(&from, Timestamp::now(), &rules));
    let renamed = renamed.await.map_err(std::io::Error::other)??;
    if let Err(error) = runtime.reopen_container_log(id).await {
        tokio::fs::rename(&renamed, log).await?;
        return Err(std::io::Error::other(error));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use xebec_cri::CriError;
    use xebec_cri::fake::FakeRuntime;

    use super::*;

    #[tokio::test]
    async fn a_full_log_is_renamed_and_put_back_if_the_runtime_will_not_reopen_it() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("0.log");
        let runtime = FakeRuntime::new();
        let policy = RotationPolicy { max_size: 4, max_files: 3 };
        std::fs::write(&log, "123").unwrap();
        rotate(runtime.as_ref(), "c", &log, &policy).await.unwrap();
        assert!(log.exists() && runtime.calls().is_empty(), "not due");
        std::fs::write(&log, "12345").unwrap();
        runtime.fail_next("ReopenContainerLog", CriError::Unavailable("x".into()));
        assert!(rotate(runtime.as_ref(), "c", &log, &policy).await.is_err());
        assert!(log.exists());
        rotate(runtime.as_ref(), "c", &log, &policy).await.unwrap();
        assert!(!log.exists(), "the runtime makes it anew");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
