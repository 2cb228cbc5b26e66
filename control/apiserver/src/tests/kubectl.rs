//! kubectl itself against the server. Skipped, saying so, where there is no kubectl.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use super::harness::Cluster;

pub(super) struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: PathBuf,
}

impl Kubectl {
    pub(super) fn find(cluster: &Cluster) -> Option<Self> {
        let program = PathBuf::from(std::env::var_os("XEBEC_KUBECTL")?);
        let kubeconfig = cluster.kubeconfig("kubernetes-admin", "system:masters");
        let home = kubeconfig.parent()?.to_owned();
        Some(Self { program, kubeconfig, home })
    }

    fn output(&self, arguments: &str, input: &str) -> Output {
        let file = self.home.join("input.yaml");
        std::fs::write(&file, input).unwrap();
        let arguments = arguments.replace("FILE", file.to_str().unwrap());
        let mut command = Command::new(&self.program);
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", &self.home)
            .args(arguments.split_whitespace());
        command.output().unwrap()
    }

    /// What it prints when it succeeds.
    pub(super) fn run(&self, arguments: &str, input: &str) -> String {
        let output = self.output(arguments, input);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "kubectl {arguments}: {out}{err}");
        out.into_owned()
    }

    fn spawn(&self, arguments: &str) -> Child {
        let mut command = Command::new(&self.program);
        command.env("KUBECONFIG", &self.kubeconfig).env("HOME", &self.home);
        command
            .args(arguments.split_whitespace())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// What it prints when it is given this input.
    pub(super) fn piped(&self, arguments: &str, input: &str) -> String {
        let mut child = self.spawn(arguments);
        let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_owned());
        let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        assert!(output.status.success(), "kubectl {arguments}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// A running port-forward, what it prints, and the line that says where it listens.
    pub(super) fn forward(&self, pod: &str, ports: &str) -> (Child, BufReader<ChildStdout>, String) {
        let mut child = self.spawn(&format!("port-forward {pod} {ports}"));
        let (mut line, mut output) = (String::new(), BufReader::new(child.stdout.take().unwrap()));
        output.read_line(&mut line).unwrap();
        (child, output, line)
    }

    /// What it complains about when it fails.
    pub(super) fn fails(&self, arguments: &str, input: &str) -> String {
        let output = self.output(arguments, input);
        assert!(
            !output.status.success(),
            "kubectl {arguments} should fail: {}",
            String::from_utf8_lossy(&output.stdout)
        );
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

const DEPLOYMENT: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: 'nginx:1', ports: [{containerPort: 80}]}]}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyday_commands() {
    let cluster = Cluster::start().await;
    let Some(kubectl) = Kubectl::find(&cluster) else {
        println!("skipped: XEBEC_KUBECTL does not name a kubectl 1.37 (`cargo xtask test` does)");
        return;
    };
    tokio::task::spawn_blocking(move || commands(&kubectl)).await.unwrap();
}

fn commands(kubectl: &Kubectl) {
    let contains = |text: &str, part: &str| assert!(text.contains(part), "{part:?} is not in {text}");
    contains(&kubectl.run("get ns", ""), "kube-node-lease   Active");
    contains(&kubectl.run("api-resources", ""), "deployments");
    contains(&kubectl.run("version", ""), "Server Version: v1.36");
    contains(&kubectl.run("explain deployment.spec.replicas", ""), "replicas");
    contains(&kubectl.run("get svc -A -o wide", ""), "10.96.0.1");
    contains(
        &kubectl.run("create deployment d2 --image=nginx --replicas=1", ""),
        "deployment.apps/d2 created",
    );
    contains(&kubectl.run("create configmap cm --from-literal=a=b", ""), "configmap/cm created");
    contains(&kubectl.run("create secret generic s --from-literal=a=b", ""), "secret/s created");
    contains(&kubectl.run("get cm cm -o jsonpath={.data.a}", ""), "b");
    contains(&kubectl.run("apply -f FILE", DEPLOYMENT), "deployment.apps/web created");
    contains(&kubectl.run("apply -f FILE", DEPLOYMENT), "deployment.apps/web unchanged");
    let three = DEPLOYMENT.replace("replicas: 2", "replicas: 3");
    contains(&kubectl.run("apply -f FILE", &three), "deployment.apps/web configured");
    contains(&kubectl.run("get deploy web", ""), "web    0/3");
    contains(&kubectl.run("scale deploy web --current-replicas=3 --replicas=4", ""), "scaled");
    contains(&kubectl.run("label deploy web x=y", ""), "labeled");
    contains(&kubectl.run("annotate deploy web x=y", ""), "annotated");
    contains(&kubectl.run("set image deploy/web c=nginx:2", ""), "image updated");
    contains(&kubectl.run("rollout restart deploy/web", ""), "restarted");
    contains(&kubectl.run("patch deploy web -p {\"spec\":{\"paused\":true}}", ""), "patched");
    contains(&kubectl.run("expose deploy web --port=80 --type=NodePort", ""), "service/web exposed");
    contains(&kubectl.run("describe svc web", ""), "NodePort:");
    contains(&kubectl.run("autoscale deploy web --min=1 --max=3 --cpu=50%", ""), "autoscaled");
    contains(&kubectl.run("apply --server-side --force-conflicts -f FILE", DEPLOYMENT), "serverside-applied");
    contains(&kubectl.run("apply --server-side --dry-run=server -f FILE", DEPLOYMENT), "server dry run");
    contains(&kubectl.run("get deploy web -o yaml --show-managed-fields", ""), "f:replicas");
    contains(&kubectl.run("auth can-i delete pods", ""), "yes");
    contains(&kubectl.run("auth can-i --list", ""), "Non-Resource URLs");
    contains(&kubectl.run("auth whoami", ""), "kubernetes-admin");
    contains(&kubectl.run("create serviceaccount robot", ""), "created");
    contains(&kubectl.run("create token robot", ""), "ey");
    contains(&kubectl.run("create role r --verb=get --resource=pods", ""), "created");
    contains(&kubectl.run("create rolebinding rb --role=r --serviceaccount=default:robot", ""), "created");
    contains(&kubectl.run("auth can-i get pods --as=system:serviceaccount:default:robot", ""), "yes");
    contains(&kubectl.fails("auth can-i list pods --as=system:serviceaccount:default:robot", ""), "");
    contains(&kubectl.run("create job j --image=busybox -- true", ""), "created");
    contains(&kubectl.run("create quota q --hard=pods=5", ""), "created");
    contains(&kubectl.run("get all", ""), "job.batch/j");
    let unknown = DEPLOYMENT.replace("replicas: 2", "replicas: 2\n  foo: 1");
    contains(&kubectl.fails("apply -f FILE", &unknown), "unknown field \"spec.foo\"");
    contains(
        &kubectl.fails("get cm none", ""),
        "Error from server (NotFound): configmaps \"none\" not found",
    );
    contains(&kubectl.fails("get things", ""), "the server doesn't have a resource type \"things\"");
    contains(
        &kubectl.run("delete deploy web d2 --wait --timeout=20s", ""),
        "deployment.apps \"web\" deleted",
    );
    contains(&kubectl.run("delete cm --all", ""), "configmap \"cm\" deleted");
    contains(&kubectl.run("get --raw /readyz?verbose", ""), "readyz check passed");
}
