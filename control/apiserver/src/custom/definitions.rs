//! The loop over definitions: each is given its names, served, established, and taken away again.
//!
//! Authority: apiextensions-apiserver, pkg/controller/{status,establish,finalizer} and customresource_handler.go.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};
use xebec_api::meta;
use xebec_api::resource::{self, intern};
use xebec_api::status::Reason;
use xebec_crd::definition::{CLEANUP_FINALIZER, Definition};
use xebec_crd::status::{Step, TakenNames, is_served, is_true, plan};

use super::convert::Converter;
use super::deletion::{self, StoredKinds};
use super::hook::Hook;
use super::memo::Memo;
use super::rules::{Rules, Stored};
use super::serving::Served;
use super::version::{State, merge_schema};
use crate::registry::{Registry, Sub};
use crate::resources::{Kind, StrategyRef};
use crate::watch::{self, Cache, Cut, FeederError, Object, Selection};

/// Where definitions are.
pub(super) const GROUP: &str = "apiextensions.k8s.io";
/// See [`GROUP`].
pub(super) const PLURAL: &str = "customresourcedefinitions";

/// The pause before what failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// All definitions, as far as this server has come with them.
pub(crate) struct Definitions {
    registry: Arc<Registry>,
    hook: Arc<dyn Hook>,
    memo: Arc<Memo>,
    served: HashMap<String, Served>,
    stored: StoredKinds,
    /// The revision each definition was last looked at, and its group.
    seen: HashMap<String, (u64, String)>,
    deletions: HashMap<String, JoinHandle<()>>,
    states: u64,
}

impl Definitions {
    /// None served yet.
    pub(crate) fn new(registry: Arc<Registry>, hook: Arc<dyn Hook>) -> Self {
        Self {
            registry,
            hook,
            memo: Arc::default(),
            served: HashMap::new(),
            stored: StoredKinds::default(),
            seen: HashMap::new(),
            deletions: HashMap::new(),
            states: 0,
        }
    }

    /// Serves what the store says is established, before the server is ready.
    pub(crate) async fn load(&mut self) -> Result<(), FeederError> {
        for object in self.all() {
            let crd = object.value();
            if is_served(&crd) {
                self.serve(&crd).await?;
            }
        }
        self.publish();
        Ok(())
    }

    /// Follows the definitions until `stop`.
    pub(crate) fn start(mut self, stop: CancellationToken) {
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.run() => {}
            }
            self.deletions.values().for_each(JoinHandle::abort);
        });
    }

    async fn run(&mut self) {
        let Some(cache) = self.registry.caches().of(GROUP, PLURAL) else { return };
        let mut head = cache.subscribe();
        loop {
            head.mark_unchanged();
            let done = self.sync().await;
            tokio::select! {
                changed = head.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(RETRY), if !done => {}
            }
        }
    }

    fn all(&self) -> Vec<Arc<Object>> {
        let cache = self.registry.caches().of(GROUP, PLURAL);
        cache
            .map(|cache| cache.list(&Selection::everything(None), Cut::default()).objects)
            .unwrap_or_default()
    }

    /// Looks at every definition that changed until none has; false when something is to be tried again.
    async fn sync(&mut self) -> bool {
        let mut done = true;
        loop {
            let all = self.all();
            let dirty = self.dirty(&all);
            if dirty.is_empty() {
                return done;
            }
            let before = self.seen.len();
            for name in &dirty {
                match all.iter().find(|object| object.name == *name) {
                    Some(object) => {
                        let group = group_of(&object.value());
                        self.seen.insert(name.clone(), (object.revision, group));
                        if !self.look(object).await {
                            self.seen.remove(name);
                            done = false;
                        }
                    }
                    None => self.forget(name),
                }
            }
            if !done {
                debug!(definitions = before, "something about definitions is tried again");
                return false;
            }
        }
    }

    /// Those that changed or went, and those of their groups that still wait for a name.
    fn dirty(&self, all: &[Arc<Object>]) -> BTreeSet<String> {
        let there: HashSet<&str> = all.iter().map(|object| object.name.as_str()).collect();
        let gone = self.seen.keys().chain(self.served.keys());
        let mut dirty: BTreeSet<String> =
            gone.filter(|name| !there.contains(name.as_str())).cloned().collect();
        let known = |name: &str| self.seen.get(name);
        let changed =
            all.iter().filter(|object| known(&object.name).is_none_or(|(at, _)| *at != object.revision));
        dirty.extend(changed.map(|object| object.name.clone()));
        let mut groups: HashSet<String> =
            dirty.iter().filter_map(|name| known(name)).map(|(_, group)| group.clone()).collect();
        let now = all.iter().filter(|object| dirty.contains(&object.name));
        groups.extend(now.map(|object| group_of(&object.value())));
        for object in all {
            let crd = object.value();
            if !is_true(&crd, "NamesAccepted") && groups.contains(&group_of(&crd)) {
                dirty.insert(object.name.clone());
            }
        }
        // A definition whose names are taken stays without them until another changes.
        dirty
    }

    /// The next step of one definition; false when it is to be tried again.
    async fn look(&mut self, object: &Object) -> bool {
        let (name, crd) = (object.name.as_str(), object.value());
        let all: Vec<Arc<Value>> = self.all().iter().map(|object| object.value()).collect();
        let taken = TakenNames::of(&crd, all.iter().map(|crd| &**crd));
        let step = plan(&crd, &taken, self.registry.now());
        let next = match &step {
            Step::Nothing => &*crd,
            Step::Write(next) | Step::Establish(next) => next,
        };
        if is_served(next) {
            match self.serve(next).await {
                Ok(true) => self.publish(),
                Ok(false) => {}
                Err(error) => {
                    error!(definition = name, %error, "the custom resource cannot be served");
                    return false;
                }
            }
        } else {
            self.unserve(name);
        }
        if let Step::Write(next) | Step::Establish(next) = &step {
            match deletion::write(&self.registry, name, next, Sub::Status).await {
                Ok(()) => {}
                // There is a newer one, or none: both come as a change.
                Err(error) if error.reason == Reason::Conflict || error.is_not_found() => return true,
                Err(error) => {
                    warn!(definition = name, %error, "the definition's status could not be written");
                    return false;
                }
            }
        }
        self.delete(name, &crd);
        true
    }

    /// Starts what a definition's deletion takes, unless it is under way.
    fn delete(&mut self, name: &str, crd: &Value) {
        let held = meta::finalizers(crd).contains(&CLEANUP_FINALIZER);
        let running = self.deletions.get(name).is_some_and(|task| !task.is_finished());
        if meta::deletion_timestamp(crd).is_none() || !held || running {
            return;
        }
        let finish = deletion::finish(Arc::clone(&self.registry), name.to_owned(), Arc::clone(&self.stored));
        self.deletions.insert(name.to_owned(), tokio::spawn(finish));
    }

    /// Makes the kinds of a definition; whether anything is new. What cannot be served is not.
    async fn serve(&mut self, crd: &Value) -> Result<bool, FeederError> {
        let name = meta::name(crd);
        let state =
            State { terminating: is_true(crd, "Terminating"), established: is_true(crd, "Established") };
        let (spec, names) = (&crd["spec"], &crd["status"]["acceptedNames"]);
        let known = self.served.get(name);
        let same = known
            .is_some_and(|known| known.uid == meta::uid(crd) && known.spec == *spec && known.names == *names);
        if same && known.is_some_and(|known| known.state == state) {
            return Ok(false);
        }
        if !same && !self.rebuild(crd, state).await? {
            self.unserve(name);
            return Ok(false);
        }
        let Some(served) = self.served.get_mut(name) else { return Ok(false) };
        served.state = state;
        served.make_kinds();
        if let Some(kind) = served.stored_kind() {
            self.stored.lock().insert(name.to_owned(), kind);
        }
        Ok(true)
    }

    /// Reads the definition anew, with a new cache: what is stored is read by new rules. Whether it can be served.
    async fn rebuild(&mut self, crd: &Value, state: State) -> Result<bool, FeederError> {
        let definition = Arc::new(Definition::read(crd));
        let (group, plural) = (intern(&definition.group), intern(&definition.accepted.plural));
        if resource::table().iter().any(|row| (row.group, row.plural) == (group, plural)) {
            warn!(
                definition = definition.name,
                "a built-in resource has this name, the definition is not served"
            );
            return Ok(false);
        }
        let rules = match Rules::new(Arc::clone(&definition)) {
            Ok(rules) => Arc::new(rules),
            Err(error) => {
                warn!(definition = definition.name, %error, "the definition is not served");
                return Ok(false);
            }
        };
        let strategy = StrategyRef::Custom(Arc::new(Stored(Arc::clone(&rules))));
        let cache = Arc::new(Cache::with_strategy(group, plural, Some(strategy)));
        let caches = self.registry.caches();
        watch::add(&**self.registry.store(), caches, Arc::clone(&cache)).await?;
        let merges =
            rules.versions().map(|(name, strategy)| (name, Arc::new(merge_schema(&definition, strategy))));
        let merges = merges.collect();
        self.states += 1;
        let (hook, memo) = (Arc::clone(&self.hook), Arc::clone(&self.memo));
        let converter = Arc::new(Converter::new(rules, hook, memo, self.states));
        let served = Served {
            uid: definition.uid.clone(),
            spec: crd["spec"].clone(),
            names: crd["status"]["acceptedNames"].clone(),
            state,
            cache,
            converter,
            merges,
            kinds: Vec::new(),
        };
        self.served.insert(definition.name.clone(), served);
        Ok(true)
    }

    /// Takes a definition's resource away.
    fn unserve(&mut self, name: &str) {
        let Some(served) = self.served.remove(name) else { return };
        self.stored.lock().remove(name);
        self.publish();
        self.registry.caches().remove(served.cache.group, served.cache.plural);
    }

    fn forget(&mut self, name: &str) {
        self.unserve(name);
        self.seen.remove(name);
        self.deletions.remove(name);
    }

    fn publish(&self) {
        let kinds = self.served.values().flat_map(|served| served.kinds.iter().cloned());
        let mut kinds: Vec<Arc<Kind>> = kinds.collect();
        kinds.sort_by_key(|kind| (kind.served.group, kind.served.plural, kind.served.version));
        self.registry.resources().set_custom(kinds);
    }
}

fn group_of(crd: &Value) -> String {
    crd["spec"]["group"].as_str().unwrap_or_default().to_owned()
}
