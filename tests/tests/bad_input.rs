//! Acceptance 5: what is refused, with which code, and in whose words (upstream's).

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use xebec_tests::{Namespace, Proxy, cluster, kubectl, namespaced, shell_pod, web};

const JSON: &str = "application/json";

#[test]
fn malformed_json_and_yaml_are_400() -> Result<()> {
    namespaced("malformed", |ns| {
        let proxy = Proxy::start()?;
        let path = format!("/api/v1/namespaces/{}/configmaps", ns.name);
        let cases: [(&str, &[u8]); 5] = [
            (JSON, br#"{"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x""#),
            (JSON, b"not json at all"),
            (JSON, br#"{"kind": "ConfigMap", "apiVersion": "v1", "metadata": []}"#),
            ("application/yaml", b"kind: ConfigMap\napiVersion: v1\nmetadata: {name: [\n"),
            ("application/vnd.kubernetes.protobuf", b"k8s\0\xff\xff\xff\xff"),
        ];
        for (content_type, body) in cases {
            let answer = proxy.send("POST", &path, content_type, body)?;
            ensure!(answer.status == 400, "{content_type} {:?}: {answer:?}", String::from_utf8_lossy(body));
            let status = answer.json()?;
            ensure!(status["kind"] == "Status" && status["reason"] == "BadRequest", "{status}");
            ensure!(status["code"] == 400 && status["status"] == "Failure", "{status}");
        }
        let answer = proxy.send("POST", &path, "text/csv", "a,b")?;
        ensure!(answer.status == 415 && answer.json()?["reason"] == "UnsupportedMediaType", "{answer:?}");
        let wrong = r#"{"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "x"}}"#;
        let answer = proxy.send("POST", &path, JSON, wrong)?;
        ensure!(answer.status == 400, "a Secret is not a ConfigMap: {answer:?}");
        let elsewhere =
            r#"{"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x", "namespace": "default"}}"#;
        let answer = proxy.send("POST", &path, JSON, elsewhere)?;
        let message = "the namespace of the provided object does not match the namespace sent on the request";
        ensure!(answer.status == 400 && answer.body.contains(message), "{answer:?}");
        ensure!(kubectl("get cm x -n").arg(&ns.name).run()?.code == Some(1), "a refused object was stored");
        Ok(())
    })
}

#[test]
fn unknown_and_duplicate_fields_are_named() -> Result<()> {
    namespaced("unknown", |ns| {
        let mut manifest = web("web", 1)[0].take();
        manifest["spec"]["replicass"] = json!(3);
        manifest["spec"]["template"]["spec"]["containers"][0]["imagee"] = json!("x");
        let text = manifest.to_string();
        let strict =
            ns.kubectl("apply --validate=strict -f -").stdin(text.clone()).fails("strict decoding error")?;
        ensure!(strict.contains(r#"unknown field "spec.replicass""#), "{strict}");
        ensure!(strict.contains(r#"unknown field "spec.template.spec.containers[0].imagee""#), "{strict}");
        ns.kubectl("get deployment web").fails("NotFound")?;
        let warned = ns.kubectl("apply --validate=warn -f -").stdin(text.clone()).done()?;
        ensure!(warned.stderr.contains(r#"Warning: unknown field "spec.replicass""#), "{warned}");
        let ignored = ns.kubectl("apply --validate=ignore -f -").stdin(text).done()?;
        ensure!(!ignored.stderr.contains("unknown field"), "{ignored}");
        ensure!(ns.json("deployment/web")?["spec"]["replicass"].is_null(), "an unknown field was stored");
        let proxy = Proxy::start()?;
        let path = format!("/api/v1/namespaces/{}/configmaps?fieldValidation=Strict", ns.name);
        let twice = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"x"},"data":{"a":"1"},"data":{"a":"2"}}"#;
        let answer = proxy.send("POST", &path, JSON, twice)?;
        ensure!(answer.status == 400 && answer.body.contains(r#"duplicate field \"data\""#), "{answer:?}");
        Ok(())
    })
}

/// The manifest is refused with 422 and all of these texts.
fn invalid(proxy: &Proxy, path: &str, manifest: &Value, texts: &[&str]) -> Result<()> {
    let answer = proxy.send("POST", path, JSON, manifest.to_string())?;
    ensure!(answer.status == 422, "expected 422 for {texts:?}: {answer:?}");
    let status = answer.json()?;
    let message = status["message"].as_str().unwrap_or_default();
    for text in texts {
        ensure!(message.contains(text), "no {text:?} in {message:?}");
    }
    ensure!(status["reason"] == "Invalid", "{status}");
    let causes = status["details"]["causes"].as_array().map_or(0, Vec::len);
    ensure!(causes >= texts.len(), "{causes} causes for {} errors: {status}", texts.len());
    let cause = &status["details"]["causes"][0];
    ensure!(
        cause["field"].is_string() && cause["reason"].is_string() && cause["message"].is_string(),
        "{status}"
    );
    Ok(())
}

#[test]
fn an_invalid_deployment_is_422() -> Result<()> {
    namespaced("invalid-deploy", |ns| {
        let proxy = Proxy::start()?;
        let path = format!("/apis/apps/v1/namespaces/{}/deployments", ns.name);
        let valid = web("web", 1)[0].take();
        let with = |change: &dyn Fn(&mut Value)| {
            let mut manifest = valid.clone();
            change(&mut manifest);
            manifest
        };
        let check =
            |change: &dyn Fn(&mut Value), texts: &[&str]| invalid(&proxy, &path, &with(change), texts);
        check(
            &|m| m["spec"]["replicas"] = json!(-1),
            &[
                "Deployment.apps \"web\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            ],
        )?;
        check(
            &|m| m["spec"]["template"]["metadata"]["labels"] = json!({"app": "other"}),
            &[
                "spec.template.metadata.labels: Invalid value: {\"app\":\"other\"}: `selector` does not match template `labels`",
            ],
        )?;
        check(&|m| m["spec"]["selector"] = Value::Null, &["spec.selector: Required value"])?;
        check(
            &|m| m["metadata"]["name"] = json!("A_b"),
            &[
                "metadata.name: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            ],
        )?;
        check(
            &|m| m["spec"]["template"]["spec"]["restartPolicy"] = json!("Never"),
            &["spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""],
        )?;
        check(
            &|m| {
                m["spec"]["replicas"] = json!(-5);
                m["spec"]["minReadySeconds"] = json!(-1);
            },
            &["spec.replicas: Invalid value: -5", "spec.minReadySeconds: Invalid value: -1"],
        )
    })
}

#[test]
fn an_invalid_pod_is_422() -> Result<()> {
    namespaced("invalid-pod", |ns| {
        let proxy = Proxy::start()?;
        let path = format!("/api/v1/namespaces/{}/pods", ns.name);
        let check = |manifest: Value, texts: &[&str]| invalid(&proxy, &path, &manifest, texts);
        let pod = || shell_pod("p", "true");
        let container = |name: &str| json!({"name": name, "image": "x"});
        check(
            pod().spec(json!({"containers": [container("a"), container("a")]})).value(),
            &["Pod \"p\" is invalid: spec.containers[1].name: Duplicate value: \"a\""],
        )?;
        check(pod().spec(json!({"containers": []})).value(), &["spec.containers: Required value"])?;
        check(
            pod().container(json!({"image": null})).value(),
            &["spec.containers[0].image: Required value"],
        )?;
        check(
            pod().container(json!({"name": "Main"})).value(),
            &[
                "spec.containers[0].name: Invalid value: \"Main\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-'",
            ],
        )?;
        check(
            pod().container(json!({"imagePullPolicy": "Sometimes"})).value(),
            &[
                "spec.containers[0].imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
            ],
        )?;
        check(
            pod().container(json!({"volumeMounts": [{"name": "nope", "mountPath": "/x"}]})).value(),
            &["spec.containers[0].volumeMounts[0].name: Not found: \"nope\""],
        )?;
        check(
            pod().container(json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}})).value(),
            &[
                "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
            ],
        )?;
        check(
            pod().container(json!({"ports": [{"containerPort": 0}, {"containerPort": 70_000}]})).value(),
            &[
                "spec.containers[0].ports[0].containerPort: Required value",
                "spec.containers[0].ports[1].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            ],
        )?;
        check(
            pod().metadata(json!({"labels": {"tier": "two words"}})).value(),
            &[
                "metadata.labels: Invalid value: \"two words\": a valid label must be an empty string or consist of alphanumeric characters",
            ],
        )?;
        check(
            pod()
                .container(
                    json!({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.nothing"}}}]}),
                )
                .value(),
            &[
                "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.nothing\": error converting fieldPath",
            ],
        )?;
        let answer = proxy.send(
            "POST",
            &path,
            JSON,
            pod().container(json!({"resources": {"limits": {"memory": "12x"}}})).value().to_string(),
        )?;
        let message =
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
        ensure!(answer.status == 400 && answer.body.contains(message), "{answer:?}");
        Ok(())
    })
}

#[test]
fn an_invalid_service_job_secret_or_configmap_is_422() -> Result<()> {
    namespaced("invalid-misc", |ns| {
        let proxy = Proxy::start()?;
        let core = |plural: &str| format!("/api/v1/namespaces/{}/{plural}", ns.name);
        let service = |ports: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": ports}});
        invalid(
            &proxy,
            &core("services"),
            &service(json!([{"port": 70_000}])),
            &["spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive"],
        )?;
        invalid(
            &proxy,
            &core("services"),
            &service(json!([{"port": 1}, {"port": 2}])),
            &["spec.ports[0].name: Required value", "spec.ports[1].name: Required value"],
        )?;
        invalid(
            &proxy,
            &core("services"),
            &json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"type": "Sideways", "ports": [{"port": 1}]}}),
            &[
                "spec.type: Unsupported value: \"Sideways\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
            ],
        )?;
        let job = shell_pod("j", "true").template();
        invalid(
            &proxy,
            &format!("/apis/batch/v1/namespaces/{}/jobs", ns.name),
            &json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {"template": job}}),
            &["spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""],
        )?;
        invalid(
            &proxy,
            &core("configmaps"),
            &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a b": "x"}}),
            &[
                "data[a b]: Invalid value: \"a b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            ],
        )?;
        invalid(
            &proxy,
            &core("configmaps"),
            &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}}),
            &["ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required"],
        )
    })
}

#[test]
fn what_must_not_change_does_not() -> Result<()> {
    namespaced("immutable", |ns| {
        ns.apply(web("web", 1))?;
        let patch =
            |target: &str, body: &str| ns.kubectl("patch --type=merge").words(target).arg("-p").arg(body);
        patch("deployment web", r#"{"spec":{"selector":{"matchLabels":{"app":"other"}},"template":{"metadata":{"labels":{"app":"other"}}}}}"#)
            .fails("field is immutable")?;
        ns.apply(shell_pod("p", "sleep 600"))?;
        let said = patch("pod p", r#"{"spec":{"terminationGracePeriodSeconds":7,"hostname":"x"}}"#)
            .fails("pod updates may not change fields other than")?;
        ensure!(
            said.contains(
                "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`"
            ),
            "{said}"
        );
        patch("configmap c", r#"{"data":{}}"#).fails("NotFound")?;
        ns.apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "immutable": true, "data": {"a": "1"}}))?;
        patch("configmap c", r#"{"data":{"a":"2"}}"#).fails("field is immutable when `immutable` is set")?;
        patch("configmap c", r#"{"metadata":{"uid":"11111111-1111-1111-1111-111111111111"}}"#)
            .fails("Precondition failed: UID in precondition")?;
        Ok(())
    })
}

#[test]
fn unknown_kinds_and_paths_are_404() -> Result<()> {
    namespaced("unknown-kind", |ns| {
        kubectl("get widgets").fails("error: the server doesn't have a resource type \"widgets\"")?;
        ns.refuses(
            json!({"apiVersion": "apps/v1", "kind": "Widget", "metadata": {"name": "w"}}),
            "no matches for kind \"Widget\" in version \"apps/v1\"",
        )?;
        let proxy = Proxy::start()?;
        for path in [
            "/api/v1/widgets",
            "/apis/apps/v1/namespaces/default/widgets/x",
            "/apis/nothing/v1/pods",
            "/nothing",
        ] {
            let answer = proxy.get(path)?;
            ensure!(answer.status == 404, "{path}: {answer:?}");
        }
        let answer = proxy.get("/api/v1/namespaces/default/configmaps/nothing")?;
        let status = answer.json()?;
        ensure!(answer.status == 404 && status["reason"] == "NotFound", "{status}");
        ensure!(status["details"] == json!({"name": "nothing", "kind": "configmaps"}), "{status}");
        let answer = proxy.send("PUT", "/api/v1/namespaces/default/configmaps", JSON, "{}")?;
        ensure!(answer.status == 405 && answer.json()?["reason"] == "MethodNotAllowed", "{answer:?}");
        Ok(())
    })
}

fn version(ns: &Namespace, value: &str, version: &Value) -> String {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "c", "namespace": ns.name, "resourceVersion": version}, "data": {"a": value},
    })
    .to_string()
}

#[test]
fn conflicts_are_409() -> Result<()> {
    namespaced("conflict", |ns| {
        ns.kubectl("create configmap c --from-literal=a=1").ok()?;
        let stale = ns.json("cm/c")?["metadata"]["resourceVersion"].take();
        ns.kubectl("replace -f -").stdin(version(ns, "2", &stale)).ok()?;
        let said = ns
            .kubectl("replace -f -")
            .stdin(version(ns, "3", &stale))
            .fails("Error from server (Conflict)")?;
        let expected = "Operation cannot be fulfilled on configmaps \"c\": the object has been modified; please apply your changes to the latest version and try again";
        ensure!(said.contains(expected), "{said}");
        ensure!(ns.field("cm/c", ".data.a")? == "2", "the stale write was taken");
        let said = ns.kubectl("create configmap c").fails("already exists")?;
        ensure!(said.contains("configmaps \"c\" already exists"), "{said}");
        let proxy = Proxy::start()?;
        let path = format!("/api/v1/namespaces/{}/configmaps/c", ns.name);
        let precondition =
            r#"{"kind":"DeleteOptions","apiVersion":"v1","preconditions":{"resourceVersion":"1"}}"#;
        let answer = proxy.send("DELETE", &path, JSON, precondition)?;
        ensure!(answer.status == 409 && answer.json()?["reason"] == "Conflict", "{answer:?}");
        let answer = proxy.send("POST", path.trim_end_matches("/c"), JSON, version(ns, "1", &stale))?;
        ensure!(
            answer.body.contains("resourceVersion should not be set on objects to be created"),
            "{answer:?}"
        );
        Ok(())
    })
}

#[test]
fn expired_and_bad_resource_versions() -> Result<()> {
    cluster(|| {
        let proxy = Proxy::start()?;
        let answer = proxy.get("/api/v1/configmaps?watch=1&resourceVersion=words")?;
        ensure!(answer.status == 400 || answer.status == 422, "{answer:?}");
        let answer = proxy.get("/api/v1/configmaps?resourceVersion=999999999999&timeoutSeconds=1")?;
        ensure!(answer.status == 504 || answer.status == 400, "a version of the future: {answer:?}");
        let answer = proxy.get("/api/v1/configmaps?continue=not-a-token")?;
        ensure!(answer.status == 400, "{answer:?}");
        let answer = proxy.get("/api/v1/pods?fieldSelector=spec.nothing=x")?;
        ensure!(
            answer.status == 400 && answer.body.contains("field label not supported: spec.nothing"),
            "{answer:?}"
        );
        let answer = proxy.get("/api/v1/pods?labelSelector=a%20b")?;
        ensure!(answer.status == 400, "{answer:?}");
        Ok(())
    })
}
