//! The tables in the kernel. Enters: what is wanted. Leaves: scripts for [`Filter`], and a folder beside the pins that says that
//! there are tables, so that nobody has to ask who has no Service of SCTP. Called by worker and tests.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;
use xebec_nft::NftError;

use super::ruleset::{Chain, Held, Ruleset, Set, keyword, sweep};
use super::{TABLE, Wanted, rules};
use crate::model::Family;

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
/// The folder's name.
const MARK: &str = "sctp";

/// Why SCTP is not served as it should be.
#[derive(Debug, thiserror::Error)]
pub enum SctpError {
    /// The packet filter.
    #[error(transparent)]
    Filter(#[from] NftError),
    /// The folder that remembers the tables.
    #[error("cannot remember that there are tables of nft, in {path}: {source}")]
    Mark {
        /// The folder.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// The names of what a table has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Chains.
    pub chains: BTreeSet<String>,
    /// Sets.
    pub sets: BTreeSet<String>,
    /// Maps.
    pub maps: BTreeSet<String>,
}

/// The packet filter of the node.
pub trait Filter: std::fmt::Debug + Send + 'static {
    /// Carries out a script in one transaction.
    ///
    /// # Errors
    /// [`NftError`]; nothing was changed.
    fn write(&mut self, script: &str) -> Result<(), NftError>;
    /// The table of a family, if there is one.
    ///
    /// # Errors
    /// [`NftError`].
    fn names(&mut self, family: Family) -> Result<Option<Names>, NftError>;
}

/// The kernel's, in the network namespace of the calling thread.
#[derive(Clone, Copy, Debug)]
pub struct Kernel;

impl Filter for Kernel {
    fn write(&mut self, script: &str) -> Result<(), NftError> {
        xebec_nft::write(script)
    }

    fn names(&mut self, family: Family) -> Result<Option<Names>, NftError> {
        Ok(xebec_nft::table(keyword(family), TABLE, true)?.map(|found| names(&found)))
    }
}

/// The names in nft's answer. PURE.
fn names(found: &Value) -> Names {
    let all = |kind: &str| {
        let of_kind =
            found["nftables"].as_array().into_iter().flatten().filter_map(|object| object.get(kind));
        of_kind.filter_map(|object| Some(object["name"].as_str()?.to_owned())).collect()
    };
    Names { chains: all("chain"), sets: all("set"), maps: all("map") }
}

/// The tables of both families.
#[derive(Debug)]
pub struct Table<F> {
    filter: F,
    mark: PathBuf,
    held: [Held; 2],
    /// Chains that are to be deleted still.
    emptied: [BTreeSet<String>; 2],
    looked: bool,
}

impl<F: Filter> Table<F> {
    /// Of the dataplane whose pins are below this directory.
    pub fn new(filter: F, pin_dir: &Path) -> Self {
        let (held, emptied) = Default::default();
        Self { filter, mark: pin_dir.join(MARK), held, emptied, looked: false }
    }

    /// Whether there are tables.
    pub fn is_present(&self) -> bool {
        self.held.iter().any(Held::is_present)
    }

    /// The packet filter.
    pub const fn filter(&mut self) -> &mut F {
        &mut self.filter
    }

    /// Brings the tables to what is wanted, in one transaction; true if there was something to do.
    ///
    /// # Errors
    /// [`SctpError`]: the tables are as they were. The next call writes them anew.
    pub fn sync(&mut self, wanted: &Wanted) -> Result<bool, SctpError> {
        let Some(ports) = &wanted.ports else { return Ok(false) };
        self.look()?;
        let next = FAMILIES.map(|family| rules(family, ports, &wanted.addresses));
        let mut script = String::new();
        for ((family, held), next) in FAMILIES.into_iter().zip(&self.held).zip(&next) {
            script.push_str(&held.script(family, next.as_ref()));
        }
        if script.is_empty() {
            self.sweep();
            return Ok(false);
        }
        let fresh = self.remember()?;
        if let Err(error) = self.filter.write(&script) {
            match &error {
                // Nothing is there, and nobody need look for it.
                NftError::Run(_) if fresh => self.forget()?,
                NftError::Run(_) => {}
                // What is held is another than was thought.
                _ => self.held = [Held::Unknown, Held::Unknown],
            }
            return Err(error.into());
        }
        for (at, next) in next.into_iter().enumerate() {
            match next {
                Some(next) => {
                    let left = &mut self.emptied[at];
                    left.extend(self.held[at].emptied(&next));
                    left.retain(|name| !next.chains.contains_key(name));
                    self.held[at] = Held::Written(next);
                }
                None => (self.held[at], self.emptied[at]) = Default::default(),
            }
        }
        self.sweep();
        if !self.is_present() {
            self.forget()?;
        }
        Ok(true)
    }

    /// Looks whether the tables are still there: whoever reloads the node's own packet filter mostly removes all tables. What
    /// is not there is written with the next [`Table::sync`].
    ///
    /// # Errors
    /// [`NftError`].
    pub fn check(&mut self) -> Result<bool, NftError> {
        for (family, held) in FAMILIES.into_iter().zip(&mut self.held) {
            let Held::Written(ruleset) = held else { continue };
            let found = self.filter.names(family)?.unwrap_or_default();
            let whole = ruleset.chains.keys().all(|name| found.chains.contains(name));
            if !whole {
                *held = Held::Unknown;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What an earlier agent left, once.
    fn look(&mut self) -> Result<(), SctpError> {
        if !self.looked && self.mark.is_dir() {
            for (family, held) in FAMILIES.into_iter().zip(&mut self.held) {
                *held = match self.filter.names(family) {
                    Ok(None) => Held::Absent,
                    Ok(Some(names)) => Held::Found(found(names)),
                    Err(error @ NftError::Run(_)) => return Err(error.into()),
                    // One without JSON: what clients have is forgotten, and all is written anew.
                    Err(_) => Held::Unknown,
                };
            }
            if !self.is_present() {
                self.forget()?;
            }
        }
        self.looked = true;
        Ok(())
    }

    /// Deletes emptied chains; those that the kernel still needs go with another change.
    fn sweep(&mut self) {
        for (family, emptied) in FAMILIES.into_iter().zip(&mut self.emptied) {
            if emptied.is_empty() {
                continue;
            }
            match self.filter.write(&sweep(family, emptied)) {
                Ok(()) => emptied.clear(),
                Err(error) => {
                    tracing::debug!(%error, "cannot delete emptied chains of nft; they go with another change")
                }
            }
        }
    }

    /// Makes the folder; true if it was not there.
    fn remember(&self) -> Result<bool, SctpError> {
        match std::fs::create_dir(&self.mark) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(source) => Err(SctpError::Mark { path: self.mark.clone(), source }),
        }
    }

    fn forget(&self) -> Result<(), SctpError> {
        forget(&self.mark)
    }
}

fn forget(mark: &Path) -> Result<(), SctpError> {
    match std::fs::remove_dir(mark) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(SctpError::Mark { path: mark.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// What is known by names alone. PURE.
fn found(names: Names) -> Ruleset {
    let mut out = Ruleset::default();
    out.chains.extend(names.chains.into_iter().map(|name| (name, Chain::default())));
    out.sets.extend(names.sets.into_iter().map(|name| (name, Set::default())));
    out.sets.extend(names.maps.into_iter().map(|name| (name, Set { map: true, ..Set::default() })));
    out
}

/// Removes the tables, if there are any by what the folder says.
///
/// # Errors
/// [`SctpError`]; calling it again continues.
pub fn remove(filter: &mut impl Filter, pin_dir: &Path) -> Result<(), SctpError> {
    let mark = pin_dir.join(MARK);
    if mark.is_dir() {
        let script: String = FAMILIES.map(|family| xebec_nft::without(keyword(family), TABLE)).concat();
        filter.write(&script)?;
        forget(&mark)?;
    }
    Ok(())
}
