//! Promises about unusual input: any text is a key, any bytes are a value.

use super::{Space, next};
use crate::{Expect, ListAt, MAX_VALUE_BYTES};
use bytes::Bytes;

/// Keys with spaces, control characters, other scripts, the characters next to the separator, and of great length.
pub(super) async fn keys(space: &Space) {
    let long = "x".repeat(2000);
    let mut paths: Vec<&str> = vec![
        "k/a b",
        "k/ ",
        "k/\n",
        "k/\u{1}",
        "k/a\0b",
        "k/%2F",
        "k/..",
        "k/é",
        "k/e\u{301}",
        "k/日本語",
        "k/🚀",
        "k//",
        "k//x",
        "k/.",
        "k/0",
        "k/~",
        "k/\u{7f}",
        "k/\u{10ffff}",
        "k/A",
        "k/a",
        &long,
    ];
    let long_path = format!("k/{long}");
    paths.pop();
    paths.push(&long_path);
    let mut watch = space.watch("k", space.head().await).await;
    let mut created = Vec::new();
    for path in &paths {
        created.push(space.put(path, path, Expect::Absent).await.expect("any text is a key"));
    }
    for (path, revision) in paths.iter().zip(&created) {
        let entry = space.get(path).await.expect("the key is found again");
        assert_eq!((entry.key, entry.mod_revision), (space.key(path), *revision));
        let event = next(&mut watch).await;
        assert_eq!((event.entry.key, event.revision), (space.key(path), *revision));
    }
    paths.sort_unstable();
    let expected: Vec<String> = paths.iter().map(|path| space.key(path)).collect();
    let (entries, _) = space.list("k").await;
    let listed: Vec<&String> = entries.iter().map(|entry| &entry.key).collect();
    assert_eq!(listed, expected.iter().collect::<Vec<_>>(), "keys are in the order of their bytes");
    let mut request = ListAt { limit: 1, ..ListAt::default() };
    for key in &expected {
        let page = space.page("k", request.clone()).await;
        assert_eq!(page.entries.first().map(|entry| &entry.key), Some(key), "a page starts after any key");
        request.after = Some(key.clone());
    }
    for path in &paths {
        space.remove(path).await;
    }
    assert!(space.list("k").await.0.is_empty());
}

/// Values of any bytes, of no bytes, and near the limit, whole in reads, events and lists.
pub(super) async fn values(space: &Space) {
    let every_byte: Bytes = (0..=255_u8).cycle().take(70_000).collect();
    // etcd counts the whole request, of which the value is a part.
    let largest: Bytes = (0..MAX_VALUE_BYTES - 4096).map(|index| (index % 253) as u8).collect();
    let mut watch = space.watch("v", space.head().await).await;
    for value in [Bytes::new(), every_byte, largest, Bytes::from_static(b"\0"), Bytes::new()] {
        space.store.put(&space.key("v/k"), value.clone(), Expect::Any).await.expect("any bytes are a value");
        assert!(space.get("v/k").await.is_some_and(|entry| entry.value == value), "{} bytes", value.len());
        assert!(next(&mut watch).await.entry.value == value, "{} bytes", value.len());
        assert!(space.list("v").await.0[0].value == value, "{} bytes", value.len());
    }
    space.remove("v/k").await;
    let event = next(&mut watch).await;
    assert_eq!(event.previous.as_deref(), Some(&b""[..]), "an empty value was there before the delete");
}
