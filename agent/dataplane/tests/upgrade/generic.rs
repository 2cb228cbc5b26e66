//! From a layout that cannot be read: its links serve until our tables say what the API says.

use std::fs;
use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use xebec_abi::LAYOUT_VERSION;
use xebec_dataplane::load::versioned;
use xebec_dataplane::{detach, inspect};
use xebec_rig::Rig;
use xebec_rig::client::Client;
use xebec_rig::objects::{Agent, service, slice, tcp_udp};
use xebec_rig::server::Server;
use xebec_rig::{NetNs, enter};

use super::{PORTS, Stage, older, pause};

#[test]
fn links_of_an_unknown_layout_serve_until_all_is_known() {
    let Some(mut stage) = Stage::new() else { return };
    let theirs = stage.pin_dir().join("v9");
    fs::rename(stage.own(), &theirs).unwrap();
    let (links, programs) = (older::link_ids(&theirs), older::program_ids(&theirs));
    stage.hammer(1.8);
    pause(300);
    let mut agent = stage.agent();
    assert!(agent.devices.waits() && agent.applier.len() == 1, "nothing was read");
    let untouched = |stage: &Stage| {
        assert_eq!(older::names(&stage.own().join("links")), [""; 0]);
        assert_eq!(older::link_ids(&theirs), links);
        assert_eq!(older::program_ids(&theirs), programs);
    };
    untouched(&stage);
    // One that is killed meanwhile leaves it so.
    drop(agent);
    agent = stage.agent();
    pause(300);
    untouched(&stage);
    stage.sync(&mut agent);
    assert!(!agent.devices.waits());
    assert_eq!(older::link_ids(&stage.own()), links, "the same links");
    assert!(older::program_ids(&stage.own()).iter().all(|id| !programs.contains(id)), "other programs");
    stage.assert_hammered();
    stage.assert_taken_over();
}

#[test]
fn an_agent_that_died_while_it_swapped_has_all_in_its_tables() {
    let Some(mut stage) = Stage::new() else { return };
    let theirs = stage.pin_dir().join("v9");
    fs::create_dir_all(theirs.join("links")).unwrap();
    fs::create_dir_all(theirs.join("maps")).unwrap();
    for name in ["connect4", "connect6", "sendmsg4"] {
        fs::rename(stage.own().join("links").join(name), theirs.join("links").join(name)).unwrap();
    }
    let agent = stage.agent();
    assert!(!agent.devices.waits() && agent.applier.len() == PORTS);
    stage.assert_taken_over();
}

#[test]
fn the_agent_swaps_when_the_api_has_spoken() {
    let Some(rig) = Rig::new() else { return };
    let _server = Server::tcp(&rig.server_ns, "10.199.1.1:8080", "A1");
    let objects = (
        vec![service("a", &[super::super::VIP], tcp_udp(80), json!({}))],
        vec![slice("a", 8080, "TCP", &["10.199.1.1"])],
    );
    let mut agent = Agent::new(&rig.options);
    agent.sync(objects.0.clone(), objects.1.clone());
    drop(agent);
    let (own, theirs) = (versioned(rig.pin_dir()), rig.pin_dir().join("v9"));
    fs::rename(&own, &theirs).unwrap();
    let mut client = Client::start(&rig);
    client.send(&format!("hammer 2 2 A1={}:80", super::super::VIP));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (api, _events) = xebec_rig::api::serve(objects.0, objects.1).await;
        let mut health = rig.options.health.subscribe();
        let cancel = CancellationToken::new();
        let running = tokio::spawn(xebec_dataplane::run(api, rig.options.clone(), cancel.clone()));
        let live = health.wait_for(|health| health.synced && health.attached);
        drop(timeout(Duration::from_secs(10), live).await.unwrap().unwrap());
        cancel.cancel();
        running.await.unwrap().unwrap();
    });
    assert!(own.join("links/connect4").exists() && !theirs.exists());
    let answer = client.answer();
    assert!(answer.ends_with(" misrouted=0 failed=0") && !answer.starts_with("ok=0 "), "{answer}");
}

#[test]
fn who_looks_or_removes_copes_with_any_layout() {
    let Some(rig) = Rig::new() else { return };
    drop(Agent::new(&rig.options));
    let pins = rig.pin_dir();
    fs::rename(versioned(pins), pins.join("v77")).unwrap();
    let error = inspect::status(pins, None).unwrap_err().to_string();
    assert!(error.contains("layout 77") && error.contains(&format!("layout {LAYOUT_VERSION}")), "{error}");
    let pinned = |checks: Vec<inspect::Check>| checks.into_iter().find(|check| check.name == "pins").unwrap();
    let check = pinned(inspect::doctor(pins, None));
    assert!(check.state == inspect::State::Fail && check.found.contains("v77"), "{check}");
    let agent = Agent::new(&rig.options);
    let report = inspect::status(pins, None).unwrap();
    assert_eq!(report.pinned_layouts, [format!("v{LAYOUT_VERSION}"), "v77".to_owned()]);
    assert_eq!(pinned(inspect::doctor(pins, None)).state, inspect::State::Warn);
    drop(agent);
    detach(pins).unwrap();
    assert!(!pins.exists());
    // Nothing is at the hooks any more.
    let alone: NetNs = NetNs::new(format!("{}x", rig.client_ns.name));
    enter(&alone.path());
    assert_eq!(Client::start(&rig).ask(&format!("tcp {}:80", super::super::VIP)), "error 101");
}
