use super::*;
use crate::testing::{World, request};
use serde_json::json;

fn violations(level: &str, version: &str, spec: Value) -> String {
    let policy =
        LevelVersion { level: Level::parse(level).unwrap(), version: Version::parse(version).unwrap() };
    details(&evaluate(policy, &json!({}), &spec))
}

fn hardened() -> Value {
    json!({
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "c", "image": "i", "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
    })
}

/// A spec with one field of the pod or of its container changed.
fn with(mut spec: Value, pointer: &str, value: Value) -> Value {
    meta::set(&mut spec, pointer, value);
    spec
}

fn container(context: Value) -> Value {
    json!({"containers": [{"name": "c", "securityContext": context}]})
}

#[test]
fn a_plain_pod_and_a_hardened_one() {
    let plain = json!({"containers": [{"name": "c"}]});
    assert_eq!(violations("privileged", "latest", json!({"hostPID": true})), "");
    assert_eq!(violations("baseline", "latest", plain.clone()), "");
    assert_eq!(
        violations("restricted", "latest", plain.clone()),
        "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), \
         unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), \
         runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), \
         seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \
         \"Localhost\")"
    );
    assert_eq!(violations("restricted", "latest", hardened()), "");
    // Before 1.8 and 1.19 the fields did not exist.
    assert_eq!(
        violations("restricted", "v1.7", plain),
        "runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true)"
    );
}

#[test]
fn baseline_checks() {
    let two = json!({"initContainers": [{"name": "a", "ports": [{"hostPort": 80}]}],
        "containers": [{"name": "b", "ports": [{"hostPort": 81}, {"hostPort": 0}]}]});
    for (spec, expected) in [
        (
            json!({"hostNetwork": true, "hostIPC": true, "hostPID": false}),
            "host namespaces (hostNetwork=true, hostIPC=true)",
        ),
        (json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}), "hostPath volumes (volume \"v\")"),
        (two, "hostPort (containers \"a\", \"b\" use hostPorts 80, 81)"),
        (
            container(json!({"privileged": true})),
            "privileged (container \"c\" must not set securityContext.privileged=true)",
        ),
        (
            container(json!({"capabilities": {"add": ["NET_RAW", "CHOWN", "BPF"]}})),
            "non-default capabilities (container \"c\" must not include \"BPF\", \"NET_RAW\" in \
             securityContext.capabilities.add)",
        ),
        (
            container(json!({"procMount": "Unmasked"})),
            "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")",
        ),
        (
            json!({"securityContext": {"seLinuxOptions": {"type": "x_t", "user": "u"}},
                "containers": [{"name": "c", "securityContext": {"seLinuxOptions": {"role": "r"}}}]}),
            "seLinuxOptions (pod and container \"c\" set forbidden securityContext.seLinuxOptions: type \"x_t\"; user \
             may not be set; role may not be set)",
        ),
        (
            json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}),
            "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (
            json!({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_rmem"}, {"name": "kernel.msgmax"}]}}),
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            container(json!({"windowsOptions": {"hostProcess": true}})),
            "hostProcess (container \"c\" must not set securityContext.windowsOptions.hostProcess=true)",
        ),
        (
            container(json!({"appArmorProfile": {"type": "Unconfined"}})),
            "forbidden AppArmor profile (container \"c\" must not set AppArmor profile type to \"Unconfined\")",
        ),
        (
            json!({"containers": [{"name": "c", "livenessProbe": {"httpGet": {"host": "10.0.0.1"}},
                "lifecycle": {"preStop": {"tcpSocket": {"host": "h"}}}}]}),
            "probe or lifecycle host (container \"c\" uses probe or lifecycle hosts \"10.0.0.1\", \"h\")",
        ),
    ] {
        assert_eq!(violations("baseline", "latest", spec), expected);
    }
}

#[test]
fn restricted_checks() {
    for (pointer, value, expected) in [
        (
            "/volumes",
            json!([{"name": "a", "nfs": {}}, {"name": "b", "hostPath": {}}, {"name": "c", "emptyDir": {}}]),
            "restricted volume types (volumes \"a\", \"b\" use restricted volume types \"hostPath\", \"nfs\")",
        ),
        (
            "/securityContext/runAsNonRoot",
            json!(false),
            "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false)",
        ),
        ("/securityContext/runAsUser", json!(0), "runAsUser=0 (pod must not set runAsUser=0)"),
    ] {
        assert_eq!(violations("restricted", "latest", with(hardened(), pointer, value)), expected);
    }
    let mut adding = hardened();
    adding["containers"][0]["securityContext"]["capabilities"]["add"] = json!(["NET_BIND_SERVICE", "CHOWN"]);
    assert_eq!(
        violations("restricted", "latest", adding),
        "unrestricted capabilities (container \"c\" must not include \"CHOWN\" in securityContext.capabilities.add)"
    );
}

#[test]
fn versions_decide() {
    let sysctl = |name: &str| json!({"securityContext": {"sysctls": [{"name": name}]}});
    assert_eq!(violations("baseline", "v1.27", sysctl("net.ipv4.ip_local_reserved_ports")), "");
    assert_ne!(violations("baseline", "v1.26", sysctl("net.ipv4.ip_local_reserved_ports")), "");
    assert_ne!(violations("baseline", "v1.31", sysctl("net.ipv4.tcp_wmem")), "");
    assert_ne!(violations("baseline", "latest", sysctl("net.ipv4.tcp_notsent_lowat")), "", "safe since 1.37");
    let engine = container(json!({"seLinuxOptions": {"type": "container_engine_t"}}));
    assert_eq!(violations("baseline", "v1.31", engine.clone()), "");
    assert_ne!(violations("baseline", "v1.30", engine), "");
    let mut own_users = container(json!({"procMount": "Unmasked", "runAsUser": 0}));
    own_users["hostUsers"] = json!(false);
    assert_eq!(violations("baseline", "latest", own_users.clone()), "");
    assert!(violations("baseline", "v1.34", own_users.clone()).starts_with("procMount"));
    let restricted = violations("restricted", "latest", own_users);
    assert!(restricted.contains("procMount") && !restricted.contains("runAs"), "{restricted}");
    let windows = with(json!({"containers": [{"name": "c"}]}), "/os", json!({"name": "windows"}));
    assert_eq!(
        violations("restricted", "latest", windows),
        "runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true)"
    );
    let annotated = json!({"annotations": {"seccomp.security.alpha.kubernetes.io/pod": "unconfined",
        "container.apparmor.security.beta.kubernetes.io/c": "unconfined"}});
    let old = LevelVersion { level: Level::Baseline, version: Version::Minor(18) };
    assert_eq!(
        details(&evaluate(old, &annotated, &json!({"containers": [{"name": "c"}]}))),
        "forbidden AppArmor profile (annotation must not set AppArmor profile type to \
         \"container.apparmor.security.beta.kubernetes.io/c=\"unconfined\"\"), seccompProfile (forbidden annotation \
         seccomp.security.alpha.kubernetes.io/pod=\"unconfined\")"
    );
}

fn namespace_with(labels: Value) -> World {
    let world = World::default();
    world.put("", "namespaces", json!({"metadata": {"name": "ns", "labels": labels}}));
    world
}

#[test]
fn pods_are_refused_and_warned_about() {
    let world = namespace_with(json!({"pod-security.kubernetes.io/enforce": "baseline",
        "pod-security.kubernetes.io/warn": "restricted", "pod-security.kubernetes.io/warn-version": "v1.8",
        "pod-security.kubernetes.io/audit": "baseline"}));
    let request = request(Operation::Create, "", "pods", "ns", "x");
    let bad = json!({"metadata": {"name": "x"}, "spec": {"hostPID": true, "containers": [{"name": "c"}]}});
    let mut findings = Findings::default();
    let error = validate(&world.call(request, None), &bad, &mut findings).unwrap_err();
    assert_eq!(
        error.message,
        "pods \"x\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostPID=true)"
    );
    assert_eq!((error.code, findings.warnings.len()), (403, 0));
    assert_eq!(
        findings.annotations["pod-security.kubernetes.io/audit-violations"],
        "would violate PodSecurity \"baseline:latest\": host namespaces (hostPID=true)"
    );
    assert_eq!(findings.annotations["pod-security.kubernetes.io/enforce-policy"], "baseline:latest");
    let good = json!({"metadata": {"name": "x"}, "spec": {"containers": [{"name": "c"}]}});
    let mut findings = Findings::default();
    validate(&world.call(request, None), &good, &mut findings).unwrap();
    assert_eq!(
        findings.warnings,
        [
            "would violate PodSecurity \"restricted:v1.8\": allowPrivilegeEscalation != false (container \"c\" must set \
          securityContext.allowPrivilegeEscalation=false), runAsNonRoot != true (pod or container \"c\" must set \
          securityContext.runAsNonRoot=true)"
        ]
    );
}

#[test]
fn workloads_are_warned_about_only() {
    let world = namespace_with(json!({"pod-security.kubernetes.io/enforce": "baseline"}));
    let request = request(Operation::Create, "batch", "cronjobs", "ns", "x");
    let job = json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": {"hostIPC": true}}}}}});
    let mut findings = Findings::default();
    validate(&world.call(request, None), &job, &mut findings).unwrap();
    assert_eq!(
        findings.warnings,
        ["would violate PodSecurity \"baseline:latest\": host namespaces (hostIPC=true)"]
    );
}

#[test]
fn updates_and_ephemeral_containers() {
    let world = namespace_with(json!({"pod-security.kubernetes.io/enforce": "baseline"}));
    let old = json!({"spec": {"hostPID": true, "containers": [{"name": "c", "image": "a"}]}});
    let check = |subresource: &'static str, pod: &Value| {
        let mut request = request(Operation::Update, "", "pods", "ns", "x");
        request.subresource = subresource;
        validate(&world.call(request, Some(&old)), pod, &mut Findings::default()).map_err(|e| e.message)
    };
    assert_eq!(check("", &with(old.clone(), "/metadata/labels", json!({"a": "b"}))), Ok(()));
    let mut image = old.clone();
    image["spec"]["containers"][0]["image"] = json!("b");
    assert!(check("", &image).is_err());
    assert_eq!(check("status", &image), Ok(()));
    let debug = with(old.clone(), "/spec/ephemeralContainers", json!([{"name": "d", "image": "a"}]));
    assert!(check("ephemeralcontainers", &debug).is_err());
}

#[test]
fn exemptions() {
    let mut world = namespace_with(json!({"pod-security.kubernetes.io/enforce": "restricted"}));
    let pod = json!({"metadata": {"name": "x"}, "spec": {"runtimeClassName": "vm", "hostPID": true}});
    let request = request(Operation::Create, "", "pods", "ns", "x");
    for (set, why) in [(0, "namespace"), (1, "user"), (2, "runtimeClass")] {
        let config = &mut world.config.pod_security;
        *config = PodSecurityConfig::default();
        match set {
            0 => config.namespaces = vec!["ns".to_owned()],
            1 => config.users = vec![request.user.name.clone()],
            _ => config.runtime_classes = vec!["vm".to_owned()],
        }
        let mut findings = Findings::default();
        validate(&world.call(request, None), &pod, &mut findings).unwrap();
        assert_eq!(findings.annotations["pod-security.kubernetes.io/exempt"], why);
    }
}

#[test]
fn namespaces() {
    let mut world = namespace_with(json!({}));
    for (name, spec) in [
        ("b", json!({"hostPID": true})),
        ("a", json!({"hostPID": true})),
        ("c", json!({"containers": [{"name": "x", "securityContext": {"privileged": true}}]})),
        ("d", json!({})),
    ] {
        world.put("", "pods", json!({"metadata": {"name": name, "namespace": "ns"}, "spec": spec}));
    }
    let labelled = |level: &str| json!({"metadata": {"name": "ns", "labels": {"pod-security.kubernetes.io/enforce": level}}});
    let plain = json!({"metadata": {"name": "ns"}});
    let update = request(Operation::Update, "", "namespaces", "ns", "ns");
    let mut findings = Findings::default();
    validate(&world.call(update, Some(&plain)), &labelled("baseline"), &mut findings).unwrap();
    assert_eq!(
        findings.warnings,
        [
            "existing pods in namespace \"ns\" violate the new PodSecurity enforce level \"baseline:latest\"",
            "a (and 1 other pod): host namespaces",
            "c: privileged",
        ]
    );
    let mut findings = Findings::default();
    validate(&world.call(update, Some(&labelled("restricted"))), &labelled("baseline"), &mut findings)
        .unwrap();
    assert!(findings.warnings.is_empty(), "a level that falls refuses nothing new");
    let create = request(Operation::Create, "", "namespaces", "ns", "ns");
    let error = validate(&world.call(create, None), &labelled("x"), &mut findings).unwrap_err();
    assert_eq!(
        error.message,
        "Namespace \"ns\" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"x\": must be \
         one of privileged, baseline, restricted"
    );
    let old = labelled("x");
    validate(&world.call(update, Some(&old)), &labelled("x"), &mut findings).unwrap();
    world.config.pod_security.namespaces = vec!["ns".to_owned()];
    let mut findings = Findings::default();
    validate(&world.call(create, None), &labelled("baseline"), &mut findings).unwrap();
    assert_eq!(
        findings.warnings,
        [
            "namespace \"ns\" is exempt from Pod Security, and the policy (enforce=baseline:latest) will be ignored"
        ]
    );
}
