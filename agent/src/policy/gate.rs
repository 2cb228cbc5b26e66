//! Pods wait here until their policies are in the kernel. Enters: attachments from the pod network. Leaves: for each the
//! moment its link may go up.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use xebec_dataplane::policy::plan::PodName;
use xebec_network::{Attachment, Gate};

/// How long a pod waits: the runtime then gives its network back and tries again.
const PATIENCE: Duration = Duration::from_secs(10);

/// A pod's place in the network, as long as its device is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) index: u32,
}

#[derive(Default)]
struct State {
    places: BTreeMap<PodName, Place>,
    waiting: Vec<(PodName, oneshot::Sender<()>)>,
}

/// Between the pod network, which asks, and the loop that follows policies.
pub(crate) struct PolicyGate {
    state: Mutex<State>,
    arrival: Notify,
    patience: Duration,
}

impl Default for PolicyGate {
    fn default() -> Self {
        Self { state: Mutex::default(), arrival: Notify::new(), patience: PATIENCE }
    }
}

impl Gate for PolicyGate {
    fn admit(&self, attachment: Attachment) -> BoxFuture<'_, Result<(), String>> {
        let (sender, admitted) = oneshot::channel();
        let pod = (attachment.namespace, attachment.name);
        let place = Place { addresses: attachment.addresses, index: attachment.index };
        {
            let mut state = self.state.lock();
            state.places.insert(pod.clone(), place);
            state.waiting.push((pod, sender));
        }
        self.arrival.notify_one();
        let waited = tokio::time::timeout(self.patience, admitted);
        waited
            .map(move |result| match result {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) => Err("the agent is stopping".to_owned()),
                Err(_) => Err(format!(
                    "its network policies are not in the kernel after {} s: the API server has not told of the pod, or \
                     xebec-agent.log says what is in the way",
                    self.patience.as_secs()
                )),
            })
            .boxed()
    }
}

impl PolicyGate {
    /// Returns after a pod came.
    pub(super) async fn arrival(&self) {
        self.arrival.notified().await;
    }

    /// Where pods are, without those whose device `is_there` denies.
    pub(super) fn places(&self, is_there: impl Fn(u32) -> bool) -> BTreeMap<PodName, Place> {
        let mut state = self.state.lock();
        state.places.retain(|_, place| is_there(place.index));
        state.waiting.retain(|(_, sender)| !sender.is_closed());
        state.places.clone()
    }

    /// Lets the pods go on that were at these places when `is_known` ones were published.
    pub(super) fn open(&self, places: &BTreeMap<PodName, Place>, is_known: impl Fn(&PodName) -> bool) {
        let mut state = self.state.lock();
        let State { places: now, waiting } = &mut *state;
        let published =
            |pod: &PodName| is_known(pod) && places.contains_key(pod) && places.get(pod) == now.get(pod);
        for (pod, sender) in std::mem::take(waiting) {
            if published(&pod) {
                // Who gave up waiting has closed its end.
                let _ = sender.send(());
            } else {
                waiting.push((pod, sender));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment(name: &str, index: u32) -> Attachment {
        let addresses = vec![[10, 0, 0, 1].into()];
        let (namespace, name) = ("x".to_owned(), name.to_owned());
        Attachment { namespace, name, addresses, index, ..Attachment::default() }
    }

    #[tokio::test]
    async fn a_pod_waits_for_its_own_policies_at_its_own_device() {
        let gate = PolicyGate::default();
        let mut first = gate.admit(attachment("a", 7));
        gate.arrival().await;
        let places = gate.places(|_| true);
        assert_eq!(places.len(), 1);
        // Published for a pod that the API has not told of: nothing is known of its labels.
        gate.open(&places, |_| false);
        assert!((&mut first).now_or_never().is_none());
        // Meanwhile another try made another device.
        let second = gate.admit(attachment("a", 8));
        gate.open(&places, |_| true);
        assert!((&mut first).now_or_never().is_none());
        let places = gate.places(|index| index == 8);
        gate.open(&places, |_| true);
        assert_eq!((first.await, second.await), (Ok(()), Ok(())));
        assert!(gate.places(|_| false).is_empty());
    }

    #[tokio::test]
    async fn a_pod_that_waits_in_vain_is_told_why() {
        let gate = PolicyGate { patience: Duration::ZERO, ..PolicyGate::default() };
        let error = gate.admit(attachment("a", 7)).await.unwrap_err();
        assert!(error.starts_with("its network policies are not in the kernel after 0 s"), "{error}");
    }
}
