//! `xebec-workload`: what the demo and the tests run inside pods.
//!
//! Enters: a subcommand and its arguments. Leaves: lines on standard output, which `kubectl logs` shows and the tests
//! read; the server's own log is the proof that a connection reached it (a gateway may accept any address).
//! Static: the image is this one file, with busybox beside it. rustls is its only dependency, for `api`: busybox's own
//! wget ends with a segmentation fault on our server's certificates.
#![expect(clippy::print_stdout, reason = "a command-line program whose output is its result")]
#![expect(clippy::print_stderr, reason = "usage and errors of a command-line program")]

mod api;
mod call;
mod load;
mod serve;

use std::collections::HashMap;
use std::process::ExitCode;

const USAGE: &str = "usage:
  xebec-workload serve [--port 8080] [--udp-port 0]        answers with its host name, logs every request
  xebec-workload call HOST:PORT [--distinct 3] [--tries 300]  calls until that many different servers answered
  xebec-workload load HOST:PORT [--rate 200] [--seconds 10] [--report-every 1]
                                                           opens rate connections a second, counts failures
  xebec-workload resolve NAME                              prints the addresses of a name
  xebec-workload udp HOST:PORT TEXT                        sends one datagram, prints the answer and its source
  xebec-workload api HOST:PORT PATH [--folder F]           GET from the API server with the pod's service account";

/// Options as `--key value` pairs beside positional arguments.
pub(crate) struct Args {
    positional: Vec<String>,
    options: HashMap<String, String>,
}

impl Args {
    fn parse(mut input: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut positional, mut options) = (Vec::new(), HashMap::new());
        while let Some(argument) = input.next() {
            match argument.strip_prefix("--") {
                Some(key) => {
                    let value = input.next().ok_or(format!("option --{key} needs a value"))?;
                    options.insert(key.to_owned(), value);
                }
                None => positional.push(argument),
            }
        }
        Ok(Self { positional, options })
    }

    /// The positional argument at `index`, or a sentence naming what is missing.
    pub(crate) fn positional(&self, index: usize, name: &str) -> Result<&str, String> {
        self.positional.get(index).map(String::as_str).ok_or(format!("missing argument {name}"))
    }

    /// The text given for `--key`, else `default`.
    pub(crate) fn text<'a>(&'a self, key: &str, default: &'a str) -> &'a str {
        self.options.get(key).map_or(default, String::as_str)
    }

    /// The number given for `--key`, else `default`.
    pub(crate) fn number(&self, key: &str, default: u64) -> Result<u64, String> {
        match self.options.get(key) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| format!("--{key}: {text:?} is not a whole number")),
        }
    }
}

/// The pod's name: the kernel's host name.
pub(crate) fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

fn main() -> ExitCode {
    let mut input = std::env::args().skip(1);
    let command = input.next().unwrap_or_default();
    let outcome = Args::parse(input).and_then(|args| match command.as_str() {
        "serve" => serve::run(&args),
        "call" => call::run(&args),
        "load" => load::run(&args),
        "resolve" => call::resolve(&args),
        "udp" => call::udp(&args),
        "api" => api::run(&args),
        other => Err(format!("unknown command {other:?}\n{USAGE}")),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xebec-workload: {message}");
            ExitCode::FAILURE
        }
    }
}
