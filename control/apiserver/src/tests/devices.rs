//! Device claims: selectors are compiled, admin access needs a labelled namespace, the parts of a status rights of their
//! own.

use serde_json::{Value, json};

use super::harness::{Cluster, send};

const CLAIMS: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
const MERGE: &str = "application/merge-patch+json";

fn claim(name: &str, exactly: &Value) -> Value {
    let mut exactly = exactly.clone();
    exactly["deviceClassName"] = json!("gpu.example.com");
    json!({"metadata": {"name": name}, "spec": {"devices": {"requests": [{"name": "r", "exactly": exactly}]}}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn selectors_are_compiled_against_the_device() {
    let cluster = Cluster::start().await;
    let selector = |expression: &str| json!({"selectors": [{"cel": {"expression": expression}}]});
    let refused = cluster.post(CLAIMS, &claim("c", &selector("device.name"))).await;
    assert_eq!(refused.code, 422, "{}", refused.text);
    let cause = &refused.json()["details"]["causes"][0];
    assert_eq!(cause["field"], "spec.devices.requests[0].exactly.selectors[0].cel.expression");
    let message = cause["message"].as_str().unwrap();
    assert!(
        message.starts_with(
            "Invalid value: \"device.name\": compilation failed: ERROR: <input>:1:7: undefined field 'name'"
        ),
        "{message}"
    );
    let good = selector("device.attributes['gpu.example.com'].ecc && device.driver == 'gpu.example.com'");
    assert_eq!(cluster.post(CLAIMS, &claim("c", &good)).await.code, 201);
    let class = json!({"metadata": {"name": "gpu.example.com"}, "spec": {"selectors": [{"cel": {"expression": "1"}}]}});
    let refused = cluster.post("/apis/resource.k8s.io/v1/deviceclasses", &class).await;
    assert_eq!(refused.code, 422, "{}", refused.text);
    assert!(
        refused.message().ends_with(
            "spec.selectors[0].cel.expression: Invalid value: \"1\": must evaluate to bool or the unknown type, not int"
        ),
        "{}",
        refused.text
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admin_access_needs_a_labelled_namespace() {
    let cluster = Cluster::start().await;
    let asking = claim("c", &json!({"adminAccess": true}));
    let template = json!({"metadata": {"name": "t"}, "spec": {"spec": asking["spec"]}});
    let templates = CLAIMS.replace("resourceclaims", "resourceclaimtemplates");
    let why = "spec.devices.requests[0].adminAccess: Forbidden: admin access to devices requires the \
               `resource.kubernetes.io/admin-access: true` label on the containing namespace";
    for (path, object) in [(CLAIMS, &asking), (&templates, &template)] {
        let refused = cluster.post(path, object).await;
        assert_eq!(refused.code, 422, "{}", refused.text);
        assert!(refused.message().ends_with(why), "{}", refused.text);
    }
    let plain = cluster.post(CLAIMS, &claim("plain", &json!({}))).await;
    assert_eq!(plain.code, 201, "{}", plain.text);
    let result =
        json!({"request": "r", "driver": "d.example.com", "pool": "p", "device": "d", "adminAccess": true});
    let status = json!({"status": {"allocation": {"devices": {"results": [result]}}}});
    let grant = format!("{CLAIMS}/plain/status");
    let refused = cluster.patch(&grant, MERGE, &status).await;
    assert_eq!(refused.code, 422, "{}", refused.text);
    assert!(
        refused.message().contains("status.allocation.devices.results[0].adminAccess: Forbidden"),
        "{}",
        refused.text
    );
    let label = json!({"metadata": {"labels": {"resource.kubernetes.io/admin-access": "true"}}});
    assert_eq!(cluster.patch("/api/v1/namespaces/default", MERGE, &label).await.code, 200);
    for (path, object) in [(CLAIMS, &asking), (&templates, &template)] {
        let made = cluster.post(path, object).await;
        assert_eq!(made.code, 201, "{}", made.text);
    }
    let granted = cluster.patch(&grant, MERGE, &status).await;
    assert_eq!(granted.code, 200, "{}", granted.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_part_of_a_status_needs_its_right() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.post(CLAIMS, &claim("c", &json!({}))).await.code, 201);
    let grant = async |name: &str, rule: Value| {
        let role = json!({"metadata": {"name": name}, "rules": [rule]});
        let binding = json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": "driver", "namespace": "default"}],
        });
        for (plural, object) in [("clusterroles", role), ("clusterrolebindings", binding)] {
            let made = cluster.post(&format!("/apis/rbac.authorization.k8s.io/v1/{plural}"), &object).await;
            assert_eq!(made.code, 201, "{}", made.text);
        }
    };
    let rule = |resource: &str, verbs: &[&str], names: &[&str]| {
        let resource = format!("resourceclaims/{resource}");
        json!({"apiGroups": ["resource.k8s.io"], "resources": [resource], "verbs": verbs, "resourceNames": names})
    };
    let admin = cluster.admin().await;
    let write = async |status: &Value, node: &str| {
        let headers = [
            ("content-type", MERGE),
            ("impersonate-user", "system:serviceaccount:default:driver"),
            ("impersonate-extra-authentication.kubernetes.io%2fnode-name", node),
        ];
        send(&admin, "PATCH", &format!("{CLAIMS}/c/status"), &headers, json!({"status": status}).to_string())
            .await
    };
    grant("status", rule("status", &["patch"], &[])).await;
    let term = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]});
    let result = json!({"request": "r", "driver": "d.example.com", "pool": "p", "device": "d"});
    let bound = json!({"allocation": {
        "devices": {"results": [result]}, "nodeSelector": {"nodeSelectorTerms": [term]},
    }});
    let refused = write(&bound, "n1").await;
    assert_eq!(refused.code, 422, "{}", refused.text);
    let binding = "status: Forbidden: changing status.allocation or status.reservedFor requires \
                   resource=\"resourceclaims/binding\", verb=\"patch\" permission: resourceclaims.resource.k8s.io is \
                   forbidden: User \"system:serviceaccount:default:driver\" cannot patch resource \
                   \"resourceclaims/binding\" in API group \"resource.k8s.io\" at the cluster scope";
    assert!(refused.message().contains(binding), "{}", refused.text);
    grant("binding", rule("binding", &["patch"], &[])).await;
    assert_eq!(write(&bound, "n1").await.code, 200);
    let devices = json!({"devices": [{"driver": "d.example.com", "pool": "p", "device": "d"}]});
    let refused = write(&devices, "n2").await;
    assert_eq!(refused.code, 422, "{}", refused.text);
    let elsewhere = "changing status.devices requires resource=\"resourceclaims/driver\", \
                     verb=\"[arbitrary-node:patch]\" permission: resourceclaims.resource.k8s.io \"d.example.com\" is \
                     forbidden";
    assert!(refused.message().contains(elsewhere), "{}", refused.text);
    grant("driver", rule("driver", &["associated-node:patch"], &["d.example.com"])).await;
    assert_eq!(write(&devices, "n2").await.code, 422, "the claim is on another node");
    assert_eq!(write(&devices, "n1").await.code, 200);
    let cleared = json!({"devices": null});
    assert_eq!(write(&cleared, "n2").await.code, 422);
    grant("anywhere", rule("driver", &["arbitrary-node:patch"], &["d.example.com"])).await;
    let cleared = write(&cleared, "n2").await;
    assert_eq!(cleared.code, 200, "{}", cleared.text);
}
