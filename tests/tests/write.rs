//! Acceptance 2, writing: create, apply, edit, patch, label, annotate, replace, diff, run, expose, wait.

use anyhow::{Result, ensure};
use serde_json::json;
use xebec_tests::{cluster, kubectl, namespaced, shell_pod, web};

#[test]
fn create_each_kind_that_kubectl_has_a_word_for() -> Result<()> {
    namespaced("create", |ns| {
        for (line, said) in [
            ("create configmap c --from-literal=a=1", "configmap/c created\n"),
            ("create secret generic s --from-literal=a=1", "secret/s created\n"),
            ("create serviceaccount sa", "serviceaccount/sa created\n"),
            ("create role r --verb=get,list --resource=pods", "role.rbac.authorization.k8s.io/r created\n"),
            (
                "create rolebinding b --role=r --serviceaccount=x:sa",
                "rolebinding.rbac.authorization.k8s.io/b created\n",
            ),
            ("create service clusterip svc --tcp=80:8080", "service/svc created\n"),
            (
                "create deployment d --image=xebec.local/workload:1 --replicas=2",
                "deployment.apps/d created\n",
            ),
            ("create job j --image=xebec.local/busybox:1 -- true", "job.batch/j created\n"),
        ] {
            let text = ns.kubectl(line).ok()?;
            ensure!(text == said, "{line} said {text:?}");
            ns.kubectl(line).fails("already exists")?;
        }
        ensure!(ns.field("secret/s", ".data.a")? == "MQ==");
        ensure!(ns.field("role/r", ".rules[0].verbs")? == r#"["get","list"]"#);
        ensure!(ns.field("service/svc", ".spec.ports[0].targetPort")? == "8080");
        ns.rolled_out("d")?;
        ns.kubectl("wait --for=condition=complete job/j --timeout=55s").ok()?;
        Ok(())
    })
}

#[test]
fn dry_run_changes_nothing() -> Result<()> {
    namespaced("dry", |ns| {
        let text = ns.kubectl("create deployment d --image=x --dry-run=server -o yaml").ok()?;
        ensure!(
            text.contains("uid: ") && text.contains("progressDeadlineSeconds: 600"),
            "not defaulted:\n{text}"
        );
        ns.kubectl("get deployment d").fails("NotFound")?;
        ns.kubectl("create configmap c --from-literal=a=1").ok()?;
        ns.kubectl("delete configmap c --dry-run=server").ok()?;
        ensure!(ns.field("cm/c", ".data.a")? == "1");
        Ok(())
    })
}

#[test]
fn apply_creates_changes_and_removes_fields() -> Result<()> {
    namespaced("apply", |ns| {
        let manifest = |data: serde_json::Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data});
        ensure!(ns.apply(manifest(json!({"a": "1", "b": "2"})))? == "configmap/c created\n");
        ensure!(ns.apply(manifest(json!({"a": "1", "b": "2"})))? == "configmap/c unchanged\n");
        // What another writer added stays, what the manifest dropped goes.
        ns.kubectl("patch cm c").arg(r#"--patch={"data":{"other":"3"}}"#).ok()?;
        ensure!(ns.apply(manifest(json!({"a": "9"})))? == "configmap/c configured\n");
        ensure!(ns.json("cm/c")?["data"] == json!({"a": "9", "other": "3"}));
        Ok(())
    })
}

#[test]
fn a_list_and_what_get_prints_can_be_applied() -> Result<()> {
    namespaced("list", |ns| {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": web("web", 1)});
        let said = ns.apply(list)?;
        ensure!(said == "deployment.apps/web created\nservice/web created\n", "{said}");
        let printed = ns.kubectl("get deployments,services -o yaml").ok()?;
        ns.kubectl("apply -f -").stdin(printed).ok()?;
        ns.rolled_out("web")
    })
}

#[test]
fn server_side_apply_owns_fields_and_reports_conflicts() -> Result<()> {
    namespaced("ssa", |ns| {
        let manifest = |value: &str| {
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": value}})
                .to_string()
        };
        let apply = |manager: &str, value: &str| {
            ns.kubectl("apply --server-side -f -")
                .arg(format!("--field-manager={manager}"))
                .stdin(manifest(value))
        };
        ensure!(apply("one", "1").ok()? == "configmap/c serverside-applied\n");
        let fields =
            ns.kubectl("get cm c --show-managed-fields -o jsonpath={.metadata.managedFields[0]}").ok()?;
        ensure!(fields.contains(r#""manager":"one""#) && fields.contains(r#""f:a":{}"#), "{fields}");
        let conflict = apply("two", "2").fails("conflict with \"one\"")?;
        ensure!(conflict.contains(".data.a"), "the field is not named: {conflict}");
        apply("two", "2").arg("--force-conflicts").ok()?;
        ensure!(ns.field("cm/c", ".data.a")? == "2");
        Ok(())
    })
}

#[test]
fn server_side_apply_of_a_deployment_merges_lists_by_key() -> Result<()> {
    namespaced("ssa-deploy", |ns| {
        let manifest = |env: serde_json::Value| {
            let pod = shell_pod("d", "sleep 600").container(json!({"env": env}));
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
                "spec": {"selector": {"matchLabels": {"app": "d"}}, "template": pod.template()},
            })
            .to_string()
        };
        let apply = |env| ns.kubectl("apply --server-side -f -").stdin(manifest(env)).ok();
        apply(json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]))?;
        ns.rolled_out("d")?;
        apply(json!([{"name": "B", "value": "3"}]))?;
        let env = &ns.json("deployment/d")?["spec"]["template"]["spec"]["containers"][0]["env"];
        ensure!(*env == json!([{"name": "B", "value": "3"}]), "{env}");
        ns.rolled_out("d")
    })
}

#[test]
fn patch_in_three_types() -> Result<()> {
    namespaced("patch", |ns| {
        ns.apply(web("web", 1))?;
        let strategic = r#"{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"A","value":"1"}]}]}}}}"#;
        ns.kubectl("patch deployment web --type=strategic -p").arg(strategic).ok()?;
        let containers = &ns.json("deployment/web")?["spec"]["template"]["spec"]["containers"];
        ensure!(
            containers[0]["env"][0]["name"] == "A" && containers[0]["image"] == "xebec.local/workload:1",
            "{containers}"
        );
        ensure!(containers.as_array().is_some_and(|list| list.len() == 1), "merged by name: {containers}");
        ns.kubectl("patch deployment web --type=merge -p")
            .arg(r#"{"metadata":{"labels":{"app":null,"new":"x"}}}"#)
            .ok()?;
        ensure!(ns.json("deployment/web")?["metadata"]["labels"] == json!({"new": "x"}));
        let json_patch = r#"[{"op":"test","path":"/spec/replicas","value":1},{"op":"replace","path":"/spec/replicas","value":0}]"#;
        ns.kubectl("patch deployment web --type=json -p").arg(json_patch).ok()?;
        ensure!(ns.field("deployment/web", ".spec.replicas")? == "0");
        // Its own test operation does not hold any more.
        ns.kubectl("patch deployment web --type=json -p").arg(json_patch).fails("The request is invalid")?;
        Ok(())
    })
}

#[test]
fn label_and_annotate() -> Result<()> {
    namespaced("label", |ns| {
        ns.kubectl("create configmap c").ok()?;
        ensure!(ns.kubectl("label cm c tier=a").ok()? == "configmap/c labeled\n");
        ns.kubectl("label cm c tier=b").fails("--overwrite is false")?;
        ns.kubectl("label cm c tier=b --overwrite").ok()?;
        ensure!(ns.field("cm/c", ".metadata.labels.tier")? == "b");
        ensure!(ns.kubectl("label cm c tier-").ok()? == "configmap/c unlabeled\n");
        ensure!(ns.kubectl("annotate cm c note='two words'").ok()? == "configmap/c annotated\n");
        ensure!(ns.field("cm/c", ".metadata.annotations.note")? == "two words");
        ns.kubectl("annotate cm c note-").ok()?;
        ensure!(ns.field("cm/c", ".metadata.annotations")?.is_empty());
        Ok(())
    })
}

#[test]
fn edit_with_an_editor() -> Result<()> {
    namespaced("edit", |ns| {
        ns.kubectl("create configmap c --from-literal=a=before").ok()?;
        let edited = ns.kubectl("edit configmap c").env("KUBE_EDITOR", "sed -i s/before/after/").ok()?;
        ensure!(edited == "configmap/c edited\n", "{edited}");
        ensure!(ns.field("cm/c", ".data.a")? == "after");
        let unchanged = ns.kubectl("edit configmap c").env("KUBE_EDITOR", "true").done()?;
        ensure!(unchanged.to_string().contains("Edit cancelled"), "{unchanged}");
        Ok(())
    })
}

#[test]
fn replace_and_diff() -> Result<()> {
    namespaced("replace", |ns| {
        let manifest = |value: &str| {
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": value}})
                .to_string()
        };
        ns.kubectl("replace -f -").stdin(manifest("1")).fails("Error from server (NotFound)")?;
        ns.kubectl("create -f -").stdin(manifest("1")).ok()?;
        ensure!(ns.kubectl("replace -f -").stdin(manifest("2")).ok()? == "configmap/c replaced\n");
        let uid = ns.field("cm/c", ".metadata.uid")?;
        ns.kubectl("replace --force -f -").stdin(manifest("3")).ok()?;
        ensure!(ns.field("cm/c", ".metadata.uid")? != uid, "--force makes a new object");
        let diff = ns.kubectl("diff -f -").stdin(manifest("4")).run()?;
        ensure!(diff.code == Some(1), "{diff}");
        ensure!(diff.stdout.contains("-  a: \"3\"") && diff.stdout.contains("+  a: \"4\""), "{diff}");
        let same = ns.kubectl("diff -f -").stdin(manifest("3")).run()?;
        ensure!(same.code == Some(0) && ns.field("cm/c", ".data.a")? == "3", "{same}");
        Ok(())
    })
}

#[test]
fn run_and_expose() -> Result<()> {
    namespaced("run", |ns| {
        ensure!(
            ns.kubectl("run server --image=xebec.local/workload:1 --port=8080").ok()?
                == "pod/server created\n"
        );
        ns.ready("server")?;
        ensure!(
            ns.kubectl("expose pod server --port=80 --target-port=8080").ok()? == "service/server exposed\n"
        );
        ensure!(ns.field("service/server", ".spec.selector")? == r#"{"run":"server"}"#);
        let once = ns
            .kubectl("run once --rm -i --restart=Never --image=xebec.local/busybox:1 --command")
            .words("-- /bin/sh -c 'i=0; while [ $i -lt 50 ]; do wget -qO- http://server && exit 0; i=$((i+1)); usleep 100000; done; exit 1'")
            .ok()?;
        ensure!(
            once.contains("server ") && once.contains("10.244."),
            "the server's answer is its name and the caller: {once}"
        );
        ns.kubectl("get pod once").fails("NotFound")?;
        Ok(())
    })
}

#[test]
fn wait_for_conditions_values_and_deletion() -> Result<()> {
    namespaced("wait", |ns| {
        ns.apply(web("web", 1))?;
        ns.kubectl("wait --for=condition=Available deployment/web --timeout=55s").ok()?;
        ns.kubectl("wait --for=jsonpath='{.status.phase}'=Running pod -l app=web --timeout=55s").ok()?;
        ns.kubectl("wait --for=condition=Available=False deployment/web --timeout=1s")
            .fails("timed out waiting for the condition")?;
        let waiting = ns.kubectl("wait --for=delete deployment/web --timeout=55s").stream()?;
        ns.kubectl("delete deployment web").ok()?;
        let (lines, code) = waiting.end()?;
        ensure!(code == Some(0), "{lines:?}");
        Ok(())
    })
}

#[test]
fn namespaces_have_a_life_cycle() -> Result<()> {
    cluster(|| {
        let name = format!("e2e-life-{}", std::process::id());
        ensure!(kubectl("create namespace").arg(&name).ok()? == format!("namespace/{name} created\n"));
        kubectl("wait --for=create configmap/kube-root-ca.crt --timeout=55s -n").arg(&name).ok()?;
        kubectl("create configmap c -n").arg(&name).ok()?;
        kubectl("delete namespace").arg(&name).ok()?;
        kubectl("get namespace").arg(&name).fails("NotFound")?;
        kubectl("create configmap c -n").arg(&name).fails("not found")?;
        kubectl("delete namespace kube-public --dry-run=server").fails("Forbidden").map(drop)
    })
}
