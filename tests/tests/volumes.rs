//! Volumes: every kind that a pod of one node can have, their updates, modes and sub-paths.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use xebec_tests::{PATIENCE, PodManifest, namespaced, shell_pod, until};

/// A pod with one volume `v` at `/v` that runs a script once.
fn with_volume(name: &str, script: &str, source: Value) -> PodManifest {
    let mut volume = source;
    volume["name"] = json!("v");
    shell_pod(name, script)
        .spec(json!({"restartPolicy": "Never", "volumes": [volume]}))
        .container(json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}))
}

#[test]
fn an_empty_dir_is_shared_and_outlives_a_container() -> Result<()> {
    namespaced("emptydir", |ns| {
        let writer = json!({
            "name": "writer", "image": "xebec.local/busybox:1",
            "command": ["/bin/sh", "-c", "echo shared > /v/file; sleep 600"], "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        });
        let script = "while [ ! -s /v/file ]; do usleep 50000; done; if [ -e /v/again ]; then sleep 600; fi; touch /v/again; exit 1";
        let mut pod = with_volume("pod", script, json!({"emptyDir": {}}))
            .spec(json!({"restartPolicy": "Always"}))
            .value();
        pod["spec"]["containers"].as_array_mut().into_iter().for_each(|list| list.push(writer.clone()));
        ns.apply(pod)?;
        ns.until_field("pod/pod", ".status.containerStatuses[?(@.name==\"main\")].restartCount", "1")?;
        ns.ready("pod")?;
        ensure!(ns.kubectl("exec pod -c main -- cat /v/file").ok()? == "shared\n");
        Ok(())
    })
}

#[test]
fn an_empty_dir_in_memory_is_a_limited_tmpfs() -> Result<()> {
    namespaced("tmpfs", |ns| {
        let script = "grep ' /v ' /proc/mounts; dd if=/dev/zero of=/v/big bs=1M count=32 2>&1 | tail -n 1; df -k /v | tail -n 1";
        ns.apply(with_volume("pod", script, json!({"emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}})))?;
        let log = ns.ended("pod", "Succeeded")?;
        ensure!(log.starts_with("tmpfs /v tmpfs "), "{log}");
        ensure!(log.contains(" 8192 "), "its size is not the limit: {log}");
        Ok(())
    })
}

#[test]
fn configmap_files_modes_items_and_update() -> Result<()> {
    namespaced("cm-volume", |ns| {
        ns.kubectl("create configmap files --from-literal=a=one --from-literal=b=two").ok()?;
        ns.apply(with_volume(
            "pod",
            "sleep 600",
            json!({"configMap": {
                "name": "files", "defaultMode": 0o440, "items": [{"key": "a", "path": "deep/er/a"}],
            }}),
        ))?;
        ns.apply(with_volume("whole", "sleep 600", json!({"configMap": {"name": "files"}})))?;
        ns.ready("pod")?;
        ns.ready("whole")?;
        ensure!(ns.exec("pod", "cat /v/deep/er/a")? == "one");
        ensure!(ns.exec("pod", "ls /v")? == "deep\n", "only the items that were asked for");
        ensure!(ns.exec("pod", "stat -L -c %a /v/deep/er/a")? == "440\n");
        ensure!(ns.exec("whole", "ls /v")? == "a\nb\n");
        ns.kubectl("exec whole -- touch /v/new").fails("Read-only file system")?;
        ns.kubectl("patch configmap files -p").arg(r#"{"data":{"a":"changed","c":"three"}}"#).ok()?;
        // Upstream promises an update within its sync period, up to a minute and a half.
        until("the files change", PATIENCE * 2, || {
            let now = ns.exec("whole", "sh -c 'cat /v/a /v/c; true'")?;
            ensure!(now == "changedthree", "{now:?}");
            Ok(Some(()))
        })?;
        let missing =
            with_volume("none", "ls /v | wc -l", json!({"configMap": {"name": "none", "optional": true}}));
        ns.apply(missing)?;
        ensure!(ns.ended("none", "Succeeded")?.trim() == "0");
        Ok(())
    })
}

#[test]
fn a_secret_is_in_memory_and_binary_safe() -> Result<()> {
    namespaced("secret-volume", |ns| {
        let file = tempfile::NamedTempFile::new()?;
        let bytes: Vec<u8> = (0..=255).collect();
        std::fs::write(file.path(), bytes)?;
        ns.kubectl("create secret generic s")
            .arg(format!("--from-file=bin={}", file.path().display()))
            .ok()?;
        let script = "grep ' /v ' /proc/mounts; wc -c < /v/bin; sha256sum /v/bin";
        ns.apply(with_volume("pod", script, json!({"secret": {"secretName": "s"}})))?;
        let log = ns.ended("pod", "Succeeded")?;
        ensure!(log.starts_with("tmpfs /v tmpfs ro"), "{log}");
        // Of the bytes 0 to 255.
        ensure!(
            log.contains("256\n40aff2e9d2d8922e47afd4648e6967497158785fbd1da870e7110266bf944880"),
            "{log}"
        );
        Ok(())
    })
}

#[test]
fn a_projected_volume_joins_its_sources() -> Result<()> {
    namespaced("projected", |ns| {
        ns.kubectl("create configmap c --from-literal=from-map=1").ok()?;
        ns.kubectl("create secret generic s --from-literal=from-secret=2").ok()?;
        let sources = json!({"projected": {"sources": [
            {"configMap": {"name": "c"}},
            {"secret": {"name": "s"}},
            {"downwardAPI": {"items": [
                {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                {"path": "memory", "resourceFieldRef": {"containerName": "main", "resource": "requests.memory", "divisor": "1Ki"}},
            ]}},
            {"serviceAccountToken": {"path": "token", "audience": "somebody-else", "expirationSeconds": 600}},
        ]}});
        let script = "ls /v; cat /v/labels; echo; cat /v/memory; echo; cut -d. -f2 /v/token | tr '_-' '/+' | sed 's/$/==/' | base64 -d 2>/dev/null; true";
        ns.apply(
            with_volume("pod", script, sources)
                .container(json!({"resources": {"requests": {"memory": "1Mi"}}})),
        )?;
        let log = ns.ended("pod", "Succeeded")?;
        ensure!(log.starts_with("from-map\nfrom-secret\nlabels\nmemory\ntoken\n"), "{log}");
        ensure!(log.contains("app=\"pod\"\n1024\n"), "{log}");
        ensure!(log.contains(r#""aud":["somebody-else"]"#), "the token's audience: {log}");
        Ok(())
    })
}

#[test]
fn the_service_accounts_token_works_against_the_api() -> Result<()> {
    namespaced("sa-token", |ns| {
        ns.kubectl("create role self --verb=get --resource=pods").ok()?;
        ns.kubectl("create rolebinding self --role=self")
            .arg(format!("--serviceaccount={}:default", ns.name))
            .ok()?;
        let script = r#"D=/var/run/secrets/kubernetes.io/serviceaccount; ls $D; cat $D/namespace; echo
            xebec-workload api kubernetes.default.svc:443 /api/v1/namespaces/$(cat $D/namespace)/pods/pod 2>&1"#;
        // The workload image has a shell too, and a client that checks the server against the mounted CA.
        ns.apply(
            shell_pod("pod", script)
                .container(json!({"image": "xebec.local/workload:1"}))
                .spec(json!({"restartPolicy": "Never"})),
        )?;
        let log = ns.ended("pod", "Succeeded")?;
        ensure!(log.starts_with(&format!("ca.crt\nnamespace\ntoken\n{}\n", ns.name)), "{log}");
        ensure!(log.contains(r#""kind":"Pod""#) || log.contains(r#""kind": "Pod""#), "{log}");
        let without = json!({"restartPolicy": "Never", "automountServiceAccountToken": false});
        ns.apply(shell_pod("bare", "ls /var/run/secrets 2>&1; true").spec(without))?;
        ensure!(ns.ended("bare", "Succeeded")?.contains("No such file or directory"));
        Ok(())
    })
}

#[test]
fn downward_api_follows_the_pods_labels() -> Result<()> {
    namespaced("downward", |ns| {
        let items = json!({"downwardAPI": {"items": [
            {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
            {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}, "mode": 0o400},
        ]}});
        ns.apply(with_volume("pod", "sleep 600", items))?;
        ns.ready("pod")?;
        ensure!(ns.exec("pod", "cat /v/name")? == "pod");
        ensure!(ns.exec("pod", "stat -L -c %a /v/name")? == "400\n");
        ns.kubectl("label pod pod tier=new").ok()?;
        until("the label is in the file", PATIENCE * 2, || {
            Ok(ns.exec("pod", "cat /v/labels")?.contains("tier=\"new\"").then_some(()))
        })
    })
}

#[test]
fn host_path_and_its_types() -> Result<()> {
    namespaced("hostpath", |ns| {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("file"), "from the host")?;
        let source =
            |kind: &str, name: &str| json!({"hostPath": {"path": folder.path().join(name), "type": kind}});
        ns.apply(with_volume("dir", "cat /v/file; echo back > /v/reply", source("Directory", "")))?;
        ensure!(ns.ended("dir", "Succeeded")? == "from the host");
        ensure!(std::fs::read_to_string(folder.path().join("reply"))? == "back\n");
        ns.apply(with_volume("make", "touch /v/made", source("DirectoryOrCreate", "new/deep")))?;
        ns.ended("make", "Succeeded")?;
        ensure!(folder.path().join("new/deep/made").exists());
        ns.apply(with_volume("none", "true", source("Directory", "nothing")))?;
        until("the missing folder is told", PATIENCE, || {
            let events = ns.kubectl("events --for pod/none").ok()?;
            Ok((events.contains("FailedMount") && events.contains("hostPath type check failed"))
                .then_some(()))
        })
    })
}

#[test]
fn sub_paths_and_their_expansion() -> Result<()> {
    namespaced("subpath", |ns| {
        let pod = shell_pod("pod", "echo one > /one/f; echo two > /two/f; cat /all/first/f /all/pod-dir/f; cat /file")
            .spec(json!({"restartPolicy": "Never", "volumes": [{"name": "v", "emptyDir": {}}, {"name": "c", "configMap": {"name": "c"}}]}))
            .container(json!({
                "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "volumeMounts": [
                    {"name": "v", "mountPath": "/all"},
                    {"name": "v", "mountPath": "/one", "subPath": "first"},
                    {"name": "v", "mountPath": "/two", "subPathExpr": "$(POD)-dir"},
                    {"name": "c", "mountPath": "/file", "subPath": "key", "readOnly": true},
                ],
            }));
        ns.kubectl("create configmap c --from-literal=key=content").ok()?;
        ns.apply(pod)?;
        ensure!(ns.ended("pod", "Succeeded")? == "one\ntwo\ncontent");
        let escape = shell_pod("escape", "true")
            .spec(json!({"volumes": [{"name": "v", "emptyDir": {}}]}))
            .container(json!({"volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "../../etc"}]}));
        ns.refuses(escape, "must not contain '..'")
    })
}

#[test]
fn a_group_owns_the_volume() -> Result<()> {
    namespaced("fsgroup", |ns| {
        let pod = with_volume(
            "pod",
            "stat -c '%g %A' /v; id -G; touch /v/mine && stat -c %g /v/mine",
            json!({"emptyDir": {}}),
        )
        .spec(json!({"securityContext": {"runAsUser": 1000, "fsGroup": 4321}}));
        ns.apply(pod)?;
        let log = ns.ended("pod", "Succeeded")?;
        ensure!(log.starts_with("4321 d") && log.ends_with("4321\n"), "{log}");
        ensure!(
            log.lines().next().is_some_and(|line| line.contains("rws")),
            "setgid makes new files inherit: {log}"
        );
        Ok(())
    })
}
