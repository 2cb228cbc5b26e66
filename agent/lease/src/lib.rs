//! A node's Lease: the sign that a part of it is alive. Enters: what it is called and how long it lasts. Leaves: the Lease,
//! renewed now. Called by the kubelet for its heartbeat and by the announcement of load balancers' addresses.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

/// A Lease that a node holds.
#[derive(Clone, Copy, Debug)]
pub struct NodeLease<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The node that holds it, and whose Node object owns it: it goes with that.
    pub node: &'a str,
    /// A label that others find it by.
    pub label: Option<(&'a str, &'a str)>,
    /// How long it lasts after a renewal; whole seconds count.
    pub duration: Duration,
}

impl NodeLease<'_> {
    /// Renews it, and makes it where it is not.
    ///
    /// # Errors
    /// The API server's; call again.
    pub async fn renew(&self, client: &Client) -> Result<(), kube::Error> {
        let api: Api<Lease> = Api::namespaced(client.clone(), self.namespace);
        let now = MicroTime(Timestamp::now());
        let patch = json!({"spec": {"renewTime": now}});
        match api.patch(self.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            other => return other.map(drop),
        }
        let owner = Api::<Node>::all(client.clone()).get_opt(self.node).await?;
        let lease = self.object(owner.and_then(|node| node.metadata.uid), now);
        api.create(&PostParams::default(), &lease).await.map(drop)
    }

    /// As it is made, at this time. PURE.
    fn object(&self, owner: Option<String>, now: MicroTime) -> Lease {
        let owner = owner.map(|uid| OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: self.node.to_owned(),
            uid,
            ..OwnerReference::default()
        });
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.to_owned()),
                namespace: Some(self.namespace.to_owned()),
                labels: self.label.map(|(key, value)| BTreeMap::from([(key.to_owned(), value.to_owned())])),
                owner_references: owner.map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.node.to_owned()),
                lease_duration_seconds: i32::try_from(self.duration.as_secs()).ok(),
                renew_time: Some(now),
                ..LeaseSpec::default()
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_its_nodes_and_goes_with_it() {
        let lease = NodeLease {
            namespace: "kube-system",
            name: "announce-a",
            node: "a",
            label: Some(("app", "announce")),
            duration: Duration::from_millis(10_999),
        };
        let now = MicroTime(Timestamp::UNIX_EPOCH);
        let made = serde_json::to_value(lease.object(Some("uid".to_owned()), now.clone())).unwrap();
        assert_eq!(
            made["metadata"],
            json!({
                "name": "announce-a", "namespace": "kube-system", "labels": {"app": "announce"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "a", "uid": "uid"}],
            })
        );
        assert_eq!(
            made["spec"],
            json!({"holderIdentity": "a", "leaseDurationSeconds": 10, "renewTime": "1970-01-01T00:00:00.000000Z"})
        );
        // Of a node that the API does not know yet.
        let made = NodeLease { label: None, ..lease }.object(None, now).metadata;
        assert_eq!((made.owner_references, made.labels), (None, None));
    }
}
