//! A pod worker's mail: latest wins. Enters: the newest pod, hints of the runtime, probe reports. Leaves: one
//! [`Letter`] with everything since the last. Any number of writers, one reader; writing never waits.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::probes::Report;

/// Everything that arrived since the last letter.
#[derive(Clone, Debug, Default)]
pub struct Letter {
    /// The newest version of the pod.
    pub pod: Option<Arc<Pod>>,
    /// The API server no longer has the pod.
    pub gone: bool,
    /// The runtime's state may have changed.
    pub look: bool,
    /// Containers that the runtime says have ended.
    pub ended: BTreeSet<String>,
    /// Probe verdicts, oldest first.
    pub reports: Vec<Report>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Mailbox {
    letter: Mutex<Letter>,
    notify: Notify,
}

impl Mailbox {
    /// Puts a change into the letter and wakes the worker.
    pub fn put(&self, change: impl FnOnce(&mut Letter)) {
        change(&mut self.letter.lock());
        self.notify.notify_one();
    }

    /// Puts in a probe's verdict.
    pub fn report(&self, report: Report) {
        self.put(|letter| letter.reports.push(report));
    }

    /// Takes the letter; empty if nothing arrived.
    pub fn take(&self) -> Letter {
        std::mem::take(&mut self.letter.lock())
    }

    /// Waits until something was put in since the last wait.
    pub async fn wait(&self) {
        self.notify.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_pod_wins_and_nothing_else_is_lost() {
        let mailbox = Mailbox::default();
        let named = |name: &str| {
            let mut pod = Pod::default();
            pod.metadata.name = Some(name.to_owned());
            Some(Arc::new(pod))
        };
        mailbox.put(|letter| letter.pod = named("old"));
        mailbox.put(|letter| letter.ended.extend(["c1".to_owned()]));
        mailbox.put(|letter| letter.pod = named("new"));
        mailbox.wait().await;
        let letter = mailbox.take();
        assert_eq!(letter.pod.unwrap().metadata.name.as_deref(), Some("new"));
        assert!(letter.ended.contains("c1") && mailbox.take().ended.is_empty());
    }
}
