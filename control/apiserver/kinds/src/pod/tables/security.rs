//! Security contexts, operating systems, users of the host.

use super::*;

#[test]
fn pod_contexts() {
    let with = |context: Value| json!({"spec.securityContext": context});
    let ids = "must be between 0 and 2147483647, inclusive";
    table().valid(&[
        ("ids", with(json!({"runAsUser": 0, "runAsGroup": 1, "fsGroup": 2, "supplementalGroups": [3]}))),
        ("policies", with(json!({"fsGroupChangePolicy": "OnRootMismatch", "supplementalGroupsPolicy": "Strict", "seLinuxChangePolicy": "MountOption"}))),
        ("profiles", with(json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "a/b"}, "appArmorProfile": {"type": "Unconfined"}}))),
        ("sysctls", with(json!({"sysctls": [{"name": "net.ipv4.x", "value": "1"}, {"name": "kernel/shm_rmid_forced", "value": "1"}]}))),
    ]);
    table().invalid(&[
        (
            "ids",
            with(json!({"runAsUser": -1, "fsGroup": 2147483648i64, "supplementalGroups": [-3]})),
            &[
                &format!("spec.securityContext.fsGroup: Invalid value: 2147483648: {ids}"),
                &format!("spec.securityContext.runAsUser: Invalid value: -1: {ids}"),
                &format!("spec.securityContext.supplementalGroups[0]: Invalid value: -3: {ids}"),
            ],
        ),
        (
            "policies",
            with(json!({"fsGroupChangePolicy": "X", "supplementalGroupsPolicy": "X", "seLinuxChangePolicy": "X"})),
            &[
                "spec.securityContext.fsGroupChangePolicy: Unsupported value: \"X\": supported values: \"Always\", \"OnRootMismatch\"",
                "spec.securityContext.supplementalGroupsPolicy: Unsupported value: \"X\": supported values: \"Merge\", \"Strict\"",
                "spec.securityContext.seLinuxChangePolicy: Unsupported value: \"X\": supported values: \"MountOption\", \"Recursive\"",
            ],
        ),
        (
            "profiles",
            with(json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "/a"}, "appArmorProfile": {"type": "Localhost", "localhostProfile": " a"}})),
            &[
                "spec.securityContext.seccompProfile.localhostProfile: Invalid value: \"/a\": must be a relative path",
                "spec.securityContext.appArmorProfile.localhostProfile: Invalid value: \" a\": must not be padded with whitespace",
            ],
        ),
        (
            "types of profiles",
            with(json!({"seccompProfile": {"type": "X"}, "appArmorProfile": {"type": "RuntimeDefault", "localhostProfile": "a"}})),
            &[
                "spec.securityContext.seccompProfile.type: Unsupported value: \"X\": supported values: \"Localhost\", \"RuntimeDefault\", \"Unconfined\"",
                "spec.securityContext.appArmorProfile.localhostProfile: Invalid value: \"a\": can only be set when AppArmor type is Localhost",
            ],
        ),
        (
            "sysctls of the host",
            json!({"spec.hostNetwork": true, "spec.hostIPC": true, "spec.securityContext.sysctls":
                [{"name": "net.ipv4.x", "value": "1"}, {"name": "kernel.sem", "value": "1"}, {"name": "A", "value": ""}]}),
            &[
                "spec.securityContext.sysctls[0].name: Invalid value: \"net.ipv4.x\": may not be specified when 'hostNetwork' is true",
                "spec.securityContext.sysctls[1].name: Invalid value: \"kernel.sem\": may not be specified when 'hostIPC' is true",
                "spec.securityContext.sysctls[2].name: Invalid value: \"A\": must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$",
            ],
        ),
        (
            "two ways to share",
            json!({"spec.hostPID": true, "spec.shareProcessNamespace": true}),
            &["spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled"],
        ),
    ]);
}

#[test]
fn container_contexts() {
    let with = |context: Value| json!({"spec.containers[0].securityContext": context});
    table().valid(&[(
        "unmasked with users of its own",
        json!({"spec.hostUsers": false, "spec.containers[0].securityContext": {"procMount": "Unmasked"}}),
    )]);
    table().invalid(&[
        (
            "proc",
            with(json!({"procMount": "Unmasked"})),
            &["spec.containers[0].securityContext.procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`"],
        ),
        (
            "escalation",
            with(json!({"privileged": true, "allowPrivilegeEscalation": false})),
            &["spec.containers[0].securityContext: Invalid value: {\"allowPrivilegeEscalation\":false,\"privileged\":true}: cannot set `allowPrivilegeEscalation` to false and `privileged` to true"],
        ),
        (
            "capability",
            with(json!({"capabilities": {"add": ["CAP_SYS_ADMIN"]}, "allowPrivilegeEscalation": false})),
            &["spec.containers[0].securityContext: Invalid value: {\"allowPrivilegeEscalation\":false,\"capabilities\":{\"add\":[\"CAP_SYS_ADMIN\"]}}: cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"],
        ),
        (
            "profile",
            with(json!({"seccompProfile": {}})),
            &["spec.containers[0].securityContext.seccompProfile.type: Required value: type is required when seccompProfile is set"],
        ),
    ]);
}

#[test]
fn operating_systems() {
    let user = |name: &str| json!({"spec.securityContext.windowsOptions.runAsUserName": name});
    let at = "spec.securityContext.windowsOptions.runAsUserName: Invalid value";
    table().valid(&[
        ("user", user("DOMAIN\\user")),
        (
            "host process",
            json!({"spec.hostNetwork": true, "spec.securityContext.windowsOptions.hostProcess": true}),
        ),
    ]);
    table().invalid(&[
        ("user", user(""), &[&format!("{at}: \"\": runAsUserName cannot be an empty string")]),
        ("user", user("a\\b\\c"), &[&format!("{at}: \"a\\\\b\\\\c\": runAsUserName cannot contain more than one backslash")]),
        ("user", user(".."), &[&format!("{at}: \"..\": runAsUserName's User cannot contain only periods or spaces")]),
        (
            "user",
            user("a@b"),
            &[&format!("{at}: \"a@b\": runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]")],
        ),
        (
            "host process",
            json!({"spec.containers[0].securityContext.windowsOptions.hostProcess": true, "spec.containers[1]": {"name": "d", "image": "i"}}),
            &[
                "spec: Invalid value: \"\": If pod contains any hostProcess containers then all containers must be HostProcess containers",
                "spec.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers",
            ],
        ),
        ("os", json!({"spec.os": {"name": "dos"}}), &["spec.os: Unsupported value: \"dos\": supported values: \"linux\", \"windows\""]),
        ("os", json!({"spec.os": {}}), &["spec.os.name: Required value: cannot be empty"]),
        (
            "linux",
            json!({"spec.os.name": "linux", "spec.containers[0].securityContext.windowsOptions": {}}),
            &["spec.containers[0].securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod"],
        ),
        (
            "windows",
            json!({"spec.os.name": "windows", "spec.hostPID": true, "spec.securityContext.runAsUser": 1,
                "spec.containers[0].securityContext.privileged": false}),
            &[
                "spec.hostPID: Forbidden: cannot be set for a windows pod",
                "spec.securityContext.runAsUser: Forbidden: cannot be set for a windows pod",
                "spec.containers[0].securityContext.privileged: Forbidden: cannot be set for a windows pod",
            ],
        ),
        (
            "users of its own",
            json!({"spec.hostUsers": false, "spec.hostNetwork": true, "spec.hostIPC": true}),
            &[
                "spec.hostNetwork: Forbidden: when `pod.Spec.HostUsers` is false",
                "spec.HostIPC: Forbidden: when `pod.Spec.HostUsers` is false",
            ],
        ),
    ]);
}
