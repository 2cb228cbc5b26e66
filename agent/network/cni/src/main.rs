//! `xebec-cni`: the CNI plugin that the container runtime runs.
//!
//! Enters: the CNI environment and a network configuration on standard input. Leaves: a CNI result or error on standard
//! output. It passes the call to the agent's unix socket (`socket` in the configuration) and does nothing itself, except
//! that as `loopback` (by the type in the configuration) it brings the loopback device up, and it answers VERSION.
//! Small and static: a runtime runs it three times for every pod.
#![expect(clippy::print_stdout, reason = "CNI results are standard output")]

mod loopback;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

const VERSIONS: [&str; 6] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0", "0.2.0"];
const DEFAULT_SOCKET: &str = "/run/xebec/cni.sock";
/// The runtime gives up after two minutes; answer before that.
const TIMEOUT: Duration = Duration::from_secs(100);

/// A CNI error: code and message (CNI specification, section 5).
type Failure = (u32, String);

fn main() -> ExitCode {
    let mut input = String::new();
    let outcome = match std::io::stdin().read_to_string(&mut input) {
        Ok(_) => run(&input),
        Err(error) => Err((5, format!("cannot read standard input: {error}"))),
    };
    match outcome {
        Ok(Value::Null) => ExitCode::SUCCESS,
        Ok(result) => {
            println!("{result}");
            ExitCode::SUCCESS
        }
        Err((code, message)) => {
            println!("{}", json!({"cniVersion": "1.0.0", "code": code, "msg": message}));
            ExitCode::FAILURE
        }
    }
}

fn run(input: &str) -> Result<Value, Failure> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let command = variable("CNI_COMMAND");
    if command == "VERSION" {
        return Ok(json!({"cniVersion": "1.0.0", "supportedVersions": VERSIONS}));
    }
    let config: Value =
        serde_json::from_str(input).map_err(|error| (6, format!("network configuration: {error}")))?;
    let version = config["cniVersion"].as_str().unwrap_or("0.3.0");
    if !VERSIONS.contains(&version) {
        return Err((1, format!("cniVersion {version:?} is not one of {}", VERSIONS.join(", "))));
    }
    if config["type"] == "loopback" {
        return loopback::run(&command, &variable("CNI_NETNS"), version);
    }
    let socket = config["socket"].as_str().unwrap_or(DEFAULT_SOCKET).to_owned();
    let request = json!({
        "command": command,
        "container_id": variable("CNI_CONTAINERID"),
        "netns": variable("CNI_NETNS"),
        "ifname": variable("CNI_IFNAME"),
        "args": variable("CNI_ARGS"),
        "config": config,
    });
    // 11: try again later. The agent may be restarting.
    let answer = call(&socket, &request)
        .map_err(|error| (11, format!("the agent at {socket} does not answer: {error}")))?;
    if let Some(error) = answer.get("error") {
        let message = error["msg"].as_str().unwrap_or("the agent gave no reason").to_owned();
        return Err((
            error["code"].as_u64().and_then(|code| u32::try_from(code).ok()).unwrap_or(100),
            message,
        ));
    }
    Ok(answer.get("ok").cloned().unwrap_or(Value::Null))
}

fn call(socket: &str, request: &Value) -> std::io::Result<Value> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(request.to_string().as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(serde_json::from_str(&answer)?)
}
