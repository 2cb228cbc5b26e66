//! What a kubelet may do: its own Node, its pods, and what those pods refer to.
//!
//! Enters: a request of a user in `system:nodes`. Leaves: allow, or no opinion with upstream's reason. Relations
//! are read from the pods the node has now ([`super::references`]).
//!
//! Authority: `plugin/pkg/auth/authorizer/node/node_authorizer.go` (feature AuthorizeNodeWithSelectors on).

use super::references::Related;
use super::{Attributes, Decision, Rule};
use crate::ObjectReader;

/// What the names of the agents' Leases in kube-system begin with; the node's name follows (`agent/announce`).
pub const ANNOUNCER: &str = "xebec-announcer-";

fn no(reason: impl Into<String>) -> Decision {
    Decision::NoOpinion(reason.into())
}

fn yes() -> Decision {
    Decision::Allow(String::new())
}

/// Decides a request of a node; no opinion on everyone else.
pub(super) fn authorize(reader: &dyn ObjectReader, rules: &[Rule], attributes: &Attributes) -> Decision {
    let Some(node) = attributes.user.node_name() else { return no("") };
    if node.is_empty() {
        return no(format!("unknown node for user {:?}", attributes.user.name));
    }
    if attributes.is_resource {
        let question = Question { related: Related::new(reader, node), node, attributes };
        if let Some(decision) = question.answer() {
            return decision;
        }
    }
    if rules.iter().any(|rule| rule.allows(attributes)) { yes() } else { no("") }
}

struct Question<'a> {
    related: Related<'a>,
    node: &'a str,
    attributes: &'a Attributes,
}

impl Question<'_> {
    /// `None` where the static rules of the role `system:node` decide.
    fn answer(&self) -> Option<Decision> {
        let a = self.attributes;
        let (namespace, name) = (a.namespace.as_str(), a.name.as_str());
        let decision = match (a.group.as_str(), a.resource.as_str()) {
            ("", "secrets") => self.read(|| self.related.secret(namespace, name)),
            ("", "configmaps") => self.read(|| self.related.config_map(namespace, name)),
            ("", "persistentvolumeclaims") if a.subresource == "status" => match a.verb.as_str() {
                "update" | "patch" => self.related_to(|| self.related.claim(namespace, name)),
                _ => no("can only get/update/patch this type"),
            },
            ("", "persistentvolumeclaims") => self.get(|| self.related.claim(namespace, name)),
            ("", "persistentvolumes") => self.get(|| self.related.volume(name)),
            ("resource.k8s.io", "resourceclaims") => {
                self.get(|| self.related.resource_claim(namespace, name))
            }
            ("storage.k8s.io", "volumeattachments") => self.get(|| self.related.attachment(name)),
            ("", "serviceaccounts") => self.service_account(),
            ("coordination.k8s.io", "leases") => self.lease(),
            ("storage.k8s.io", "csinodes") => self.csi_node(),
            ("resource.k8s.io", "resourceslices") => self.resource_slice(),
            ("", "nodes") => self.node(),
            ("", "pods") => self.pod(),
            _ => return None,
        };
        Some(decision)
    }

    fn related_to(&self, related: impl FnOnce() -> bool) -> Decision {
        if self.attributes.name.is_empty() {
            return no("No Object name found");
        }
        if related() { yes() } else { self.unrelated() }
    }

    fn unrelated(&self) -> Decision {
        no(format!("no relationship found between node '{}' and this object", self.node))
    }

    fn get(&self, related: impl FnOnce() -> bool) -> Decision {
        if self.attributes.verb != "get" {
            return no("can only get individual resources of this type");
        }
        if !self.attributes.subresource.is_empty() {
            return no("cannot get subresource");
        }
        self.related_to(related)
    }

    fn read(&self, related: impl FnOnce() -> bool) -> Decision {
        if !matches!(self.attributes.verb.as_str(), "get" | "list" | "watch") {
            return no("can only read resources of this type");
        }
        if !self.attributes.subresource.is_empty() {
            return no("cannot read subresource");
        }
        if self.attributes.namespace.is_empty() {
            return no("can only read namespaced object of this type");
        }
        self.related_to(related)
    }

    fn service_account(&self) -> Decision {
        let a = self.attributes;
        let related = || self.related.service_account(&a.namespace, &a.name);
        // Kubelets read the accounts of their pods for image credential providers.
        if a.verb == "get" {
            return self.get(related);
        }
        if a.verb != "create" || a.name.is_empty() {
            return no("can only create tokens for individual service accounts");
        }
        if a.subresource != "token" {
            return no("can only create token subresource of serviceaccount");
        }
        if related() { yes() } else { self.unrelated() }
    }

    fn own_verb(&self) -> bool {
        matches!(self.attributes.verb.as_str(), "get" | "create" | "update" | "patch" | "delete")
    }

    /// On create the name is not known yet: admission (NodeRestriction) checks it.
    fn own_name(&self) -> bool {
        self.attributes.verb == "create" || self.attributes.name == self.node
    }

    fn lease(&self) -> Decision {
        if !self.own_verb() {
            return no("can only get, create, update, patch, or delete a node lease");
        }
        // Xebec's own: by which the agents agree on who answers for load balancers' addresses.
        let announcer = format!("{ANNOUNCER}{}", self.node);
        if self.attributes.namespace == "kube-system" && self.attributes.name == announcer {
            return yes();
        }
        if self.attributes.namespace != "kube-node-lease" {
            return no("can only access leases in the \"kube-node-lease\" system namespace");
        }
        if !self.own_name() {
            return no("can only access node lease with the same name as the requesting node");
        }
        yes()
    }

    fn csi_node(&self) -> Decision {
        if !self.own_verb() {
            return no("can only get, create, update, patch, or delete a CSINode");
        }
        if !self.attributes.subresource.is_empty() {
            return no("cannot authorize CSINode subresources");
        }
        if !self.own_name() {
            return no("can only access CSINode with the same name as the requesting node");
        }
        yes()
    }

    fn resource_slice(&self) -> Decision {
        let a = self.attributes;
        if !a.subresource.is_empty() {
            return no("cannot authorize ResourceSlice subresources");
        }
        match a.verb.as_str() {
            "create" => yes(),
            "get" | "update" | "patch" | "delete" => self.related_to(|| self.related.resource_slice(&a.name)),
            "watch" | "list" | "deletecollection" if a.selects("spec.nodeName", self.node) => yes(),
            "watch" | "list" | "deletecollection" if a.selects("nodeName", self.node) => yes(),
            "watch" | "list" | "deletecollection" => {
                no("can only list/watch/deletecollection resourceslices with nodeName field selector")
            }
            _ => no(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, \
                     patch, delete, deletecollection",
            ),
        }
    }

    fn node(&self) -> Decision {
        let a = self.attributes;
        match (a.subresource.as_str(), a.verb.as_str()) {
            ("", "create" | "update" | "patch") | ("status", "update" | "patch") => yes(),
            ("", "get" | "list" | "watch") if a.name == self.node => yes(),
            ("", "get" | "list" | "watch") if a.name.is_empty() => {
                no(format!("node '{}' cannot read all nodes, only its own Node object", self.node))
            }
            ("", "get" | "list" | "watch") => {
                no(format!("node '{}' cannot read '{}', only its own Node object", self.node, a.name))
            }
            _ => no(""),
        }
    }

    fn pod(&self) -> Decision {
        let a = self.attributes;
        let related = || self.related.pod(&a.namespace, &a.name);
        match (a.subresource.as_str(), a.verb.as_str()) {
            ("", "get") => self.get(related),
            ("", "list" | "watch") if a.selects("spec.nodeName", self.node) => yes(),
            ("", "list" | "watch") if !a.name.is_empty() => self.related_to(related),
            ("", "list" | "watch") => no("can only list/watch pods with spec.nodeName field selector"),
            // Admission (NodeRestriction) limits these to the node's own mirror pods, pods and evictions.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => yes(),
            _ => no(""),
        }
    }
}
