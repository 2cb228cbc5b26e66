//! The client against a real containerd: its own root, state and socket in a temporary directory, the node's network
//! (no CNI), an image made from the machine's busybox. Skipped, saying why, where that cannot run.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test: it may panic, and says why it skips")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures::StreamExt;
use xebec_cri::messages::*;
use xebec_cri::{Client, CriError, EventKind, Runtime, RuntimeEvents};

const IMAGE: &str = "xebec.test/busybox:1";

/// A containerd that ends, with everything below it, when dropped.
struct Containerd {
    child: Child,
    dir: tempfile::TempDir,
}

impl Drop for Containerd {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        // what a failed test left mounted must not keep the directory
        let table = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let root = self.dir.path().to_string_lossy().into_owned();
        for line in table.lines().rev() {
            let point = line.split(' ').nth(1).unwrap_or_default();
            if point.starts_with(&root) {
                drop(Command::new("umount").args(["-l", point]).status());
            }
        }
        // in every hierarchy; the runtime makes it and leaves it
        for hierarchy in table.lines().filter(|line| line.contains(" cgroup")) {
            let mount = hierarchy.split(' ').nth(1).unwrap_or_default();
            drop(std::fs::remove_dir(Path::new(mount).join(cgroup())));
        }
    }
}

/// The cgroup of this process's sandboxes.
fn cgroup() -> String {
    format!("xebec-cri-test-{}", std::process::id())
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("containerd.sock")
}

fn missing() -> Option<String> {
    if !is_root() {
        return Some("not root".into());
    }
    for tool in ["containerd", "ctr", "runc", "busybox"] {
        let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).output();
        if !found.is_ok_and(|output| output.status.success()) {
            return Some(format!("{tool} is not installed"));
        }
    }
    let linked = Command::new("sh").args(["-c", "ldd $(command -v busybox)"]).output().unwrap();
    linked.status.success().then(|| "busybox is not linked statically".into())
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout == b"0\n")
}

async fn start() -> Option<Containerd> {
    if let Some(why) = missing() {
        println!("skipped: {why}");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let (path, at) = (dir.path().display(), socket(dir.path()));
    let config = format!(
        r#"version = 2
root = "{path}/root"
state = "{path}/state"
[grpc]
  address = "{}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{IMAGE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{path}/bin"
    conf_dir = "{path}/conf"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
"#,
        at.display()
    );
    let file = dir.path().join("config.toml");
    std::fs::write(&file, config).unwrap();
    let log = std::fs::File::create(dir.path().join("log")).unwrap();
    let child =
        Command::new("containerd").arg("-c").arg(&file).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let containerd = Containerd { child, dir };
    let client = Client::new(&at);
    for _ in 0..100 {
        if client.version().await.is_ok() {
            import(containerd.dir.path());
            return Some(containerd);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let log = std::fs::read_to_string(containerd.dir.path().join("log")).unwrap_or_default();
    panic!("containerd did not start: {log}");
}

/// An image with busybox alone, in the archive format `ctr` imports; it sleeps unless told otherwise.
fn import(dir: &Path) {
    let script = format!(
        r#"set -e
cd {dir}; mkdir -p image/rootfs/bin; cd image
cp "$(command -v busybox)" rootfs/bin/busybox; ln -sf busybox rootfs/bin/sh; ln -sf busybox rootfs/bin/sleep
tar -C rootfs -cf layer.tar .
sum=$(sha256sum layer.tar | cut -d' ' -f1)
printf '{{"architecture":"amd64","os":"linux","config":{{"Cmd":["/bin/sleep","1000"]}},"rootfs":{{"type":"layers","diff_ids":["sha256:%s"]}}}}' $sum > config.json
printf '[{{"Config":"config.json","RepoTags":["{IMAGE}"],"Layers":["layer.tar"]}}]' > manifest.json
tar -cf ../image.tar manifest.json config.json layer.tar
ctr -a {sock} -n k8s.io images import --snapshotter native ../image.tar"#,
        dir = dir.display(),
        sock = socket(dir).display(),
    );
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn sandbox(dir: &Path) -> PodSandboxConfig {
    let on_node = NamespaceOption { network: NamespaceMode::Node.into(), ..NamespaceOption::default() };
    let security = LinuxSandboxSecurityContext { namespace_options: Some(on_node), ..Default::default() };
    let metadata =
        PodSandboxMetadata { name: "p".into(), uid: "uid-1".into(), namespace: "default".into(), attempt: 0 };
    PodSandboxConfig {
        metadata: Some(metadata),
        log_directory: dir.join("logs").to_string_lossy().into_owned(),
        labels: BTreeMap::from([("io.kubernetes.pod.uid".to_owned(), "uid-1".to_owned())]),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: format!("/{}", cgroup()),
            security_context: Some(security),
            ..Default::default()
        }),
        ..PodSandboxConfig::default()
    }
}

fn container(command: &str) -> ContainerConfig {
    let on_node = NamespaceOption { network: NamespaceMode::Node.into(), ..NamespaceOption::default() };
    let security = LinuxContainerSecurityContext { namespace_options: Some(on_node), ..Default::default() };
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: "c".into(), attempt: 0 }),
        image: Some(ImageSpec::of(IMAGE)),
        command: vec!["/bin/sh".into(), "-c".into(), command.into()],
        log_path: "c.log".into(),
        linux: Some(LinuxContainerConfig { resources: None, security_context: Some(security) }),
        ..ContainerConfig::default()
    }
}

#[tokio::test]
async fn a_container_lives_on_a_real_runtime() {
    let Some(containerd) = start().await else { return };
    let dir = containerd.dir.path();
    std::fs::create_dir_all(dir.join("logs")).unwrap();
    let client = Client::new(format!("unix://{}", socket(dir).display()));
    assert_eq!(client.version().await.unwrap().runtime_name, "containerd");
    assert!(client.status().await.unwrap().condition("RuntimeReady").unwrap().status);
    let image = client.image_status(&ImageSpec::of(IMAGE)).await.unwrap().unwrap();
    assert_eq!(image.repo_tags, [IMAGE]);
    assert_eq!(client.image_status(&ImageSpec::of("xebec.test/none:1")).await.unwrap(), None);
    let absent = client.container_status("no-such-container").await.unwrap_err();
    assert!(absent.is_not_found(), "{absent}");

    let mut events = client.subscribe().await.unwrap();
    let id = client.run_pod_sandbox(sandbox(dir), "").await.unwrap();
    match client.run_pod_sandbox(sandbox(dir), "").await.unwrap_err() {
        CriError::NameReserved { id: holder, .. } => assert_eq!(holder, id),
        other => panic!("{other}"),
    }
    let config = container("echo hello; trap 'exit 7' TERM; while :; do sleep 0.1; done");
    let made = client.create_container(&id, config, sandbox(dir)).await.unwrap();
    client.start_container(&made).await.unwrap();
    let echo = vec!["/bin/sh".to_owned(), "-c".to_owned(), "echo out; echo err >&2; exit 3".to_owned()];
    let answer = client.exec_sync(&made, echo, Duration::from_secs(10)).await.unwrap();
    assert_eq!(
        (answer.stdout.as_slice(), answer.stderr.as_slice(), answer.exit_code),
        (&b"out\n"[..], &b"err\n"[..], 3)
    );
    let slow = client.exec_sync(&made, vec!["/bin/sleep".into(), "20".into()], Duration::from_secs(1)).await;
    assert!(matches!(slow, Err(CriError::DeadlineExceeded(_))), "{slow:?}");
    let url = client.exec(ExecRequest {
        container_id: made.clone(),
        cmd: vec!["sh".into()],
        stdout: true,
        ..Default::default()
    });
    assert!(url.await.unwrap().starts_with("http://"));
    client.stop_container(&made, Duration::from_secs(10)).await.unwrap();
    let status = client.container_status(&made).await.unwrap();
    assert_eq!((status.state(), status.exit_code), (ContainerState::ContainerExited, 7));
    assert!(status.finished_at >= status.started_at && status.started_at > 0);
    let log = std::fs::read_to_string(dir.join("logs/c.log")).unwrap();
    assert!(log.contains("stdout F hello"), "{log}");

    let mut seen = Vec::new();
    while !seen.contains(&(made.clone(), EventKind::Stopped)) {
        let event =
            tokio::time::timeout(Duration::from_secs(5), events.next()).await.unwrap().unwrap().unwrap();
        seen.push((event.id, event.kind));
    }
    assert!(
        seen.contains(&(id.clone(), EventKind::Started))
            && seen.contains(&(made.clone(), EventKind::Started))
    );
    let ends = seen.iter().filter(|(of, kind)| *of == made && *kind == EventKind::Stopped).count();
    assert_eq!(ends, 1, "the ends of exec'd commands are none of the container's");

    client.stop_pod_sandbox(&id).await.unwrap();
    client.remove_pod_sandbox(&id).await.unwrap();
    client.remove_pod_sandbox(&id).await.unwrap();
    assert!(client.list_containers(ContainerFilter::default()).await.unwrap().is_empty());
}
