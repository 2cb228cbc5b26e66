//! FlowSchemas and PriorityLevelConfigurations as the server uses them. Pure.
//!
//! The mandatory objects are always there, whether or not they are stored; a schema that names a level which does not
//! exist matches nothing (its `Dangling` condition says so).

use serde_json::Value;

use crate::objects;

/// How requests of a level wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Not at all: over the limit they are refused.
    Reject,
    /// In queues.
    Queue {
        /// Number of queues, at least 1.
        queues: usize,
        /// Queues a flow may use, 1..=queues.
        hand_size: usize,
        /// Longest queue.
        length_limit: usize,
    },
}

/// A priority level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// The object's name.
    pub name: String,
    /// The object's uid, empty for a mandatory level that is not stored.
    pub uid: String,
    /// Whether its requests are never held back.
    pub exempt: bool,
    /// Its part of the server's seats, relative to the other levels'.
    pub shares: u64,
    /// How much of its seats others may use while it does not, in percent.
    pub lendable_percent: u64,
    /// How many seats it may take from others, in percent of its own; none is without limit.
    pub borrowing_limit_percent: Option<u64>,
    /// What happens above the limit.
    pub response: Response,
}

/// How a schema tells flows apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distinguisher {
    /// All its requests are one flow.
    None,
    /// A flow for each user.
    ByUser,
    /// A flow for each namespace.
    ByNamespace,
}

/// A flow schema.
#[derive(Clone, Debug)]
pub struct Schema {
    /// The object's name.
    pub name: String,
    /// The object's uid.
    pub uid: String,
    /// The level its requests go to; it exists.
    pub level: String,
    /// Lower is looked at first.
    pub precedence: i64,
    /// How flows are told apart.
    pub distinguisher: Distinguisher,
    /// The object's rules.
    pub rules: Vec<Value>,
}

/// Everything the server goes by.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// By precedence, then name; the last one, catch-all, matches every request.
    pub schemas: Vec<Schema>,
    /// The levels, sorted by name.
    pub levels: Vec<Level>,
}

impl Config {
    /// Reads the stored objects.
    #[must_use]
    pub fn new<'a>(
        schemas: impl IntoIterator<Item = &'a Value>,
        levels: impl IntoIterator<Item = &'a Value>,
    ) -> Self {
        let mut read: Vec<Level> = levels.into_iter().map(level).collect();
        for mandatory in objects::mandatory_levels() {
            let mandatory = level(&mandatory);
            if !read.iter().any(|level| level.name == mandatory.name) {
                read.push(mandatory);
            }
        }
        read.sort_by(|a, b| a.name.cmp(&b.name));
        let mut known: Vec<Schema> = schemas.into_iter().map(schema).collect();
        for mandatory in objects::mandatory_schemas() {
            let mandatory = schema(&mandatory);
            if !known.iter().any(|schema| schema.name == mandatory.name) {
                known.push(mandatory);
            }
        }
        known.retain(|schema| read.iter().any(|level| level.name == schema.level));
        known.sort_by(|a, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
        Self { schemas: known, levels: read }
    }

    /// The nominal number of seats of each level, in order: its part of `total`, rounded up.
    #[must_use]
    pub fn nominal(&self, total: usize) -> Vec<usize> {
        let all: u64 = self.levels.iter().map(|level| level.shares).sum();
        let part = |level: &Level| {
            let seats = (total as u64 * level.shares).div_ceil(all.max(1));
            usize::try_from(seats).unwrap_or(usize::MAX)
        };
        self.levels.iter().map(part).collect()
    }
}

fn number(value: &Value, or: u64) -> u64 {
    value.as_u64().unwrap_or(or)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// At most this many of each, whatever an object says: hands are dealt from a 64 bit hash.
const MOST_QUEUES: u64 = 10_000_000;

fn level(object: &Value) -> Level {
    let spec = &object["spec"];
    let exempt = spec["type"] == "Exempt";
    let part = if exempt { &spec["exempt"] } else { &spec["limited"] };
    let response = &part["limitResponse"];
    let small = |value: u64| usize::try_from(value.clamp(1, MOST_QUEUES)).unwrap_or(1);
    let response = if response["type"] == "Queue" {
        let queues = small(number(&response["queuing"]["queues"], 64));
        Response::Queue {
            queues,
            hand_size: small(number(&response["queuing"]["handSize"], 8)).min(queues),
            length_limit: small(number(&response["queuing"]["queueLengthLimit"], 50)),
        }
    } else {
        Response::Reject
    };
    Level {
        name: text(&object["metadata"]["name"]),
        uid: text(&object["metadata"]["uid"]),
        exempt,
        shares: number(&part["nominalConcurrencyShares"], if exempt { 0 } else { 30 }),
        lendable_percent: number(&part["lendablePercent"], 0).min(100),
        borrowing_limit_percent: part["borrowingLimitPercent"].as_u64(),
        response,
    }
}

fn schema(object: &Value) -> Schema {
    let spec = &object["spec"];
    Schema {
        name: text(&object["metadata"]["name"]),
        uid: text(&object["metadata"]["uid"]),
        level: text(&spec["priorityLevelConfiguration"]["name"]),
        precedence: spec["matchingPrecedence"].as_i64().unwrap_or(1000),
        distinguisher: match spec["distinguisherMethod"]["type"].as_str() {
            Some("ByUser") => Distinguisher::ByUser,
            Some("ByNamespace") => Distinguisher::ByNamespace,
            _ => Distinguisher::None,
        },
        rules: spec["rules"].as_array().cloned().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_mandatory_objects_are_always_there() {
        let config = Config::new([], []);
        assert_eq!(
            config.levels.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(),
            ["catch-all", "exempt"]
        );
        assert_eq!(config.schemas.last().unwrap().name, "catch-all");
        assert_eq!(config.nominal(600), [600, 0]);
    }

    #[test]
    fn schemas_are_ordered_and_those_without_a_level_left_out() {
        let schema = |name: &str, precedence: u64, level: &str| {
            json!({"metadata": {"name": name}, "spec": {"matchingPrecedence": precedence,
                "priorityLevelConfiguration": {"name": level}}})
        };
        let schemas =
            [schema("b", 5, "catch-all"), schema("a", 5, "catch-all"), schema("lost", 1, "nowhere")];
        let config = Config::new(&schemas, []);
        let names: Vec<_> = config.schemas.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["exempt", "a", "b", "catch-all"]);
    }

    #[test]
    fn suggested_levels_share_the_seats() {
        let levels: Vec<Value> =
            objects::mandatory_levels().into_iter().chain(objects::suggested_levels()).collect();
        let config = Config::new([], &levels);
        let seats: Vec<(&str, usize)> =
            config.levels.iter().map(|l| l.name.as_str()).zip(config.nominal(600)).collect();
        // 245 shares in all: ceil(600 * share / 245).
        assert_eq!(
            seats,
            [
                ("catch-all", 13),
                ("exempt", 0),
                ("global-default", 49),
                ("leader-election", 25),
                ("node-high", 98),
                ("system", 74),
                ("workload-high", 98),
                ("workload-low", 245)
            ]
        );
    }
}
