//! `cargo xtask up`: from a fresh machine to a one-node cluster that serves a demo.
//!
//! Enters: options. Leaves: running processes (known by their pid files in `/run/xebec`), and a closing page that says
//! what was proven and what to try. Every step looks first whether its work is already done, so running it again is
//! safe: it starts what has died and leaves the rest alone.

mod components;
mod demo;
pub(crate) mod down;
pub(crate) mod family;
mod preflight;
mod runtime;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::Result;

use crate::build::{self, Profile, Programs};
use crate::layout::Layout;
use crate::process::Process;
use crate::progress::{Steps, human};
use crate::{ebpf, image, packages};
use family::IpFamily;

/// Options of `up`.
#[derive(clap::Args)]
pub(crate) struct UpArgs {
    /// Where the API server keeps its state.
    #[arg(long, value_enum, default_value = "embedded")]
    store: StoreKind,
    /// Use this running container runtime (CRI v1 socket) instead of starting one.
    #[arg(long, value_name = "PATH")]
    cri_socket: Option<PathBuf>,
    /// How to compile.
    #[arg(long, value_enum, default_value = "dev")]
    profile: Profile,
    /// The node's name; the default is the machine's host name.
    #[arg(long)]
    node_name: Option<String>,
    /// The families of addresses of node, pods and Services; a cluster keeps its own [default: ipv4].
    #[arg(long, value_enum)]
    ip_family: Option<IpFamily>,
    /// The node's address, or with two families one of each, separated by a comma; the default are those that the default
    /// routes leave from.
    #[arg(long, value_delimiter = ',')]
    node_ip: Vec<IpAddr>,
    /// Start what is not running from what was built before; build, install and demonstrate nothing.
    #[arg(long)]
    restart_only: bool,
    /// An argument for the agent, if it is started now, such as `--agent-arg=--no-proxy`; again for more.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    agent_arg: Vec<String>,
    /// Share the compilation with the tests, and bring the proxy's image along.
    #[arg(skip)]
    beside_tests: bool,
}

impl UpArgs {
    /// What the tests start: no options, and the compilation shared with them; of both families where the machine has both.
    pub(crate) fn for_tests() -> Self {
        Self {
            store: StoreKind::Embedded,
            cri_socket: None,
            profile: Profile::Dev,
            node_name: None,
            ip_family: IpFamily::Dual.node_ips(&[]).is_ok().then_some(IpFamily::Dual),
            node_ip: Vec::new(),
            restart_only: false,
            agent_arg: Vec::new(),
            beside_tests: true,
        }
    }
}

/// The store engines.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum StoreKind {
    /// A file in /var/lib/xebec.
    Embedded,
    /// An etcd from Debian's package, started beside the control plane.
    Etcd,
}

/// What the steps share.
pub(crate) struct Plan {
    pub(crate) node_name: String,
    pub(crate) family: IpFamily,
    pub(crate) node_ips: Vec<IpAddr>,
    pub(crate) cri_socket: PathBuf,
    pub(crate) own_runtime: bool,
    pub(crate) store: StoreKind,
    pub(crate) programs: Programs,
    pub(crate) agent_args: Vec<String>,
    pub(crate) kubectl: PathBuf,
}

impl Plan {
    /// The node's address that nodes and pods reach the API server at.
    pub(crate) fn primary_ip(&self) -> IpAddr {
        self.node_ips[0]
    }

    /// The API server's URL.
    pub(crate) fn server(&self) -> String {
        format!("https://{}", SocketAddr::new(self.primary_ip(), 6443))
    }

    /// All addresses of the node, as `--node-ip` takes them.
    pub(crate) fn node_ip(&self) -> String {
        self.node_ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    /// kubectl with the administrator's kubeconfig.
    pub(crate) fn kubectl(&self, arguments: &str) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(Layout::KUBECONFIG).args(arguments.split_whitespace());
        command
    }
}

/// `cargo xtask up`.
pub(crate) fn run(args: &UpArgs) -> Result<()> {
    let start = Instant::now();
    let mut steps = Steps::new(if args.restart_only { 4 } else { 9 });
    steps.step("Looking at this machine", || preflight::check(args))?;
    let plan = if args.restart_only { prebuilt(args)? } else { make(args, &mut steps)? };
    steps.step("Starting the container runtime", || runtime::start(&plan))?;
    if !args.restart_only {
        steps.step("Importing the images", || {
            let mut images = image::build()?;
            if args.beside_tests {
                images.push(image::proxy(&plan.programs.agent)?);
            }
            runtime::import(&plan, &images)
        })?;
    }
    let ready = steps.step("Starting the control plane", || components::control(&plan))?;
    let node =
        steps.step("Starting the agent, waiting for the node to be Ready", || components::agent(&plan))?;
    if args.restart_only {
        println!("\nrunning again after {}", human(start.elapsed()));
        return Ok(());
    }
    let proof =
        steps.step("Demo: 3 web pods, a Service, a Job that calls it by name", || demo::run(&plan))?;

    println!("\nA cluster of one node is up. What was proven:");
    for line in &proof.lines {
        println!("  {line}");
    }
    println!("\nHow long it took:");
    steps.print_table();
    println!("  {:<52} {:>9}", "control plane: start to /readyz", human(ready));
    println!("  {:<52} {:>9}", "agent: start to node Ready", human(node));
    println!("  {:<52} {:>9}", "pod: created to Running (median of the web pods)", human(proof.pod_start));
    println!("\nResident memory:");
    for component in ["xebec-control", "xebec-agent", "etcd", "containerd"] {
        if let Some(mib) = Process::of(component).and_then(Process::rss_mib) {
            println!("  {component:<20} {mib:>5} MiB");
        }
    }
    println!("\nTry:");
    println!(
        "  export KUBECONFIG={} PATH=\"{}:$PATH\"",
        Layout::KUBECONFIG,
        plan.kubectl.with_file_name("").display()
    );
    println!("  kubectl get nodes,pods,svc -A -o wide");
    println!(
        "  kubectl run -it --rm try --image xebec.local/busybox:1 --restart=Never -- wget -qO- http://web.demo"
    );
    println!("  cargo xtask down          # removes everything again");
    Ok(())
}

fn make(args: &UpArgs, steps: &mut Steps) -> Result<Plan> {
    let kubectl = steps.step("Installing what is missing", || {
        let etcd = if args.store == StoreKind::Etcd { packages::ETCD } else { &[] };
        packages::ensure(&[packages::BUILD, packages::EBPF, packages::NODE, packages::DEMO, etcd])?;
        packages::kubectl()
    })?;
    let programs =
        steps.step("Building the programs", || build::programs(args.profile, args.beside_tests))?;
    steps.step("Building the eBPF object", ebpf::build)?;
    plan(args, programs, kubectl)
}

fn prebuilt(args: &UpArgs) -> Result<Plan> {
    plan(args, build::prebuilt(args.profile)?, packages::kubectl()?)
}

fn plan(args: &UpArgs, programs: Programs, kubectl: PathBuf) -> Result<Plan> {
    let family = IpFamily::chosen(args)?;
    Ok(Plan {
        node_name: args.node_name.clone().map_or_else(preflight::host_name, Ok)?,
        node_ips: family.node_ips(&args.node_ip)?,
        family,
        cri_socket: args.cri_socket.clone().unwrap_or_else(Layout::containerd_socket),
        own_runtime: args.cri_socket.is_none(),
        store: args.store,
        programs,
        agent_args: args.agent_arg.clone(),
        kubectl,
    })
}
