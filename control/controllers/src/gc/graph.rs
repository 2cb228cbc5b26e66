//! The graph of owners and dependents, by UID. Pure.
//!
//! Enters: what the watches show of each object's metadata. Leaves: UIDs worth looking at ([`Work`]), and for one of
//! them, given what is known of its owners, what to do ([`Verdict`]).

use std::collections::{BTreeSet, HashMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// The finalizer that keeps an owner until its blocking dependents are gone.
pub const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer that keeps an owner until its dependents are set free.
pub const ORPHAN: &str = "orphan";

/// Where an object is to be found.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// The group, empty for core.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The namespace, empty for cluster-scoped kinds.
    pub namespace: String,
    /// The name.
    pub name: String,
}

/// What is known of one object.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it is.
    pub identity: Identity,
    /// Its owners.
    pub owners: Vec<OwnerReference>,
    /// Seen only in somebody's ownerReferences so far.
    pub assumed: bool,
    /// Being deleted.
    pub deleting: bool,
    /// Being deleted in the foreground: waits for its blocking dependents.
    pub waits_for_dependents: bool,
    dependents: BTreeSet<String>,
}

/// A UID to look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Work {
    /// It may have to be deleted, or its deletion finished.
    Consider(String),
    /// Its dependents have to be set free.
    Orphan(String),
}

/// The graph.
#[derive(Debug, Default)]
pub struct Graph {
    nodes: HashMap<String, Node>,
}

fn has(meta: &ObjectMeta, finalizer: &str) -> bool {
    meta.finalizers.iter().flatten().any(|f| f == finalizer)
}

fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

impl Graph {
    /// A node by UID.
    pub fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    /// How many objects are known.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Takes in an object's newest metadata.
    pub fn observe(&mut self, identity: Identity, meta: &ObjectMeta) -> Vec<Work> {
        let Some(uid) = meta.uid.clone() else { return Vec::new() };
        let deleting = meta.deletion_timestamp.is_some();
        let waits = deleting && has(meta, FOREGROUND);
        let owners = meta.owner_references.clone().unwrap_or_default();
        let mut work = Vec::new();
        let (dependents, old_owners, waited) = match self.nodes.remove(&uid) {
            Some(old) => (old.dependents, old.owners, old.waits_for_dependents),
            None => (BTreeSet::new(), Vec::new(), false),
        };
        for gone in old_owners.iter().filter(|o| !owners.iter().any(|n| n.uid == o.uid)) {
            if let Some(owner) = self.nodes.get_mut(&gone.uid) {
                owner.dependents.remove(&uid);
            }
        }
        // An owner deleted in the foreground no longer waits for a dependent that left it or stopped blocking.
        for old in &old_owners {
            let blocks = owners.iter().any(|n| n.uid == old.uid && n.block_owner_deletion == Some(true));
            if old.block_owner_deletion == Some(true) && !blocks {
                work.push(Work::Consider(old.uid.clone()));
            }
        }
        for reference in &owners {
            let owner = self.nodes.entry(reference.uid.clone()).or_insert_with(|| {
                work.push(Work::Consider(reference.uid.clone()));
                Node {
                    identity: Identity {
                        group: group_of(&reference.api_version).to_owned(),
                        kind: reference.kind.clone(),
                        namespace: identity.namespace.clone(),
                        name: reference.name.clone(),
                    },
                    owners: Vec::new(),
                    assumed: true,
                    deleting: false,
                    waits_for_dependents: false,
                    dependents: BTreeSet::new(),
                }
            });
            if owner.dependents.insert(uid.clone()) && owner.waits_for_dependents {
                work.push(Work::Consider(uid.clone()));
            }
        }
        if deleting && has(meta, ORPHAN) {
            work.push(Work::Orphan(uid.clone()));
        }
        if waits && !waited {
            work.extend(dependents.iter().cloned().map(Work::Consider));
            work.push(Work::Consider(uid.clone()));
        }
        let node =
            Node { identity, owners, assumed: false, deleting, waits_for_dependents: waits, dependents };
        self.nodes.insert(uid, node);
        work
    }

    /// Takes in that an object is gone.
    pub fn forget(&mut self, uid: &str) -> Vec<Work> {
        let Some(node) = self.nodes.remove(uid) else { return Vec::new() };
        let mut work: Vec<Work> = node.dependents.into_iter().map(Work::Consider).collect();
        for reference in &node.owners {
            let Some(owner) = self.nodes.get_mut(&reference.uid) else { continue };
            owner.dependents.remove(uid);
            if owner.waits_for_dependents {
                work.push(Work::Consider(reference.uid.clone()));
            }
            if owner.assumed && owner.dependents.is_empty() {
                self.nodes.remove(&reference.uid);
            }
        }
        work
    }

    /// Every object said to depend on this one.
    pub fn dependents(&self, uid: &str) -> Vec<(String, Identity)> {
        let Some(node) = self.nodes.get(uid) else { return Vec::new() };
        node.dependents
            .iter()
            .filter_map(|d| Some((d.clone(), self.nodes.get(d)?.identity.clone())))
            .collect()
    }

    /// The dependents an owner deleted in the foreground waits for.
    pub fn blocking(&self, uid: &str) -> Vec<String> {
        let Some(node) = self.nodes.get(uid) else { return Vec::new() };
        let blocks = |dependent: &&String| {
            self.nodes.get(*dependent).is_some_and(|d| {
                d.owners.iter().any(|o| o.uid == uid && o.block_owner_deletion == Some(true))
            })
        };
        node.dependents.iter().filter(blocks).cloned().collect()
    }
}

/// What is true of one owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// There and staying.
    Solid,
    /// There, deleted in the foreground, waiting for this dependent.
    Waiting,
    /// Gone, or its name belongs to another object now.
    Absent,
}

/// How to delete an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Its dependents after it.
    Background,
    /// Its dependents before it.
    Foreground,
    /// Its dependents are set free.
    Orphan,
}

/// What to do about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Keep,
    /// Drop the references to these owners, others hold it.
    Unlink(Vec<String>),
    /// Delete it.
    Delete(Policy),
}

/// Judges an object by its live metadata, its owners and whether anything depends on it.
pub fn judge(live: &ObjectMeta, owners: &[(String, Owner)], has_dependents: bool) -> Verdict {
    if owners.is_empty() {
        return Verdict::Keep;
    }
    let solid = owners.iter().any(|(_, o)| *o == Owner::Solid);
    if solid {
        let drop: Vec<String> =
            owners.iter().filter(|(_, o)| *o != Owner::Solid).map(|(u, _)| u.clone()).collect();
        return if drop.is_empty() { Verdict::Keep } else { Verdict::Unlink(drop) };
    }
    if has_dependents && owners.iter().any(|(_, o)| *o == Owner::Waiting) {
        return Verdict::Delete(Policy::Foreground);
    }
    Verdict::Delete(if has(live, ORPHAN) {
        Policy::Orphan
    } else if has(live, FOREGROUND) {
        Policy::Foreground
    } else {
        Policy::Background
    })
}
