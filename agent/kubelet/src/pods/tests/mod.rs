//! Whole pod lives against the runtime in memory, on a paused clock.

mod exits;
mod world;

use std::time::Duration;

use serde_json::{Value, json};
use xebec_cri::fake::Script;
use xebec_cri::messages::{ContainerState, ExecSyncResponse};
use xebec_cri::{CriError, Runtime};

use world::World;

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

fn one() -> Value {
    json!({"containers": [{"name": "web", "image": "web:1"}]})
}

#[tokio::test(start_paused = true)]
async fn a_pod_starts_without_waiting_for_a_relist() {
    let mut world = World::new();
    world.start();
    pass(1).await;
    world.create("u1", one());
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(world.phase("u1"), "Running");
    assert!(world.ready("u1"));
    let pod = world.api.pod("u1").unwrap();
    let status = pod.status.unwrap();
    assert!(status.pod_ip.unwrap().starts_with("10.244."));
    assert_eq!(status.container_statuses.unwrap()[0].started, Some(true));
    let told: Vec<String> = world.events.0.lock().iter().map(|(reason, _)| reason.clone()).collect();
    assert_eq!(told, ["Pulling", "Pulled", "Created", "Started"]);
    let sandbox = &world.runtime.sandbox_configs()[0];
    assert_eq!(sandbox.hostname, "u1");
    assert_eq!(sandbox.linux.as_ref().unwrap().cgroup_parent, "/kubepods/podu1");
    let container = world.runtime.container_config("web").unwrap();
    assert!(container.mounts.iter().any(|mount| mount.container_path == "/etc/hosts"));
    assert!(container.mounts.iter().any(|mount| mount.container_path == "/dev/termination-log"));
}

#[tokio::test(start_paused = true)]
async fn a_crashing_container_backs_off_ten_twenty_forty_seconds() {
    let mut world = World::new();
    world
        .runtime
        .script("web", Script { exits_after: Some((Duration::from_secs(1), 1)), ..Script::default() });
    world.start();
    world.create("u1", one());
    let mut started = Vec::new();
    for second in 0..90 {
        let before = started.len();
        started.extend(std::iter::repeat_n(second, world.starts().len() - before));
        pass(1).await;
    }
    assert_eq!(
        world.told("BackOff").first().map(String::as_str),
        Some("Back-off restarting failed container web in pod u1_default(u1)")
    );
    let gaps: Vec<i32> = started.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // the container itself lives for one second
    assert!(matches!(gaps[..], [1..=2, 11..=12, 21..=22, 41..=42, ..]), "{gaps:?}");
    assert!(world.restarts("u1") >= 3);
    let pod = world.api.pod("u1").unwrap();
    let container = &pod.status.unwrap().container_statuses.unwrap()[0];
    let waiting = container.state.clone().unwrap().waiting.unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("CrashLoopBackOff"));
    assert_eq!(world.runtime.containers().len(), 2, "older instances are removed");
}

#[tokio::test(start_paused = true)]
async fn a_job_runs_its_stages_and_succeeds() {
    let mut world = World::new();
    let ends = |seconds| Script { exits_after: Some((Duration::from_secs(seconds), 0)), ..Script::default() };
    world.runtime.script("init", ends(2));
    world.runtime.script("work", ends(3));
    world.start();
    world.create("u1", json!({
        "restartPolicy": "Never",
        "initContainers": [{"name": "init", "image": "i:1"}, {"name": "side", "image": "i:1", "restartPolicy": "Always"}],
        "containers": [{"name": "work", "image": "i:1"}],
    }));
    pass(20).await;
    assert_eq!(world.starts(), ["init", "side", "work"]);
    assert_eq!(*world.api.phases.lock(), ["Pending", "Running", "Succeeded"]);
    assert_eq!(world.calls("StopContainer side"), 1);
    assert!(world.host.calls.lock().contains(&"clean up".to_owned()));
    assert!(world.api.pod("u1").is_some(), "a finished pod stays");
    assert_eq!(world.runtime.containers().len(), 3, "its containers stay for their logs");
}

#[tokio::test(start_paused = true)]
async fn deletion_is_graceful_and_the_object_goes_last() {
    let mut world = World::new();
    world.runtime.script("web", Script { stops_within: Duration::from_secs(3), ..Script::default() });
    world.start();
    world.create(
        "u1",
        json!({"containers": [{"name": "web", "image": "web:1",
        "lifecycle": {"preStop": {"sleep": {"seconds": 4}}}}]}),
    );
    pass(1).await;
    world.api.delete("u1", 30);
    pass(6).await;
    assert!(world.api.pod("u1").is_some());
    assert_eq!(world.calls("StopContainer web 26"), 1, "{:?}", world.runtime.calls());
    pass(3).await;
    assert!(world.api.pod("u1").is_none());
    assert_eq!(*world.api.deleted.lock(), ["u1"]);
    assert_eq!(*world.host.calls.lock(), ["mount", "clean up", "remove"]);
    assert!(world.runtime.sandbox_configs().is_empty());
    assert_eq!(world.told("Killing"), ["Stopping container web"]);
    assert_eq!(world.api.phases.lock().last().map(String::as_str), Some("Failed"), "it ended with 143");
}

#[tokio::test(start_paused = true)]
async fn a_shorter_grace_cuts_a_stop_short() {
    let mut world = World::new();
    world.runtime.script("web", Script { stops_within: Duration::from_secs(600), ..Script::default() });
    world.start();
    world.create("u1", one());
    pass(1).await;
    world.api.delete("u1", 300);
    pass(5).await;
    world.api.delete("u1", 1);
    pass(4).await;
    assert!(world.api.pod("u1").is_none(), "{:?}", world.runtime.calls());
}

#[tokio::test(start_paused = true)]
async fn a_killed_agent_finds_its_containers_again() {
    let mut world = World::new();
    world.start();
    world.create(
        "u1",
        json!({"containers": [{"name": "web", "image": "web:1",
        "readinessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 10}}]}),
    );
    pass(15).await;
    assert!(world.ready("u1"));
    world.kill_agent().await;
    world.runtime.clear_calls();
    world.start();
    let mut flapped = false;
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        flapped |= !world.ready("u1");
    }
    assert!(!flapped, "ready is kept until a probe says otherwise");
    let changed = ["RunPodSandbox", "CreateContainer", "StartContainer", "Stop", "Remove"];
    assert!(changed.iter().all(|call| world.calls(call) == 0), "{:?}", world.runtime.calls());
}

#[tokio::test(start_paused = true)]
async fn an_agent_killed_anywhere_on_the_way_leaves_one_container() {
    for millis in (0..300).step_by(10) {
        let mut world = World::new();
        for call in ["RunPodSandbox", "CreateContainer", "StartContainer"] {
            world.runtime.delay(call, Duration::from_millis(50));
        }
        world.start();
        world.create("u1", one());
        tokio::time::sleep(Duration::from_millis(millis)).await;
        world.kill_agent().await;
        world.start();
        pass(60).await;
        assert_eq!(world.phase("u1"), "Running", "killed after {millis} ms");
        let running =
            world.runtime.containers().into_iter().filter(|c| c.2 == ContainerState::ContainerRunning);
        assert_eq!(running.count(), 1, "killed after {millis} ms");
        assert_eq!(world.runtime.sandbox_configs().len(), 1, "killed after {millis} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn orphans_go_only_after_the_api_has_spoken() {
    let mut world = World::new();
    world.start();
    world.create("u1", one());
    pass(1).await;
    world.kill_agent().await;
    world.api.pods.lock().clear();
    world.start();
    pass(15).await;
    assert!(world.runtime.sandbox_configs().is_empty());
    assert!(world.api.deleted.lock().is_empty(), "there is nothing to delete in the API");
}

#[tokio::test(start_paused = true)]
async fn a_lost_sandbox_is_replaced() {
    let mut world = World::new();
    world.start();
    world.create("u1", one());
    pass(1).await;
    world.runtime.lose_sandboxes();
    world.runtime.exit("web", 137);
    pass(15).await;
    assert_eq!(world.phase("u1"), "Running");
    assert_eq!(world.calls("RunPodSandbox"), 2);
    assert_eq!(world.restarts("u1"), 1);
}

#[tokio::test(start_paused = true)]
async fn lost_events_are_made_up_for_by_the_relist() {
    let mut world = World::new();
    world.start();
    world.create("u1", one());
    pass(1).await;
    world.runtime.mute_events(true);
    world.runtime.exit("web", 1);
    pass(11).await;
    assert_eq!(world.restarts("u1"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failing_liveness_probe_restarts_and_a_failing_readiness_probe_does_not() {
    let mut world = World::new();
    world.runtime.on_exec(Box::new(|_, command: &[String]| {
        let exit_code = i32::from(command == ["bad"]);
        Ok(ExecSyncResponse { stdout: b"no".to_vec(), stderr: vec![], exit_code })
    }));
    world.start();
    let probe =
        |command: &str| json!({"exec": {"command": [command]}, "periodSeconds": 2, "failureThreshold": 3});
    world.create(
        "live",
        json!({"terminationGracePeriodSeconds": 1,
        "containers": [{"name": "l", "image": "i:1", "livenessProbe": probe("bad")}]}),
    );
    world.create(
        "ready",
        json!({"containers": [{"name": "r", "image": "i:1", "readinessProbe": probe("bad")}]}),
    );
    world.create(
        "startup",
        json!({"containers": [{"name": "s", "image": "i:1",
        "startupProbe": probe("good"), "livenessProbe": probe("good")}]}),
    );
    pass(8).await;
    assert_eq!(world.restarts("live"), 1);
    assert!(world.told("Unhealthy").contains(&"Liveness probe failed: no".to_owned()));
    assert!(
        world.told("Killing").contains(&"Container l failed liveness probe, will be restarted".to_owned())
    );
    assert_eq!((world.restarts("ready"), world.ready("ready")), (0, false));
    assert_eq!((world.restarts("startup"), world.ready("startup")), (0, true));
}

#[tokio::test(start_paused = true)]
async fn an_image_that_cannot_be_pulled_is_tried_again_later() {
    let mut world = World::new();
    world.runtime.pullable(&[]);
    world.start();
    world.create("u1", one());
    pass(1).await;
    let waiting = |world: &World| {
        let container = world.api.pod("u1").unwrap().status.unwrap().container_statuses.unwrap().remove(0);
        container.state.unwrap().waiting.unwrap().reason.unwrap()
    };
    assert_eq!(waiting(&world), "ErrImagePull");
    pass(5).await;
    assert_eq!(waiting(&world), "ImagePullBackOff");
    assert_eq!(world.calls("PullImage"), 1);
    world.runtime.pullable(&["web:1"]);
    pass(6).await;
    assert_eq!(world.phase("u1"), "Running");
    assert!(world.told("Failed").contains(&"Error: ErrImagePull".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn missing_configuration_names_itself_and_heals() {
    let mut world = World::new();
    *world.host.missing_env.lock() = true;
    *world.host.broken_mounts.lock() = 2;
    world.start();
    world.create("u1", one());
    pass(3).await;
    let expected = "MountVolume.SetUp failed for volume \"v\" : configmap \"c\" not found";
    assert_eq!(world.told("FailedMount"), [expected, expected]);
    let container = world.api.pod("u1").unwrap().status.unwrap().container_statuses.unwrap().remove(0);
    let waiting = container.state.unwrap().waiting.unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("CreateContainerConfigError"));
    assert_eq!(waiting.message.as_deref(), Some("configmap \"c\" not found"));
    *world.host.missing_env.lock() = false;
    pass(11).await;
    assert_eq!(world.phase("u1"), "Running");
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_fails_is_made_again_with_the_same_attempt() {
    let mut world = World::new();
    let error = CriError::Failed { code: "Unknown", message: "cni said no".into() };
    world.runtime.fail_next("RunPodSandbox", error);
    world.start();
    world.create("u1", one());
    pass(8).await;
    assert_eq!(world.phase("u1"), "Running");
    let told = world.told("FailedCreatePodSandBox");
    assert_eq!(told, ["Failed to create pod sandbox: rpc error: code = Unknown desc = cni said no"]);
}

#[tokio::test(start_paused = true)]
async fn a_status_is_written_once_the_api_is_back() {
    let mut world = World::new();
    world.start();
    *world.api.down.lock() = true;
    world.create("u1", one());
    pass(10).await;
    assert_eq!(world.phase("u1"), "");
    assert_eq!(world.runtime.containers().len(), 1, "the pod runs all the same");
    *world.api.down.lock() = false;
    pass(3).await;
    assert!(world.ready("u1"));
}

#[tokio::test(start_paused = true)]
async fn a_namesake_is_another_pod() {
    let mut world = World::new();
    world.start();
    world.create("u1", one());
    pass(1).await;
    world.api.delete("u1", 0);
    world.create("u2", one());
    pass(10).await;
    assert_eq!(world.phase("u2"), "Running");
    let sandboxes = world.runtime.list_pod_sandboxes(Default::default()).await.unwrap();
    assert_eq!(sandboxes.len(), 1);
    assert_eq!(sandboxes[0].metadata.as_ref().unwrap().uid, "u2");
}

#[tokio::test(start_paused = true)]
async fn a_runtime_class_names_the_runtimes_handler() {
    let mut world = World::new();
    world.start();
    let classed = json!({"runtimeClassName": "vm", "containers": [{"name": "web", "image": "web:1"}]});
    world.create("u1", classed);
    pass(5).await;
    assert_eq!(world.phase("u1"), "Pending");
    let why = "Failed to create pod sandbox: runtimeclasses \"vm\" not found";
    assert_eq!(world.events.0.lock().last().unwrap().1, why);
    assert!(world.runtime.sandbox_configs().is_empty());

    world.api.classes.lock().insert("vm".to_owned(), "kata-qemu".to_owned());
    pass(60).await;
    assert_eq!(world.phase("u1"), "Running");
    let handlers = async |world: &World| {
        let all = world.runtime.list_pod_sandboxes(Default::default()).await.unwrap();
        let mut out = Vec::new();
        for sandbox in all {
            out.push(world.runtime.pod_sandbox_status(&sandbox.id).await.unwrap().runtime_handler);
        }
        out
    };
    assert_eq!(handlers(&world).await, ["kata-qemu"]);

    // Sandboxes are made anew while the server does not answer.
    *world.api.down.lock() = true;
    world.runtime.lose_sandboxes();
    pass(60).await;
    let again = handlers(&world).await;
    assert!(again.len() > 1 && again.iter().all(|handler| handler == "kata-qemu"), "{again:?}");
}
