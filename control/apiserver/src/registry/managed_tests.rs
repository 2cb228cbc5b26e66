use proptest::prelude::*;
use xebec_api::resource;

use super::super::apply::merged;
use super::super::merge_schema::{Node, SchemaRef};
use super::super::typed;
use super::super::updater::{Reach, Versions};
use super::*;

/// Deployments, in their one version.
struct Deployments;

#[async_trait::async_trait]
impl Versions for Deployments {
    fn schema(&self, version: &str) -> Option<SchemaRef> {
        let row = resource::lookup("apps", "v1", "deployments").unwrap();
        (version == "apps/v1").then_some(SchemaRef::BuiltIn(row))
    }

    async fn convert(&self, _: &Value, _: &str, _: &str) -> Result<Option<Value>, ApiError> {
        Ok(None)
    }
}

fn node() -> Node<'static> {
    super::super::merge_schema::root(resource::lookup("apps", "v1", "deployments").unwrap())
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn scope() -> Scope<'static> {
    Scope { versions: &Deployments, version: "apps/v1", reach: Reach::AllBut(&["status"]), single: None }
}

fn writer(name: &str, second: i64) -> Writer<'_> {
    Writer { name, subresource: "", now: Timestamp::from_second(1_700_000_000 + second).unwrap() }
}

fn nothing() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment"})
}

fn apply(live: &Value, config: &Value, name: &str, force: bool) -> Result<Value, Failure> {
    block_on(applied(&scope(), live, config, writer(name, 0), force))
}

/// The object after an update by `name`, managers kept.
fn update(live: &Value, new: &Value, name: &str, second: i64) -> Value {
    let mut new = new.clone();
    let managers = block_on(updated(&scope(), Some(live), &new, writer(name, second))).unwrap();
    encode(&mut new, &managers);
    new
}

fn fields_of(object: &Value, name: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    entries
        .iter()
        .find(|entry| entry["manager"] == name)
        .map_or(Value::Null, |entry| entry["fieldsV1"].clone())
}

/// The object without its managers.
fn bare(object: &Value) -> Value {
    let mut object = object.clone();
    metadata::metadata(&mut object).remove("managedFields");
    object
}

/// Equal but for the order of list items.
fn same(a: &Value, b: &Value) -> bool {
    typed::compare(&bare(a), &bare(b), node()) == typed::Comparison::default()
}

fn conflicts(result: Result<Value, Failure>) -> Vec<String> {
    match result {
        Err(Failure::Conflicts(conflicts)) => {
            conflicts.iter().map(|c| format!("{} {}", c.with.name, fieldset::display(&c.path))).collect()
        }
        other => panic!("no conflicts: {other:?}"),
    }
}

/// Parts a configuration is made of; each says what no other says, so configurations never disagree.
const PARTS: usize = 12;

fn part(at: usize) -> Value {
    let spec = |spec: Value| json!({"spec": spec});
    let container = |container: Value| spec(json!({"template": {"spec": {"containers": [container]}}}));
    match at {
        0 => spec(json!({"replicas": 3})),
        1 => spec(json!({"paused": true})),
        2 => json!({"metadata": {"labels": {"a": "1"}}}),
        3 => json!({"metadata": {"labels": {"b": "2"}, "finalizers": ["x/y"]}}),
        4 => container(json!({"name": "a", "image": "i"})),
        5 => container(json!({"name": "a", "env": [{"name": "E", "value": "1"}]})),
        6 => container(json!({"name": "a", "ports": [{"containerPort": 80}]})),
        7 => container(json!({"name": "b", "args": ["x", "y"]})),
        8 => container(json!({"name": "b", "resources": {"limits": {"cpu": "1"}}})),
        9 => spec(json!({"template": {"spec": {"nodeSelector": {"n": "m"}}}})),
        10 => spec(json!({"strategy": {"type": "Recreate"}})),
        _ => json!({"metadata": {"finalizers": ["z/w"]}}),
    }
}

fn config_of(parts: &[bool]) -> Value {
    let frame = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}});
    (0..PARTS).filter(|at| parts[*at]).fold(frame, |config, at| merged(&config, &part(at), node()))
}

fn config() -> impl Strategy<Value = Value> {
    proptest::collection::vec(any::<bool>(), PARTS).prop_map(|parts| config_of(&parts))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        "[a-z./\"\\\\:{}]{1,6}".prop_map(Step::Field),
        ("[a-z\"\\\\]{1,4}", any::<i32>())
            .prop_map(|(name, n)| Step::Key(json!({"k": n, "name": name}).to_string())),
        "[a-z\"]{0,4}".prop_map(|text| Step::Value(json!(text).to_string())),
        (0..9i64).prop_map(|n| Step::Index(n.to_string())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn fields_survive_their_encoding(paths in proptest::collection::vec(proptest::collection::vec(step(), 1..5), 0..12)) {
        let set: FieldSet = paths.into_iter().collect();
        prop_assert_eq!(fieldset::decode(&fieldset::encode(&set)), Some(set));
    }

    #[test]
    fn an_apply_is_idempotent_and_the_object_has_all_of_it(a in config(), b in config()) {
        let live = apply(&nothing(), &b, "b", false).unwrap();
        let once = apply(&live, &a, "a", false).unwrap();
        prop_assert_eq!(&apply(&once, &a, "a", false).unwrap(), &once);
        prop_assert!(same(&merged(&bare(&once), &a, node()), &once));
    }

    #[test]
    fn managers_that_agree_may_come_in_any_order(a in config(), b in config()) {
        let then = |first: &Value, n: &str, second: &Value, m: &str| {
            let live = apply(&nothing(), first, n, false).unwrap();
            apply(&live, second, m, false).unwrap()
        };
        let (ab, ba) = (then(&a, "a", &b, "b"), then(&b, "b", &a, "a"));
        prop_assert!(same(&ab, &ba), "{ab} {ba}");
        for name in ["a", "b"] {
            prop_assert_eq!(fields_of(&ab, name), fields_of(&ba, name));
        }
    }

    #[test]
    fn what_is_applied_no_longer_goes_unless_it_is_anothers(a in config(), next in config(), b in config()) {
        let others = apply(&nothing(), &b, "b", false).unwrap();
        let before = apply(&others, &a, "a", false).unwrap();
        let after = apply(&before, &next, "a", false).unwrap();
        // As if the first configuration had never been.
        prop_assert!(same(&after, &apply(&others, &next, "a", false).unwrap()), "{after}");
        prop_assert_eq!(fields_of(&after, "b"), fields_of(&before, "b"));
        let present = fieldset::with_parents(&fieldset::fields_of(&bare(&after), node()), node());
        for owned in decode(&after).unwrap().values() {
            prop_assert!(owned.fields.is_subset(&present), "{after}");
        }
    }

    #[test]
    fn comparisons_mirror_each_other(a in config(), b in config()) {
        let (there, back) = (typed::compare(&a, &b, node()), typed::compare(&b, &a, node()));
        prop_assert_eq!(there.added, back.removed);
        prop_assert_eq!(there.modified, back.modified);
        prop_assert_eq!(typed::compare(&a, &a, node()), typed::Comparison::default());
    }

    #[test]
    fn who_was_overruled_conflicts(a in config(), mine in 0i64..9, theirs in 10i64..19) {
        let with = |replicas: i64| merged(&a, &json!({"spec": {"replicas": replicas}}), node());
        let live = apply(&nothing(), &with(mine), "a", false).unwrap();
        prop_assert_eq!(conflicts(apply(&live, &with(theirs), "b", false)), ["a .spec.replicas"]);
        let live = apply(&live, &with(theirs), "b", true).unwrap();
        prop_assert_eq!(conflicts(apply(&live, &with(mine), "a", false)), ["b .spec.replicas"]);
        // Who does not name it any more gives it up, and it stays the other's.
        let mut without = with(mine);
        without["spec"].as_object_mut().unwrap().remove("replicas");
        let live = apply(&live, &without, "a", false).unwrap();
        prop_assert_eq!(&live["spec"]["replicas"], &json!(theirs));
    }
}

#[test]
fn an_item_others_put_something_into_stays_with_its_key() {
    let container = |more: Value| {
        let mut item = json!({"name": "c"});
        item.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"template": {"spec": {"containers": [item]}}}})
    };
    let live = apply(&nothing(), &container(json!({"image": "i", "tty": true})), "a", false).unwrap();
    let live = update(&live, &container(json!({"image": "i", "tty": true, "stdin": true})), "u", 1);
    let empty = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}});
    let live = apply(&live, &empty, "a", false).unwrap();
    assert_eq!(live["spec"]["template"]["spec"]["containers"], Value::Null, "nobody holds the item: {live}");
    let live = apply(&nothing(), &container(json!({"image": "i"})), "a", false).unwrap();
    let live = apply(&live, &container(json!({"stdin": true})), "b", false).unwrap();
    let live = apply(&live, &empty, "a", false).unwrap();
    assert_eq!(live["spec"]["template"]["spec"]["containers"], json!([{"name": "c", "stdin": true}]));
}

#[test]
fn a_structure_nobody_is_in_goes_with_what_defaulting_put_there() {
    let with = |spec: Value| json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec});
    let live = apply(&nothing(), &with(json!({"strategy": {"rollingUpdate": {"maxSurge": 1}}})), "a", false)
        .unwrap();
    let mut defaulted = live.clone();
    defaulted["spec"]["strategy"]["type"] = json!("RollingUpdate");
    defaulted["spec"]["minReadySeconds"] = json!(3);
    let after = apply(&defaulted, &with(json!({"replicas": 1})), "a", false).unwrap();
    assert_eq!(after["spec"], json!({"replicas": 1, "minReadySeconds": 3}));
}

#[test]
fn the_first_apply_finds_an_owner_of_all_that_was() {
    let live = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "uid": "u"},
        "spec": {"replicas": 2}, "status": {"replicas": 2}});
    let config = |n: i64| json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": n}});
    assert_eq!(conflicts(apply(&live, &config(3), "a", false)), ["before-first-apply .spec.replicas"]);
    let shared = apply(&live, &config(2), "a", false).unwrap();
    let entries = shared["metadata"]["managedFields"].as_array().unwrap();
    // Nothing changed, so the new applier has no time yet; upstream's has none either.
    assert_eq!(
        entries[0],
        json!({"manager": "a", "operation": "Apply", "apiVersion": "apps/v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": {"f:replicas": {}}}})
    );
    assert_eq!(
        (&entries[1]["manager"], &entries[1]["operation"]),
        (&json!("before-first-apply"), &json!("Update"))
    );
    assert_eq!(entries[1]["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
}

#[test]
fn updaters_own_what_they_change_and_old_ones_become_one() {
    let mut live =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "uid": "u"}});
    let managers = block_on(updated(&scope(), None, &live, writer("maker", 0))).unwrap();
    encode(&mut live, &managers);
    assert!(live["metadata"].get("managedFields").is_none(), "a bare name is nobody's");
    let mut first = live.clone();
    first["metadata"]["labels"] = json!({"l": "0"});
    let managers = block_on(updated(&scope(), None, &first, writer("u0", 0))).unwrap();
    encode(&mut first, &managers);
    assert_eq!(fields_of(&first, "u0"), json!({"f:metadata": {"f:labels": {".": {}, "f:l": {}}}}));
    let mut live = first;
    for second in 1..14 {
        let mut new = live.clone();
        new["metadata"]["labels"][format!("k{second}")] = json!("v");
        live = update(&live, &new, &format!("u{second}"), second);
    }
    let managers = decode(&live).unwrap();
    assert_eq!(managers.len(), MAX_UPDATERS);
    let ancient = fields_of(&live, "ancient-changes");
    let old = ancient["f:metadata"]["f:labels"].as_object().unwrap();
    assert_eq!(old.len(), 6, "the map itself, l and four more: {ancient}");
    assert_eq!(fields_of(&live, "u13"), json!({"f:metadata": {"f:labels": {"f:k13": {}}}}));
    // What goes is nobody's, and a removal alone makes no owner.
    let mut new = live.clone();
    new["metadata"]["labels"].as_object_mut().unwrap().remove("k13");
    let live = update(&live, &new, "remover", 20);
    assert_eq!((fields_of(&live, "u13"), fields_of(&live, "remover")), (Value::Null, Value::Null));
}

#[test]
fn clients_edit_the_managers() {
    let config = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 1}});
    let live = apply(&nothing(), &config, "a", false).unwrap();
    let sent = |managers: Value| {
        let mut new = live.clone();
        new["metadata"]["managedFields"] = managers;
        update(&live, &new, "u", 1)["metadata"]["managedFields"].clone()
    };
    let stored = live["metadata"]["managedFields"].clone();
    let mut renamed = stored.clone();
    renamed[0]["manager"] = json!("b");
    assert_eq!(sent(renamed.clone()), renamed);
    assert_eq!(sent(Value::Null), stored, "who leaves them out keeps them");
    assert_eq!((sent(json!([{}])), sent(json!([]))), (Value::Null, Value::Null));
    for (field, wrong) in [
        ("operation", json!("Bake")),
        ("apiVersion", json!("")),
        ("fieldsType", json!("V2")),
        ("fieldsV1", json!({"x": 1})),
    ] {
        let mut broken = stored.clone();
        broken[0][field] = wrong;
        assert_eq!(sent(broken.clone()), stored, "{broken}");
    }
}

#[test]
fn an_object_without_managers_stays_without_until_an_apply() {
    let live =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "uid": "u"}});
    let mut new = live.clone();
    new["spec"] = json!({"replicas": 1});
    assert!(update(&live, &new, "u", 1)["metadata"].get("managedFields").is_none());
}

#[test]
fn kubectl_takes_over_what_it_applied_by_its_annotation() {
    let config = |n: i64, image: &str| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": n,
            "template": {"spec": {"containers": [{"name": "c", "image": image}]}}}})
    };
    let mut live = config(1, "i:1");
    live["metadata"]["annotations"] = json!({last_applied::ANNOTATION: config(1, "i:1").to_string()});
    let managers = block_on(updated(&scope(), None, &live, writer("kubectl-client-side-apply", 0))).unwrap();
    encode(&mut live, &managers);
    assert_eq!(
        conflicts(apply(&live, &config(2, "i:1"), "other", false)),
        ["kubectl-client-side-apply .spec.replicas"]
    );
    let upgraded = apply(&live, &config(2, "i:2"), "kubectl", false).unwrap();
    assert_eq!(upgraded["spec"]["replicas"], 2);
    let text = upgraded["metadata"]["annotations"][last_applied::ANNOTATION].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), config(2, "i:2"));
    // What somebody scaled since the annotation was written is not kubectl's.
    let mut scaled = live.clone();
    scaled["spec"]["replicas"] = json!(5);
    let live = update(&live, &scaled, "scaler", 1);
    assert_eq!(conflicts(apply(&live, &config(2, "i:2"), "kubectl", false)), ["scaler .spec.replicas"]);
}

#[test]
fn configurations_must_be_typed() {
    let containers = |list: Value| json!({"spec": {"template": {"spec": {"containers": list}}}});
    let complain = |config: &Value| typed::complaint_text(&typed::complaints(config, node()));
    assert_eq!(
        complain(&containers(json!([{"name": "c"}, {"name": "c"}]))),
        ".spec.template.spec.containers: duplicate entries for key [name=\"c\"]"
    );
    assert_eq!(
        complain(&containers(json!([null]))),
        ".spec.template.spec.containers: element 0: associative list with keys may not have a null element"
    );
    assert_eq!(
        complain(&json!({"metadata": {"finalizers": ["a", "a", {}]}})),
        "errors:\n  .metadata.finalizers: duplicate entries for key [=\"a\"]\n  .metadata.finalizers: element 2: \
         associative list without keys has an element that's a map type"
    );
    let config = containers(json!([{"name": "c", "ports": [{"containerPort": 80, "foo": 1}]}]));
    assert_eq!(
        typed::path_of("spec.template.spec.containers[0].ports[0].foo", &config, node()),
        ".spec.template.spec.containers[name=\"c\"].ports[containerPort=80,protocol=\"TCP\"].foo"
    );
}
