//! What is measured: pure. Enters: the options. Leaves: the steps, each a command line of `xebec-load` and the numbers
//! of its answer that count, and the order in which the targets take turns.

/// A group of measurements, for `--only`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Group {
    /// Creations a second by 1, 16 and 256 clients.
    Writes,
    /// Reads of one object.
    Get,
    /// Server-side apply.
    Apply,
    /// Watch fan-out.
    Watch,
    /// Lists of many pods; with them memory and start with many objects.
    List,
    /// Time to ready and idle memory.
    Start,
}

/// One number of a step's answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Metric {
    /// Its field.
    pub(crate) field: &'static str,
    /// What the report calls it, with the unit.
    pub(crate) label: &'static str,
    /// Whether more is better.
    pub(crate) more_is_better: bool,
    /// What the first target should reach.
    pub(crate) aim: Option<Aim>,
}

/// What a number should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Aim {
    /// This much, at least or at most.
    Value(f64),
    /// At least this many times better than the second target, where there is one.
    Ratio(f64),
}

/// One measurement, taken on every target in turn.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    /// What the report calls it.
    pub(crate) title: String,
    /// `xebec-load`'s arguments.
    pub(crate) arguments: Vec<String>,
    /// What counts.
    pub(crate) metrics: Vec<Metric>,
}

/// A number of which more is better.
pub(crate) fn more(field: &'static str, label: &'static str, aim: Option<f64>) -> Metric {
    Metric { field, label, more_is_better: true, aim: aim.map(Aim::Value) }
}

/// A number of which less is better.
pub(crate) fn less(field: &'static str, label: &'static str, aim: Option<f64>) -> Metric {
    Metric { field, label, more_is_better: false, aim: aim.map(Aim::Value) }
}

fn step(title: String, arguments: &str, metrics: Vec<Metric>) -> Step {
    Step { title, arguments: arguments.split(' ').map(str::to_owned).collect(), metrics }
}

/// Most objects one measurement creates, so that a fast server does not fill the disk.
const MOST_OBJECTS: usize = 50_000;

/// The measurements that need no pods.
pub(crate) fn small(wanted: impl Fn(Group) -> bool, seconds: u32) -> Vec<Step> {
    let mut steps = Vec::new();
    let rate = |aim| more("per_second", "operations/s", aim);
    let p99 = || less("p99_ms", "p99, ms", None);
    if wanted(Group::Writes) {
        for clients in [1, 16, 256] {
            let aim = (clients == 256).then_some(10_000.0);
            let line = format!("writes --clients {clients} --seconds {seconds} --limit {MOST_OBJECTS}");
            let metrics = vec![rate(aim), p99(), less("refused", "refused with 429 and tried again", None)];
            steps.push(step(format!("create, {clients} clients"), &line, metrics));
        }
    }
    if wanted(Group::Get) {
        for clients in [1, 16] {
            let line = format!("get --clients {clients} --seconds {seconds}");
            steps.push(step(format!("get, {clients} clients"), &line, vec![rate(None), p99()]));
        }
    }
    if wanted(Group::Apply) {
        let line = format!("apply --clients 16 --seconds {seconds}");
        steps.push(step("server-side apply, 16 clients".to_owned(), &line, vec![rate(None), p99()]));
    }
    if wanted(Group::Watch) {
        for (watchers, aim) in [(250, 2.0), (1000, 10.0)] {
            let line = format!("watch --watchers {watchers} --rate 500 --seconds {seconds}");
            let metrics = vec![
                more("per_second", "events delivered/s", None),
                more("written_per_second", "changes written/s", None),
                less("p50_ms", "delivery p50 after the acknowledgement, ms", None),
                less("p99_ms", "delivery p99 after the acknowledgement, ms", Some(aim)),
                less("sent_p50_ms", "delivery p50 after sending the write, ms", None),
                less("sent_p99_ms", "delivery p99 after sending the write, ms", None),
            ];
            steps.push(step(format!("watch, {watchers} watchers x 500 events/s"), &line, metrics));
        }
    }
    steps
}

/// The measurements with `pods` pods.
pub(crate) fn lists(pods: usize) -> Vec<Step> {
    let repeat = if pods > 20_000 { 3 } else { 5 };
    let whole = vec![
        less("list_ms", "time, ms", None),
        more("mb_per_second", "MB/s", None),
        less("first_byte_ms", "first byte, ms", None),
        less("times_copy", "times a copy in memory", None),
        less("times_tls_copy", "times the same bytes over TLS", Some(2.0)),
    ];
    let pages = vec![less("list_ms", "time, ms", None), more("mb_per_second", "MB/s", None)];
    vec![
        step(format!("list of {pods} pods"), &format!("list --repeat {repeat}"), whole),
        step(
            format!("list of {pods} pods in pages of 500"),
            &format!("list --repeat {repeat} --limit 500 --no-copy"),
            pages,
        ),
    ]
}

/// The order in which `targets` take turns: forth and back, `rounds` times, so that a drift of the machine meets all.
pub(crate) fn order(targets: usize, rounds: usize) -> Vec<usize> {
    (0..rounds.max(1)).flat_map(|_| (0..targets).chain((0..targets).rev())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_take_turns_forth_and_back() {
        assert_eq!(order(2, 2), [0, 1, 1, 0, 0, 1, 1, 0]);
        assert_eq!(order(3, 1), [0, 1, 2, 2, 1, 0]);
    }

    #[test]
    fn only_what_is_wanted_is_measured() {
        let steps = small(|group| group == Group::Watch, 3);
        assert_eq!(steps.len(), 2);
        assert!(steps[0].arguments.contains(&"--watchers".to_owned()));
        assert!(small(|group| group == Group::List, 3).is_empty());
    }
}
