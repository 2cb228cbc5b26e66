//! Acceptance 1: what `cargo xtask up` leaves behind.

use anyhow::{Result, ensure};
use xebec_tests::{cluster, kubectl, node};

#[test]
fn nodes_pods_and_services_are_listed() -> Result<()> {
    cluster(|| {
        let listed = kubectl("get nodes,pods,svc -A").ok()?;
        ensure!(listed.contains(&format!("node/{}", node()?)), "no node in:\n{listed}");
        for expected in [" Ready ", "pod/web-", "service/kubernetes ", "service/web ", "ClusterIP"] {
            ensure!(listed.contains(expected), "no {expected:?} in:\n{listed}");
        }
        Ok(())
    })
}

#[test]
fn the_job_was_answered_by_every_pod_through_the_service_name() -> Result<()> {
    cluster(|| {
        let log = kubectl("logs -n demo job/call").ok()?;
        let vip = kubectl("get service web -n demo -o jsonpath={.spec.clusterIP}").ok()?;
        ensure!(log.contains(&format!("resolved web:80 to [{vip}:80]")), "the name is not {vip}:\n{log}");
        let pods = kubectl("get pods -n demo -l app=web -o jsonpath={.items[*].metadata.name}").ok()?;
        ensure!(pods.split_whitespace().count() == 3, "not 3 web pods: {pods}");
        for pod in pods.split_whitespace() {
            ensure!(log.contains(&format!("answered name={pod} ")), "{pod} did not answer:\n{log}");
            // The server's own log is the proof: a gateway may accept a connection to any address.
            let served = kubectl("logs -n demo").arg(pod).ok()?;
            ensure!(served.contains("served name="), "{pod} logged no request:\n{served}");
        }
        let succeeded = kubectl("get job call -n demo -o jsonpath={.status.succeeded}").ok()?;
        ensure!(succeeded == "1", "the Job has succeeded {succeeded:?} times");
        Ok(())
    })
}
