//! PriorityLevelConfigurations, case by case.

use super::*;
use crate::testing::{Table, create, update};

fn base() -> Value {
    json!({"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}}})
}

#[test]
fn defaults_and_table() {
    let table = Table::of(&PriorityLevelConfiguration, base());
    table.defaults(&[
        (
            json!({}),
            json!({
                "spec.limited.nominalConcurrencyShares": 30,
                "spec.limited.lendablePercent": 0,
                "spec.limited.limitResponse.queuing": {"handSize": 8, "queues": 64, "queueLengthLimit": 50},
                "spec.limited.borrowingLimitPercent": null,
                "metadata.generation": 1
            }),
        ),
        (
            json!({"spec.limited.nominalConcurrencyShares": 0}),
            json!({"spec.limited.nominalConcurrencyShares": 0}),
        ),
    ]);
    table.columns(&[
        "Name",
        "Type",
        "NominalConcurrencyShares",
        "Queues",
        "HandSize",
        "QueueLengthLimit",
        "Age",
    ]);
    table.rows(&[
        (json!({}), json!(["a", "Limited", 30, 64, 8, 50, "60m"])),
        (
            json!({"spec.limited.limitResponse": {"type": "Reject"}}),
            json!(["a", "Limited", 30, "<none>", "<none>", "<none>", "60m"]),
        ),
        (
            json!({"spec": {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 3}}}),
            json!(["a", "Exempt", "<none>", "<none>", "<none>", "<none>", "60m"]),
        ),
    ]);
    table.generation(&[(json!({"spec.limited.lendablePercent": 5}), true), (json!({}), false)]);
    table.status_is_separate(
        &json!({"status.conditions": [{"type": "A", "status": "True"}]}),
        &json!({"spec.limited.lendablePercent": 5, "metadata.labels": {"a": "b"}}),
    );
}

#[test]
fn specs_are_checked() {
    let table = Table::of(&PriorityLevelConfiguration, base());
    let queuing = |value: Value| json!({"spec.limited.limitResponse.queuing": value});
    table.valid(&[
        ("rejecting", json!({"spec.limited.limitResponse": {"type": "Reject"}})),
        ("few bits", queuing(json!({"queues": 128, "handSize": 8, "queueLengthLimit": 1}))),
    ]);
    table.invalid(&[
        (
            "exempt under another name",
            json!({"spec": {"type": "Exempt"}}),
            &["spec.type: Invalid value: \"Exempt\": type must be 'Exempt' if and only if name is 'exempt'"],
        ),
        (
            "an unknown type",
            json!({"spec.type": "Free"}),
            &["spec.type: Unsupported value: \"Free\": supported values: \"Exempt\", \"Limited\""],
        ),
        (
            "both parts",
            json!({"spec.exempt": {}}),
            &["spec.exempt: Forbidden: must be nil if the type is Limited"],
        ),
        (
            "no part",
            json!({"spec.limited": null}),
            &["spec.limited: Required value: must not be empty when type is Limited"],
        ),
        (
            "shares",
            json!({"spec.limited.nominalConcurrencyShares": -1, "spec.limited.lendablePercent": 101, "spec.limited.borrowingLimitPercent": -1}),
            &[
                "spec.limited.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer",
                "spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive",
                "spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer",
            ],
        ),
        (
            "queues of a rejecting level",
            json!({"spec.limited.limitResponse.type": "Reject"}),
            &["spec.limited.limitResponse.queuing: Forbidden: must be nil if limited.limitResponse.type is not Limited"],
        ),
        (
            "no queues",
            queuing(json!(null)),
            &["spec.limited.limitResponse.queuing: Required value: must not be empty if limited.limitResponse.type is Limited"],
        ),
        (
            "an unknown response",
            json!({"spec.limited.limitResponse.type": "Wait"}),
            &["spec.limited.limitResponse.type: Unsupported value: \"Wait\": supported values: \"Queue\", \"Reject\""],
        ),
        (
            "negative numbers",
            queuing(json!({"queues": -1, "handSize": -1, "queueLengthLimit": -1})),
            &[
                "spec.limited.limitResponse.queuing.queueLengthLimit: Invalid value: -1: must be positive",
                "spec.limited.limitResponse.queuing.queues: Invalid value: -1: must be positive",
                "spec.limited.limitResponse.queuing.handSize: Invalid value: -1: must be positive",
            ],
        ),
        (
            "too many queues",
            queuing(json!({"queues": 10_000_001, "handSize": 1})),
            &["spec.limited.limitResponse.queuing.queues: Invalid value: 10000001: must not be greater than 10000000"],
        ),
        (
            "a hand larger than the deck",
            queuing(json!({"queues": 7})),
            &["spec.limited.limitResponse.queuing.handSize: Invalid value: 8: should not be greater than queues (7)"],
        ),
        (
            "too many bits",
            queuing(json!({"queues": 512})),
            &["spec.limited.limitResponse.queuing.handSize: Invalid value: 8: required entropy bits of deckSize 512 and handSize 8 should not be greater than 60"],
        ),
    ]);
}

#[test]
fn mandatory_levels_are_fixed() {
    let stored = |level: &str| {
        let spec = mandatory::priority_level(level).unwrap();
        let (obj, errors) =
            create(&PriorityLevelConfiguration, json!({"metadata": {"name": level}, "spec": spec}));
        assert_eq!(errors, Vec::<String>::new());
        obj
    };
    let exempt = stored("exempt");
    let mut freed = exempt.clone();
    freed["spec"]["exempt"]["nominalConcurrencyShares"] = json!(10);
    assert_eq!(update(&PriorityLevelConfiguration, freed, &exempt).1, Vec::<String>::new());
    let mut limited = exempt.clone();
    limited["spec"] = base()["spec"].clone();
    assert_eq!(
        update(&PriorityLevelConfiguration, limited, &exempt).1[0],
        "spec.type: Invalid value: \"Limited\": type must be 'Exempt' if and only if name is 'exempt'"
    );
    let catch_all = stored("catch-all");
    let mut more = catch_all.clone();
    more["spec"]["limited"]["nominalConcurrencyShares"] = json!(6);
    let errors = update(&PriorityLevelConfiguration, more, &catch_all).1;
    assert_eq!(errors.len(), 1);
    assert!(errors[0].ends_with(": spec of 'catch-all' must equal the fixed value"), "{}", errors[0]);
}

#[test]
fn status_is_checked() {
    Table::of(&PriorityLevelConfiguration, base()).status(&[(
        "conditions",
        json!({"status.conditions": [{}]}),
        &["status.conditions[0].type: Required value: must not be empty"],
    )]);
}
