//! PodSecurity: the Pod Security Standards, by labels of the namespace. Pure over the reader.
//!
//! Pods that violate the enforced level are refused; workloads with a pod template are only warned about and noted for
//! the audit log; a namespace whose level rises is told which pods it already holds would not be let in today.
//! Authority: k8s.io/pod-security-admission of Kubernetes 1.36.

mod baseline;
mod level;
mod restricted;
#[cfg(test)]
mod tests;
mod text;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::Value;
use xebec_api::meta;
use xebec_api::status::ApiError;

use crate::{Call, Findings, Operation};

pub use level::{Level, LevelVersion, Policy, Version};
pub use text::{Violation, details, reasons};

/// The minor release whose rules `latest` means.
pub(crate) const NEWEST: u32 = 36;

/// Most pods looked at when a namespace's level rises.
const MAX_PODS: usize = 3000;

const AUDIT: &str = "pod-security.kubernetes.io/";

/// Whom the standards do not hold for, and what holds where no label says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodSecurityConfig {
    /// The policy of a namespace without labels.
    pub defaults: Policy,
    /// User names that may create anything.
    pub users: Vec<String>,
    /// Namespaces in which everything may be created.
    pub namespaces: Vec<String>,
    /// Runtime classes whose pods are not looked at.
    pub runtime_classes: Vec<String>,
}

/// What a pod violates of a level in a version, in upstream's order.
pub fn evaluate(policy: LevelVersion, metadata: &Value, spec: &Value) -> Vec<Violation> {
    let minor = policy.version.minor();
    let hardened = policy.level == Level::Restricted;
    if policy.level == Level::Privileged {
        return Vec::new();
    }
    let se_linux: &[&str] = if minor >= 31 {
        &["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"]
    } else {
        &["", "container_t", "container_init_t", "container_kvm_t"]
    };
    let relaxed = minor >= 35 && restricted::has_own_users(spec);
    let when = |on: bool, check: &dyn Fn() -> Option<Violation>| if on { check() } else { None };
    // A restricted check that says more takes its baseline counterpart's place.
    let checks = [
        baseline::app_armor(metadata, spec),
        when(!(hardened && minor >= 22), &|| baseline::capabilities(metadata, spec)),
        baseline::host_namespaces(metadata, spec),
        when(!hardened, &|| baseline::host_path_volumes(metadata, spec)),
        baseline::host_ports(metadata, spec),
        when(minor >= 34, &|| baseline::probe_hosts(metadata, spec)),
        baseline::privileged(metadata, spec),
        when(!(relaxed || (hardened && minor >= 35)), &|| baseline::proc_mount(metadata, spec)),
        baseline::se_linux(spec, se_linux),
        when(minor < 19, &|| baseline::seccomp_annotations(metadata, spec)),
        when(minor >= 19 && !hardened, &|| baseline::seccomp(metadata, spec)),
        baseline::sysctls(spec, minor),
        baseline::windows_host_process(metadata, spec),
        when(hardened && minor >= 8, &|| restricted::privilege_escalation(spec, minor)),
        when(hardened && minor >= 22, &|| restricted::capabilities(spec, minor)),
        when(hardened && minor >= 35, &|| baseline::proc_mount(metadata, spec)),
        when(hardened, &|| restricted::volumes(metadata, spec)),
        when(hardened && !relaxed, &|| restricted::run_as_non_root(metadata, spec)),
        when(hardened && minor >= 23 && !relaxed, &|| restricted::run_as_user(metadata, spec)),
        when(hardened && minor >= 19, &|| restricted::seccomp(spec, minor)),
    ];
    checks.into_iter().flatten().collect()
}

/// Where a workload keeps its pod's metadata and spec; none for resources without a template.
fn template(group: &str, plural: &str) -> Option<&'static str> {
    match (group, plural) {
        ("", "podtemplates") => Some("/template"),
        ("", "replicationcontrollers")
        | ("apps", "replicasets" | "deployments" | "statefulsets" | "daemonsets")
        | ("batch", "jobs") => Some("/spec/template"),
        ("batch", "cronjobs") => Some("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

/// Checks a finished object.
pub(crate) fn validate(call: &Call<'_>, object: &Value, findings: &mut Findings) -> Result<(), ApiError> {
    let request = &call.request;
    if !matches!(request.operation, Operation::Create | Operation::Update) {
        return Ok(());
    }
    match (request.group, request.plural, request.subresource) {
        ("", "namespaces", "") => namespace(call, object, findings),
        (
            "",
            "pods",
            "exec" | "attach" | "binding" | "eviction" | "log" | "portforward" | "proxy" | "status",
        ) => Ok(()),
        ("", "pods", _) => pod(call, object, findings),
        (group, plural, "") => {
            if let Some(at) = template(group, plural) {
                workload(call, object, at, findings);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn policy_of(call: &Call<'_>, namespace: &Value) -> (Policy, Vec<xebec_api::field::FieldError>) {
    Policy::of(&meta::labels(namespace), &call.config.pod_security.defaults)
}

fn is_exempt(call: &Call<'_>, findings: &mut Findings) -> bool {
    let (config, request) = (&call.config.pod_security, &call.request);
    let why = if config.namespaces.iter().any(|n| n == request.namespace) {
        "namespace"
    } else if config.users.contains(&request.user.name) {
        "user"
    } else {
        return false;
    };
    findings.annotations.insert(format!("{AUDIT}exempt"), why.to_owned());
    true
}

fn pod(call: &Call<'_>, pod: &Value, findings: &mut Findings) -> Result<(), ApiError> {
    if is_exempt(call, findings) {
        return Ok(());
    }
    let name = call.request.namespace;
    let Some(namespace) = call.reader.get("", "namespaces", "", name) else {
        return Err(ApiError::internal(format!("failed to lookup namespace {name:?}")));
    };
    let (policy, errors) = policy_of(call, &namespace);
    if errors.is_empty() && policy.is_privileged() {
        let all = LevelVersion::latest(Level::Privileged);
        findings.annotations.insert(format!("{AUDIT}enforce-policy"), all.to_string());
        return Ok(());
    }
    if call.request.operation == Operation::Update && call.old.is_some_and(|old| !is_significant(pod, old)) {
        return Ok(());
    }
    note_label_errors(&errors, findings);
    let subject = Subject { metadata: &pod["metadata"], spec: &pod["spec"] };
    if subject.is_exempt(call, findings) {
        return Ok(());
    }
    let violations = evaluate(policy.enforce, subject.metadata, subject.spec);
    findings.annotations.insert(format!("{AUDIT}enforce-policy"), policy.enforce.to_string());
    let refused = !violations.is_empty();
    subject.note(&policy, refused, findings);
    if refused {
        let why = format!("violates PodSecurity \"{}\": {}", policy.enforce, details(&violations));
        return Err(call.forbidden(pod, why));
    }
    Ok(())
}

fn workload(call: &Call<'_>, object: &Value, at: &str, findings: &mut Findings) {
    if is_exempt(call, findings) {
        return;
    }
    let name = call.request.namespace;
    let Some(namespace) = call.reader.get("", "namespaces", "", name) else {
        let why = format!("failed to lookup namespace {name:?}: namespace {name:?} not found");
        findings.annotations.insert(format!("{AUDIT}error"), why);
        return;
    };
    let (policy, errors) = policy_of(call, &namespace);
    let quiet = policy.warn.level == Level::Privileged && policy.audit.level == Level::Privileged;
    let Some(template) = object.pointer(at).filter(|t| t.is_object()) else { return };
    if errors.is_empty() && quiet {
        return;
    }
    note_label_errors(&errors, findings);
    let subject = Subject { metadata: &template["metadata"], spec: &template["spec"] };
    if !subject.is_exempt(call, findings) {
        subject.note(&policy, false, findings);
    }
}

fn note_label_errors(errors: &[xebec_api::field::FieldError], findings: &mut Findings) {
    if !errors.is_empty() {
        let text = xebec_api::gotext::aggregate(errors.iter().map(ToString::to_string));
        findings.annotations.insert(format!("{AUDIT}error"), format!("Failed to parse policy: {text}"));
    }
}

/// A pod, or what will become one.
struct Subject<'a> {
    metadata: &'a Value,
    spec: &'a Value,
}

impl Subject<'_> {
    fn is_exempt(&self, call: &Call<'_>, findings: &mut Findings) -> bool {
        let exempt = exempt_class(call, self.spec);
        if exempt {
            findings.annotations.insert(format!("{AUDIT}exempt"), "runtimeClass".to_owned());
        }
        exempt
    }

    /// Audit annotation and warning; no warning for what is refused anyway.
    fn note(&self, policy: &Policy, refused: bool, findings: &mut Findings) {
        let would = |one: LevelVersion| {
            let violations = evaluate(one, self.metadata, self.spec);
            (!violations.is_empty())
                .then(|| format!("would violate PodSecurity \"{one}\": {}", details(&violations)))
        };
        if let Some(text) = would(policy.audit) {
            findings.annotations.insert(format!("{AUDIT}audit-violations"), text);
        }
        if !refused {
            findings.warnings.extend(would(policy.warn));
        }
    }
}

fn exempt_class(call: &Call<'_>, spec: &Value) -> bool {
    let class = meta::str_at(spec, "/runtimeClassName");
    !class.is_empty() && call.config.pod_security.runtime_classes.iter().any(|c| c == class)
}

/// Whether an update can change what the standards are about: images, and containers that were not there.
fn is_significant(pod: &Value, old: &Value) -> bool {
    let fixed = ["/spec/containers", "/spec/initContainers"].iter().any(|at| {
        let (new, old) = (meta::list_at(pod, at), meta::list_at(old, at));
        new.len() != old.len() || new.iter().zip(old).any(|(new, old)| new["image"] != old["image"])
    });
    let before = meta::list_at(old, "/spec/ephemeralContainers");
    let known = |new: &Value| before.iter().any(|o| o["name"] == new["name"] && o["image"] == new["image"]);
    fixed || !meta::list_at(pod, "/spec/ephemeralContainers").iter().all(known)
}

fn namespace(call: &Call<'_>, object: &Value, findings: &mut Findings) -> Result<(), ApiError> {
    let request = &call.request;
    let (policy, errors) = policy_of(call, object);
    let before = call.old.map(|old| policy_of(call, old));
    let was_wrong = before.as_ref().is_some_and(|(_, old)| *old == errors);
    if !errors.is_empty() && !was_wrong {
        return Err(ApiError::invalid("", "Namespace", request.name, errors));
    }
    let enforce = policy.enforce;
    if let Some((old, _)) = &before {
        let relaxed = enforce.version == old.enforce.version && enforce.level <= old.enforce.level;
        if enforce == old.enforce || enforce.level == Level::Privileged || relaxed {
            return Ok(());
        }
    }
    let name = meta::name(object);
    let config = &call.config.pod_security;
    if config.namespaces.iter().any(|n| n == name) {
        let shown = policy.described(&object["metadata"]["labels"], &config.defaults);
        if !shown.is_empty() {
            findings.warnings.push(format!(
                "namespace {name:?} is exempt from Pod Security, and the policy ({shown}) will be ignored"
            ));
        }
        return Ok(());
    }
    if before.is_some() {
        findings.warnings.extend(existing(call, name, enforce));
    }
    Ok(())
}

/// What to say about pods that are already there: one line for all pods with the same fault.
fn existing(call: &Call<'_>, namespace: &str, enforce: LevelVersion) -> Vec<String> {
    let pods = call.reader.list("", "pods", Some(namespace));
    let pods = prioritised(pods.into_iter().filter(|pod| !exempt_class(call, &pod["spec"])).collect());
    let total = pods.len();
    let mut faults: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for pod in pods.iter().take(MAX_PODS) {
        let violations = evaluate(enforce, &pod["metadata"], &pod["spec"]);
        if violations.is_empty() {
            continue;
        }
        let name = meta::name(pod);
        let (first, count) = faults.entry(reasons(&violations)).or_insert_with(|| (name.to_owned(), 0));
        if name < first.as_str() {
            name.clone_into(first);
        }
        *count += 1;
    }
    let mut warnings = Vec::new();
    if total > MAX_PODS {
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {MAX_PODS} of {total} existing pods"
        ));
    }
    if !faults.is_empty() {
        warnings.push(format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{enforce}\""
        ));
    }
    let mut lines: Vec<String> = faults
        .into_iter()
        .map(|(reasons, (first, count))| match count {
            1 => format!("{first}: {reasons}"),
            2 => format!("{first} (and 1 other pod): {reasons}"),
            _ => format!("{first} (and {} other pods): {reasons}", count - 1),
        })
        .collect();
    lines.sort();
    warnings.extend(lines);
    warnings
}

/// One pod of each controller first: its siblings have the same faults.
fn prioritised(pods: Vec<Arc<Value>>) -> Vec<Arc<Value>> {
    let mut seen = HashSet::new();
    let (mut first, mut later) = (Vec::new(), Vec::new());
    for pod in pods {
        let owner = meta::controller_of(&pod).map(|owner| meta::str_at(owner, "/uid").to_owned());
        if owner.is_none_or(|uid| seen.insert(uid)) { first.push(pod) } else { later.push(pod) }
    }
    first.append(&mut later);
    first
}
