use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base64::Engine as _;
use xebec_store::embedded::{Embedded, Options};

use super::*;
use crate::config::EncryptionConfiguration;
use crate::reload;

const KEY: &str = "/registry/core/secrets/a/b";
const OTHER: &str = "/registry/core/configmaps/a/b";
const VALUE: &[u8] = b"{\"data\":\"hush\"}";

fn file(keys: &[(&str, u8)], identity: bool) -> String {
    let mut list = String::new();
    for (name, byte) in keys {
        let secret = base64::engine::general_purpose::STANDARD.encode([*byte; 32]);
        list.push_str(&format!("      - {{name: {name}, secret: {secret}}}\n"));
    }
    let identity = if identity { "  - identity: {}\n" } else { "" };
    format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n  - aesgcm:\n      keys:\n{list}{identity}"
    )
}

fn transformers(keys: &[(&str, u8)], identity: bool) -> Transformers {
    Transformers::new(&EncryptionConfiguration::parse(&file(keys, identity)).unwrap())
}

struct World {
    engine: Arc<dyn Store>,
    directory: tempfile::TempDir,
}

fn world() -> World {
    let directory = tempfile::tempdir().unwrap();
    let engine = Embedded::open(directory.path().join("store.redb"), Options::default()).unwrap();
    World { engine, directory }
}

impl World {
    fn store(&self, keys: &[(&str, u8)], identity: bool) -> Arc<EncryptedStore> {
        EncryptedStore::new(Arc::clone(&self.engine), transformers(keys, identity))
    }

    async fn raw(&self, key: &str) -> Bytes {
        self.engine.get(key).await.unwrap().0.unwrap().value
    }
}

fn value() -> Bytes {
    Bytes::from_static(VALUE)
}

#[tokio::test]
async fn every_engine_promise_holds_through_encryption() {
    let directory = tempfile::tempdir().unwrap();
    let stores = AtomicU32::new(0);
    xebec_store::contract::run_all(|| async {
        let name = format!("{}.redb", stores.fetch_add(1, Ordering::Relaxed));
        let engine = Embedded::open(directory.path().join(name), Options::default()).unwrap();
        let text = file(&[("k", 1)], true).replace("[secrets]", "['*.*']");
        let config = EncryptionConfiguration::parse(&text).unwrap();
        EncryptedStore::new(engine, Transformers::new(&config)) as Arc<dyn Store>
    })
    .await;
}

#[tokio::test]
async fn chosen_values_are_unreadable_below_and_plain_above() {
    let world = world();
    let store = world.store(&[("k", 1)], true);
    let created = store.put(KEY, value(), Expect::Absent).await.unwrap();
    store.put(OTHER, value(), Expect::Any).await.unwrap();
    let raw = world.raw(KEY).await;
    assert!(raw.starts_with(b"k8s:enc:aesgcm:v1:k:") && !raw.windows(4).any(|part| part == b"hush"));
    assert_eq!(world.raw(OTHER).await, VALUE);
    assert_eq!(store.get(KEY).await.unwrap().0.unwrap().value, VALUE);
    let listed = store.list("/registry").await.unwrap().0;
    assert!(listed.len() == 2 && listed.iter().all(|entry| entry.value == VALUE));

    let mut watch = store.watch("/registry/core/secrets", created - 1).await.unwrap();
    store.put(KEY, Bytes::from_static(b"{}"), Expect::Revision(created)).await.unwrap();
    store.delete(KEY, Expect::Any).await.unwrap();
    let values: [(&[u8], Option<&[u8]>); 3] = [(VALUE, None), (b"{}", Some(VALUE)), (b"{}", Some(b"{}"))];
    for (now, before) in values {
        let event = watch.next().await.unwrap().unwrap();
        assert_eq!((&event.entry.value[..], event.previous.as_deref()), (now, before));
    }
}

#[tokio::test]
async fn a_conflict_shows_the_plain_entry() {
    let world = world();
    let store = world.store(&[("k", 1)], true);
    store.put(KEY, value(), Expect::Absent).await.unwrap();
    for expect in [Expect::Absent, Expect::Revision(77)] {
        match store.put(KEY, value(), expect).await {
            Err(StoreError::Conflict { current: Some(entry), .. }) => assert_eq!(entry.value, VALUE),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_rewrite_of_a_stale_value_takes_the_new_key() {
    let world = world();
    world.engine.put(KEY, value(), Expect::Absent).await.unwrap();
    let first = world.store(&[("one", 1)], true);
    assert!(first.is_stale(KEY).await.unwrap(), "plain");
    let (entry, _) = first.get(KEY).await.unwrap();
    let entry = entry.unwrap();
    first.put(KEY, entry.value, Expect::Revision(entry.mod_revision)).await.unwrap();
    assert!(!first.is_stale(KEY).await.unwrap());
    let second = world.store(&[("two", 2), ("one", 1)], false);
    assert!(second.is_stale(KEY).await.unwrap(), "old key");
    second.put(KEY, value(), Expect::Any).await.unwrap();
    assert!(world.raw(KEY).await.starts_with(b"k8s:enc:aesgcm:v1:two:"));
    assert!(!second.is_stale(KEY).await.unwrap());
    assert!(!second.is_stale("/registry/core/secrets/a/none").await.unwrap());
    assert!(!second.is_stale(OTHER).await.unwrap());
}

#[tokio::test]
async fn a_wrong_key_names_the_object_and_loses_nothing() {
    let world = world();
    world.store(&[("k", 1)], true).put(KEY, value(), Expect::Absent).await.unwrap();
    let wrong = world.store(&[("k", 2)], true);
    let before = world.raw(KEY).await;
    let outcomes = [
        wrong.get(KEY).await.map(drop),
        wrong.list("/registry").await.map(drop),
        wrong.put(KEY, value(), Expect::Any).await.map(drop),
        wrong.put(KEY, value(), Expect::Absent).await.map(drop),
        wrong.delete(KEY, Expect::Any).await.map(drop),
        wrong.is_stale(KEY).await.map(drop),
    ];
    for outcome in outcomes {
        let error = outcome.unwrap_err();
        assert!(matches!(&error, StoreError::Undecryptable { key, .. } if key == KEY), "{error}");
        assert!(error.to_string().contains("k8s:enc:aesgcm:v1:k"), "{error}");
    }
    assert_eq!(world.raw(KEY).await, before);
    let mut watch = wrong.watch("/registry", 1).await.unwrap();
    assert!(matches!(watch.next().await, Some(Err(StoreError::Undecryptable { .. }))));
    assert!(watch.next().await.is_none());
    let right = world.store(&[("k", 1)], true);
    assert_eq!(right.get(KEY).await.unwrap().0.unwrap().value, VALUE);
}

#[tokio::test]
async fn values_do_not_move_between_objects() {
    let world = world();
    let store = world.store(&[("k", 1)], true);
    store.put(KEY, value(), Expect::Absent).await.unwrap();
    let stolen = "/registry/core/secrets/mine/b";
    world.engine.put(stolen, world.raw(KEY).await, Expect::Absent).await.unwrap();
    assert!(matches!(store.get(stolen).await, Err(StoreError::Undecryptable { .. })));
}

#[tokio::test(start_paused = true)]
async fn the_file_is_followed_and_a_wrong_one_changes_nothing() {
    let world = world();
    let path = world.directory.path().join("encryption.yaml");
    std::fs::write(&path, file(&[("one", 1)], true)).unwrap();
    let (transformers, mut seen) = reload::load(&path).unwrap();
    let store = EncryptedStore::new(Arc::clone(&world.engine), transformers);
    let mut look = || reload::look(&store, &path, &mut seen);
    std::fs::write(&path, "nonsense: true").unwrap();
    look();
    assert!(store.health().unwrap_err().contains("nonsense"));
    assert!(store.current().chain(KEY).seal(KEY, value()).unwrap().starts_with(b"k8s:enc:aesgcm:v1:one:"));
    std::fs::write(&path, file(&[("one", 1)], true)).unwrap();
    look();
    assert_eq!(store.health(), Ok(()));
    std::fs::write(&path, file(&[("two", 2), ("one", 1)], true)).unwrap();
    look();
    assert!(store.current().chain(KEY).seal(KEY, value()).unwrap().starts_with(b"k8s:enc:aesgcm:v1:two:"));
    // The task does the same by itself.
    std::fs::write(&path, file(&[("three", 3)], true)).unwrap();
    let task = tokio::spawn(reload::follow(Arc::clone(&store), path.clone(), seen, Duration::from_secs(60)));
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert!(store.current().chain(KEY).seal(KEY, value()).unwrap().starts_with(b"k8s:enc:aesgcm:v1:three:"));
    task.abort();
}
