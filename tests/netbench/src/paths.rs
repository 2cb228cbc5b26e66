//! Whether pods of one node gain from their way past the node's IP stack, and what a Service adds: the same rig with that way
//! and without, to a virtual IP and to the pod's own address, beside a rig that has no programs at all. Enters: how long.
//! Leaves: a line of JSON for each measurement.
//!
//! Single measurements of bytes on one connection spread by half on a busy machine: turns are short, many, and forth and back.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use crate::load::Client;
use crate::plan;
use crate::rig::{Rig, server_address};
use crate::rules::PORT;
use crate::server::{self, Server};
use crate::xebec::Xebec;

/// Options of `paths`.
#[derive(clap::Args)]
pub(crate) struct PathsArgs {
    /// The eBPF object.
    #[arg(long)]
    object: PathBuf,
    /// Every measurement is taken twice this often, all in turn.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 0.1)]
    seconds: f64,
    /// What is measured.
    #[arg(long, value_delimiter = ',', default_value = "stream,rr,crr")]
    kinds: Vec<String>,
    /// Only the ways whose name holds this.
    #[arg(long, default_value = "")]
    way: String,
}

/// Between two measurements: what the kernel has to do after programs were put to devices or taken away.
const SETTLE: Duration = Duration::from_millis(20);

/// Who is called, and how packets get there.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    programs: bool,
    past_the_stack: bool,
    virtual_ip: bool,
}

const WAYS: [Way; 5] = [
    Way { name: "no programs, pod", programs: false, past_the_stack: false, virtual_ip: false },
    Way { name: "stack, pod", programs: true, past_the_stack: false, virtual_ip: false },
    Way { name: "stack, VIP", programs: true, past_the_stack: false, virtual_ip: true },
    Way { name: "path, VIP", programs: true, past_the_stack: true, virtual_ip: true },
    Way { name: "path, pod", programs: true, past_the_stack: true, virtual_ip: false },
];

/// Runs it.
pub(crate) fn run(args: &PathsArgs) -> Result<()> {
    let addresses = [server_address(1)];
    let bare = Rig::new("bare", 1);
    let _bare_server = Server::start(&bare.server.path(), &addresses)?;
    let mut bare_client = Client::start(&bare.client, None)?;
    let rig = Rig::new("paths", 1);
    let _server = Server::start(&rig.server.path(), &addresses)?;
    let mut xebec = Xebec::start(&rig, &args.object, 1, 1)?;
    let mut client = Client::start(&rig.client, Some(xebec.cgroup()))?;
    xebec.fill(1, 1, 0)?;
    let mut past = true;
    let (pod, vip) =
        (format!("{}:{}", addresses[0], server::PORT), format!("{}:{PORT}", plan::virtual_ip(0)));
    for kind in &args.kinds {
        for way in (0..2 * args.rounds).flat_map(order).filter(|way| way.name.contains(&args.way)) {
            if past != way.past_the_stack {
                xebec.lead_past_the_stack(&rig, 1, way.past_the_stack)?;
                past = way.past_the_stack;
            }
            std::thread::sleep(SETTLE);
            let client = if way.programs { &mut client } else { &mut bare_client };
            let to = if way.virtual_ip { &vip } else { &pod };
            let answer = client.ask(kind, to.parse()?, args.seconds);
            let answer = answer.with_context(|| format!("{}: {kind}", way.name))?;
            let line = json!({"title": kind, "target": way.name, "kind": kind, "answer": answer});
            writeln!(std::io::stdout(), "{line}")?;
        }
    }
    Ok(())
}

/// The ways of one turn: each comes first in turn, and what came before a way is not always the same.
fn order(turn: usize) -> [Way; WAYS.len()] {
    let mut ways = WAYS;
    ways.rotate_left(turn % WAYS.len());
    if turn / WAYS.len() % 2 == 1 {
        ways.reverse();
    }
    ways
}
