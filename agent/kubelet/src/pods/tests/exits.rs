//! Exit events against a runtime whose status lags behind them.

use std::time::Duration;

use k8s_openapi::api::core::v1::ContainerState;
use serde_json::json;
use xebec_cri::fake::Script;

use super::world::World;
use crate::pods::Index;

async fn millis(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

fn state(world: &World) -> ContainerState {
    let status = world.api.pod("u1").and_then(|pod| pod.status).unwrap_or_default();
    let first = status.container_statuses.unwrap_or_default().into_iter().next();
    first.and_then(|status| status.state).unwrap_or_default()
}

fn one() -> serde_json::Value {
    json!({"restartPolicy": "OnFailure", "containers": [{"name": "web", "image": "web:1"}]})
}

/// A world whose pod has one container that has run for a moment when this returns.
async fn running() -> World {
    let mut world = World::new();
    world.start();
    millis(500).await;
    world.create("u1", one());
    millis(200).await;
    assert!(state(&world).running.is_some());
    world
}

#[tokio::test(start_paused = true)]
async fn an_exit_before_the_start_is_answered_is_seen_at_every_restart() {
    let mut world = World::new();
    let ends = Script { exits_after: Some((Duration::from_millis(1), 1)), ..Script::default() };
    world.runtime.script("web", ends);
    world.runtime.answer_starts_after(Duration::from_millis(30));
    world.runtime.know_exits_after(Duration::from_millis(60));
    world.start();
    millis(3000).await;
    world.create("u1", one());
    let (mut shown, mut longest) = (0, 0);
    for _ in 0..8_000 {
        millis(10).await;
        shown = if state(&world).running.is_some() { shown + 10 } else { 0 };
        longest = longest.max(shown);
    }
    assert!(world.starts().len() >= 5, "{:?}", world.starts());
    assert!(longest > 0 && longest <= 200, "shown as running for {longest} ms after it had ended");
}

#[tokio::test(start_paused = true)]
async fn a_start_is_written_at_once_and_together_with_its_readiness() {
    for answer_after in [0, 30] {
        let mut world = World::new();
        world.runtime.answer_starts_after(Duration::from_millis(answer_after));
        world.start();
        millis(500).await;
        world.create("u1", one());
        millis(200).await;
        assert!(world.ready("u1"));
        // created; waiting; its sandbox; running and ready
        let version = world.api.pod("u1").unwrap().metadata.resource_version;
        assert_eq!(version.as_deref(), Some("4"), "answered after {answer_after} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn mail_between_an_exit_and_the_answer_does_not_lose_the_exit() {
    let world = running().await;
    world.runtime.know_exits_after(Duration::from_millis(60));
    assert!(world.runtime.exit("web", 1));
    for step in 0..20 {
        millis(3).await;
        world.api.touch("u1", step);
    }
    millis(150).await;
    assert_eq!(world.starts().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_exit_that_the_runtime_admits_only_after_seconds_is_waited_for() {
    let world = running().await;
    world.runtime.know_exits_after(Duration::from_secs(3));
    world.runtime.exit("web", 1);
    millis(2900).await;
    assert_eq!(world.starts().len(), 1);
    millis(1200).await;
    assert_eq!(world.starts().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_exit_while_the_runtime_does_not_answer_is_seen_afterwards() {
    let world = running().await;
    world.runtime.know_exits_after(Duration::from_millis(1500));
    world.runtime.break_lists(true);
    world.runtime.exit("web", 1);
    millis(1200).await;
    world.runtime.break_lists(false);
    millis(1500).await;
    assert_eq!(world.starts().len(), 2);
}

#[test]
fn an_exit_before_its_container_has_an_owner_is_kept_for_it() {
    let index = Index::default();
    let (here, nobody) = (|_: &String| true, |_: &String| false);
    assert_eq!(index.owner_of_event("c1", true, here), None);
    assert_eq!(index.owner_of_event("c2", false, here), None);
    index.insert("c3", "u1");
    assert_eq!(index.owner_of_event("c3", true, nobody), None, "its worker is not there yet");
    assert!(index.claim("c1", "u1") && !index.claim("c1", "u1"));
    assert!(!index.claim("c2", "u1"), "it has only started");
    assert!(index.claim("c3", "u1"));
    assert_eq!(index.owner_of_event("c1", true, here).as_deref(), Some("u1"));
    assert!(!index.claim("c1", "u1"), "the worker was told");
}

#[test]
fn what_is_made_while_the_runtime_is_asked_keeps_its_owner() {
    let index = Index::default();
    index.insert("old", "u1");
    index.insert("removed", "u1");
    let known = index.ids();
    index.insert("new", "u1");
    index.forget(&known, &["old".to_owned()].into());
    let owner = |id: &str| index.owner_of_event(id, false, |_| true);
    assert_eq!(owner("new").as_deref(), Some("u1"));
    assert_eq!(owner("old").as_deref(), Some("u1"));
    assert_eq!(owner("removed"), None);
}

#[test]
fn strays_are_bounded() {
    let index = Index::default();
    for n in 0..3000 {
        index.owner_of_event(&format!("c{n}"), true, |_| true);
    }
    assert!(!index.claim("c0", "u1") && index.claim("c2999", "u1"));
}
