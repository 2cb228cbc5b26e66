//! Commands that need something of an answer before, or that run while something else happens: `rollout` of a StatefulSet
//! whose revisions are made by hand (no controller makes them here), `proxy`, `events --watch`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use super::{Kubectl, Step};

const NAMESPACE: &str = "scripts";

/// A running kubectl, ended when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Kubectl {
    /// What a command that must succeed prints.
    fn says(&self, line: &str) -> String {
        let output = self.command(NAMESPACE, line, "true").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "$ kubectl {line}\n{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    /// A command that goes on, and what it prints from the first line on.
    fn starts(&self, line: &str) -> (Running, BufReader<impl Read>) {
        let mut command = self.command(NAMESPACE, line, "true");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let printed = BufReader::new(child.stdout.take().unwrap());
        (Running(child), printed)
    }
}

/// Everything that is wrong.
pub(super) fn run(kubectl: &Kubectl) -> String {
    kubectl.create_namespace(NAMESPACE);
    [stateful_set(kubectl), proxy(kubectl), events(kubectl)].concat()
}

/// `rollout history` and `rollout undo` go by the ControllerRevisions that the set controls.
fn stateful_set(kubectl: &Kubectl) -> String {
    kubectl.says("apply -f sts.yaml");
    let uid = kubectl.says("get sts st -o jsonpath={.metadata.uid}");
    for (number, image) in [(1, "old:1"), (2, "new:2")] {
        let revision = format!(
            "apiVersion: apps/v1\nkind: ControllerRevision\nmetadata:\n  name: st-{number}\n  labels: {{app: st}}\n  \
             annotations: {{kubernetes.io/change-cause: 'to {image}'}}\n  ownerReferences: [{{apiVersion: apps/v1, kind: \
             StatefulSet, name: st, uid: {uid}, controller: true}}]\nrevision: {number}\ndata: {{spec: {{template: \
             {{$patch: replace, metadata: {{labels: {{app: st}}}}, spec: {{containers: [{{name: c, image: '{image}'}}]}}}}}}}}\n"
        );
        std::fs::write(kubectl.folder.join("revision.yaml"), revision).unwrap();
        kubectl.says("create -f revision.yaml");
    }
    let steps = [
        super::ok(
            "rollout history sts/st",
            &["statefulset.apps/st", "REVISION  CHANGE-CAUSE\n1         to old:1\n2         to new:2"],
        ),
        super::ok(
            "rollout history sts/st --revision=1",
            &["statefulset.apps/st with revision #1", "Image:\told:1"],
        ),
        super::fails("rollout history sts/st --revision=7", &["unable to find the specified revision"]),
        super::ok(
            "rollout undo sts/st --dry-run=server",
            &["statefulset.apps/st rolled back (server dry run)"],
        ),
        super::ok("get sts st -o jsonpath={.spec.template.spec.containers[0].image}", &["!old:1"]),
        super::ok("rollout undo sts/st", &["statefulset.apps/st rolled back"]),
        super::ok("get sts st -o jsonpath={.spec.template.spec.containers[0].image}", &["old:1"]),
        super::ok("rollout undo sts/st --to-revision=2", &["statefulset.apps/st rolled back"]),
        super::ok("get sts st -o jsonpath={.spec.template.spec.containers[0].image}", &["new:2"]),
        super::fails(
            "rollout undo sts/st --to-revision=77",
            &["unable to find specified revision 77 in history"],
        ),
    ];
    steps.iter().map(|step: &Step| kubectl.check(NAMESPACE, step)).collect()
}

/// `proxy` answers without credentials what the administrator may see, and nothing to a foreign host.
fn proxy(kubectl: &Kubectl) -> String {
    let (_running, mut printed) = kubectl.starts("proxy --port=0");
    let mut line = String::new();
    printed.read_line(&mut line).unwrap();
    let Some(address) = line.trim().strip_prefix("Starting to serve on ") else {
        return format!("$ kubectl proxy --port=0\n  it printed: {line}\n");
    };
    let ask = |path: &str, host: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let mut wrong = String::new();
    for (path, host, status, shows) in [
        ("/api/v1/namespaces/scripts", "localhost", "200 OK", "\"kind\":\"Namespace\""),
        (
            "/apis/apps/v1/namespaces/scripts/statefulsets",
            "localhost",
            "200 OK",
            "\"kind\":\"StatefulSetList\"",
        ),
        ("/api/v1/namespaces/none", "localhost", "404 Not Found", "namespaces \\\"none\\\" not found"),
        ("/api/v1/namespaces/scripts/pods/x/exec", "localhost", "403 Forbidden", "Forbidden"),
        ("/api/v1/namespaces/scripts", "example.com", "403 Forbidden", "Forbidden"),
    ] {
        let answer = ask(path, host);
        let first = answer.lines().next().unwrap_or_default();
        if !first.ends_with(status) || !answer.contains(shows) {
            wrong += &format!(
                "kubectl proxy: GET {path} as {host} should be {status} with {shows:?}, is:\n{answer}\n"
            );
        }
    }
    wrong
}

/// `events --watch` shows what is there and then what comes.
fn events(kubectl: &Kubectl) -> String {
    let event = |name: &str| {
        let text = format!(
            "apiVersion: v1\nkind: Event\nmetadata: {{name: {name}}}\ninvolvedObject: {{apiVersion: v1, kind: ConfigMap, name: \
             c, namespace: {NAMESPACE}}}\ntype: Normal\nreason: Seen\nmessage: event {name}\nlastTimestamp: \
             '2026-01-01T00:00:00Z'\n"
        );
        std::fs::write(kubectl.folder.join("event.yaml"), text).unwrap();
        kubectl.says("create -f event.yaml");
    };
    event("first");
    let (_running, printed) = kubectl.starts("events --watch --for configmap/c");
    let mut lines = printed.lines().map_while(Result::ok);
    let mut seen = Vec::new();
    for wanted in ["event first", "event second"] {
        for line in lines.by_ref() {
            let found = line.contains(wanted);
            seen.push(line);
            if found {
                break;
            }
        }
        if wanted == "event first" {
            event("second");
        }
    }
    let (first, second) =
        (seen.get(1).cloned().unwrap_or_default(), seen.last().cloned().unwrap_or_default());
    if seen.first().is_some_and(|line| line.starts_with("LAST SEEN"))
        && first.contains("ConfigMap/c")
        && second.contains("event second")
    {
        return String::new();
    }
    format!("$ kubectl events --watch --for configmap/c\n  it printed:\n{}\n", seen.join("\n"))
}
