//! The programs' own log (`--log-programs`). Enters: the loaded object. Leaves: records of the `log` facade. Called by run.

use tracing::warn;

/// Hands the programs' own log records to the `log` facade until the process ends.
pub(crate) fn follow_log(ebpf: &mut aya::Ebpf) {
    let logger = match aya_log::EbpfLogger::init(ebpf) {
        Ok(logger) => logger,
        Err(error) => return warn!(%error, "no log from the programs"),
    };
    let follow = async move {
        #[expect(unsafe_code, reason = "tokio's door for descriptors behind a trait")]
        // SAFETY: the logger's descriptor is its ring buffer map, the same until the logger is dropped.
        let mut logger = unsafe { tokio::io::unix::AsyncFd::register(logger) }?;
        loop {
            let mut ready = logger.readable_mut().await?;
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    };
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => {
            runtime.spawn(async move {
                let result: std::io::Result<()> = follow.await;
                warn!(?result, "the programs' log ended");
            });
        }
        Err(error) => warn!(%error, "no log from the programs"),
    }
}
