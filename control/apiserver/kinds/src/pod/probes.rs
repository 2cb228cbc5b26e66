//! Probes, lifecycle handlers and container ports.

use std::collections::BTreeSet;

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use crate::shared::access::{at, has, int, list, text};
use crate::shared::rules::{
    invalid_each, not_negative, one_of, one_of_given, port_number, port_number_or_name,
};

/// The protocols of ports.
pub const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

/// In the order messages list them.
const LINUX_SIGNALS: &[&str] = &[
    "SIGABRT",
    "SIGALRM",
    "SIGBUS",
    "SIGCHLD",
    "SIGCLD",
    "SIGCONT",
    "SIGFPE",
    "SIGHUP",
    "SIGILL",
    "SIGINT",
    "SIGIO",
    "SIGIOT",
    "SIGKILL",
    "SIGPIPE",
    "SIGPOLL",
    "SIGPROF",
    "SIGPWR",
    "SIGQUIT",
    "SIGRTMAX",
    "SIGRTMAX-1",
    "SIGRTMAX-10",
    "SIGRTMAX-11",
    "SIGRTMAX-12",
    "SIGRTMAX-13",
    "SIGRTMAX-14",
    "SIGRTMAX-2",
    "SIGRTMAX-3",
    "SIGRTMAX-4",
    "SIGRTMAX-5",
    "SIGRTMAX-6",
    "SIGRTMAX-7",
    "SIGRTMAX-8",
    "SIGRTMAX-9",
    "SIGRTMIN",
    "SIGRTMIN+1",
    "SIGRTMIN+10",
    "SIGRTMIN+11",
    "SIGRTMIN+12",
    "SIGRTMIN+13",
    "SIGRTMIN+14",
    "SIGRTMIN+15",
    "SIGRTMIN+2",
    "SIGRTMIN+3",
    "SIGRTMIN+4",
    "SIGRTMIN+5",
    "SIGRTMIN+6",
    "SIGRTMIN+7",
    "SIGRTMIN+8",
    "SIGRTMIN+9",
    "SIGSEGV",
    "SIGSTKFLT",
    "SIGSTOP",
    "SIGSYS",
    "SIGTERM",
    "SIGTRAP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGUSR1",
    "SIGUSR2",
    "SIGVTALRM",
    "SIGWINCH",
    "SIGXCPU",
    "SIGXFSZ",
];
const WINDOWS_SIGNALS: &[&str] = &["SIGKILL", "SIGTERM"];

/// Every error of a container's lifecycle handlers; a sleep fits into the pod's grace period.
pub fn validate_lifecycle(
    container: &Value,
    grace: Option<i64>,
    system: Option<&str>,
    path: &Path,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for key in ["postStart", "preStop"] {
        let handler = at(container, &["lifecycle", key]);
        if handler.is_object() {
            let path = path.child("lifecycle").child(key);
            errors.extend(validate_handler(
                handler,
                &["exec", "httpGet", "tcpSocket", "sleep"],
                grace,
                &path,
            ));
        }
    }
    if let Some(signal) = at(container, &["lifecycle", "stopSignal"]).as_str() {
        errors.extend(validate_signal(signal, system, &path.child("lifecycle").child("stopSignal")));
    }
    errors
}

/// The errors of the signal a container is stopped with, which depends on the system it runs on (KEP-4960).
fn validate_signal(signal: &str, system: Option<&str>, path: &Path) -> Vec<FieldError> {
    let known = match system {
        None => {
            let detail = "may not be set for containers with empty `spec.os.name`";
            return vec![FieldError::forbidden(path, detail)];
        }
        Some("windows") => WINDOWS_SIGNALS,
        Some("linux") => LINUX_SIGNALS,
        Some(_) => return Vec::new(),
    };
    if known.contains(&signal) { Vec::new() } else { vec![FieldError::not_supported(path, signal, known)] }
}

/// Every error of a container's probes.
pub fn validate_probes(container: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for key in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = at(container, &[key]);
        if !probe.is_object() {
            continue;
        }
        let path = path.child(key);
        errors.extend(validate_probe(probe, &path));
        if key == "readinessProbe" {
            if has(probe, &["terminationGracePeriodSeconds"]) {
                let value = at(probe, &["terminationGracePeriodSeconds"]);
                let detail = "must not be set for readinessProbes";
                errors.push(FieldError::invalid(&path.child("terminationGracePeriodSeconds"), value, detail));
            }
        } else if int(probe, &["successThreshold"]) != Some(1) {
            let value = at(probe, &["successThreshold"]);
            errors.push(FieldError::invalid(&path.child("successThreshold"), value, "must be 1"));
        }
    }
    errors
}

fn validate_probe(probe: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = validate_handler(probe, &["exec", "httpGet", "tcpSocket", "grpc"], None, path);
    for key in
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
    {
        errors.extend(not_negative(probe, key, path));
    }
    if let Some(seconds) = int(probe, &["terminationGracePeriodSeconds"]).filter(|seconds| *seconds <= 0) {
        let detail = "must be greater than 0";
        errors.push(FieldError::invalid(&path.child("terminationGracePeriodSeconds"), seconds, detail));
    }
    errors
}

fn validate_handler(handler: &Value, kinds: &[&str], grace: Option<i64>, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut first = true;
    for kind in kinds {
        let action = at(handler, &[kind]);
        if action.is_null() {
            continue;
        }
        let path = path.child(kind);
        if !first {
            errors.push(FieldError::forbidden(&path, "may not specify more than 1 handler type"));
            continue;
        }
        first = false;
        match *kind {
            "exec" if list(action, &["command"]).is_empty() => {
                errors.push(FieldError::required(&path.child("command"), ""));
            }
            "httpGet" => errors.extend(validate_http_get(action, &path)),
            "tcpSocket" => errors.extend(port_number_or_name(at(action, &["port"]), &path.child("port"))),
            "grpc" => {
                errors.extend(port_number(int(action, &["port"]).unwrap_or(0), &path.child("port")));
            }
            "sleep" => {
                let seconds = int(action, &["seconds"]).unwrap_or(0);
                if let Some(grace) = grace.filter(|grace| seconds < 0 || seconds > *grace) {
                    let detail =
                        format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                    errors.push(FieldError::invalid(&path, seconds, detail));
                }
            }
            _ => {}
        }
    }
    if first {
        errors.push(FieldError::required(path, "must specify a handler type"));
    }
    errors
}

fn validate_http_get(action: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if text(action, &["path"]).is_empty() {
        errors.push(FieldError::required(&path.child("path"), ""));
    }
    errors.extend(port_number_or_name(at(action, &["port"]), &path.child("port")));
    errors.extend(one_of_given(action, "scheme", &["HTTP", "HTTPS"], path));
    for header in list(action, &["httpHeaders"]) {
        let name = text(header, &["name"]);
        errors.extend(invalid_each(&path.child("httpHeaders"), name, names::is_http_header_name(name)));
    }
    errors
}

/// Every error of a container's ports.
pub fn validate_ports(container: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, port) in list(container, &["ports"]).iter().enumerate() {
        let path = path.index(index);
        let name = text(port, &["name"]);
        if !name.is_empty() {
            let messages = names::is_port_name(name);
            if !messages.is_empty() {
                errors.extend(invalid_each(&path.child("name"), name, messages));
            } else if !seen.insert(name) {
                errors.push(FieldError::duplicate(&path.child("name"), name));
            }
        }
        match int(port, &["containerPort"]).unwrap_or(0) {
            0 => errors.push(FieldError::required(&path.child("containerPort"), "")),
            number => errors.extend(port_number(number, &path.child("containerPort"))),
        }
        if let Some(number) = int(port, &["hostPort"]).filter(|number| *number != 0) {
            errors.extend(port_number(number, &path.child("hostPort")));
        }
        errors.extend(one_of(port, "protocol", PROTOCOLS, &path));
    }
    errors
}

/// The errors of host ports used twice among the containers.
pub fn validate_host_ports(containers: &[Value], path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, container) in containers.iter().enumerate() {
        for (position, port) in list(container, &["ports"]).iter().enumerate() {
            let number = int(port, &["hostPort"]).unwrap_or(0);
            if number == 0 {
                continue;
            }
            let used = format!("{}/{}/{number}", text(port, &["protocol"]), text(port, &["hostIP"]));
            if !seen.insert(used.clone()) {
                let path = path.index(index).child("ports").index(position).child("hostPort");
                errors.push(FieldError::duplicate(&path, used));
            }
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::messages;
    use serde_json::json;

    #[test]
    fn a_probe_has_one_handler() {
        let check =
            |probe: Value| messages(&validate_probes(&json!({"livenessProbe": probe}), &Path::new("c")));
        let mut good = json!({"tcpSocket": {"port": 80}, "successThreshold": 1});
        assert_eq!(check(good.clone()), Vec::<String>::new());
        assert_eq!(
            check(json!({"successThreshold": 1})),
            ["c.livenessProbe: Required value: must specify a handler type"]
        );
        good["exec"] = json!({"command": ["a"]});
        assert_eq!(
            check(good),
            ["c.livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type"]
        );
        assert_eq!(
            check(json!({"tcpSocket": {"port": 0}, "successThreshold": 2, "periodSeconds": -1})),
            [
                "c.livenessProbe.tcpSocket.port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "c.livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0",
                "c.livenessProbe.successThreshold: Invalid value: 2: must be 1",
            ]
        );
    }

    #[test]
    fn ports_are_checked() {
        let check = |ports: Value| messages(&validate_ports(&json!({"ports": ports}), &Path::new("p")));
        assert_eq!(check(json!([{"containerPort": 80, "protocol": "TCP"}])), Vec::<String>::new());
        assert_eq!(
            check(json!([{"protocol": "TCP"}, {"containerPort": 70000, "protocol": "X"}])),
            [
                "p[0].containerPort: Required value",
                "p[1].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
                "p[1].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
            ]
        );
        let port = json!({"containerPort": 1, "hostPort": 5, "protocol": "TCP"});
        let containers = [json!({"ports": [port.clone()]}), json!({"ports": [port]})];
        assert_eq!(
            messages(&validate_host_ports(&containers, &Path::new("c"))),
            ["c[1].ports[0].hostPort: Duplicate value: \"TCP//5\""]
        );
    }
}
