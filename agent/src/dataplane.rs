//! `xebec-agent dataplane`: questions about the service dataplane of this node, answered from the kernel's own maps and
//! programs, whether a proxy runs or not. Names come from a running proxy if one is reached. Nothing is changed.

use std::fmt;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::ListParams;
use serde::Serialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use xebec_dataplane::Protocol;
use xebec_dataplane::inspect::{self, Check, LiveService, ServiceRow, State};
use xebec_dataplane::metrics::Running;
use xebec_program::Failure;

use crate::client;
use crate::flows::{self, FlowsArgs};
use crate::proxy::transport;

/// How long a running proxy may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Of `xebec-agent dataplane`.
#[derive(Args)]
pub(crate) struct DataplaneArgs {
    /// Where maps and links are pinned.
    #[arg(long, global = true, default_value = xebec_dataplane::DEFAULT_PIN_DIR)]
    bpf_pin_dir: PathBuf,
    /// Where a running proxy answers, which knows names: its --metrics-bind-address.
    #[arg(long, global = true, default_value = "127.0.0.1:10249")]
    agent: SocketAddr,
    /// For people or for programs.
    #[arg(short, long, global = true, value_enum, default_value = "text")]
    output: Output,
    #[command(subcommand)]
    question: Question,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[derive(Subcommand)]
enum Question {
    /// Programs at their hooks, pins, versions, how full the maps are, the last sync.
    Status,
    /// The Services as the kernel's maps hold them, and as its packet filter does those of SCTP.
    Services {
        /// Only those whose name or one of whose addresses has this in it.
        filter: Option<String>,
    },
    /// Where a connection would go and why: from pods and the node by the maps, from outside by the live program.
    Explain {
        /// Address and port, such as 10.96.0.1:443.
        address: SocketAddr,
        /// TCP, UDP or SCTP.
        #[arg(long, default_value = "tcp")]
        protocol: String,
        /// A client outside the node, with or without a port: its packet is shown to the program at the device.
        #[arg(long, value_parser = client_address)]
        from: Option<SocketAddr>,
        /// The device that the client's packet comes in by; the first with a program if absent.
        #[arg(long, requires = "from")]
        device: Option<String>,
    },
    /// New flows as they happen: who, to which Service or pod, and what became of them. Costs nothing while nobody asks.
    Flows(Box<FlowsArgs>),
    /// What is amiss on this node, and what to do about it. Ends with code 1 if a check fails.
    Doctor {
        /// Compare the maps with what this API server says.
        #[arg(long)]
        kubeconfig: Option<PathBuf>,
        /// This node's name, for the comparison.
        #[arg(long, default_value_t = crate::options::hostname())]
        node_name: String,
        /// The cgroup2 folder that the programs should be on; the default is the root of the hierarchy.
        #[arg(long)]
        bpf_cgroup: Option<PathBuf>,
    },
}

/// An address, and the port of a client if none is given.
fn client_address(text: &str) -> Result<SocketAddr, String> {
    const PORT: u16 = 50_000;
    let alone = || text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, PORT));
    text.parse().ok().or_else(alone).ok_or_else(|| "give an IP address, with or without a port".to_owned())
}

/// Answers.
pub(crate) async fn run(args: DataplaneArgs, stop: CancellationToken) -> Result<(), Failure> {
    let failed = |error: &dyn std::error::Error| Failure::part("service dataplane")(error);
    let (pins, output) = (&args.bpf_pin_dir, args.output);
    if let Question::Flows(wanted) = args.question {
        let running = || running(args.agent);
        let place = flows::Place { pins, running: &running, json: output == Output::Json };
        return flows::run(*wanted, place, stop).await;
    }
    let running = running(args.agent);
    match args.question {
        Question::Flows(_) => Ok(()),
        Question::Status => {
            let report = inspect::status(pins, running).map_err(|error| failed(&error))?;
            say(output, &report, || report.to_string())
        }
        Question::Services { filter } => {
            let rows = inspect::services(pins, running.as_ref()).map_err(|error| failed(&error))?;
            let mut rows: Vec<Row> = rows.into_iter().map(Row::Map).collect();
            rows.extend(sctp(running.as_ref())?.into_iter().map(Row::Sctp));
            if let Some(filter) = filter {
                rows.retain(|row| row.to_string().contains(&filter));
            }
            let text = || rows.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
            say(output, &rows, text)
        }
        Question::Explain { address, protocol, from, device } => {
            let protocol = transport(&protocol)?;
            let route = from.map(|from| inspect::route(pins, from, address, protocol, device.as_deref()));
            let route = route.transpose().map_err(|error| failed(&error))?;
            let packet = route.as_ref().map(|route| format!("\n{route}")).unwrap_or_default();
            if protocol == Protocol::Sctp {
                let found = sctp(running.as_ref())?;
                let found = found.into_iter().find(|service| service.answers(address.ip(), address.port()));
                let answer =
                    json!({"service": found.as_ref().map(|f| &f.name), "filter": found, "packet": route});
                return say(output, &answer, || {
                    let none = || format!("{address}/SCTP: no service here; packets pass untranslated");
                    let found = found.as_ref().map_or_else(none, ToString::to_string);
                    format!("from everywhere, by the node's packet filter: {found}{packet}")
                });
            }
            let found = xebec_dataplane::explain(pins, address.ip(), address.port(), protocol)
                .map_err(|error| failed(&error))?;
            let services = running.iter().flat_map(|running| &running.services);
            let named = found.kind.is_some().then_some(found.index);
            let name = services.clone().find(|named_| Some(named_.index) == named).map(|n| n.name.clone());
            let answer = json!({"service": name, "socket": found, "packet": route});
            say(output, &answer, || {
                let name = name.map(|name| format!("Service {name}\n")).unwrap_or_default();
                format!("{name}from pods and this node: {found}{packet}")
            })
        }
        Question::Doctor { kubeconfig, node_name, bpf_cgroup } => {
            let mut checks = inspect::doctor(pins, bpf_cgroup.as_deref());
            checks.push(inspect::from_running(running.as_ref(), &args.agent.to_string()));
            if let Some(kubeconfig) = kubeconfig {
                checks.push(against_api(pins, &kubeconfig, &node_name).await?);
            }
            let text = || checks.iter().map(Check::to_string).collect::<Vec<_>>().join("\n");
            say(output, &checks, text)?;
            let failing = checks.iter().filter(|check| check.state == State::Fail).count();
            if failing == 0 {
                return Ok(());
            }
            Err(Failure::Part { part: "dataplane doctor", reason: format!("{failing} checks fail") })
        }
    }
}

/// A service port, by what serves it.
#[derive(Serialize)]
#[serde(untagged)]
enum Row {
    Map(ServiceRow),
    Sctp(LiveService),
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map(row) => row.fmt(f),
            Self::Sctp(row) => row.fmt(f),
        }
    }
}

/// What the packet filter serves of SCTP. Where nft does not run there is nothing, unless a proxy knows better.
fn sctp(running: Option<&Running>) -> Result<Vec<LiveService>, Failure> {
    match inspect::sctp() {
        Err(error) if running.is_some_and(|running| running.sctp.ports > 0) => {
            Err(Failure::part("services of SCTP")(&error))
        }
        found => Ok(found.unwrap_or_default()),
    }
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn say(output: Output, answer: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
    match output {
        Output::Text => println!("{}", text()),
        Output::Json => {
            let text =
                serde_json::to_string_pretty(answer).map_err(|error| Failure::part("answer")(&error))?;
            println!("{text}");
        }
    }
    Ok(())
}

/// What a running proxy says; nothing if none answers, or not in a way that this version understands.
fn running(address: SocketAddr) -> Option<Running> {
    // A proxy that listens everywhere is reached on this machine.
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(ip, address.port()), PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET /dataplane HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200 ").then(|| serde_json::from_str(body).ok())?
}

async fn against_api(pins: &Path, kubeconfig: &Path, node: &str) -> Result<Check, Failure> {
    let failed = |error: &dyn std::error::Error| Failure::part("API server")(error);
    let client = client::from(Some(kubeconfig)).await?;
    let all = ListParams::default();
    let node = Api::<Node>::all(client.clone()).get(node).await.map_err(|error| failed(&error))?;
    let services = Api::<Service>::all(client.clone()).list(&all).await.map_err(|error| failed(&error))?;
    let slices = Api::<EndpointSlice>::all(client).list(&all).await.map_err(|error| failed(&error))?;
    let difference = inspect::compare_pinned(pins, &node, services.items, slices.items)
        .map_err(|error| Failure::part("service dataplane")(&error))?;
    Ok(inspect::from_api(&difference))
}
