//! Rules in CEL when a definition is written; and nothing panics, whatever the schema.

use serde_json::{Value, json};
use xebec_kinds::Strategy;

use super::{create, update, with_schema, with_x};

#[test]
fn rules_must_compile_and_be_affordable() {
    let rule = |rule: Value| with_x(json!({"type": "integer", "x-kubernetes-validations": [rule]}));
    let path = "spec.validation.openAPIV3Schema.properties[spec].properties[x].x-kubernetes-validations[0]";
    assert_eq!(create(rule(json!({"rule": "self > 0"}))).1, Vec::<String>::new());
    let (_, errors) = create(rule(json!({"rule": "self >"})));
    assert!(
        errors[0].starts_with(&format!(
            "{path}.rule: Invalid value: {{\"FieldPath\":\"\",\"Message\":\"\",\"MessageExpression\":\"\",\"OptionalOldSelf\":null,\"Reason\":null,\"Rule\":\"self \\u003e\"}}: compilation failed: ERROR: <input>:1:7: Syntax error"
        )),
        "{errors:?}"
    );
    let ends = [
        (json!({"rule": "self + 1"}), "rule", "cel expression must evaluate to a bool"),
        (
            json!({"rule": "true", "messageExpression": "1"}),
            "messageExpression",
            "messageExpression must evaluate to a string",
        ),
        (
            json!({"rule": "self > 0", "optionalOldSelf": true}),
            "optionalOldSelf",
            "may not be set if oldSelf is not used in rule",
        ),
    ];
    for (bad, field, end) in ends {
        let (_, errors) = create(rule(bad.clone()));
        assert_eq!(errors.len(), 1, "{bad} {errors:?}");
        assert!(
            errors[0].starts_with(&format!("{path}.{field}: ")) && errors[0].ends_with(end),
            "{errors:?}"
        );
    }
}

#[test]
fn rules_below_lists_cost_as_often_as_there_can_be_elements() {
    let list = |extra: Value| {
        let mut x = json!({"type": "array", "items": {"type": "string", "x-kubernetes-validations": [{"rule": "self.contains('x')"}]}});
        x.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        with_x(x)
    };
    let (_, errors) = create(list(json!({})));
    let path = "spec.validation.openAPIV3Schema.properties[spec].properties[x].items.x-kubernetes-validations[0].rule";
    assert!(
        errors[0].starts_with(&format!("{path}: Forbidden: estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule")),
        "{errors:?}"
    );
    assert!(
        errors.last().unwrap().starts_with("spec.validation.openAPIV3Schema: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget"),
        "{errors:?}"
    );
    let mut bounded = list(json!({"maxItems": 10}));
    bounded["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["x"]["items"]
        ["maxLength"] = json!(10);
    assert_eq!(create(bounded).1, Vec::<String>::new());
    // What was accepted once stays accepted while it is not changed.
    let old = list(json!({}));
    let mut new = create(old.clone()).0;
    new["metadata"]["labels"] = json!({"a": "b"});
    let errors = update(new, &create(old).0).1;
    assert!(!errors.iter().any(|error| error.contains("estimated rule cost exceeds")), "{errors:?}");
}

#[test]
fn transitions_need_elements_that_can_be_told_apart() {
    let rules = json!([{"rule": "self == oldSelf"}]);
    let (_, errors) = create(with_x(
        json!({"type": "array", "maxItems": 5, "items": {"type": "string", "maxLength": 5, "x-kubernetes-validations": rules}}),
    ));
    let path = "spec.validation.openAPIV3Schema.properties[spec].properties[x]";
    assert_eq!(
        errors,
        [format!(
            "{path}.items.x-kubernetes-validations[0].rule: Invalid value: \"self == oldSelf\": oldSelf cannot be used on the uncorrelatable portion of the schema within {path}"
        )]
    );
}

#[test]
fn defaults_keep_the_rules() {
    let (_, errors) = create(with_x(
        json!({"type": "integer", "default": 0, "x-kubernetes-validations": [{"rule": "self > 0", "message": "positive"}]}),
    ));
    assert_eq!(
        errors,
        [
            "spec.validation.openAPIV3Schema.properties[spec].properties[x].default: Invalid value: 0: positive"
        ]
    );
}

proptest::proptest! {
    #[test]
    fn no_schema_panics(schema in crate::testing::any_schema(), rule in "[a-z.()'= 0-9]{0,12}") {
        let mut schema = schema;
        schema["x-kubernetes-validations"] = json!([{"rule": rule}]);
        let (created, _) = create(with_x(schema.clone()));
        let _ = update(created.clone(), &created);
        let _ = create(with_schema(schema));
        let mut accepted = created;
        accepted["status"]["acceptedNames"] =
            json!({"plural": "crontabs", "singular": "crontab", "kind": "CronTab", "listKind": "CronTabList"});
        let definition = crate::definition::Definition::read(&accepted);
        let leak = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
        let strategy = crate::resource::CustomStrategy::new(&definition, "v1", &leak).unwrap();
        let mut object = json!({"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": "a"}, "spec": {"x": {"a": 1}}});
        let _ = strategy.check_fields(&mut object);
        strategy.defaults(&mut object);
        let _ = strategy.validate(&object);
        let _ = strategy.validate_update(&object, &object);
        let _ = crate::merge::types(strategy.schema().map(|schema| &**schema), false);
    }
}
