//! Warnings about a pod's containers: profiles in annotations, amounts, variables and ports.

use std::collections::BTreeMap;

use serde_json::Value;
use xebec_api::field::Path;
use xebec_api::gotext::quote;

use super::fractional;
use crate::pod::profiles;
use crate::shared::access::{at, has, int, list, text};

/// The warnings of all containers of a pod or template.
pub fn of(holder: &Value, path: &Path) -> Vec<String> {
    let annotations = path.child("metadata").child("annotations");
    let is_template = *path != Path::root();
    let containers = profiles::containers(at(holder, &["spec"]), &path.child("spec"));
    let mut warnings = Vec::new();
    for (container, path) in &containers {
        warnings.extend(profiles::seccomp_warning(holder, container, &annotations));
        if is_template {
            warnings.extend(profiles::app_armor_warning(holder, container, &annotations));
        }
        for resource in ["memory", "ephemeral-storage"] {
            for kind in ["limits", "requests"] {
                let path = path.child("resources").child(kind);
                warnings.extend(fractional(at(container, &["resources", kind]), resource, &path));
            }
        }
        warnings.extend(of_variables(list(container, &["env"]), &path.child("env")));
    }
    let ports: Vec<(&Value, Path)> = containers
        .iter()
        .flat_map(|(container, path)| {
            let ports = list(container, &["ports"]).iter().enumerate();
            ports.map(|(index, port)| (port, path.child("ports").index(index)))
        })
        .collect();
    warnings.extend(of_ports(&ports));
    warnings.extend(of_port_names(&ports));
    warnings
}

/// A variable may be defined on top of an earlier one of its name; any other repetition hides it.
fn of_variables(variables: &[Value], path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    for (index, variable) in variables.iter().enumerate() {
        let name = text(variable, &["name"]);
        let repeated = variables[..index].iter().any(|other| text(other, &["name"]) == name);
        let (value, reference) = (text(variable, &["value"]), format!("$({name})"));
        let extends = !has(variable, &["valueFrom"]) && value != reference && value.contains(&reference);
        if repeated && !extends {
            warnings.push(format!(
                "{}: hides previous definition of {}, which may be dropped when using apply",
                path.index(index),
                quote(name)
            ));
        }
    }
    warnings
}

fn of_ports(ports: &[(&Value, Path)]) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut taken: BTreeMap<(i64, &str), Vec<usize>> = BTreeMap::new();
    for (position, (port, path)) in ports.iter().enumerate() {
        let number = |port: &Value, key: &str| int(port, &[key]).unwrap_or(0);
        let (address, host_port) = (text(port, &["hostIP"]), number(port, "hostPort"));
        if !address.is_empty() && host_port == 0 {
            warnings.push(format!("{path}: hostIP set without hostPort: {}", shown(port)));
        }
        let key = (number(port, "containerPort"), text(port, &["protocol"]));
        for (other, other_path) in taken.get(&key).into_iter().flatten().map(|other| &ports[*other]) {
            let (other_address, other_host) = (text(other, &["hostIP"]), number(other, "hostPort"));
            let what = if address == other_address && host_port == other_host {
                "duplicate"
            } else if host_port == 0 || other_host == 0 {
                "overlapping"
            } else if host_port == other_host && address.is_empty() != other_address.is_empty() {
                "dangerously ambiguous"
            } else {
                continue;
            };
            warnings.push(format!("{path}: {what} port definition with {other_path}"));
        }
        taken.entry(key).or_default().push(position);
    }
    warnings
}

/// A port as Go prints the struct.
fn shown(port: &Value) -> String {
    format!(
        "{{Name:{} HostPort:{} ContainerPort:{} Protocol:{} HostIP:{}}}",
        text(port, &["name"]),
        int(port, &["hostPort"]).unwrap_or(0),
        int(port, &["containerPort"]).unwrap_or(0),
        text(port, &["protocol"]),
        text(port, &["hostIP"])
    )
}

fn of_port_names(ports: &[(&Value, Path)]) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut first: BTreeMap<&str, &Path> = BTreeMap::new();
    for (port, path) in ports {
        let name = text(port, &["name"]);
        match first.get(name) {
            _ if name.is_empty() => {}
            Some(other) => warnings.push(format!(
                "{path}: duplicate port name {} with {other}, services and probes that select ports by name will use {other}",
                quote(name)
            )),
            None => drop(first.insert(name, path)),
        }
    }
    warnings
}
