//! kubectl with custom resources. Skipped, saying so, where there is no kubectl.

use super::super::kubectl::Kubectl;
use super::{Cluster, crontabs, define};

const TAB: &str = "apiVersion: g.example.com/v1
kind: CronTab
metadata: {name: mine}
spec: {cronSpec: '* * * * */5', color: red}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_knows_custom_resources() {
    let cluster = Cluster::start().await;
    let Some(kubectl) = Kubectl::find(&cluster) else {
        println!("skipped: XEBEC_KUBECTL names no kubectl");
        return;
    };
    define(&cluster, &crontabs()).await;
    tokio::task::spawn_blocking(move || commands(&kubectl)).await.unwrap();
}

fn commands(kubectl: &Kubectl) {
    let contains = |text: &str, part: &str| assert!(text.contains(part), "{part:?} is not in {text}");
    contains(&kubectl.run("get crd", ""), "crontabs.g.example.com");
    contains(
        &kubectl.run("wait --for=condition=Established crd/crontabs.g.example.com", ""),
        "condition met",
    );
    contains(&kubectl.run("api-resources --api-group=g.example.com", ""), "crontabs");
    contains(&kubectl.run("explain crontab", ""), "A tab of crons.");
    contains(&kubectl.run("explain ct.spec.cronSpec", ""), "When to run.");
    contains(&kubectl.run("apply -f FILE", TAB), "crontab.g.example.com/mine created");
    contains(&kubectl.run("apply -f FILE", TAB), "crontab.g.example.com/mine unchanged");
    contains(
        &kubectl.run("apply -f FILE", &TAB.replace("red", "blue")),
        "crontab.g.example.com/mine configured",
    );
    contains(&kubectl.run("get ct", ""), "mine   * * * * */5   1");
    contains(&kubectl.run("get all", ""), "crontab.g.example.com/mine");
    contains(&kubectl.run("get ct --field-selector spec.color=blue", ""), "mine");
    contains(&kubectl.run("apply --server-side --force-conflicts -f FILE", TAB), "serverside-applied");
    contains(&kubectl.run("scale ct/mine --replicas=3", ""), "scaled");
    contains(&kubectl.run("patch ct mine --type=merge -p {\"spec\":{\"color\":\"green\"}}", ""), "patched");
    contains(&kubectl.run("label ct mine a=b", ""), "labeled");
    let unknown = TAB.replace("color: red", "colour: red");
    contains(&kubectl.fails("apply -f FILE", &unknown), "unknown field \"spec.colour\"");
    contains(&kubectl.run("describe ct mine", ""), "Cron Spec:");
    contains(&kubectl.run("delete ct mine", ""), "deleted");
    contains(&kubectl.run("delete crd crontabs.g.example.com --timeout=20s", ""), "deleted");
    contains(&kubectl.fails("get ct", ""), "could not find the requested resource");
}
