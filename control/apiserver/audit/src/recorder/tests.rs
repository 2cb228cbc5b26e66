use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::sink::batch::Batch;
use crate::sink::log::{Blocking, Log, LogOptions};

#[derive(Default)]
struct Memory {
    events: Mutex<Vec<Value>>,
    refuse: AtomicBool,
}

impl Sink for Memory {
    fn write(&self, event: &Event) -> bool {
        self.events.lock().push(serde_json::to_value(event).unwrap());
        !self.refuse.load(Ordering::SeqCst)
    }
}

fn policy(level: &str, more: &str) -> Policy {
    Policy::parse(&format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{{level: {level}}}]\n{more}"))
        .unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn auditor(level: &str, more: &str) -> (Auditor, Arc<Memory>) {
    let memory = Arc::new(Memory::default());
    let sink: Arc<dyn Sink> = Arc::clone(&memory) as _;
    (Auditor::with_clock(policy(level, more), sink, Arc::new(|| at(1))), memory)
}

fn subject() -> Subject {
    let user = User::new("ann", &["devs"]);
    Subject {
        attributes: Attributes::resource(&user, "create", "apps", "deployments", "a", ""),
        uri: "/apis/apps/v1/namespaces/a/deployments?dryRun=All".to_owned(),
        source_ips: vec!["192.0.2.1".to_owned()],
        user_agent: "kubectl".to_owned(),
        ..Subject::default()
    }
}

fn stages(memory: &Memory) -> Vec<String> {
    memory.events.lock().iter().map(|event| event["stage"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_whole_request_at_each_level() {
    for (level, request, response) in
        [("Metadata", false, false), ("Request", true, false), ("RequestResponse", true, true)]
    {
        let (auditor, memory) = auditor(level, "omitManagedFields: true");
        let audit = auditor.begin(&subject(), at(0)).unwrap().unwrap();
        audit.annotate("authorization.k8s.io/decision", "allow");
        audit.annotate("authorization.k8s.io/decision", "forbid");
        let object = json!({"metadata": {"name": "web", "managedFields": [1]}, "spec": {}});
        audit.request_object(&object);
        audit.response_object(&object);
        audit.started(201);
        audit.complete();
        audit.complete();
        assert_eq!(stages(&memory), ["RequestReceived", "ResponseComplete"]);
        let events = memory.events.lock();
        let (first, last) = (&events[0], &events[1]);
        assert_eq!(first["auditID"], last["auditID"]);
        assert_eq!(audit.id(), last["auditID"]);
        assert_eq!((first.get("responseStatus"), &last["responseStatus"]["code"]), (None, &json!(201)));
        assert_eq!(last["annotations"], json!({"authorization.k8s.io/decision": "allow"}));
        assert_eq!(
            last["objectRef"],
            json!({"resource": "deployments", "namespace": "a", "name": "web", "apiGroup": "apps", "apiVersion": "*"})
        );
        assert_eq!(first["requestReceivedTimestamp"], "2027-01-15T08:00:00.000000Z");
        assert_eq!(first["stageTimestamp"], "2027-01-15T08:00:00.000000Z");
        assert_eq!(last["stageTimestamp"], "2027-01-15T08:00:01.000000Z");
        let kept = json!({"metadata": {"name": "web"}, "spec": {}});
        assert_eq!(last.get("requestObject"), request.then_some(&kept));
        assert_eq!(last.get("responseObject"), response.then_some(&kept));
        assert_eq!((&last["user"]["username"], &last["sourceIPs"][0]), (&json!("ann"), &json!("192.0.2.1")));
    }
}

#[test]
fn nothing_is_kept_at_level_none_and_stages_may_be_left_out() {
    let (none, memory) = auditor("None", "");
    assert!(none.begin(&subject(), at(0)).unwrap().is_none());
    assert!(stages(&memory).is_empty());
    let (late, memory) = auditor("Metadata", "omitStages: [RequestReceived]");
    late.begin(&subject(), at(0)).unwrap().unwrap().complete();
    assert_eq!(stages(&memory), ["ResponseComplete"]);
}

#[test]
fn long_requests_have_a_stage_of_their_own_and_end_when_dropped() {
    let (auditor, memory) = auditor("Metadata", "");
    let watch = Subject { is_long_running: true, ..subject() };
    let audit = auditor.begin(&watch, at(0)).unwrap().unwrap();
    audit.started(200);
    drop(audit);
    assert_eq!(stages(&memory), ["RequestReceived", "ResponseStarted", "ResponseComplete"]);
    memory.events.lock().clear();
    drop(auditor.begin(&watch, at(0)).unwrap());
    assert_eq!(stages(&memory), ["RequestReceived", "ResponseStarted", "ResponseComplete"]);
    assert_eq!(memory.events.lock()[2]["responseStatus"]["message"], "Connection closed early");
}

#[test]
fn failures_panics_and_strangers() {
    let (auditor, memory) = auditor("RequestResponse", "");
    let audit = auditor.begin(&subject(), at(0)).unwrap().unwrap();
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "no", "reason": "Forbidden", "code": 403});
    audit.response_object(&status);
    audit.started(403);
    audit.complete();
    let kept = memory.events.lock()[1]["responseStatus"].clone();
    assert_eq!((&kept["reason"], &kept["code"]), (&json!("Forbidden"), &json!(403)));
    memory.events.lock().clear();
    let audit = auditor.begin(&subject(), at(0)).unwrap().unwrap();
    audit.panicked("index out of bounds");
    drop(audit);
    assert_eq!(stages(&memory), ["RequestReceived", "Panic"]);
    assert_eq!(
        memory.events.lock()[1]["responseStatus"]["message"],
        "APIServer panic'd: index out of bounds"
    );
    memory.events.lock().clear();
    auditor.unauthenticated(&subject(), at(0), "Authentication failed, attempted: bearer");
    assert_eq!(stages(&memory), ["ResponseStarted"]);
    assert_eq!(memory.events.lock()[0]["responseStatus"]["code"], 401);
}

#[test]
fn who_acts_for_whom_and_names_clients_choose() {
    let (auditor, memory) = auditor("Metadata", "");
    let acting = Subject {
        impersonator: Some(User::new("root", &[])),
        audit_id: "my-own-id".to_owned(),
        user_agent: "é".repeat(2000),
        ..subject()
    };
    auditor.begin(&acting, at(0)).unwrap().unwrap().complete();
    let event = memory.events.lock()[1].clone();
    assert_eq!(
        (&event["user"]["username"], &event["impersonatedUser"]["username"]),
        (&json!("root"), &json!("ann"))
    );
    assert_eq!(event["auditID"], "my-own-id");
    let agent = event["userAgent"].as_str().unwrap();
    assert!(agent.len() == 1024 + TRUNCATED.len() && agent.ends_with(TRUNCATED));
    let endless = Subject { audit_id: "x".repeat(65), ..subject() };
    assert_eq!(auditor.begin(&endless, at(0)).unwrap().unwrap().id().len(), 36);
}

#[test]
fn a_strict_log_that_cannot_write_refuses_requests() {
    let (auditor, memory) = auditor("Metadata", "");
    memory.refuse.store(true, Ordering::SeqCst);
    assert_eq!(auditor.begin(&subject(), at(0)).map(drop), Err(Failure));
}

#[test]
fn both_modes_of_the_log_write_the_same_lines() {
    let directory = tempfile::tempdir().unwrap();
    let open = |name: &str| {
        let path = directory.path().join(name);
        Log::open(LogOptions { path, max_age_days: 0, max_backups: 0, max_size: 0 }).unwrap()
    };
    let write = |sink: Arc<dyn Sink>| {
        let auditor = Auditor::with_clock(policy("Metadata", ""), sink, Arc::new(|| at(1)));
        for number in 0..200 {
            let one = Subject { audit_id: format!("n{number}"), ..subject() };
            auditor.begin(&one, at(0)).unwrap().unwrap().complete();
        }
    };
    write(Arc::new(Blocking::new(open("blocking"), true)));
    write(Arc::new(Batch::start(open("batch"), 1000, 1 << 20).unwrap()));
    let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    let blocking = read("blocking");
    assert_eq!(blocking.lines().count(), 400);
    assert_eq!(blocking, read("batch"));
    for line in blocking.lines() {
        assert_eq!(serde_json::from_str::<Value>(line).unwrap()["kind"], "Event");
    }
}

#[test]
fn a_full_queue_drops_and_counts() {
    // The log's file is a pipe nobody reads: the thread that writes stands still.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let reader_path = path.clone();
    let reader = std::thread::spawn(move || std::fs::File::open(reader_path).unwrap());
    let log = Log::open(LogOptions { path, max_age_days: 0, max_backups: 0, max_size: u64::MAX }).unwrap();
    let reader = reader.join().unwrap();
    let batch = Arc::new(Batch::start(log, 100, 1 << 20).unwrap());
    let sink: Arc<dyn Sink> = Arc::clone(&batch) as _;
    let auditor = Auditor::with_clock(policy("Metadata", ""), sink, Arc::new(|| at(1)));
    for _ in 0..2000 {
        auditor.begin(&subject(), at(0)).unwrap().unwrap().complete();
    }
    assert!(batch.dropped() > 0);
    drop(reader);
}
