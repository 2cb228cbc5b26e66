use serde_json::{Value, json};

use super::harness::{Answer, Cluster};

const PATH: &str = "/apis/apps/v1/namespaces/default/deployments/web";

fn deployment(replicas: Option<i64>, image: &str) -> Value {
    let mut value = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"a": "1"}},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": image}]}}}});
    if let Some(replicas) = replicas {
        value["spec"]["replicas"] = json!(replicas);
    }
    value
}

async fn apply(cluster: &Cluster, manager: &str, more: &str, value: &Value) -> Answer {
    cluster
        .patch(&format!("{PATH}?fieldManager={manager}{more}"), "application/apply-patch+yaml", value)
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn creates_merges_conflicts_and_prunes() {
    let cluster = Cluster::start().await;
    let made = apply(&cluster, "one", "", &deployment(Some(2), "nginx:1")).await;
    assert_eq!(made.code, 201, "{}", made.text);
    let managed = made.json()["metadata"]["managedFields"].clone();
    assert_eq!(
        (managed[0]["manager"].as_str(), managed[0]["operation"].as_str()),
        (Some("one"), Some("Apply"))
    );
    assert_eq!(managed[0]["fieldsV1"]["f:spec"]["f:replicas"], json!({}));
    assert_eq!(managed.as_array().unwrap().len(), 1, "defaults belong to nobody: {managed}");

    let same = apply(&cluster, "one", "", &deployment(Some(2), "nginx:1")).await;
    assert_eq!(same.json()["metadata"]["resourceVersion"], made.json()["metadata"]["resourceVersion"]);

    let conflict = apply(&cluster, "two", "", &deployment(Some(5), "nginx:1")).await;
    assert_eq!(conflict.code, 409, "{}", conflict.text);
    assert_eq!(conflict.message(), "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas");
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 409,
        "reason": "Conflict", "message": "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas",
        "details": {"causes": [{"reason": "FieldManagerConflict", "message": "conflict with \"one\"", "field": ".spec.replicas"}]}});
    assert_eq!(conflict.json(), status);

    let forced = apply(&cluster, "two", "&force=true", &deployment(Some(5), "nginx:1")).await;
    assert_eq!((forced.code, &forced.json()["spec"]["replicas"]), (200, &json!(5)));

    let mut without_label = deployment(None, "nginx:1");
    without_label["metadata"] = json!({"name": "web"});
    let released = apply(&cluster, "one", "", &without_label).await.json();
    assert_eq!(released["spec"]["replicas"], 5, "the other manager's field stays");
    assert_eq!(released["metadata"]["labels"]["a"], "1", "two owns the label too");
    let released = apply(&cluster, "two", "", &without_label).await.json();
    assert!(released["metadata"].get("labels").is_none(), "nobody owns it any more: {released}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_own_what_they_change() {
    let cluster = Cluster::start().await;
    assert_eq!(apply(&cluster, "one", "", &deployment(Some(2), "nginx:1")).await.code, 201);
    let patch = json!({"spec": {"replicas": 4}});
    let patched = cluster
        .patch(&format!("{PATH}?fieldManager=scaler"), "application/merge-patch+json", &patch)
        .await
        .json();
    let managed = patched["metadata"]["managedFields"].as_array().unwrap().clone();
    let scaler = managed.iter().find(|m| m["manager"] == "scaler").unwrap();
    assert_eq!(scaler["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
    let conflict = apply(&cluster, "one", "", &deployment(Some(2), "nginx:1")).await;
    assert_eq!(conflict.code, 409);
    assert!(conflict.message().contains("conflict with \"scaler\""), "{}", conflict.text);
    let missing = cluster.patch(PATH, "application/apply-patch+yaml", &deployment(None, "nginx:1")).await;
    assert_eq!(missing.code, 422);
}

const MERGE: &str = "application/merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// A manager's entry, without its time.
fn entry(object: &Value, manager: &str, subresource: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let found = entries.into_iter().find(|entry| {
        entry["manager"] == manager && entry["subresource"].as_str().unwrap_or_default() == subresource
    });
    let mut found = found.unwrap_or_default();
    if let Some(entry) = found.as_object_mut() {
        entry.remove("time");
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_have_upstreams_words() {
    let cluster = Cluster::start().await;
    let long = "x".repeat(129);
    let config = deployment(None, "nginx:1");
    let with = |change: &dyn Fn(&mut Value)| {
        let mut config = config.clone();
        change(&mut config);
        config
    };
    let twice = with(&|c| {
        let item = c["spec"]["template"]["spec"]["containers"][0].clone();
        c["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().push(item);
    });
    let options = "PatchOptions.meta.k8s.io \"\" is invalid: ";
    let untyped = "failed to create typed patch object (default/web; apps/v1, Kind=Deployment): ";
    let cases: Vec<(&str, Value, u16, String)> = vec![
        ("", config.clone(), 422, format!("{options}fieldManager: Required value: is required for apply patch")),
        (&long, config.clone(), 422, format!("{options}fieldManager: Too long: may not be more than 128 bytes")),
        ("a%01", config.clone(), 422, format!("{options}fieldManager: Invalid value: \"a\\x01\": invalid character U+0001 (at position 1)")),
        ("a", with(&|c| c["apiVersion"] = json!("apps/v1beta1")), 400, "invalid object type: apps/v1beta1, Kind=Deployment".to_owned()),
        ("a", with(&|c| c["kind"] = json!("Pod")), 400, "invalid object type: apps/v1, Kind=Pod".to_owned()),
        ("a", with(&|c| c["metadata"]["managedFields"] = json!([])), 400, "metadata.managedFields must be nil".to_owned()),
        ("a", with(&|c| c["metadata"] = json!({"generateName": "web"})), 400,
            "the name of the object (web based on URL) was undeterminable: name must be provided".to_owned()),
        ("a", with(&|c| c["metadata"]["uid"] = json!("u")), 409,
            "Operation cannot be fulfilled on deployments.apps \"web\": uid mismatch: the provided object specified uid u, and \
             no existing object was found".to_owned()),
        ("a", twice, 500, format!("{untyped}.spec.template.spec.containers: duplicate entries for key [name=\"c\"]")),
        ("a", with(&|c| c["spec"]["template"]["spec"]["containers"][0]["foo"] = json!(1)), 500,
            format!("{untyped}.spec.template.spec.containers[name=\"c\"].foo: field not declared in schema")),
    ];
    for (manager, config, code, message) in cases {
        let answer = apply(&cluster, manager, "", &config).await;
        assert_eq!((answer.code, answer.message()), (code, message), "{}", answer.text);
    }
    let force = cluster.patch(&format!("{PATH}?force=true"), MERGE, &json!({})).await;
    assert_eq!(
        (force.code, force.message()),
        (422, format!("{options}force: Forbidden: may not be specified for non-apply patch"))
    );
    let created = cluster
        .post(&format!("/api/v1/namespaces?fieldManager={long}"), &json!({"metadata": {"name": "x"}}))
        .await;
    assert_eq!((created.code, created.message()),
        (422, "CreateOptions.meta.k8s.io \"\" is invalid: fieldManager: Too long: may not be more than 128 bytes".to_owned()));
    assert_eq!(cluster.patch(&format!("{PATH}/status?fieldManager=a"), APPLY, &config).await.code, 404);
    // Tried only, nothing is there afterwards.
    assert_eq!(apply(&cluster, "a", "&dryRun=All", &config).await.code, 201);
    assert_eq!(cluster.get(PATH).await.code, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_and_the_rest_are_owned_apart() {
    let cluster = Cluster::start().await;
    let mut config = deployment(Some(1), "nginx:1");
    config["status"] = json!({"replicas": 7});
    let made = apply(&cluster, "one", "", &config).await.json();
    assert!(entry(&made, "one", "")["fieldsV1"].get("f:status").is_none(), "{made}");
    let status = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 9}, "status": {"replicas": 3}});
    let path = format!("{PATH}/status?fieldManager=one");
    let written = cluster.patch(&path, APPLY, &status).await;
    let object = written.json();
    assert_eq!(
        (written.code, &object["spec"]["replicas"], &object["status"]["replicas"]),
        (200, &json!(1), &json!(3)),
        "{}",
        written.text
    );
    assert_eq!(
        entry(&object, "one", "status"),
        json!({"manager": "one", "operation": "Apply", "apiVersion": "apps/v1",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:status": {"f:replicas": {}}}, "subresource": "status"})
    );
    assert_eq!(entry(&object, "one", "")["fieldsV1"]["f:spec"]["f:replicas"], json!({}));
    let conflict = cluster
        .patch(
            &format!("{PATH}/status?fieldManager=two"),
            APPLY,
            &json!({"apiVersion": "apps/v1",
        "kind": "Deployment", "metadata": {"name": "web"}, "status": {"replicas": 4}}),
        )
        .await;
    assert_eq!(
        conflict.message(),
        "Apply failed with 1 conflict: conflict with \"one\" with subresource \"status\": .status.replicas"
    );
    // The other way round: nothing of the status through the main resource.
    let main = cluster
        .patch(&format!("{PATH}?fieldManager=u"), MERGE, &json!({"status": {"replicas": 8}}))
        .await
        .json();
    assert_eq!((&main["status"]["replicas"], entry(&main, "u", "")), (&json!(3), Value::Null));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_adds_is_nobodys() {
    let cluster = Cluster::start().await;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}});
    let made = cluster.post("/api/v1/namespaces/default/services?fieldManager=maker", &service).await.json();
    assert!(made["spec"]["clusterIP"].is_string(), "{made}");
    let fields = entry(&made, "maker", "")["fieldsV1"].clone();
    assert!(fields["f:spec"].get("f:clusterIP").is_none() && fields.get("f:status").is_none(), "{fields}");
    let port = &fields["f:spec"]["f:ports"]["k:{\"port\":80,\"protocol\":\"TCP\"}"];
    assert_eq!(
        (&port["."], &port["f:port"], &fields["f:spec"]["f:selector"]),
        (&json!({}), &json!({}), &json!({}))
    );
    assert!(fields["f:spec"].get(".").is_none(), "the spec is always there: {fields}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scaling_takes_the_number_over() {
    let cluster = Cluster::start().await;
    let path = format!("{PATH}/scale?fieldManager=scaler");
    assert_eq!(apply(&cluster, "one", "", &deployment(Some(2), "nginx:1")).await.code, 201);
    assert_eq!(cluster.patch(&path, MERGE, &json!({"spec": {"replicas": 4}})).await.code, 200);
    let object = cluster.get(PATH).await.json();
    assert_eq!(
        entry(&object, "scaler", "scale"),
        json!({"manager": "scaler", "operation": "Update", "apiVersion": "apps/v1",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}}, "subresource": "scale"})
    );
    assert!(entry(&object, "one", "")["fieldsV1"]["f:spec"].get("f:replicas").is_none(), "{object}");
    let conflict = apply(&cluster, "one", "", &deployment(Some(2), "nginx:1")).await;
    assert_eq!(
        conflict.message(),
        "Apply failed with 1 conflict: conflict with \"scaler\" with subresource \"scale\" using apps/v1: .spec.replicas"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scale_can_be_applied() {
    let cluster = Cluster::start().await;
    let path = format!("{PATH}/scale?fieldManager=scaler");
    let scale = |n: i64| json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": n}});
    assert_eq!(cluster.patch(&path, APPLY, &scale(3)).await.code, 404);
    assert_eq!(apply(&cluster, "one", "", &deployment(Some(2), "nginx:1")).await.code, 201);
    let conflict = cluster.patch(&path, APPLY, &scale(3)).await;
    assert_eq!(conflict.message(), "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas");
    let scaled = cluster.patch(&format!("{path}&force=true"), APPLY, &scale(3)).await;
    assert_eq!((scaled.code, &scaled.json()["spec"]["replicas"]), (200, &json!(3)), "{}", scaled.text);
    let owned = entry(&cluster.get(PATH).await.json(), "scaler", "scale");
    assert_eq!(
        (&owned["operation"], &owned["fieldsV1"]),
        (&json!("Apply"), &json!({"f:spec": {"f:replicas": {}}}))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_comes_from_client_side_apply() {
    let cluster = Cluster::start().await;
    let (old, new) = (deployment(Some(2), "nginx:1"), deployment(Some(2), "nginx:2"));
    let mut sent = old.clone();
    sent["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": old.to_string()});
    let made = cluster
        .post("/apis/apps/v1/namespaces/default/deployments?fieldManager=kubectl-client-side-apply", &sent)
        .await;
    assert_eq!(made.code, 201, "{}", made.text);
    let image = ".spec.template.spec.containers[name=\"c\"].image";
    let conflict = apply(&cluster, "other", "", &new).await;
    assert_eq!(
        conflict.message(),
        format!(
            "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using apps/v1: {image}"
        )
    );
    let upgraded = apply(&cluster, "kubectl", "", &new).await;
    assert_eq!(upgraded.code, 200, "{}", upgraded.text);
    let object = upgraded.json();
    let noted: Value = serde_json::from_str(
        object["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]
            .as_str()
            .unwrap(),
    )
    .unwrap();
    assert_eq!(noted, new);
    // Then kubectl makes one manager of its two, by a patch that tests the version it read.
    let managers: Vec<Value> = object["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["manager"] == "kubectl")
        .cloned()
        .collect();
    let migrate = |version: &str| {
        json!([
        {"op": "replace", "path": "/metadata/managedFields", "value": managers},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": version}])
    };
    let json_patch = "application/json-patch+json";
    let stale = made.json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    assert_eq!(cluster.patch(PATH, json_patch, &migrate(&stale)).await.code, 409);
    let migrated = cluster
        .patch(PATH, json_patch, &migrate(object["metadata"]["resourceVersion"].as_str().unwrap()))
        .await;
    assert_eq!(
        (migrated.code, &migrated.json()["metadata"]["managedFields"]),
        (200, &json!(managers)),
        "{}",
        migrated.text
    );
    // One empty entry takes all managers away; the next apply finds everything owned from before.
    let cleared = cluster.patch(PATH, MERGE, &json!({"metadata": {"managedFields": [{}]}})).await.json();
    assert!(cleared["metadata"].get("managedFields").is_none(), "{cleared}");
    let still = cluster.patch(PATH, MERGE, &json!({"spec": {"replicas": 3}})).await.json();
    assert!(still["metadata"].get("managedFields").is_none(), "{still}");
    let conflict = apply(&cluster, "one", "", &deployment(Some(4), "nginx:2")).await;
    assert_eq!(
        conflict.message(),
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using apps/v1: .spec.replicas"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_manager_keeps_the_version_it_wrote_in() {
    let cluster = Cluster::start().await;
    let path =
        |version: &str| format!("/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers/h");
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    let frame = |version: &str, spec: Value| {
        json!({"apiVersion": format!("autoscaling/{version}"),
        "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"}, "spec": spec})
    };
    let v1 = frame(
        "v1",
        json!({"scaleTargetRef": target, "maxReplicas": 5, "targetCPUUtilizationPercentage": 50}),
    );
    let made = cluster.patch(&format!("{}?fieldManager=old", path("v1")), APPLY, &v1).await;
    assert_eq!(made.code, 201, "{}", made.text);
    let owned = entry(&made.json(), "old", "");
    assert_eq!(
        (&owned["apiVersion"], &owned["fieldsV1"]["f:spec"]["f:targetCPUUtilizationPercentage"]),
        (&json!("autoscaling/v1"), &json!({})),
        "{owned}"
    );
    let metrics = |percent: i64| {
        json!([{"type": "Resource", "resource": {"name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": percent}}}])
    };
    let v2 = |percent| frame("v2", json!({"metrics": metrics(percent)}));
    let new = format!("{}?fieldManager=new", path("v2"));
    let conflict = cluster.patch(&new, APPLY, &v2(60)).await;
    assert_eq!(
        conflict.message(),
        "Apply failed with 1 conflict: conflict with \"old\": .spec.targetCPUUtilizationPercentage"
    );
    let shared = cluster.patch(&new, APPLY, &v2(50)).await;
    assert_eq!(shared.code, 200, "{}", shared.text);
    assert_eq!(entry(&shared.json(), "new", "")["apiVersion"], "autoscaling/v2");
    // The old one lets go; the new one's part stays.
    let v1 = frame("v1", json!({"scaleTargetRef": target, "maxReplicas": 6}));
    let left = cluster.patch(&format!("{}?fieldManager=old", path("v1")), APPLY, &v1).await.json();
    assert_eq!(
        (&left["spec"]["maxReplicas"], &left["spec"]["targetCPUUtilizationPercentage"]),
        (&json!(6), &json!(50)),
        "{left}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patches_are_bounded() {
    let cluster = Cluster::start().await;
    assert_eq!(apply(&cluster, "one", "", &deployment(Some(2), "nginx:1")).await.code, 201);
    let many = Value::Array(vec![json!({"op": "test", "path": "/kind", "value": "Deployment"}); 10_001]);
    let answer = cluster.patch(PATH, "application/json-patch+json", &many).await;
    assert_eq!(
        (answer.code, answer.json()["reason"].as_str()),
        (413, Some("RequestEntityTooLarge")),
        "{}",
        answer.text
    );
    let test = json!([{"op": "test", "path": "/kind", "value": "Pod"}]);
    let answer = cluster.patch(PATH, "application/json-patch+json", &test).await;
    assert_eq!((answer.code, answer.json()["reason"].as_str()), (422, Some("Invalid")), "{}", answer.text);
}
