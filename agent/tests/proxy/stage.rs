//! A control plane and a place for the proxy, both in the rig's server namespace, which plays the node.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::{Api, Client, Config};
use serde_json::{Value, json};

use crate::until;
use xebec_rig::{NetNs, Rig, within};

const MANIFEST: &str = include_str!("../../../deploy/proxy.yaml");
const SERVER: &str = "https://10.199.0.2:6443";
const AGENT: &str = env!("CARGO_BIN_EXE_xebec-agent");

/// A program that is killed at the end, with what it said.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    fn start(netns: &NetNs, program: &Path, arguments: &[String], log: PathBuf) -> Self {
        let file = std::fs::File::create(&log).unwrap();
        let child = netns
            .command(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { child, log }
    }

    /// SIGTERM, then its exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.wait()
    }

    /// Its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            eprintln!("{}:\n{}", self.log.display(), tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }
}

pub struct Stage {
    // Dropped in this order.
    control: Process,
    program: PathBuf,
    pub rig: Rig,
    folder: tempfile::TempDir,
}

/// What a server says, or why it does not.
pub fn say(to: &str) -> String {
    let ask = || {
        let mut stream = TcpStream::connect_timeout(&to.parse().unwrap(), Duration::from_secs(2))?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    };
    ask().unwrap_or_else(|error| format!("error {error}"))
}

fn block_on<F: Future>(work: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

async fn client(kubeconfig: &Path) -> Result<Client, String> {
    let file = Kubeconfig::read_from(kubeconfig).map_err(|e| e.to_string())?;
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    let mut config = config.map_err(|e| e.to_string())?;
    config.cluster_url = SERVER.parse().unwrap();
    Client::try_from(config).map_err(|e| e.to_string())
}

impl Stage {
    /// A running control plane with the manifest's rights in it; `None`, with the reason printed, where the machine
    /// cannot run this.
    pub fn new() -> Option<Self> {
        let given = std::env::var_os("XEBEC_CONTROL").map(PathBuf::from);
        let program = given.unwrap_or_else(|| Path::new(AGENT).with_file_name("xebec-control"));
        if !program.is_file() {
            eprintln!(
                "SKIPPED: no {} (XEBEC_CONTROL); `cargo test --workspace` builds it",
                program.display()
            );
            return None;
        }
        let _ = rustls::crypto::ring::default_provider().install_default();
        let rig = Rig::new()?;
        let folder = tempfile::tempdir().unwrap();
        let control = control(&rig, &program, folder.path());
        let mut stage = Self { control, program, rig, folder };
        stage.ready();
        for object in &manifest() {
            stage.apply(object);
        }
        stage.make_kubeconfig();
        Some(stage)
    }

    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// The proxy's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("proxy.conf")
    }

    fn admin(&self) -> PathBuf {
        self.folder.path().join("admin.conf")
    }

    fn ready(&mut self) {
        let admin = self.admin();
        let look = || {
            within(&self.rig.server_ns, || {
                block_on(async {
                    let client = client(&admin).await?;
                    let request = http::Request::get("/readyz").body(Vec::new()).unwrap();
                    client.request_text(request).await.map_err(|e| e.to_string())
                })
            })
        };
        until("the control plane is ready", look, Result::is_ok).unwrap();
    }

    /// The kubeconfig of the manifest's service account: a server, its CA and a token, no more.
    fn make_kubeconfig(&self) {
        let admin = self.admin();
        let token = within(&self.rig.server_ns, || {
            block_on(async {
                let accounts: Api<ServiceAccount> =
                    Api::namespaced(client(&admin).await.unwrap(), "kube-system");
                let request =
                    TokenRequest { spec: Some(TokenRequestSpec::default()), ..TokenRequest::default() };
                let answer =
                    accounts.create_token_request("xebec-proxy", &PostParams::default(), &request).await;
                answer.unwrap().status.unwrap().token
            })
        });
        let admin: Value = serde_saphyr::from_str(&std::fs::read_to_string(self.admin()).unwrap()).unwrap();
        let mut cluster = admin["clusters"][0]["cluster"].clone();
        cluster["server"] = SERVER.into();
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "c", "user": "u"}}],
        });
        self.write("proxy.conf", &config.to_string());
    }

    /// Server-side apply as the administrator; an outage is waited for.
    pub fn apply(&self, object: &Value) {
        let admin = self.admin();
        let look = || within(&self.rig.server_ns, || block_on(apply(&admin, object, false)));
        until(&format!("{} {}", object["kind"], object["metadata"]["name"]), look, Result::is_ok).unwrap();
    }

    /// As [`Stage::apply`], of an object's status.
    pub fn apply_status(&self, object: &Value) {
        let admin = self.admin();
        let look = || within(&self.rig.server_ns, || block_on(apply(&admin, object, true)));
        until(&format!("status of {}", object["metadata"]["name"]), look, Result::is_ok).unwrap();
    }

    /// The proxy, with the manifest's arguments and some more.
    pub fn proxy(&self, more: &[&str]) -> Process {
        let mut arguments = arguments(&self.rig);
        if !more.contains(&"--config") {
            arguments.extend(["--kubeconfig".to_owned(), self.kubeconfig().display().to_string()]);
        }
        arguments.extend(more.iter().map(|word| (*word).to_owned()));
        let log = self.folder.path().join(format!("proxy-{}.log", more.len()));
        Process::start(&self.rig.server_ns, Path::new(AGENT), &arguments, log)
    }

    /// The pod network alone, of the node `node-a`; its files are in a folder of the stage.
    pub fn pod_network(&self, more: &[&str]) -> Process {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let words = [
            ("--kubeconfig", self.kubeconfig().display().to_string()),
            ("--node-name", "node-a".to_owned()),
            ("--cni-conf-dir", path("net.d")),
            ("--cni-socket", path("cni.sock")),
            ("--ipam-dir", path("ipam")),
        ];
        let mut arguments = vec!["cni".to_owned()];
        arguments.extend(words.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]));
        arguments.extend(more.iter().map(|word| (*word).to_owned()));
        Process::start(&self.rig.server_ns, Path::new(AGENT), &arguments, self.folder.path().join("cni.log"))
    }

    /// The proxy on a machine where no other program can be run.
    pub fn lonely_proxy(&self) -> Process {
        let mut words = vec!["PATH=/nowhere".to_owned(), AGENT.to_owned()];
        words.extend(arguments(&self.rig));
        words.extend(["--kubeconfig".to_owned(), self.kubeconfig().display().to_string()]);
        let log = self.folder.path().join("proxy-lonely.log");
        Process::start(&self.rig.server_ns, Path::new("/usr/bin/env"), &words, log)
    }

    /// What the API server answers the administrator.
    pub fn api(&self, method: &str, path: &str) -> Value {
        let admin = self.admin();
        within(&self.rig.server_ns, || {
            block_on(async {
                let request = http::Request::builder().method(method).uri(path).body(Vec::new()).unwrap();
                let text = client(&admin).await.unwrap().request_text(request).await.unwrap();
                serde_json::from_str(&text).unwrap()
            })
        })
    }

    /// `xebec-agent dataplane`, with what it printed.
    pub fn ask(&self, words: &[&str]) -> (Option<i32>, String) {
        let mut arguments = vec!["dataplane".to_owned()];
        arguments.extend(words.iter().map(|word| (*word).to_owned()));
        arguments.extend(["--bpf-pin-dir".to_owned(), self.rig.pin_dir().display().to_string()]);
        let log = self.folder.path().join("dataplane.log");
        let mut process = Process::start(&self.rig.server_ns, Path::new(AGENT), &arguments, log);
        (process.wait(), process.log())
    }

    /// Status and body of a page on the node's loopback; 0 if nobody answers.
    pub fn get(&self, port: u16, path: &str) -> (u16, String) {
        let exchange = || {
            let mut stream = TcpStream::connect(("127.0.0.1", port))?;
            write!(stream, "GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok::<_, std::io::Error>(answer)
        };
        let Ok(answer) = within(&self.rig.server_ns, exchange) else { return (0, String::new()) };
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        (head.split(' ').nth(1).unwrap_or_default().parse().unwrap_or(0), body.to_owned())
    }

    pub fn kill_control(&mut self) {
        self.control.kill();
    }

    pub fn start_control(&mut self) {
        self.control = control(&self.rig, &self.program, self.folder.path());
        self.ready();
    }
}

async fn apply(admin: &Path, object: &Value, status: bool) -> Result<(), String> {
    let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
    let (group, version) =
        object["apiVersion"].as_str().and_then(|v| v.split_once('/')).unwrap_or(("", "v1"));
    let resource =
        ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, object["kind"].as_str().unwrap_or("")));
    let (name, namespace) = (text(&object["metadata"]["name"]), text(&object["metadata"]["namespace"]));
    let client = client(admin).await?;
    let api: Api<DynamicObject> = if namespace.is_empty() {
        Api::all_with(client, &resource)
    } else {
        Api::namespaced_with(client, &namespace, &resource)
    };
    let how = PatchParams::apply("test").force();
    let patch = Patch::Apply(object);
    let answer = if status {
        api.patch_status(&name, &how, &patch).await
    } else {
        api.patch(&name, &how, &patch).await
    };
    answer.map(drop).map_err(|e| e.to_string())
}

fn control(rig: &Rig, program: &Path, folder: &Path) -> Process {
    let path = |name: &str| folder.join(name).display().to_string();
    let words = [
        ("--data-dir", path("data")),
        ("--cert-dir", path("pki")),
        ("--kubeconfig-dir", folder.display().to_string()),
        ("--bind-address", "10.199.0.2".to_owned()),
        ("--advertise-address", "10.199.0.2".to_owned()),
        // What a cluster on this machine may serve, it refuses to everybody.
        ("--service-cluster-ip-range", "10.196.0.0/16".to_owned()),
        ("--cluster-dns", "10.196.0.10".to_owned()),
    ];
    let mut arguments = vec!["all".to_owned()];
    arguments.extend(words.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]));
    Process::start(&rig.server_ns, program, &arguments, folder.join("control.log"))
}

fn manifest() -> Vec<Value> {
    MANIFEST.split("\n---\n").map(|text| serde_saphyr::from_str(text).unwrap()).collect()
}

/// The DaemonSet's arguments for the node `node-a`, on the rig's cgroup, object and pins.
fn arguments(rig: &Rig) -> Vec<String> {
    let objects = manifest();
    let pod =
        &objects.iter().find(|object| object["kind"] == "DaemonSet").unwrap()["spec"]["template"]["spec"];
    let words = pod["containers"][0]["args"].as_array().unwrap();
    let mut arguments: Vec<String> = words
        .iter()
        .map(|word| word.as_str().unwrap().replace("$(NODE_NAME)", "node-a"))
        .map(|word| {
            if word.starts_with("--bpf-cgroup=") {
                format!("--bpf-cgroup={}", rig.cgroup().display())
            } else {
                word
            }
        })
        .collect();
    arguments.push(format!("--bpf-object={}", rig.options.bpf_object.as_ref().unwrap().display()));
    arguments.push(format!("--bpf-pin-dir={}", rig.pin_dir().display()));
    arguments
}
