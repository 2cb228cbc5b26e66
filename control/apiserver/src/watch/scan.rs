//! What must be known of stored bytes before they can be served: a quick look at the metadata, which reads the rest only
//! to see that it is JSON.
//!
//! Enters: an object's bytes as the store has them. Leaves: names, labels and the place where `resourceVersion` belongs.
//! Called by [`Object::stored`](super::Object::stored): a start reads every object of the cluster, and most of them are
//! asked for nothing else.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer as _, Error, IgnoredAny, MapAccess, Visitor};

/// The metadata of stored bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// Namespace, empty for cluster-scoped objects.
    pub(super) namespace: String,
    /// Name.
    pub(super) name: String,
    /// Labels.
    pub(super) labels: BTreeMap<String, String>,
    /// Where in the bytes `"resourceVersion":"…",` is to stand: in front of the first key of the metadata that sorts after
    /// it. Keys are in order, and every stored object has a `uid`.
    pub(super) gap: usize,
}

/// Looks at `stored`; none when it is not JSON, or not such that a version can be put in without parsing it.
pub(super) fn scan(stored: &[u8]) -> Option<Scan> {
    let text = std::str::from_utf8(stored).ok()?;
    let mut json = serde_json::Deserializer::from_str(text);
    let scan = (&mut json).deserialize_map(Top { text }).ok()?;
    json.end().ok()?;
    scan
}

struct Top<'a> {
    text: &'a str,
}

impl<'a> Visitor<'a> for Top<'a> {
    type Value = Option<Scan>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut scan = None;
        while let Some(key) = map.next_key::<&str>()? {
            if key == "metadata" {
                scan = map.next_value_seed(Metadata { text: self.text })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(scan)
    }
}

struct Metadata<'a> {
    text: &'a str,
}

impl<'a> DeserializeSeed<'a> for Metadata<'a> {
    type Value = Option<Scan>;

    fn deserialize<D: serde::Deserializer<'a>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Metadata<'a> {
    type Value = Option<Scan>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("metadata")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut scan = Scan::default();
        let mut gap = None;
        // A borrowed key lies in the text itself: one with escapes is refused and the object is parsed as a whole.
        while let Some(key) = map.next_key::<&str>()? {
            if gap.is_none() && key > "resourceVersion" {
                // In front of the quote.
                gap = Some(key.as_ptr().addr() - self.text.as_ptr().addr() - 1);
            }
            match key {
                "namespace" => scan.namespace = map.next_value()?,
                "name" => scan.name = map.next_value()?,
                "labels" => scan.labels = map.next_value()?,
                "resourceVersion" => return Err(Error::custom("the version is in the bytes already")),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(gap.map(|gap| Scan { gap, ..scan }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_asked_for() {
        let text = r#"{"a":{"metadata":{"name":"no"}},"metadata":{"labels":{"k\n":"v\"}"},"name":"n\u0061","namespace":"s","uid":"u"},"z":[1,{"x":null}]}"#;
        let found = scan(text.as_bytes()).unwrap();
        assert!(text[found.gap..].starts_with("\"uid\""));
        let labels = BTreeMap::from([("k\n".to_owned(), "v\"}".to_owned())]);
        let expected = Scan { namespace: "s".into(), name: "na".into(), labels, gap: found.gap };
        assert_eq!(found, expected);
    }

    #[test]
    fn leaves_to_the_parser_what_it_cannot_serve() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"metadata":1}"#,
            r#"{"metadata":{}}"#,
            r#"{"metadata":{"name":"a"}}"#,
            r#"{"metadata":{"name":"a","resourceVersion":"7","uid":"u"}}"#,
            r#"{"metadata":{"name":"a","\u0075id":"u"}}"#,
            r#"{"metadata":{"labels":{"a":1},"name":"a","uid":"u"}}"#,
            r#"{"metadata":{"name":"a","uid":"u"}"#,
            r#"{"metadata":{"name":"a","uid":"u"}} x"#,
            r#"{"metadata":{"name":"a","uid":"u"},"spec":{"a":01}}"#,
        ] {
            assert_eq!(scan(text.as_bytes()), None, "{text}");
        }
        assert_eq!(scan(b"{\"metadata\":{\"name\":\"a\",\"uid\":\"u\"},\"x\":\"\xff\"}"), None);
    }
}
