//! Agents that die while they take over.

use std::fs;
use std::time::{Duration, Instant};

use xebec_dataplane::load::{Part, load};
use xebec_rig::client::Client;
use xebec_rig::within;

use super::{PORTS, Stage, objects, older, pause};

/// After which step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    /// Before a map was full.
    Filling,
    /// Before any link.
    Maps,
    /// Between two links.
    Links,
    /// Before what is left of the older layout went.
    Rest,
    /// Before any link; then an agent of layout 1 came back and worked for a while.
    Return,
}

impl Death {
    fn happen(self, stage: &Stage) {
        let (own, old) = (stage.own(), older::directory(&stage.pin_dir()));
        let options = &stage.node().place().options;
        let object = options.bpf_object.as_ref().unwrap();
        within(&stage.node().netns, || {
            drop(load(object, options, Part::Services).unwrap());
        });
        let maps = own.join("maps");
        let links = older::names(&old.join("links"));
        match self {
            Self::Maps => {}
            Self::Filling => {
                // Nothing that a map of that name could be.
                fs::remove_file(maps.join("FE4")).unwrap();
                fs::hard_link(maps.join("RANGES"), maps.join("FE4-filling")).unwrap();
            }
            // It knows of no salt, and writes none.
            Self::Return => older::set_state(&maps, 1),
            Self::Links | Self::Rest => {
                let some = if self == Self::Links { links.len() / 2 } else { links.len() };
                for name in &links[..some] {
                    fs::rename(old.join("links").join(name), own.join("links").join(name)).unwrap();
                }
            }
        }
    }
}

#[test]
fn whatever_step_an_agent_died_after_the_next_goes_on() {
    let Some(mut stage) = Stage::new() else { return };
    for death in [Death::Filling, Death::Maps, Death::Links, Death::Rest, Death::Return] {
        stage.downgrade();
        death.happen(&stage);
        stage.assert_serves();
        let old = older::directory(&stage.pin_dir());
        let mut programs = older::program_ids(&old);
        programs.extend(older::program_ids(&stage.own()));
        assert_eq!(programs.len(), 13, "{death:?}");
        let agent = stage.agent();
        assert_eq!(agent.applier.len(), PORTS, "{death:?}");
        stage.assert_taken_over();
        let ids = older::program_ids(&stage.own());
        assert!(ids.len() == 13 && ids.iter().all(|id| !programs.contains(id)), "{death:?}");
    }
}

/// How many pins an agent has made ours when it is killed: maps, links.
const KILLS: [(usize, usize); 6] = [(1, 0), (20, 0), (36, 0), (37, 0), (37, 1), (37, 13)];

#[test]
fn agents_are_killed_while_they_take_over() {
    let Some(mut stage) = Stage::new() else { return };
    let (services, slices) = objects();
    let given = serde_json::json!({"node": stage.node().name(), "services": services, "slices": slices});
    let begin =
        |stage: &Stage| Client::role(stage.node().place(), &stage.node().netns, "agent", &given.to_string());
    stage.downgrade();
    let old = older::directory(&stage.pin_dir());
    let mut unfinished = 0;
    stage.hammer(2.5);
    for (maps, links) in KILLS {
        let agent = begin(&stage);
        let own = stage.own();
        let has = |kind: &str, least: usize| older::names(&own.join(kind)).len() >= least;
        let end = Instant::now() + Duration::from_secs(10);
        while !(has("maps", maps) && has("links", links)) {
            assert!(Instant::now() < end, "no agent came to {maps} maps and {links} links");
            pause(0);
        }
        agent.kill();
        unfinished += usize::from(old.exists());
    }
    let mut agent = begin(&stage);
    assert_eq!(agent.answer(), "ready");
    agent.kill();
    stage.assert_hammered();
    stage.assert_taken_over();
    assert!(unfinished > 3, "only {unfinished} of {} agents died before they were through", KILLS.len());
}
