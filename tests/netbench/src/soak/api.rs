//! An API server of three kinds: lists, and watches from any revision it remembers. Enters: objects as they change.
//! Leaves: HTTP/1.1 to the agent. Not `xebec-control`: on the soak's two processors its lists of ten thousand Services,
//! every five seconds anew, would be most of what is measured.
//!
//! Lists are whole: a server may leave `limit` aside (API concepts, "retrieving large results sets in chunks").

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Events that are remembered; a watch from before them is told that it expired.
const HISTORY: usize = 100_000;

/// A kind that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// core/v1.
    Service,
    /// discovery.k8s.io/v1.
    EndpointSlice,
    /// core/v1.
    Node,
}

impl Kind {
    fn of(path: &str) -> Option<Self> {
        match path {
            "/api/v1/services" => Some(Self::Service),
            "/apis/discovery.k8s.io/v1/endpointslices" => Some(Self::EndpointSlice),
            "/api/v1/nodes" => Some(Self::Node),
            _ => None,
        }
    }

    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Service => ("v1", "Service"),
            Self::EndpointSlice => ("discovery.k8s.io/v1", "EndpointSlice"),
            Self::Node => ("v1", "Node"),
        }
    }
}

struct Event {
    revision: u64,
    kind: Kind,
    line: Arc<str>,
}

#[derive(Default)]
struct State {
    revision: u64,
    objects: BTreeMap<(Kind, String), Arc<str>>,
    events: VecDeque<Event>,
}

/// The server's objects.
#[derive(Default)]
pub(super) struct Api {
    state: Mutex<State>,
    changed: Condvar,
}

impl Api {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates or replaces an object.
    pub(super) fn put(&self, kind: Kind, name: &str, object: Value) {
        self.change(kind, name, Some(object));
    }

    /// Deletes an object.
    pub(super) fn delete(&self, kind: Kind, name: &str) {
        self.change(kind, name, None);
    }

    fn change(&self, kind: Kind, name: &str, object: Option<Value>) {
        let mut state = self.state();
        state.revision += 1;
        let revision = state.revision;
        let key = (kind, name.to_owned());
        let present = state.objects.get(&key).cloned();
        let (what, mut object) = match (object, present) {
            (Some(object), present) => (if present.is_some() { "MODIFIED" } else { "ADDED" }, object),
            (None, Some(present)) => ("DELETED", serde_json::from_str(&present).unwrap_or_default()),
            (None, None) => return,
        };
        let (version, name) = kind.names();
        object["apiVersion"] = version.into();
        object["kind"] = name.into();
        object["metadata"]["resourceVersion"] = revision.to_string().into();
        let text = object.to_string();
        if what == "DELETED" {
            state.objects.remove(&key);
        } else {
            state.objects.insert(key, text.as_str().into());
        }
        let line = format!("{{\"type\":\"{what}\",\"object\":{text}}}\n").into();
        state.events.push_back(Event { revision, kind, line });
        if state.events.len() > HISTORY {
            state.events.pop_front();
        }
        drop(state);
        self.changed.notify_all();
    }

    fn list(&self, kind: Kind) -> String {
        let state = self.state();
        let (version, name) = kind.names();
        let items: Vec<&str> =
            state.objects.iter().filter(|((of, _), _)| *of == kind).map(|(_, text)| &**text).collect();
        format!(
            "{{\"kind\":\"{name}List\",\"apiVersion\":\"{version}\",\"metadata\":{{\"resourceVersion\":\"{}\"}},\"items\":[{}]}}",
            state.revision,
            items.join(",")
        )
    }

    /// Events of a kind after a revision, waiting for some for a while; `None` if that revision is forgotten.
    fn after(&self, kind: Kind, revision: u64, wait: Duration) -> Option<(u64, Vec<Arc<str>>)> {
        let mut state = self.state();
        if state.revision <= revision {
            state = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.events.front().is_some_and(|oldest| oldest.revision > revision + 1) {
            return None;
        }
        let first = state.events.partition_point(|event| event.revision <= revision);
        let new = state.events.range(first..).filter(|event| event.kind == kind);
        let lines = new.map(|event| Arc::clone(&event.line)).collect();
        Some((state.revision, lines))
    }

    /// Answers until the process ends, each connection on a thread of its own.
    pub(super) fn serve(self: &Arc<Self>, listener: TcpListener) {
        let api = Arc::clone(self);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let api = Arc::clone(&api);
                // An agent that was killed closes its connections: nothing to tell.
                std::thread::spawn(move || api.answer(&stream));
            }
        });
    }

    fn answer(&self, mut stream: &TcpStream) -> Result<()> {
        let mut reader = BufReader::new(stream);
        let mut request = String::new();
        reader.read_line(&mut request)?;
        let mut header = String::new();
        while reader.read_line(&mut header)? > 2 {
            header.clear();
        }
        let target = request.split(' ').nth(1).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let Some(kind) = Kind::of(path) else {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404});
            return respond(stream, "404 Not Found", &status.to_string());
        };
        let value = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        if value("watch").is_none_or(|watch| watch != "true" && watch != "1") {
            return respond(stream, "200 OK", &self.list(kind));
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n")?;
        let number = |name| value(name).and_then(|text| text.parse::<u64>().ok());
        let end = Instant::now() + Duration::from_secs(number("timeoutSeconds").unwrap_or(1800));
        let mut revision = number("resourceVersion").unwrap_or_default();
        while Instant::now() < end {
            let Some((now, lines)) = self.after(kind, revision, Duration::from_secs(1)) else {
                let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410});
                return stream
                    .write_all(format!("{}\n", json!({"type": "ERROR", "object": status})).as_bytes());
            };
            revision = now;
            if !lines.is_empty() {
                stream.write_all(lines.concat().as_bytes())?;
            }
        }
        Ok(())
    }
}

fn respond(mut stream: &TcpStream, status: &str, body: &str) -> Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}
