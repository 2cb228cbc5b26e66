//! The tables, beside the loop: a slow or missing `nft` holds up nothing of TCP and UDP. Enters: what is wanted, as it changes.
//! Leaves: tables, and word of what cannot be done: in the log and to the Services once, in the metrics each time. Called by run.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error, info, warn};

use super::{Filter, Table, Wanted};
use crate::failures::{Failed, Failure, Failures};

/// First wait before what failed is tried again; each time twice as long.
const RETRY: Duration = Duration::from_secs(1);
/// The longest.
const RETRY_MOST: Duration = Duration::from_secs(60);
/// Between two looks at tables that others may have removed.
const CHECK: Duration = Duration::from_secs(30);

/// What became of SCTP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Service ports of SCTP that there should be.
    pub ports: usize,
    /// Transactions that failed.
    pub failures: u64,
    /// Why the tables are not as they should be.
    pub failure: Option<String>,
}

/// The loop's end.
#[derive(Debug)]
pub struct Worker {
    wanted: watch::Sender<Wanted>,
    state: Arc<Mutex<State>>,
    _task: AbortOnDropHandle<()>,
}

impl Worker {
    /// Starts it, on a task of its own. Needs a runtime.
    pub fn start<F: Filter>(table: Table<F>, failures: impl Failures) -> Self {
        let (wanted, receiver) = watch::channel(Wanted::default());
        let state = Arc::<Mutex<State>>::default();
        let follow = follow(receiver, table, failures, Arc::clone(&state));
        Self { wanted, state, _task: AbortOnDropHandle::new(tokio::spawn(follow)) }
    }

    /// Changes what is wanted.
    pub fn want(&self, change: impl FnOnce(&mut Wanted)) {
        self.wanted.send_if_modified(|wanted| {
            let before = wanted.clone();
            change(wanted);
            *wanted != before
        });
    }

    /// What became of it.
    pub fn state(&self) -> Arc<Mutex<State>> {
        Arc::clone(&self.state)
    }
}

async fn follow<F: Filter>(
    mut wanted: watch::Receiver<Wanted>,
    mut table: Table<F>,
    failures: impl Failures,
    state: Arc<Mutex<State>>,
) {
    let (mut told, mut wait) = (Told::default(), RETRY);
    loop {
        let now = wanted.borrow_and_update().clone();
        state.lock().ports = now.ports.as_ref().map_or(0, Vec::len);
        let work = move || {
            let result = table.sync(&now);
            (table, now, result)
        };
        let Ok((back, now, result)) = tokio::task::spawn_blocking(work).await else {
            return error!("the worker for SCTP ended; its tables stay as they are");
        };
        table = back;
        let failed = result.is_err();
        match result {
            Ok(changed) => {
                if told.why.take().is_some() {
                    info!("SCTP is served again as it should be");
                }
                told.services.clear();
                (state.lock().failure, wait) = (None, RETRY);
                if changed {
                    debug!(ports = now.ports.map_or(0, |ports| ports.len()), "wrote the tables of SCTP");
                }
            }
            Err(error) => {
                let why = error.to_string();
                told.tell(&why, &now, &failures);
                let mut state = state.lock();
                state.failures += 1;
                state.failure = Some(why);
            }
        }
        let pause = if failed { wait } else { CHECK };
        tokio::select! {
            changed = wanted.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            () = tokio::time::sleep(pause), if failed || table.is_present() => {}
        }
        if failed {
            wait = (wait * 2).min(RETRY_MOST);
        } else {
            let look = move || {
                let result = table.check();
                (table, result)
            };
            let Ok((back, result)) = tokio::task::spawn_blocking(look).await else { return };
            table = back;
            match result {
                Ok(true) => {}
                Ok(false) => warn!(
                    "the tables of SCTP were removed or changed by somebody else; they are written anew"
                ),
                Err(error) => debug!(%error, "cannot look at the tables of SCTP"),
            }
        }
    }
}

/// What was told of a failure that lasts.
#[derive(Default)]
struct Told {
    why: Option<String>,
    services: BTreeSet<Arc<str>>,
}

impl Told {
    /// Another reason is told anew, and so is a Service that came meanwhile.
    fn tell(&mut self, why: &str, wanted: &Wanted, failures: &impl Failures) {
        if self.why.as_deref() != Some(why) {
            error!(
                error = why,
                "cannot write the tables of SCTP; will try again, other protocols are served"
            );
            self.why = Some(why.to_owned());
            self.services.clear();
        }
        for (owner, uid) in &wanted.services {
            if self.services.insert(Arc::clone(uid)) {
                let (owner, uid, what) = (owner.clone(), Arc::clone(uid), Failed::Sctp(why.to_owned()));
                failures.failed(&Failure { owner, uid, what });
            }
        }
    }
}
