//! Every command of the wire file (`kubectl-wire.txt`: what kubectl 1.33 and 1.36 were once seen to send), and its
//! neighbours, from kubectl 1.37 against a whole control plane without a node's agent. Skipped without `XEBEC_KUBECTL`.
//!
//! One table for each group of verbs; a row is a command line, its exit code and what it must print. The effects are
//! rows too: a `get` behind the change. Rows of one table run in order in a namespace of their own; tables run beside
//! each other. `n1` is a Node that nobody stands behind, so a pod on it stays Pending.
//!
//! What needs a running pod is in the whole-cluster tests: logs, exec (with a terminal), attach, cp, port-forward in
//! `tests/tests/streams.rs`, `debug` in `pods.rs` and `drain` in `nodes.rs` beside it; commands of custom resources are in
//! xebec-apiserver's `tests/crds/kubectl.rs`. Here such a command is seen to fail as it should where no kubelet answers.

mod access;
mod apply;
mod configure;
mod create;
mod delete;
mod nodes;
mod pods;
mod read;
mod running;
mod workloads;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::server::Server;

/// One command and what must come of it.
struct Step {
    /// As one types it, without `kubectl`; single quotes hold words together.
    line: &'static str,
    /// The exit code.
    code: i32,
    /// Every one of these must be printed, on either stream; one that begins with `!` must not be.
    shows: &'static [&'static str],
    /// What `edit` uses to change the object.
    editor: &'static str,
}

/// A command that succeeds.
const fn ok(line: &'static str, shows: &'static [&'static str]) -> Step {
    Step { line, code: 0, shows, editor: "true" }
}

/// A command that ends with exit code 1.
const fn fails(line: &'static str, shows: &'static [&'static str]) -> Step {
    Step { line, code: 1, shows, editor: "true" }
}

/// A command that opens an editor, which does `editor` to the file.
const fn edits(line: &'static str, editor: &'static str, shows: &'static [&'static str]) -> Step {
    Step { line, code: 0, shows, editor }
}

/// The words of a line, as a shell splits them; only single quotes are known.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![];
    let (mut word, mut quoted) = (None::<String>, false);
    for letter in line.chars() {
        match letter {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    assert!(!quoted, "an open quote: {line}");
    words.extend(word);
    words
}

/// kubectl with an administrator's kubeconfig, in a folder with the files the commands name.
struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    folder: PathBuf,
}

impl Kubectl {
    /// The exit code and everything that was printed.
    fn output(&self, namespace: &str, step: &Step) -> (Option<i32>, String) {
        let output = Command::new(&self.program)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", &self.folder)
            .env("KUBE_EDITOR", step.editor)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .args(["--namespace", namespace])
            .args(words(step.line))
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    }

    /// What is wrong with a step; empty when nothing is.
    fn check(&self, namespace: &str, step: &Step) -> String {
        let (code, text) = self.output(namespace, step);
        let mut wrong = String::new();
        if code != Some(step.code) {
            wrong += &format!("exit code {code:?} instead of {}; ", step.code);
        }
        for part in step.shows {
            match part.strip_prefix('!') {
                Some(absent) if text.contains(absent) => {
                    wrong += &format!("it should not print {absent:?}; ")
                }
                None if !text.contains(part) => wrong += &format!("it should print {part:?}; "),
                _ => {}
            }
        }
        if wrong.is_empty() {
            wrong
        } else {
            format!("$ kubectl {}\n  {wrong}it printed:\n{text}\n", step.line)
        }
    }

    /// Everything that is wrong with a table.
    fn run(&self, table: &Table) -> String {
        let create = format!("create namespace {}", table.namespace);
        let output = Command::new(&self.program)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", &self.folder)
            .args(words(&create))
            .output()
            .unwrap();
        assert!(output.status.success(), "{create}: {}", String::from_utf8_lossy(&output.stderr));
        table.steps.iter().map(|step| self.check(table.namespace, step)).collect()
    }
}

/// Commands that run one after another.
struct Table {
    namespace: &'static str,
    steps: &'static [Step],
}

/// Tables of one list run one after another (they share things that no namespace holds), the lists beside each other.
const TABLES: [&[Table]; 3] = [
    &[
        Table { namespace: "apply", steps: apply::STEPS },
        Table { namespace: "workloads", steps: workloads::STEPS },
        Table { namespace: "delete", steps: delete::STEPS },
    ],
    &[
        Table { namespace: "read", steps: read::STEPS },
        Table { namespace: "create", steps: create::STEPS },
        Table { namespace: "configure", steps: configure::STEPS },
    ],
    &[
        Table { namespace: "nodes", steps: nodes::STEPS },
        Table { namespace: "pods", steps: pods::STEPS },
        Table { namespace: "access", steps: access::STEPS },
    ],
];

/// The files the commands name.
fn write_files(folder: &Path) {
    let deployment = |replicas: u8, image: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, labels: {{app: web}}}}\nspec:\n  \
             replicas: {replicas}\n  selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: \
             {{app: web}}}}\n    spec: {{containers: [{{name: c, image: '{image}', ports: [{{containerPort: 80}}]}}]}}\n"
        )
    };
    let pod = |name: &str, node: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{run: {name}}}}}\nspec: {{{node}containers: \
             [{{name: c, image: nginx, ports: [{{containerPort: 80}}]}}]}}\n"
        )
    };
    let files = [
        ("dep.yaml", deployment(1, "nginx:1")),
        ("dep2.yaml", deployment(2, "nginx:1")),
        ("pod.yaml", pod("p1", "nodeName: n1, ")),
        ("pod2.yaml", pod("p2", "nodeName: n1, ")),
        ("gated.yaml", pod("g1", "schedulerName: nobody, ")),
        ("kust/dep.yaml", deployment(2, "nginx:1")),
        ("kust/kustomization.yaml", "namePrefix: k-\nresources: [dep.yaml]\n".to_owned()),
        ("node.yaml", nodes::NODE.to_owned()),
        ("sts.yaml", workloads::STATEFUL_SET.to_owned()),
        ("ds.yaml", workloads::DAEMON_SET.to_owned()),
        ("role.yaml", access::ROLE.to_owned()),
        ("hpa.yaml", workloads::AUTOSCALER.to_owned()),
        ("prune.yaml", apply::PRUNED.to_owned()),
        ("prune2.yaml", apply::PRUNED.split("---").next().unwrap_or_default().to_owned()),
        ("webhook.yaml", configure::KINDS.to_owned()),
    ];
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    access::write_request(folder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_of_the_wire_file() {
    let Some(program) = std::env::var_os("XEBEC_KUBECTL") else {
        println!("skipped: XEBEC_KUBECTL does not name a kubectl 1.37 (`cargo xtask test` does)");
        return;
    };
    let mut server = Server::new();
    server.start_all();
    server.config().await;
    let kubectl =
        Kubectl { program: program.into(), kubeconfig: server.kubeconfig(), folder: server.folder("home") };
    write_files(&kubectl.folder);
    let wrong = tokio::task::spawn_blocking(move || {
        std::thread::scope(|scope| {
            let run =
                |tables: &'static [Table]| tables.iter().map(|table| kubectl.run(table)).collect::<String>();
            let running = scope.spawn(|| running::wrong(&kubectl));
            let threads = TABLES.map(|tables| scope.spawn(move || run(tables)));
            threads.map(|thread| thread.join().unwrap()).concat() + &running.join().unwrap()
        })
    });
    let wrong = wrong.await.unwrap();
    assert!(wrong.is_empty(), "\n{wrong}");
}
