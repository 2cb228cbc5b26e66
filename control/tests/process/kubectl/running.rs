//! Commands that run until they are stopped, and one that needs what a controller would have made.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::{Kubectl, fails, ok, words};

const NAMESPACE: &str = "running";
/// How long a line may take to be printed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A command that runs until it is dropped.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(kubectl: &Kubectl, line: &str) -> Self {
        let mut child = Command::new(&kubectl.program)
            .env("KUBECONFIG", &kubectl.kubeconfig)
            .env("HOME", &kubectl.folder)
            .args(["--namespace", NAMESPACE])
            .args(words(line))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (printed, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            // Nobody listens any more once the test has seen what it waited for.
            output.lines().map_while(Result::ok).take_while(|line| printed.send(line.clone()).is_ok()).count()
        });
        Self { child, lines }
    }

    /// The next line with `text` in it; an error with what came instead.
    fn line(&self, text: &str) -> Result<String, String> {
        let mut others = String::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(text) => return Ok(line),
                Ok(line) => others += &format!("{line}\n"),
                Err(_) => return Err(format!("no line has {text:?}; it printed:\n{others}\n")),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write(kubectl: &Kubectl, name: &str, text: &str) {
    std::fs::write(kubectl.folder.join(name), text).unwrap();
}

/// Everything that is wrong.
pub(super) fn wrong(kubectl: &Kubectl) -> String {
    let created = kubectl.check("default", &ok("create namespace running", &["created"]));
    [created, events(kubectl), proxy(kubectl), revisions(kubectl)].concat()
}

/// `events --watch`: what is there, then what comes.
fn events(kubectl: &Kubectl) -> String {
    let event = |name: &str| {
        format!(
            "apiVersion: v1\nkind: Event\nmetadata: {{name: {name}}}\ntype: Normal\nreason: Tested\nmessage: about {name}\n\
             involvedObject: {{apiVersion: v1, kind: ConfigMap, name: c, namespace: {NAMESPACE}}}\n\
             lastTimestamp: \"2026-01-01T00:00:00Z\"\n"
        )
    };
    write(kubectl, "event1.yaml", &event("first"));
    write(kubectl, "event2.yaml", &event("second"));
    let mut wrong = kubectl.check(NAMESPACE, &ok("create -f event1.yaml", &["event/first created"]));
    let watch = Running::start(kubectl, "events --watch");
    wrong += &watch.line("about first").err().unwrap_or_default();
    wrong += &kubectl.check(NAMESPACE, &ok("create -f event2.yaml", &["event/second created"]));
    match watch.line("about second") {
        Ok(line) if line.contains("Tested") && line.contains("ConfigMap/c") => wrong,
        Ok(line) => wrong + &format!("$ kubectl events --watch\n  an odd line: {line}\n"),
        Err(error) => wrong + &format!("$ kubectl events --watch\n  {error}"),
    }
}

/// `proxy`: the API over plain HTTP on loopback.
fn proxy(kubectl: &Kubectl) -> String {
    let proxy = Running::start(kubectl, "proxy --port=0");
    let address = match proxy.line("Starting to serve on ") {
        Ok(line) => line.trim_start_matches("Starting to serve on ").to_owned(),
        Err(error) => return format!("$ kubectl proxy --port=0\n  {error}"),
    };
    let get = |path: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    let mut wrong = String::new();
    for (path, status, text) in [
        ("/api/v1/namespaces/running", "200 OK", "\"name\":\"running\""),
        ("/api/v1/namespaces/nowhere", "404 Not Found", "namespaces \\\"nowhere\\\" not found"),
        ("/version", "200 OK", "gitVersion"),
        ("/", "200 OK", "/apis/apps/v1"),
    ] {
        let answer = get(path);
        if !answer.starts_with(&format!("HTTP/1.1 {status}")) || !answer.contains(text) {
            wrong += &format!("$ kubectl proxy, GET {path}: not {status} with {text:?}: {answer}\n");
        }
    }
    wrong
}

/// `rollout history` and `undo` of a StatefulSet, whose revisions stand in ControllerRevisions.
fn revisions(kubectl: &Kubectl) -> String {
    let mut wrong = kubectl.check(NAMESPACE, &ok("apply -f sts.yaml", &["statefulset.apps/st created"]));
    let (_, uid) = kubectl.output(NAMESPACE, &ok("get sts st -o jsonpath={.metadata.uid}", &[]));
    let (_, label) =
        kubectl.output(NAMESPACE, &ok("get sts st -o jsonpath={.spec.selector.matchLabels}", &[]));
    let revision = |number: u8, image: &str| {
        format!(
            "apiVersion: apps/v1\nkind: ControllerRevision\nrevision: {number}\n\
             metadata:\n  name: st-{number}\n  labels: {label}\n  ownerReferences: [{{apiVersion: apps/v1, kind: StatefulSet, \
             name: st, uid: {uid}, controller: true}}]\n\
             data: {{spec: {{template: {{$patch: replace, metadata: {{labels: {label}}}, spec: {{containers: [{{name: c, \
             image: {image}}}]}}}}}}}}\n"
        )
    };
    write(kubectl, "revisions.yaml", &format!("{}---\n{}", revision(1, "old"), revision(2, "new")));
    for step in [
        ok("create -f revisions.yaml", &["st-1 created", "st-2 created"]),
        ok("rollout history sts/st", &["statefulset.apps/st", "REVISION", "1", "2"]),
        ok("rollout history sts/st --revision=1", &["with revision #1", "Image:", "old"]),
        ok("rollout undo sts/st --to-revision=1", &["statefulset.apps/st rolled back"]),
        ok("get sts st -o jsonpath={.spec.template.spec.containers[*].image}", &["old"]),
        fails("rollout undo sts/st --to-revision=7", &["unable to find specified revision 7 in history"]),
    ] {
        wrong += &kubectl.check(NAMESPACE, &step);
    }
    wrong
}
