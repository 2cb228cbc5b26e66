//! The Status object on the wire, written and read back.
//!
//! Authority: pkg/apis/meta/v1 `Status`.

use serde_json::{Map, Value, json};

use super::{ApiError, Cause, Details, Reason};

impl ApiError {
    /// The Status object, `kind: Status`, `apiVersion: v1`.
    pub fn to_value(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if let Some(resume) = &self.resume {
            status["metadata"]["continue"] = resume.as_str().into();
        }
        if self.reason != Reason::Unknown {
            status["reason"] = self.reason.as_str().into();
        }
        if self.details.is_some() || self.retry_after_seconds.is_some() {
            let mut details = self.details.as_ref().map(details_value).unwrap_or_default();
            if let Some(seconds) = self.retry_after_seconds {
                details.insert("retryAfterSeconds".into(), seconds.into());
            }
            status["details"] = Value::Object(details);
        }
        status
    }

    /// Reads a Status object back; `None` when the value is no failed Status.
    pub fn from_value(value: &Value) -> Option<Self> {
        if value.get("kind")?.as_str()? != "Status" || value["status"].as_str() == Some("Success") {
            return None;
        }
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let d = &value["details"];
        let details = d.is_object().then(|| Details {
            name: text(&d["name"]),
            group: text(&d["group"]),
            kind: text(&d["kind"]),
            uid: text(&d["uid"]),
            causes: d["causes"]
                .as_array()
                .map(|causes| {
                    causes
                        .iter()
                        .map(|c| Cause {
                            reason: text(&c["reason"]),
                            message: text(&c["message"]),
                            field: text(&c["field"]),
                        })
                        .collect()
                })
                .unwrap_or_default(),
        });
        Some(Self {
            code: value["code"].as_u64().and_then(|c| u16::try_from(c).ok()).unwrap_or(500),
            reason: Reason::parse(value["reason"].as_str().unwrap_or_default()),
            message: text(&value["message"]),
            details,
            resume: value["metadata"]["continue"].as_str().map(str::to_owned),
            retry_after_seconds: d["retryAfterSeconds"].as_u64().and_then(|s| u32::try_from(s).ok()),
        })
    }
}

fn details_value(details: &Details) -> Map<String, Value> {
    let mut out = Map::new();
    let mut put = |key: &str, text: &str| {
        if !text.is_empty() {
            out.insert(key.to_owned(), text.into());
        }
    };
    put("name", &details.name);
    put("group", &details.group);
    put("kind", &details.kind);
    put("uid", &details.uid);
    if !details.causes.is_empty() {
        let causes = details.causes.iter().map(|c| {
            let mut cause = Map::new();
            for (key, text) in [("reason", &c.reason), ("message", &c.message), ("field", &c.field)] {
                if !text.is_empty() {
                    cause.insert(key.to_owned(), text.as_str().into());
                }
            }
            Value::Object(cause)
        });
        out.insert("causes".into(), causes.collect());
    }
    out
}

/// The Status of a deletion that is done: `status: Success` and what was deleted.
pub fn success(group: &str, plural: &str, name: &str, uid: &str) -> Value {
    let details = Details { uid: uid.to_owned(), ..Details::about(group, plural, name) };
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": Value::Object(details_value(&details)),
    })
}
