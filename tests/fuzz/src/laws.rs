//! What must hold for every input. A law returns whether the input was of any use (decodable at all).

use std::sync::LazyLock;

use serde_json::{Value, json};
use xebec_api::patch::{json_patch, merge_patch, strategic_merge_for};
use xebec_api::quantity::Quantity;
use xebec_api::schema::{
    Finding, check, is_shallow, parse_json, parse_json_strict, parse_yaml, prune_unknown,
};
use xebec_api::selector::{FieldSelector, LabelSelector, Operator, Requirement};
use xebec_api::{names, protobuf, time};
use xebec_cel::{Bindings, Budget, Env, SizeHints, Type, Value as CelValue};

/// Every law with its name.
pub const ALL: &[(&str, fn(&[u8]) -> bool)] = &[
    ("json", json),
    ("yaml", yaml),
    ("protobuf", proto),
    ("patch", patch),
    ("selectors", selectors),
    ("scalars", scalars),
    ("cel", cel),
];

/// A decoded object can be sent back and read again; pruning leaves nothing unknown.
fn json(data: &[u8]) -> bool {
    let Ok((value, _)) = parse_json_strict(data) else { return true };
    assert!(is_shallow(&value), "deeper than any reader takes");
    assert_eq!(parse_json(data).ok().as_ref(), Some(&value), "strict and plain reading differ");
    assert_eq!(parse_json(value.to_string().as_bytes()).ok(), Some(value.clone()));
    for (api_version, kind) in [("v1", "Pod"), ("apps/v1", "Deployment"), ("v1", "Service")] {
        let mut pruned = value.clone();
        prune_unknown(api_version, kind, &mut pruned);
        let unknown = |finding: &Finding| matches!(finding, Finding::Unknown { .. });
        assert!(
            !check(api_version, kind, &pruned).iter().any(unknown),
            "{kind}: pruning left unknown fields"
        );
    }
    true
}

fn yaml(data: &[u8]) -> bool {
    if let Ok(value) = parse_yaml(data) {
        assert!(is_shallow(&value));
    }
    true
}

/// What was decoded encodes; encoding brings it to its final form (quantities become canonical) and keeps it there.
fn proto(data: &[u8]) -> bool {
    let round = |value: &Value| {
        let bytes = protobuf::encode(value).ok()?;
        Some(protobuf::decode(&bytes).expect("what was encoded can be decoded"))
    };
    if let Ok(value) = protobuf::decode(data)
        && let Some(canonical) = round(&value)
    {
        assert_eq!(round(&canonical).as_ref(), Some(&canonical), "a second reading differs");
    }
    let _ = protobuf::decode_watch_event(data);
    true
}

/// `[object, patch]`: a merge patch changes nothing the second time; no patch makes what no reader takes.
fn patch(data: &[u8]) -> bool {
    let Ok(Value::Array(parts)) = parse_json(data) else { return false };
    let [object, patch] = parts.as_slice() else { return false };
    let mut once = object.clone();
    merge_patch(&mut once, patch);
    let mut twice = once.clone();
    merge_patch(&mut twice, patch);
    assert_eq!(once, twice);
    if let Ok(patched) = json_patch(object, patch) {
        assert!(is_shallow(&patched), "a JSON patch made an object deeper than any reader takes");
    }
    for (api_version, kind) in [("v1", "Pod"), ("apps/v1", "Deployment"), ("v1", "Service")] {
        if let Ok(patched) = strategic_merge_for(api_version, kind, object, patch) {
            assert!(is_shallow(&patched));
        }
    }
    true
}

/// A selector's text reads back as the same selector; but for `a in (,)`, one empty value, which upstream too prints as the
/// unreadable `a in ()`.
fn selectors(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let unprintable = |selector: &LabelSelector| {
        let set = |one: &Requirement| matches!(one.operator(), Operator::In | Operator::NotIn);
        selector.requirements().iter().any(|one| set(one) && one.values() == [""])
    };
    if let Ok(selector) = LabelSelector::parse(text)
        && !unprintable(&selector)
    {
        let again = LabelSelector::parse(&selector.to_string()).unwrap();
        assert_eq!(again.to_string(), selector.to_string());
    }
    if let Ok(selector) = FieldSelector::parse(text) {
        let again = FieldSelector::parse(&selector.to_string()).unwrap();
        assert_eq!(again.requirements(), selector.requirements());
    }
    if let Ok(object) = parse_json(data) {
        let _ = LabelSelector::from_object(&object);
        let _ = LabelSelector::from_map(&object);
    }
    true
}

/// Quantities, times, durations and names.
fn scalars(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    if let Ok(quantity) = Quantity::parse(text) {
        let canonical = quantity.to_string();
        let again = Quantity::parse(&canonical).unwrap();
        assert_eq!(again.to_string(), canonical, "{text:?} is not canonical after one round");
    }
    if let Some(at) = time::parse_rfc3339(text) {
        assert!(time::parse_rfc3339(&time::format_rfc3339_seconds(at)).is_some());
    }
    if let Some(nanos) = time::parse_go_duration(text) {
        assert_eq!(time::parse_go_duration(&time::format_go_duration(nanos)), Some(nanos));
    }
    for check in [
        names::is_dns1123_label,
        names::is_dns1123_subdomain,
        names::is_dns1035_label,
        names::is_qualified_name,
        names::is_label_value,
        names::is_ip,
        names::is_cidr,
        names::is_percent,
        names::is_http_header_name,
        names::is_env_var_name,
        names::is_config_map_key,
    ] {
        let _ = check(text);
    }
    true
}

/// An expression that compiles can be estimated and evaluated within its budget, twice with the same outcome.
fn cel(data: &[u8]) -> bool {
    static ENV: LazyLock<Env> = LazyLock::new(|| Env::kubernetes().declare("self", Type::Dyn));
    static OBJECT: LazyLock<Value> = LazyLock::new(
        || json!({"spec": {"replicas": 3, "names": ["a", "b"], "labels": {"x": "y"}, "size": "1Gi", "ip": "10.0.0.1"}}),
    );
    const TOTAL: u64 = 20_000;
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let Ok(program) = ENV.compile(text) else { return true };
    let _ = program.cost_estimate(&SizeHints::new());
    let run = || {
        let bindings = Bindings::new().with("self", CelValue::from_json(&OBJECT));
        let mut budget = Budget::new(TOTAL);
        let outcome = program.eval(&bindings, &mut budget);
        assert!(budget.remaining() <= TOTAL);
        format!("{outcome:?}")
    };
    assert_eq!(run(), run());
    true
}
