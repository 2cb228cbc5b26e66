//! Which resources the server serves at this moment: the built-in table, and what definitions add at run time.
//!
//! Enters: the rows of `xebec-api`, and kinds made from CustomResourceDefinitions ([`Resources::set_custom`]). Leaves:
//! [`Kind`]s, each with its rules and its watch cache, looked up by path. Called by routing, discovery, the registry.
//! A lookup takes one short read lock; a reader that needs a consistent picture takes a [`Snapshot`].

mod enablement;
mod kind;
mod life_cycle;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;
use tokio::sync::watch;
use xebec_api::resource;

use crate::discovery::Group;
use crate::watch::Caches;

pub use enablement::{RuntimeConfig, RuntimeConfigError};
pub use kind::{Custom, Kind, Scaled, StrategyRef};
pub use life_cycle::Deprecation;
pub use xebec_api::resource::defaults as built_in;
pub use xebec_kinds::convert::stored_as;

type ByPath = HashMap<(&'static str, &'static str, &'static str), usize>;

/// The served resources at one moment.
#[derive(Default)]
pub struct Snapshot {
    kinds: Vec<Arc<Kind>>,
    by_path: ByPath,
    groups: OnceLock<Vec<Group>>,
}

impl Snapshot {
    fn new(kinds: Vec<Arc<Kind>>) -> Self {
        let key = |kind: &Kind| (kind.served.group, kind.served.version, kind.served.plural);
        let by_path = kinds.iter().enumerate().map(|(at, kind)| (key(kind), at)).collect();
        Self { kinds, by_path, groups: OnceLock::new() }
    }

    /// Every served version of every resource, built-in ones first.
    #[must_use]
    pub fn kinds(&self) -> &[Arc<Kind>] {
        &self.kinds
    }

    /// What is served at `/apis/group/version/plural`.
    #[must_use]
    pub fn lookup(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        let at = *self.by_path.get(&(group, version, plural))?;
        self.kinds.get(at)
    }

    /// The served kind of that name.
    #[must_use]
    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Kind>> {
        self.kinds.iter().find(|known| {
            known.served.group == group && known.served.version == version && known.served.kind == kind
        })
    }

    /// The groups as discovery shows them, in order of preference.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        self.groups.get_or_init(|| {
            let told = |kind: &&Arc<Kind>| kind.custom.as_ref().is_none_or(|custom| custom.is_discovered());
            crate::discovery::groups(self.kinds.iter().filter(told).map(|kind| kind.served))
        })
    }
}

/// The served resources, changing with the definitions.
pub struct Resources {
    current: RwLock<Arc<Snapshot>>,
    /// Resources an operator has turned off; the server itself goes on using them.
    turned_off: Vec<Arc<Kind>>,
    generation: watch::Sender<u64>,
}

impl Resources {
    /// The built-in resources over their caches, as far as they are enabled.
    #[must_use]
    pub fn new(caches: &Caches, enabled: &RuntimeConfig) -> Self {
        let kind = |served| Arc::new(Kind::built_in(served, stored_as(served), caches));
        let kinds = enabled.served().iter().copied().map(kind).collect();
        let turned_off = built_in().filter(|row| !enabled.served().contains(row)).map(kind).collect();
        Self {
            current: RwLock::new(Arc::new(Snapshot::new(kinds))),
            turned_off,
            generation: watch::Sender::new(0),
        }
    }

    /// What is served now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.read())
    }

    /// What is served at `/apis/group/version/plural`.
    #[must_use]
    pub fn lookup(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Kind>> {
        self.current.read().lookup(group, version, plural).cloned()
    }

    /// The kind of that name for the server's own use, whether or not it is served.
    #[must_use]
    pub fn own_kind(&self, group: &str, version: &str, kind: &str) -> Option<Arc<Kind>> {
        let named = |known: &&Arc<Kind>| {
            let row = known.served;
            (row.group, row.version, row.kind) == (group, version, kind)
        };
        self.snapshot().kinds().iter().chain(&self.turned_off).find(named).cloned()
    }

    /// A resource of any version for the server's own use, the one it is stored in if there is a choice.
    #[must_use]
    pub fn any_version(&self, group: &str, plural: &str) -> Option<Arc<Kind>> {
        let snapshot = self.snapshot();
        let all = snapshot.kinds().iter().chain(&self.turned_off);
        let mut all = all.filter(|kind| kind.served.group == group && kind.served.plural == plural);
        let first = all.clone().next();
        all.find(|kind| std::ptr::eq(kind.served, kind.stored)).or(first).cloned()
    }

    /// Replaces everything that is not built in. Names of built-in resources cannot be taken: such a kind is left out.
    pub fn set_custom(&self, custom: impl IntoIterator<Item = Arc<Kind>>) {
        let mut current = self.current.write();
        let mut kinds: Vec<Arc<Kind>> =
            current.kinds.iter().filter(|kind| kind.custom.is_none()).cloned().collect();
        let taken =
            |kind: &Kind| resource::lookup(kind.served.group, kind.served.version, kind.served.plural);
        kinds.extend(custom.into_iter().filter(|kind| taken(kind).is_none_or(|row| !row.is_servable())));
        *current = Arc::new(Snapshot::new(kinds));
        drop(current);
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// Counts the changes; wakes with each.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_built_in_resources_with_their_caches() {
        let stored = built_in().filter(|r| r.storage).map(stored_as);
        let caches = Caches::new(stored.map(|r| (r.group, r.plural)));
        let resources = Resources::new(&caches, &RuntimeConfig::default());
        let events = resources.lookup("events.k8s.io", "v1", "events").unwrap();
        assert_eq!((events.stored.group, events.cache.as_ref().unwrap().group), ("", ""));
        assert!(
            resources.lookup("authorization.k8s.io", "v1", "subjectaccessreviews").unwrap().cache.is_none()
        );
        assert_eq!(
            resources.any_version("autoscaling", "horizontalpodautoscalers").unwrap().served.version,
            "v2"
        );
        assert!(resources.lookup("resource.k8s.io", "v1beta1", "deviceclasses").is_none());
        assert!(resources.snapshot().by_kind("apps", "v1", "Deployment").is_some());
    }

    #[test]
    fn what_is_turned_off_is_the_servers_own() {
        let caches =
            Caches::new(built_in().filter(|r| r.storage).map(stored_as).map(|r| (r.group, r.plural)));
        let enabled = RuntimeConfig::parse(["policy/v1=false", "policy/v1beta1"]).unwrap();
        let resources = Resources::new(&caches, &enabled);
        assert!(resources.lookup("policy", "v1", "poddisruptionbudgets").is_none());
        let beta = resources.lookup("policy", "v1beta1", "poddisruptionbudgets").unwrap();
        assert_eq!(beta.stored.version, "v1");
        assert!(resources.snapshot().by_kind("policy", "v1", "PodDisruptionBudget").is_none());
        assert!(resources.own_kind("policy", "v1", "PodDisruptionBudget").is_some());
        let own = resources.any_version("policy", "poddisruptionbudgets").unwrap();
        assert_eq!(own.served.version, "v1");
        assert!(Arc::ptr_eq(own.cache.as_ref().unwrap(), beta.cache.as_ref().unwrap()));
    }
}
