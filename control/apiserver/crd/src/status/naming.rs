//! Which of the names a definition asks for it gets: those nobody else in its group has.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use xebec_kinds::shared::access::{at, text};

use super::conditions::{Condition, find};
use crate::definition::Names;

/// The names others have in a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TakenNames {
    /// Plurals, singulars and short names.
    pub resources: BTreeSet<String>,
    /// Kinds and kinds of lists.
    pub kinds: BTreeSet<String>,
}

impl TakenNames {
    /// The names that other definitions of the group have been given, and the built-in resources of it.
    pub fn of<'a>(crd: &Value, others: impl IntoIterator<Item = &'a Value>) -> Self {
        let group = text(crd, &["spec", "group"]);
        let mut taken = Self::built_in(group);
        let own = text(crd, &["metadata", "name"]);
        for other in others {
            if text(other, &["spec", "group"]) == group && text(other, &["metadata", "name"]) != own {
                taken.add(&Names::read(at(other, &["status", "acceptedNames"])));
            }
        }
        taken
    }

    /// A built-in group's resources are served before any definition is asked, so their names are taken too.
    fn built_in(group: &str) -> Self {
        let mut taken = Self::default();
        for resource in xebec_api::resource::defaults().filter(|resource| resource.group == group) {
            taken.add(&Names {
                plural: resource.plural.to_owned(),
                singular: resource.singular.clone(),
                kind: resource.kind.to_owned(),
                list_kind: resource.list_kind(),
                short_names: resource.short_names.iter().map(|name| (*name).to_owned()).collect(),
                categories: Vec::new(),
            });
        }
        taken
    }

    fn add(&mut self, names: &Names) {
        let resources = [&names.plural, &names.singular].into_iter().chain(&names.short_names);
        self.resources.extend(resources.filter(|name| !name.is_empty()).cloned());
        let kinds = [&names.kind, &names.list_kind];
        self.kinds.extend(kinds.into_iter().filter(|name| !name.is_empty()).cloned());
    }
}

/// What a definition gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims {
    /// `status.acceptedNames`.
    pub accepted: Value,
    /// NamesAccepted.
    pub names: Condition,
    /// Established as it must be now, unless it is true already.
    pub established: Option<Condition>,
}

/// Claims the names a definition asks for. Each is taken as far as it can be; the last conflict is the one told.
pub(super) fn claim(crd: &Value, taken: &TakenNames) -> Claims {
    let wanted = Names::read(at(crd, &["spec", "names"]));
    let mut got = Names::read(at(crd, &["status", "acceptedNames"]));
    let mut conflict: Option<(&'static str, String)> = None;
    let take = |want: &String, slot: &mut String, taken: &BTreeSet<String>| {
        if want != slot && taken.contains(want) {
            return Some(in_use(want));
        }
        slot.clone_from(want);
        None
    };
    let mut note = |reason: &'static str, message: Option<String>| {
        conflict = message.map(|message| (reason, message)).or(conflict.take());
    };
    note("PluralConflict", take(&wanted.plural, &mut got.plural, &taken.resources));
    note("SingularConflict", take(&wanted.singular, &mut got.singular, &taken.resources));
    note("ShortNamesConflict", take_short_names(&wanted, &mut got, taken));
    note("KindConflict", take(&wanted.kind, &mut got.kind, &taken.kinds));
    note("ListKindConflict", take(&wanted.list_kind, &mut got.list_kind, &taken.kinds));
    got.categories = wanted.categories;
    let names = match conflict {
        Some((reason, message)) => Condition::new("NamesAccepted", "False", reason, message),
        None => Condition::new("NamesAccepted", "True", "NoConflicts", "no conflicts found"),
    };
    let established = established(crd, names.status == "True");
    Claims { accepted: as_value(&got), names, established }
}

fn in_use(name: &str) -> String {
    format!("{} is already in use", xebec_api::gotext::quote(name))
}

/// Short names are taken all or none.
fn take_short_names(wanted: &Names, got: &mut Names, taken: &TakenNames) -> Option<String> {
    let new = wanted.short_names.iter().filter(|name| !got.short_names.contains(name));
    let conflicts: Vec<String> =
        new.filter(|name| taken.resources.contains(*name)).map(|name| in_use(name)).collect();
    if !conflicts.is_empty() {
        return Some(xebec_api::gotext::aggregate(conflicts));
    }
    got.short_names.clone_from(&wanted.short_names);
    None
}

/// A definition that is served stays so; another one waits for its names, then for the server to serve it.
fn established(crd: &Value, accepted: bool) -> Option<Condition> {
    if super::is_true(crd, "Established") {
        return None;
    }
    if accepted {
        let message = "the initial names have been accepted";
        return Some(Condition::new("Established", "False", "Installing", message));
    }
    // What another step has said (an invalid CA bundle) stays.
    find(crd, "Established")
        .is_none()
        .then(|| Condition::new("Established", "False", "NotAccepted", "not all names are accepted"))
}

fn as_value(names: &Names) -> Value {
    let mut value = json!({"plural": names.plural, "kind": names.kind});
    for (key, text) in [("singular", &names.singular), ("listKind", &names.list_kind)] {
        if !text.is_empty() {
            value[key] = json!(text);
        }
    }
    for (key, list) in [("shortNames", &names.short_names), ("categories", &names.categories)] {
        if !list.is_empty() {
            value[key] = json!(list);
        }
    }
    value
}
