//! One request on its way, and what is written down of it at each stage.
//!
//! Enters: a [`Subject`] (who asks for what), then what becomes known: objects, annotations, the outcome. Leaves:
//! events in the sink. An [`Audit`] is shared by everything that handles its request; it writes each stage at most
//! once, in order, and says nothing after the last.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use xebec_identity::{Attributes, User};

use crate::event::{Event, ObjectReference, Stage};
use crate::policy::{Level, Policy};
use crate::sink::Sink;

/// The longest user agent that is kept, in bytes.
///
/// Authority: `k8s.io/apiserver/pkg/audit/request.go` (maxUserAgentLength, userAgentTruncateSuffix).
const MAX_USER_AGENT: usize = 1024;
const TRUNCATED: &str = "...TRUNCATED";
/// The longest `Audit-ID` that is taken over from a client, in bytes.
const MAX_ID: usize = 64;
/// The most annotations of one event.
const MAX_ANNOTATIONS: usize = 64;

/// Where "now" comes from.
type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A request, as far as the filter knows it.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// What is asked, and by whom once impersonation is over.
    pub attributes: Attributes,
    /// Who was authenticated, if they act as somebody else.
    pub impersonator: Option<User>,
    /// Path and query.
    pub uri: String,
    /// From where ([`crate::source_ips`]).
    pub source_ips: Vec<String>,
    /// The header `User-Agent`.
    pub user_agent: String,
    /// The header `Audit-ID`, or empty.
    pub audit_id: String,
    /// Whether the response's body may go on for long (watch, exec, log): then ResponseStarted is a stage.
    pub is_long_running: bool,
}

/// The log did not take an event, and the operator wants requests refused then (`blocking-strict`): answer 500.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to store audit event")]
pub struct Failure;

/// Writes requests down as the policy says.
pub struct Auditor {
    policy: Policy,
    sink: Arc<dyn Sink>,
    clock: Clock,
}

struct State {
    event: Event,
    /// The last stage that was reached.
    reached: Option<Stage>,
}

/// The record of one request.
pub struct Audit {
    id: String,
    level: Level,
    verdict: crate::policy::Verdict,
    is_long_running: bool,
    sink: Arc<dyn Sink>,
    clock: Clock,
    state: Mutex<State>,
}

/// The id a request goes by: the client's own, or a new one.
fn id_of(wanted: &str) -> String {
    let is_usable = !wanted.is_empty() && wanted.len() <= MAX_ID;
    if is_usable { wanted.to_owned() } else { uuid::Uuid::new_v4().to_string() }
}

fn user_agent(given: &str) -> String {
    if given.len() <= MAX_USER_AGENT {
        return given.to_owned();
    }
    let mut end = MAX_USER_AGENT;
    while !given.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{TRUNCATED}", &given[..end])
}

fn object_ref(attributes: &Attributes) -> Option<ObjectReference> {
    attributes.is_resource.then(|| ObjectReference {
        resource: attributes.resource.clone(),
        namespace: attributes.namespace.clone(),
        name: attributes.name.clone(),
        api_group: attributes.group.clone(),
        api_version: attributes.version.clone(),
        subresource: attributes.subresource.clone(),
        ..ObjectReference::default()
    })
}

impl Auditor {
    /// An auditor on the machine's clock.
    pub fn new(policy: Policy, sink: Arc<dyn Sink>) -> Auditor {
        Auditor::with_clock(policy, sink, Arc::new(Timestamp::now))
    }

    /// An auditor on a given clock.
    pub fn with_clock(
        policy: Policy,
        sink: Arc<dyn Sink>,
        clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    ) -> Auditor {
        Auditor { policy, sink, clock }
    }

    /// Begins a request that came at `received`: writes its first stage; `None` if the policy keeps nothing of it.
    ///
    /// # Errors
    /// The sink is strict and did not take the event.
    pub fn begin(&self, subject: &Subject, received: Timestamp) -> Result<Option<Arc<Audit>>, Failure> {
        let audit = self.prepare(subject, received);
        if let Some(audit) = &audit {
            audit.reach(Stage::RequestReceived).then_some(()).ok_or(Failure)?;
        }
        Ok(audit)
    }

    /// Writes down a request nobody could be found for (401); `message` says which credentials were tried.
    pub fn unauthenticated(&self, subject: &Subject, received: Timestamp, message: &str) {
        let Some(audit) = self.prepare(subject, received) else { return };
        audit.state.lock().event.response_status = Some(
            json!({"metadata": {}, "status": "Failure", "reason": "Unauthorized", "message": message, "code": 401}),
        );
        // The request is refused either way, and this is its last stage.
        audit.reach(Stage::ResponseStarted);
        audit.state.lock().reached = Some(Stage::ResponseComplete);
    }

    fn prepare(&self, subject: &Subject, received: Timestamp) -> Option<Arc<Audit>> {
        let verdict = self.policy.evaluate(&subject.attributes);
        if verdict.level == Level::None {
            return None;
        }
        let attributes = &subject.attributes;
        let (user, impersonated) = match &subject.impersonator {
            Some(real) => (real, Some(attributes.user.to_user_info())),
            None => (&attributes.user, None),
        };
        let id = id_of(&subject.audit_id);
        let event = Event {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: verdict.level,
            audit_id: id.clone(),
            stage: Stage::RequestReceived,
            request_uri: subject.uri.clone(),
            verb: attributes.verb.clone(),
            user: user.to_user_info(),
            impersonated_user: impersonated,
            source_ips: subject.source_ips.clone(),
            user_agent: user_agent(&subject.user_agent),
            object_ref: object_ref(attributes),
            response_status: None,
            request_object: None,
            response_object: None,
            request_received_timestamp: received,
            stage_timestamp: received,
            annotations: BTreeMap::new(),
        };
        Some(Arc::new(Audit {
            id,
            level: verdict.level,
            verdict,
            is_long_running: subject.is_long_running,
            sink: Arc::clone(&self.sink),
            clock: Arc::clone(&self.clock),
            state: Mutex::new(State { event, reached: None }),
        }))
    }
}

/// A Status without what is large or says something about the object.
fn selected_status(status: &Value) -> Value {
    let mut selected = json!({"metadata": {}});
    for field in ["status", "message", "reason", "details", "code"] {
        if let Some(value) = status.get(field) {
            selected[field] = value.clone();
        }
    }
    selected
}

fn without_managed_fields(mut object: Value) -> Value {
    let strip = |object: &mut Value| {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
    };
    strip(&mut object);
    for item in object.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        strip(item);
    }
    object
}

impl Audit {
    /// The request's id; it goes into the response's header `Audit-ID`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether the request's object is wanted.
    pub fn wants_request(&self) -> bool {
        self.level >= Level::Request
    }

    /// Whether the response's object is wanted.
    pub fn wants_response(&self) -> bool {
        self.level >= Level::RequestResponse
    }

    /// Adds a fact; a key that is taken keeps its value, as upstream.
    pub fn annotate(&self, key: &str, value: &str) {
        let annotations = &mut self.state.lock().event.annotations;
        if annotations.len() < MAX_ANNOTATIONS {
            annotations.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        } else {
            tracing::warn!(key, "too many audit annotations, this one is left out");
        }
    }

    /// Notes the request's object as it was sent; of creates it also tells the name.
    pub fn request_object(&self, object: &Value) {
        {
            let mut state = self.state.lock();
            if let Some(reference) = &mut state.event.object_ref {
                let text =
                    |at: &str| object.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
                let fill = |own: &mut String, value: String| {
                    if own.is_empty() {
                        *own = value;
                    }
                };
                fill(&mut reference.name, text("/metadata/name"));
                fill(&mut reference.namespace, text("/metadata/namespace"));
                fill(&mut reference.uid, text("/metadata/uid"));
                fill(&mut reference.resource_version, text("/metadata/resourceVersion"));
            }
        }
        if self.wants_request() {
            self.state.lock().event.request_object = Some(self.kept(object));
        }
    }

    /// Notes a patch as it was sent.
    pub fn request_patch(&self, patch: &[u8]) {
        if self.wants_request() {
            let value = serde_json::from_slice(patch);
            let value = value.unwrap_or_else(|_| Value::from(String::from_utf8_lossy(patch).into_owned()));
            self.state.lock().event.request_object = Some(value);
        }
    }

    /// Notes the response's object; of a Status only what says how the request ended.
    pub fn response_object(&self, object: &Value) {
        if object["kind"] == "Status" && object["apiVersion"] == "v1" {
            self.state.lock().event.response_status = Some(selected_status(object));
        }
        if self.wants_response() {
            self.state.lock().event.response_object = Some(self.kept(object));
        }
    }

    fn kept(&self, object: &Value) -> Value {
        if self.verdict.omit_managed_fields { without_managed_fields(object.clone()) } else { object.clone() }
    }

    fn set_code(&self, code: u16) {
        let status = &mut self.state.lock().event.response_status;
        match status {
            Some(status) => status["code"] = json!(code),
            None => *status = Some(json!({"metadata": {}, "code": code})),
        }
    }

    /// The response's head is sent; of long-running requests that is a stage.
    pub fn started(&self, code: u16) {
        self.set_code(code);
        if self.is_long_running {
            self.reach(Stage::ResponseStarted);
        }
    }

    /// The response is sent, or its receiver is gone.
    pub fn complete(&self) {
        let missing = self.state.lock().event.response_status.is_none();
        if missing {
            let status = json!({"metadata": {}, "status": "Success", "code": 200, "message": "Connection closed early"});
            self.state.lock().event.response_status = Some(status);
            if self.is_long_running {
                self.reach(Stage::ResponseStarted);
            }
        }
        self.reach(Stage::ResponseComplete);
    }

    /// The handler panicked.
    pub fn panicked(&self, reason: &str) {
        let status = json!({
            "metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
            "message": format!("APIServer panic'd: {reason}"),
        });
        self.state.lock().event.response_status = Some(status);
        self.reach(Stage::Panic);
    }

    /// Writes the stage, unless it or a later one is written, or the policy leaves it out; false if the sink insists
    /// and did not take it.
    fn reach(&self, stage: Stage) -> bool {
        let mut state = self.state.lock();
        if state.reached.is_some_and(|reached| reached >= stage || reached == Stage::ResponseComplete) {
            return true;
        }
        state.reached = Some(stage);
        if self.verdict.omit_stages.contains(&stage) {
            return true;
        }
        state.event.stage = stage;
        if stage != Stage::RequestReceived {
            state.event.stage_timestamp = (self.clock)();
        }
        self.sink.write(&state.event)
    }
}

impl Drop for Audit {
    /// A request whose handler vanished (its client went away) ends too.
    fn drop(&mut self) {
        let reached = self.state.lock().reached;
        let is_open = match reached {
            Some(Stage::RequestReceived) => true,
            Some(Stage::ResponseStarted) => self.is_long_running,
            None | Some(Stage::ResponseComplete | Stage::Panic) => false,
        };
        if is_open {
            self.complete();
        }
    }
}

#[cfg(test)]
mod tests;
