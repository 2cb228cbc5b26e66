//! Jobs run to their end and clean up.

use serde_json::{Value, json};

use crate::cluster::{Cluster, PODS, condition, count, missing};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_completes_and_cleans_up() {
    let cluster = Cluster::start().await;
    let _kubelet = cluster.kubelet();
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    let job = |name: &str, spec: Value| {
        let mut body = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {
            "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}});
        xebec_api::patch::merge_patch(&mut body, &json!({"spec": spec}));
        body
    };
    cluster.create(jobs, job("five", json!({"completions": 5, "parallelism": 2}))).await;
    cluster
        .create(
            jobs,
            job("numbered", json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed"})),
        )
        .await;
    cluster.create(jobs, job("fleeting", json!({"ttlSecondsAfterFinished": 0}))).await;
    let complete = |j: &Value| condition(j, "Complete")["status"] == "True";
    let five = cluster.until("five done", &format!("{jobs}/five"), complete).await;
    assert_eq!(five["status"]["succeeded"], 5);
    assert!(five["status"]["completionTime"].is_string());
    let numbered = cluster.until("three done", &format!("{jobs}/numbered"), complete).await;
    assert_eq!(
        (numbered["status"]["succeeded"].clone(), numbered["status"]["completedIndexes"].clone()),
        (json!(3), json!("0-2"))
    );
    cluster.until("the fleeting one gone", &format!("{jobs}/fleeting"), missing).await;
    cluster.delete(&format!("{jobs}/five"), "Background").await;
    cluster.delete(&format!("{jobs}/numbered"), "Foreground").await;
    cluster.until("no pods", PODS, |l| count(l) == 0).await;
    cluster.until("no jobs", jobs, |l| count(l) == 0).await;
}
