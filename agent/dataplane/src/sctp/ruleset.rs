//! A table of nft as data, and the script from one to another. PURE. Enters: what the table holds and what it should hold.
//! Leaves: one transaction. Called by table.
//!
//! Only what differs is written, so that a change costs as much as it is large, and what packets have put into sets (clients
//! with session affinity) stays.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::TABLE;
use crate::model::Family;

/// A named set, or a map if its elements have values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Whether it is a map.
    pub map: bool,
    /// Type and flags, each ended by a semicolon.
    pub spec: String,
    /// Keys, with values in a map.
    pub elements: BTreeMap<String, String>,
    /// Its elements are put there by packets.
    pub learned: bool,
}

/// A chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Of a base chain: its type, hook and priority.
    pub hook: Option<&'static str>,
    /// Its rules.
    pub rules: Vec<String>,
}

/// What a table holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Sets and maps by name.
    pub sets: BTreeMap<String, Set>,
    /// Chains by name.
    pub chains: BTreeMap<String, Chain>,
}

/// What is known of a table in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Held {
    /// There is none.
    #[default]
    Absent,
    /// It was found: the names are known, rules and elements are not.
    Found(Ruleset),
    /// As it was written.
    Written(Ruleset),
    /// Nothing is known, not even whether it is there.
    Unknown,
}

/// What nft calls a family.
pub const fn keyword(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

impl Held {
    /// Whether a table is, or may be, in the kernel.
    pub const fn is_present(&self) -> bool {
        !matches!(self, Self::Absent)
    }

    /// The script after which the table is as wanted; empty if it is.
    pub fn script(&self, family: Family, wanted: Option<&Ruleset>) -> String {
        let nothing = Ruleset::default();
        match (self, wanted) {
            (Self::Absent, None) => String::new(),
            (_, None) => xebec_nft::without(keyword(family), TABLE),
            (Self::Absent, Some(wanted)) => Script::new(family).all(&nothing, true, wanted),
            (Self::Unknown, Some(wanted)) => {
                let first = xebec_nft::without(keyword(family), TABLE);
                first + &Script::new(family).all(&nothing, true, wanted)
            }
            (Self::Written(held), Some(wanted)) if held == wanted => String::new(),
            (Self::Written(held), Some(wanted)) => Script::new(family).all(held, true, wanted),
            (Self::Found(held), Some(wanted)) => Script::new(family).all(held, false, wanted),
        }
    }

    /// The chains that [`Held::script`] empties, as they are not wanted.
    pub fn emptied(&self, wanted: &Ruleset) -> BTreeSet<String> {
        let (Self::Written(held) | Self::Found(held)) = self else { return BTreeSet::new() };
        held.chains.keys().filter(|name| !wanted.chains.contains_key(*name)).cloned().collect()
    }
}

/// The script that deletes emptied chains. One of its own: kernels before 6.2 refuse it for a while after the last reference
/// to a chain is gone, and with it the whole transaction.
pub fn sweep(family: Family, emptied: &BTreeSet<String>) -> String {
    let mut script = Script::new(family);
    emptied.iter().for_each(|name| script.line("delete chain", name, ""));
    script.text
}

struct Script {
    family: Family,
    text: String,
}

impl Script {
    const fn new(family: Family) -> Self {
        Self { family, text: String::new() }
    }

    fn line(&mut self, verb: &str, name: &str, rest: &str) {
        let space = if rest.is_empty() { "" } else { " " };
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{verb} {} {TABLE} {name}{space}{rest}", keyword(self.family));
    }

    /// From what is held to what is wanted: sets and chains first, references after them, what is left over last.
    fn all(mut self, held: &Ruleset, known: bool, wanted: &Ruleset) -> String {
        let _ = writeln!(self.text, "add table {} {TABLE}", keyword(self.family));
        for (name, set) in wanted.sets.iter().filter(|(name, _)| !held.sets.contains_key(*name)) {
            let verb = if set.map { "add map" } else { "add set" };
            self.line(verb, name, &format!("{{ {} }}", set.spec));
        }
        let same = |name: &String, chain: &Chain| known && held.chains.get(name) == Some(chain);
        for (name, chain) in wanted.chains.iter().filter(|(name, _)| !held.chains.contains_key(*name)) {
            let hook = chain.hook.map(|hook| format!("{{ type {hook} ; policy accept ; }}"));
            self.line("add chain", name, &hook.unwrap_or_default());
        }
        for name in held.chains.keys() {
            if !wanted.chains.get(name).is_some_and(|chain| same(name, chain)) {
                self.line("flush chain", name, "");
            }
        }
        for (name, set) in wanted.sets.iter().filter(|(_, set)| !set.learned) {
            self.remove_elements(name, set, held.sets.get(name), known);
        }
        for (name, chain) in wanted.chains.iter().filter(|(name, chain)| !same(name, chain)) {
            for rule in &chain.rules {
                self.line("add rule", name, rule);
            }
        }
        for (name, set) in wanted.sets.iter().filter(|(_, set)| !set.learned) {
            let old = held.sets.get(name).filter(|_| known);
            let new = set
                .elements
                .iter()
                .filter(|(key, value)| old.is_none_or(|old| old.elements.get(*key) != Some(value)));
            for (key, value) in new {
                let value = if set.map { format!(" : {value}") } else { String::new() };
                self.line("add element", name, &format!("{{ {key}{value} }}"));
            }
        }
        for (name, set) in held.sets.iter().filter(|(name, _)| !wanted.sets.contains_key(*name)) {
            self.line(if set.map { "delete map" } else { "delete set" }, name, "");
        }
        self.text
    }

    fn remove_elements(&mut self, name: &str, set: &Set, held: Option<&Set>, known: bool) {
        let Some(held) = held else { return };
        if !known {
            return self.line(if set.map { "flush map" } else { "flush set" }, name, "");
        }
        for (key, _) in held.elements.iter().filter(|(key, value)| set.elements.get(*key) != Some(value)) {
            self.line("delete element", name, &format!("{{ {key} }}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ruleset(chains: &[(&str, &str)], elements: &[(&str, &str)], clients: &[&str]) -> Ruleset {
        let text = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let map = Set {
            map: true,
            spec: "type inet_service : verdict ;".to_owned(),
            elements: elements.iter().map(text).collect(),
            learned: false,
        };
        let client = |name: &&str| {
            let set = Set { spec: "type ipv4_addr ;".to_owned(), learned: true, ..Set::default() };
            ((*name).to_owned(), set)
        };
        let chain = |(name, rule): &(&str, &str)| {
            ((*name).to_owned(), Chain { hook: None, rules: vec![(*rule).to_owned()] })
        };
        let mut out = Ruleset { chains: chains.iter().map(chain).collect(), ..Ruleset::default() };
        out.sets = clients.iter().map(client).collect();
        out.sets.insert("m".to_owned(), map);
        out
    }

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(|line| line.replace(" ip xebec-sctp", "")).collect()
    }

    #[test]
    fn only_what_differs_is_written() {
        let old = ruleset(&[("a", "drop"), ("b", "drop")], &[("1", "goto a"), ("2", "goto b")], &["c"]);
        let new = ruleset(&[("a", "drop"), ("d", "accept")], &[("1", "goto a"), ("2", "goto d")], &["e"]);
        let held = Held::Written(old.clone());
        assert_eq!(held.script(Family::V4, Some(&old)), "");
        let wanted = [
            "add table",
            "add set e { type ipv4_addr ; }",
            "add chain d",
            "flush chain b",
            "delete element m { 2 }",
            "add rule d accept",
            "add element m { 2 : goto d }",
            "delete set c",
        ];
        assert_eq!(lines(&held.script(Family::V4, Some(&new))), wanted);
        assert_eq!(lines(&sweep(Family::V4, &held.emptied(&new))), ["delete chain b"]);
    }

    #[test]
    fn a_table_that_was_found_keeps_its_clients_and_nothing_else() {
        let old = ruleset(&[("a", "?"), ("b", "?")], &[], &["c", "e"]);
        let new = ruleset(&[("a", "drop")], &[("1", "goto a")], &["e"]);
        let wanted = [
            "add table",
            "flush chain a",
            "flush chain b",
            "flush map m",
            "add rule a drop",
            "add element m { 1 : goto a }",
            "delete set c",
        ];
        let held = Held::Found(old);
        assert_eq!(lines(&held.script(Family::V4, Some(&new))), wanted);
        assert_eq!(lines(&sweep(Family::V4, &held.emptied(&new))), ["delete chain b"]);
    }

    #[test]
    fn a_table_of_which_nothing_is_known_is_replaced() {
        let new = ruleset(&[("a", "drop")], &[], &[]);
        let script = Held::Unknown.script(Family::V6, Some(&new));
        assert!(script.starts_with(
            "add table ip6 xebec-sctp\ndelete table ip6 xebec-sctp\nadd table ip6 xebec-sctp\n"
        ));
        assert_eq!(Held::Unknown.emptied(&new), BTreeSet::new());
        assert_eq!(Held::Absent.script(Family::V6, None), "");
        assert_eq!(
            Held::Absent.script(Family::V4, Some(&new)).lines().next(),
            Some("add table ip xebec-sctp")
        );
        let gone = "add table ip xebec-sctp\ndelete table ip xebec-sctp\n";
        for held in [Held::Unknown, Held::Written(new.clone()), Held::Found(new.clone())] {
            assert_eq!(held.script(Family::V4, None), gone);
        }
    }
}
