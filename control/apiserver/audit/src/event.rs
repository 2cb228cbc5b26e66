//! One audit event, as it is written.
//!
//! Authority: `k8s.io/apiserver/pkg/apis/audit/v1/types.go`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::policy::Level;

/// Where a request is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Stage {
    /// The user is known, nothing has been done yet.
    RequestReceived,
    /// The response's head is sent and its body goes on (watches, exec, logs).
    ResponseStarted,
    /// The response is sent.
    ResponseComplete,
    /// The handler panicked.
    Panic,
}

impl Stage {
    /// The stage of this name.
    pub fn parse(name: &str) -> Option<Stage> {
        Some(match name {
            "RequestReceived" => Stage::RequestReceived,
            "ResponseStarted" => Stage::ResponseStarted,
            "ResponseComplete" => Stage::ResponseComplete,
            "Panic" => Stage::Panic,
            _ => return None,
        })
    }
}

/// Which object a request is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectReference {
    /// The plural.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource: String,
    /// The namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The name; of a create, known once the object is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The uid, when the object tells it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_group: String,
    /// The version.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    /// The resourceVersion, when the object tells it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    /// The subresource.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subresource: String,
}

fn micros<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{at:.6}"))
}

/// An event of `audit.k8s.io/v1`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// `Event`.
    pub kind: &'static str,
    /// `audit.k8s.io/v1`.
    pub api_version: &'static str,
    /// How much is written down.
    pub level: Level,
    /// The request's id, the same for all its stages.
    #[serde(rename = "auditID")]
    pub audit_id: String,
    /// Which stage.
    pub stage: Stage,
    /// Path and query.
    #[serde(rename = "requestURI")]
    pub request_uri: String,
    /// The verb; for paths that are no resource the method in lower case.
    pub verb: String,
    /// Who asked (`userInfo`).
    pub user: Value,
    /// As whom they acted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub impersonated_user: Option<Value>,
    /// From where, the client first and proxies after it.
    #[serde(rename = "sourceIPs", skip_serializing_if = "Vec::is_empty")]
    pub source_ips: Vec<String>,
    /// The client's own words for itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user_agent: String,
    /// The object, of resource requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_ref: Option<ObjectReference>,
    /// How it ended: the Status without what it says about the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_status: Option<Value>,
    /// The request's object, from level Request on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_object: Option<Value>,
    /// The response's object, at level RequestResponse.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_object: Option<Value>,
    /// When the request came.
    #[serde(serialize_with = "micros")]
    pub request_received_timestamp: Timestamp,
    /// When it came to this stage.
    #[serde(serialize_with = "micros")]
    pub stage_timestamp: Timestamp,
    /// What the filters and plug-ins had to say, by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}
