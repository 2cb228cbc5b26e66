use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, Secret};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::super::mountinfo::mounts_below;
use super::super::{Propagation, SourceError, Token, TokenSource};
use super::*;

/// An API with one ConfigMap `m`, one Secret `s` and one bound claim `c`.
struct Api {
    map: Mutex<Value>,
    claim: PathBuf,
}

#[async_trait]
impl TokenSource for Api {
    async fn token(&self, request: &TokenRequest) -> Result<Token, SourceError> {
        let issued = Timestamp::now();
        let expires = issued + jiff::SignedDuration::from_secs(request.expiration_seconds);
        let audience = request.audience.as_deref().unwrap_or("api");
        Ok(Token { token: format!("{}/{audience}", request.service_account), issued, expires })
    }
}

#[async_trait]
impl Sources for Api {
    async fn config_map(&self, _: &str, name: &str) -> Result<Option<Arc<ConfigMap>>, SourceError> {
        let value = json!({"metadata": {"name": "m"}, "data": *self.map.lock()});
        Ok((name == "m").then(|| Arc::new(serde_json::from_value(value).unwrap())))
    }
    async fn secret(&self, _: &str, name: &str) -> Result<Option<Arc<Secret>>, SourceError> {
        let value = json!({"metadata": {"name": "s"}, "data": {"pw": "aHVudGVyMg=="}});
        Ok((name == "s").then(|| Arc::new(serde_json::from_value(value).unwrap())))
    }
    async fn claimed_volume(&self, _: &str, claim: &str) -> Result<Arc<PersistentVolume>, SourceError> {
        if claim != "c" {
            return Err(SourceError::Unbound(claim.to_owned()));
        }
        let value = json!({"metadata": {"name": "pv"}, "spec": {"local": {"path": self.claim}}});
        Ok(Arc::new(serde_json::from_value(value).unwrap()))
    }
}

/// A node in a temporary directory; whatever a failed test leaves mounted is unmounted.
struct Node {
    dir: tempfile::TempDir,
    volumes: LocalVolumes,
    api: Api,
}

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let claim = dir.path().join("claim");
        fs::create_dir(&claim).unwrap();
        let options = VolumeOptions { root: dir.path().join("kubelet"), allocatable: Amounts::new() };
        let api = Api { map: Mutex::new(json!({"k": "1", "old": "x"})), claim };
        Self { volumes: LocalVolumes::new(options), dir, api }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for entry in mounts_below(self.dir.path()).unwrap() {
            tmpfs::release(&entry.point).unwrap();
        }
    }
}

fn pod(volumes: Value, extra: Value) -> Pod {
    let names = volumes.as_array().unwrap().iter();
    let mounts: Vec<_> =
        names.map(|v| json!({"name": v["name"], "mountPath": format!("/{}", v["name"])})).collect();
    let mut pod = json!({
        "metadata": {"name": "p", "namespace": "n", "uid": "u-1", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "volumeMounts": mounts}], "volumes": volumes, "serviceAccountName": "robot"}
    });
    pod["spec"].as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    serde_json::from_value(pod).unwrap()
}

#[tokio::test]
async fn every_kind_of_volume_is_mounted_refreshed_and_taken_down() {
    let node = Node::new();
    let token =
        json!({"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 600}});
    let pod = pod(
        json!([
            {"name": "disk", "emptyDir": {}},
            {"name": "ram", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {"name": "map", "configMap": {"name": "m", "defaultMode": 0o400}},
            {"name": "pass", "secret": {"secretName": "s"}},
            {"name": "labels", "downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
            {"name": "all", "projected": {"sources": [token, {"configMap": {"name": "m", "items": [{"key": "k", "path": "d/k"}]}}]}},
            {"name": "host", "hostPath": {"path": node.dir.path(), "type": "Directory"}},
            {"name": "claim", "persistentVolumeClaim": {"claimName": "c", "readOnly": true}},
        ]),
        json!({"securityContext": {"fsGroup": 4242}}),
    );
    let mounts = node.volumes.mount(&pod, &node.api).await.unwrap();
    let path = |name: &str| mounts.volumes[name].host_path.clone();
    let read = |name: &str, file: &str| fs::read_to_string(path(name).join(file)).unwrap();
    assert!(mounts.changed);
    assert_eq!(path("disk"), node.dir.path().join("kubelet/pods/u-1/volumes/kubernetes.io~empty-dir/disk"));
    assert_eq!(fs::metadata(path("disk")).unwrap().mode() & 0o7777, 0o2777);
    assert_eq!((read("map", "k"), read("pass", "pw")), ("1".into(), "hunter2".into()));
    assert_eq!(read("labels", "l"), "app=\"web\"");
    assert_eq!((read("all", "token"), read("all", "d/k")), ("robot/vault".into(), "1".into()));
    let meta = fs::metadata(path("all").join("token")).unwrap();
    assert_eq!((meta.gid(), meta.mode() & 0o777), (4242, 0o660));
    assert_eq!(fs::metadata(path("map").join("k")).unwrap().mode() & 0o777, 0o660);
    assert!(mounts.volumes["claim"].read_only && mounts.volumes["map"].read_only);
    let table = mount_points(&node);
    assert_eq!(table, ["all", "pass", "ram"]);
    let too_much = fs::write(path("ram").join("f"), vec![0u8; 2 << 20]);
    assert_eq!(too_much.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    fs::write(path("disk").join("kept"), "x").unwrap();

    // Again with nothing new, then with a changed ConfigMap; what the pod wrote stays.
    assert!(!node.volumes.mount(&pod, &node.api).await.unwrap().changed);
    *node.api.map.lock() = json!({"k": "2"});
    assert!(node.volumes.mount(&pod, &node.api).await.unwrap().changed);
    assert_eq!(
        (read("map", "k"), read("all", "d/k"), read("disk", "kept")),
        ("2".into(), "2".into(), "x".into())
    );
    assert!(!path("map").join("old").exists());
    assert_eq!(mount_points(&node), ["all", "pass", "ram"]);

    let found = node.volumes.reconstruct().await.unwrap();
    assert_eq!((found[0].uid.as_str(), found[0].volumes.len(), found[0].mounts.len()), ("u-1", 6, 3));
    node.volumes.unmount("u-1").await.unwrap();
    assert!(mount_points(&node).is_empty() && node.volumes.reconstruct().await.unwrap().is_empty());
    assert!(node.dir.path().join("claim").is_dir());
    node.volumes.unmount("u-1").await.unwrap();
}

fn mount_points(node: &Node) -> Vec<String> {
    let table = mounts_below(node.dir.path()).unwrap();
    let mut names: Vec<_> =
        table.iter().map(|m| m.point.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_container_gets_its_mounts_with_sub_paths() {
    let node = Node::new();
    let mut pod = pod(
        json!([{"name": "disk", "emptyDir": {}}, {"name": "map", "configMap": {"name": "m"}}]),
        json!({}),
    );
    pod.spec.as_mut().unwrap().containers[0].volume_mounts = serde_json::from_value(json!([
        {"name": "disk", "mountPath": "/data", "subPathExpr": "logs/$(POD)", "mountPropagation": "HostToContainer"},
        {"name": "map", "mountPath": "etc/k", "subPath": "k"},
        {"name": "disk", "mountPath": "/ro", "readOnly": true},
    ]))
    .unwrap();
    let mounts = node.volumes.mount(&pod, &node.api).await.unwrap();
    let env = [("POD".to_owned(), "p".to_owned())];
    for _ in 0..2 {
        let list = node.volumes.container_mounts(&pod, &mounts, "c", &env).await.unwrap();
        assert_eq!(list[0].propagation, Propagation::HostToContainer);
        assert!(list[0].host_path.ends_with("volume-subpaths/disk/c/0") && !list[0].read_only);
        assert_eq!(fs::read_to_string(&list[1].host_path).unwrap(), "1");
        assert_eq!((list[1].container_path.as_str(), list[1].read_only), ("/etc/k", true));
        assert_eq!((&list[2].host_path, list[2].read_only), (&mounts.volumes["disk"].host_path, true));
        assert_eq!(mount_points(&node).len(), 2);
    }
    assert!(mounts.volumes["disk"].host_path.join("logs/p").is_dir());
    let error = node.volumes.container_mounts(&pod, &mounts, "c", &[]).await.unwrap_err();
    assert!(error.to_string().contains("POD"), "{error}");
    // A manager that knows nothing, as after kill -9, takes all of it down.
    let options = VolumeOptions { root: node.dir.path().join("kubelet"), allocatable: Amounts::new() };
    LocalVolumes::new(options).unmount("u-1").await.unwrap();
    assert!(mount_points(&node).is_empty() && !node.volumes.pod_dir("u-1").exists());
}

#[tokio::test]
async fn failures_name_the_volume_and_unused_volumes_do_not_matter() {
    let node = Node::new();
    let missing = json!([{"name": "v", "configMap": {"name": "gone"}}]);
    let error = node.volumes.mount(&pod(missing.clone(), json!({})), &node.api).await.unwrap_err();
    assert_eq!(error.to_string(), "MountVolume.SetUp failed for volume \"v\" : configmap \"gone\" not found");
    let mut unused = pod(missing, json!({}));
    unused.spec.as_mut().unwrap().containers[0].volume_mounts = None;
    assert!(node.volumes.mount(&unused, &node.api).await.unwrap().volumes.is_empty());
    let claim = pod(json!([{"name": "v", "persistentVolumeClaim": {"claimName": "late"}}]), json!({}));
    assert!(node.volumes.mount(&claim, &node.api).await.unwrap_err().to_string().contains("not bound"));
    assert!(matches!(node.volumes.unmount("../..").await, Err(VolumeError::Invalid(_))));
}

#[test]
fn one_user_for_all_containers_owns_the_token() {
    let of = |pod_user: Value, users: [Value; 2]| {
        let containers = users.map(|u| json!({"name": "c", "securityContext": {"runAsUser": u}}));
        let pod = json!({"spec": {"securityContext": {"runAsUser": pod_user}, "containers": containers}});
        common_user(&serde_json::from_value(pod).unwrap())
    };
    assert_eq!(of(json!(null), [json!(7), json!(7)]), Some(7));
    assert_eq!(of(json!(7), [json!(null), json!(7)]), Some(7));
    assert_eq!(of(json!(null), [json!(7), json!(null)]), None);
    assert_eq!(of(json!(7), [json!(8), json!(7)]), None);
}
