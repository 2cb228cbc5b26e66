//! The rules of definitions, one by one, with upstream's messages.

use serde_json::{Value, json};
use xebec_api::field::FieldError;
use xebec_kinds::{Context, Strategy};

use super::CustomResourceDefinition;

mod rules;

const STRATEGY: CustomResourceDefinition = CustomResourceDefinition;

fn crd() -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "crontabs.stable.example.com"},
        "spec": {"group": "stable.example.com", "scope": "Namespaced",
            "names": {"plural": "crontabs", "kind": "CronTab", "shortNames": ["ct"]},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object",
                "properties": {"spec": {"type": "object", "properties": {"replicas": {"type": "integer"}}}}}}}]}})
}

fn texts(errors: &[FieldError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn context() -> Context<'static> {
    Context::new("me", "", "2026-01-01T00:00:00Z".parse().unwrap())
}

fn create(mut crd: Value) -> (Value, Vec<String>) {
    STRATEGY.defaults(&mut crd);
    STRATEGY.prepare_for_create(&context(), &mut crd);
    let errors = texts(&STRATEGY.validate(&crd));
    (crd, errors)
}

fn update(mut crd: Value, old: &Value) -> (Value, Vec<String>) {
    STRATEGY.defaults(&mut crd);
    STRATEGY.prepare_for_update(&context(), &mut crd, old);
    let errors = texts(&STRATEGY.validate_update(&crd, old));
    (crd, errors)
}

/// A definition with one field replaced.
fn with(pointer: &str, value: Value) -> Value {
    let mut crd = crd();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    crd.pointer_mut(parent).unwrap()[name] = value;
    crd
}

fn with_schema(schema: Value) -> Value {
    with("/spec/versions/0/schema/openAPIV3Schema", schema)
}

/// A definition whose `spec.x` has the schema.
fn with_x(x: Value) -> Value {
    with_schema(json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"x": x}}}}))
}

fn two_versions() -> Value {
    let mut crd = crd();
    let mut second = crd["spec"]["versions"][0].clone();
    second["name"] = json!("v2");
    second["storage"] = json!(false);
    second["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"] =
        json!({"n": {"type": "integer"}});
    crd["spec"]["versions"].as_array_mut().unwrap().push(second);
    crd
}

#[test]
fn a_good_definition_gets_its_defaults() {
    let (created, errors) = create(crd());
    assert_eq!(errors, Vec::<String>::new());
    let names = &created["spec"]["names"];
    assert_eq!((&names["singular"], &names["listKind"]), (&json!("crontab"), &json!("CronTabList")));
    assert_eq!(created["spec"]["conversion"], json!({"strategy": "None"}));
    assert_eq!(
        created["status"],
        json!({"acceptedNames": {"kind": "", "plural": ""}, "storedVersions": ["v1"]})
    );
    assert_eq!(created["metadata"]["generation"], 1);
    let once = created.clone();
    let mut again = created;
    STRATEGY.defaults(&mut again);
    assert_eq!(again, once);
}

#[test]
fn each_error_has_upstreams_words() {
    let cases: Vec<(Value, &str)> = vec![
        (
            with("/metadata/name", json!("x.example.com")),
            "metadata.name: Invalid value: \"x.example.com\": must be spec.names.plural+\".\"+spec.group",
        ),
        (with("/spec/group", json!("")), "spec.group: Required value"),
        (
            with("/spec/group", json!("stable")),
            "spec.group: Invalid value: \"stable\": should be a domain with at least one dot",
        ),
        (with("/spec/scope", json!("")), "spec.scope: Required value"),
        (
            with("/spec/scope", json!("Global")),
            "spec.scope: Unsupported value: \"Global\": supported values: \"Cluster\", \"Namespaced\"",
        ),
        (with("/spec/names/plural", json!("")), "spec.names.plural: Required value"),
        (with("/spec/names/kind", json!("")), "spec.names.kind: Required value"),
        (
            with("/spec/names/kind", json!("Cron Tab")),
            "spec.names.kind: Invalid value: \"Cron Tab\": may have mixed case, but should otherwise match: a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
        ),
        (
            with("/spec/names/listKind", json!("CronTab")),
            "spec.names.listKind: Invalid value: \"CronTab\": kind and listKind may not be the same",
        ),
        (
            with("/spec/names/shortNames", json!(["C T"])),
            "spec.names.shortNames[0]: Invalid value: \"C T\": a DNS-1035 label",
        ),
        (
            with("/spec/names/categories", json!(["All"])),
            "spec.names.categories[0]: Invalid value: \"All\": a DNS-1035 label",
        ),
        (
            with("/spec/versions/0/name", json!("V1")),
            "spec.versions[0].name: Invalid value: \"V1\": a DNS-1035 label",
        ),
        (
            with("/spec/versions/0/storage", json!(false)),
            "must have exactly one version marked as storage version",
        ),
        (
            with("/spec/versions/0/schema", json!(null)),
            "spec.versions[0].schema.openAPIV3Schema: Required value",
        ),
        (
            with("/spec/preserveUnknownFields", json!(true)),
            "spec.preserveUnknownFields: Invalid value: true: cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
        ),
        (
            with("/spec/versions/0/deprecationWarning", json!("x")),
            "spec.versions[0].deprecationWarning: Invalid value: \"x\": can only be set for deprecated versions",
        ),
        (
            with_schema(json!({"type": "object", "nullable": true})),
            "spec.validation.openAPIV3Schema.nullable: Forbidden: nullable cannot be true at the root",
        ),
        (
            with_x(json!({})),
            "spec.validation.openAPIV3Schema.properties[spec].properties[x].type: Required value: must not be empty for specified object fields",
        ),
        (
            with_x(json!({"type": "strin"})),
            "spec.validation.openAPIV3Schema.properties[spec].properties[x].type: Unsupported value: \"strin\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"",
        ),
        (
            with_x(json!({"type": "string", "default": 1})),
            "spec.validation.openAPIV3Schema.properties[spec].properties[x].default: Invalid value: \"integer\":  in body must be of type string: \"integer\"",
        ),
        (
            with_x(json!({"type": "object", "properties": {"a": {"type": "string"}}, "default": {"b": 1}})),
            "spec.validation.openAPIV3Schema.properties[spec].properties[x].default: Invalid value: {\"b\":1}: must not have unknown fields",
        ),
        (
            with_x(json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true})),
            "properties[x].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        ),
        (
            with_x(
                json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}}),
            ),
            "properties[x].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
        ),
        (
            with_x(json!({"type": "string", "$ref": "#/x"})),
            "properties[x].$ref: Forbidden: $ref is not supported",
        ),
        (
            with_x(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": false})),
            "properties[x].x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined",
        ),
        (
            with_x(json!({"type": "string", "x-kubernetes-map-type": "atomic"})),
            "properties[x].type: Invalid value: \"string\": must be object if x-kubernetes-map-type is specified",
        ),
        (
            with_x(json!({"type": "object", "x-kubernetes-map-type": "x"})),
            "properties[x].x-kubernetes-map-type: Unsupported value: \"x\": supported values: \"atomic\", \"granular\"",
        ),
        (
            with_x(json!({"type": "string", "x-kubernetes-list-type": "set"})),
            "properties[x].type: Invalid value: \"string\": must be array if x-kubernetes-list-type is specified",
        ),
        (
            with_x(json!({"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "set"})),
            "properties[x].items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with x-kubernetes-list-type=set",
        ),
        (
            with_x(json!({"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "map"})),
            "properties[x].x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
        ),
        (
            with_x(
                json!({"type": "array", "items": {"type": "object"}, "x-kubernetes-list-map-keys": ["a"]}),
            ),
            "properties[x].x-kubernetes-list-type: Required value: must be map if x-kubernetes-list-map-keys is non-empty",
        ),
        (
            with_x(
                json!({"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"]}),
            ),
            "properties[x].x-kubernetes-list-map-keys: Invalid value: [\"a\"]: entries must all be names of item properties",
        ),
        (
            with_x(
                json!({"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"]}),
            ),
            "properties[x].items.properties[a].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
        ),
        (
            with_x(json!({"type": "string", "x-kubernetes-validations": [{"rule": " "}]})),
            "properties[x].x-kubernetes-validations[0].rule: Required value: rule is not specified",
        ),
        (
            with_x(
                json!({"type": "string", "x-kubernetes-validations": [{"rule": "true", "reason": "Bad"}]}),
            ),
            "properties[x].x-kubernetes-validations[0].reason: Unsupported value: \"Bad\": supported values: \"FieldValueDuplicate\", \"FieldValueForbidden\", \"FieldValueInvalid\", \"FieldValueRequired\"",
        ),
        (
            with_x(
                json!({"type": "string", "x-kubernetes-validations": [{"rule": "true", "fieldPath": ".y"}]}),
            ),
            "properties[x].x-kubernetes-validations[0].fieldPath: Invalid value: \".y\": must be a valid path",
        ),
        (
            with_schema(
                json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"name": {"type": "string", "default": "x"}}}}}),
            ),
            "spec.validation.openAPIV3Schema.properties[metadata].properties[name].default: Forbidden: must not be set in top-level metadata",
        ),
        (
            with(
                "/spec/versions/0/subresources",
                json!({"scale": {"specReplicasPath": "spec.x", "statusReplicasPath": ".spec.x", "labelSelectorPath": ".x.y"}}),
            ),
            "spec.subresources.scale.specReplicasPath: Invalid value: \"spec.x\": must be a simple json path starting with .",
        ),
        (
            with(
                "/spec/versions/0/subresources",
                json!({"scale": {"specReplicasPath": ".spec.x", "statusReplicasPath": ".spec.x"}}),
            ),
            "spec.subresources.scale.statusReplicasPath: Invalid value: \".spec.x\": should be a json path under .status",
        ),
        (
            with(
                "/spec/versions/0/additionalPrinterColumns",
                json!([{"name": "A", "type": "text", "jsonPath": ".x"}]),
            ),
            "spec.additionalPrinterColumns[0].type: Invalid value: \"text\": must be one of boolean,date,integer,number,string",
        ),
        (
            with(
                "/spec/versions/0/additionalPrinterColumns",
                json!([{"name": "A", "type": "string", "jsonPath": "x"}]),
            ),
            "spec.additionalPrinterColumns[0].JSONPath: Invalid value: \"x\": must be a simple json path starting with .",
        ),
        (
            with("/spec/versions/0/selectableFields", json!([{"jsonPath": ".spec.none"}])),
            "spec.selectableFields[0].jsonPath: Invalid value: \".spec.none\": is an invalid path: does not refer to a valid field",
        ),
        (
            with(
                "/spec/versions/0/selectableFields",
                json!([{"jsonPath": ".spec.replicas"}, {"jsonPath": ".spec.replicas"}]),
            ),
            "spec.selectableFields[1].jsonPath: Duplicate value: \".spec.replicas\"",
        ),
        (
            with("/spec/versions/0/selectableFields", json!([{"jsonPath": ".spec"}])),
            "spec.selectableFields[0].jsonPath: Invalid value: \".spec\": must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.",
        ),
        (
            with("/spec/conversion", json!({"strategy": "Magic"})),
            "spec.conversion.strategy: Unsupported value: \"Magic\": supported values: \"None\", \"Webhook\"",
        ),
        (
            with("/spec/conversion", json!({"strategy": "Webhook"})),
            "spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook",
        ),
        (
            with(
                "/spec/conversion",
                json!({"strategy": "Webhook", "webhook": {"clientConfig": {"url": "http://a/b"}, "conversionReviewVersions": ["v9"]}}),
            ),
            "spec.conversion.webhookClientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
        ),
        (
            with(
                "/spec/conversion",
                json!({"strategy": "Webhook", "webhook": {"clientConfig": {"url": "https://a/b"}, "conversionReviewVersions": ["v9"]}}),
            ),
            "spec.conversion.conversionReviewVersions: Invalid value: [\"v9\"]: must include at least one of v1, v1beta1",
        ),
        (
            with(
                "/spec/conversion",
                json!({"strategy": "None", "webhook": {"conversionReviewVersions": ["v1"]}}),
            ),
            "spec.conversion.conversionReviewVersions: Forbidden: should not be set when strategy is not set to Webhook",
        ),
    ];
    for (crd, want) in cases {
        let (_, errors) = create(crd.clone());
        assert!(errors.iter().any(|error| error.contains(want)), "{want}\nin {errors:#?}\nof {crd}");
    }
}

#[test]
fn versions_that_differ_are_named_one_by_one() {
    let (_, errors) = create(two_versions());
    assert_eq!(errors, Vec::<String>::new());
    let mut bad = two_versions();
    bad["spec"]["versions"][1]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["n"] =
        json!({});
    let (_, errors) = create(bad);
    assert_eq!(
        errors,
        [
            "spec.versions[1].schema.openAPIV3Schema.properties[spec].properties[n].type: Required value: must not be empty for specified object fields"
        ]
    );
    let mut twice = two_versions();
    twice["spec"]["versions"][1]["name"] = json!("v1");
    assert!(create(twice).1.iter().any(|error| error.ends_with("must contain unique version names")));
}

#[test]
fn a_status_subresource_restricts_the_root() {
    let mut crd = with_schema(json!({"type": "object", "minProperties": 1}));
    crd["spec"]["versions"][0]["subresources"] = json!({"status": {}});
    let (_, errors) = create(crd);
    assert!(errors[0].starts_with("spec.validation.openAPIV3Schema: Invalid value: "), "{errors:?}");
    assert!(
        errors[0]
            .ends_with("fields are allowed at the root of the schema if the status subresource is enabled")
    );
}

#[test]
fn protected_groups_need_an_approval() {
    let mut crd = crd();
    crd["metadata"]["name"] = json!("crontabs.sigs.k8s.io");
    crd["spec"]["group"] = json!("sigs.k8s.io");
    let path = "metadata.annotations[api-approved.kubernetes.io]";
    assert_eq!(
        create(crd.clone()).1,
        [format!(
            "{path}: Required value: protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111"
        )]
    );
    crd["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": "bad value"});
    assert_eq!(
        create(crd.clone()).1,
        [format!(
            "{path}: Invalid value: \"bad value\": protected groups must have approval annotation \"api-approved.kubernetes.io\" with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111"
        )]
    );
    for good in ["unapproved, experimental", "https://github.com/kubernetes/kubernetes/pull/1"] {
        crd["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": good});
        assert_eq!(create(crd.clone()).1, Vec::<String>::new());
    }
}

#[test]
fn what_is_established_does_not_change() {
    let (old, _) = create(crd());
    let mut new = old.clone();
    new["spec"]["scope"] = json!("Cluster");
    let (updated, errors) = update(new.clone(), &old);
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(updated["metadata"]["generation"], 2);
    let mut established = old;
    established["status"]["conditions"] = json!([{"type": "Established", "status": "True"}]);
    let (_, errors) = update(new, &established);
    assert_eq!(errors, ["spec.scope: Invalid value: \"Cluster\": field is immutable"]);
    let mut renamed = established.clone();
    renamed["spec"]["group"] = json!("other.example.com");
    assert_eq!(
        update(renamed, &established).1,
        ["spec.group: Invalid value: \"other.example.com\": field is immutable"]
    );
}

#[test]
fn stored_versions_stay() {
    let (old, _) = create(two_versions());
    let mut new = old.clone();
    new["spec"]["versions"].as_array_mut().unwrap().remove(0);
    new["spec"]["versions"][0]["storage"] = json!(true);
    let (updated, errors) = update(new, &old);
    assert_eq!(updated["status"]["storedVersions"], json!(["v1", "v2"]));
    assert_eq!(
        errors,
        [
            "status.storedVersions[0]: Invalid value: \"v1\": missing from spec.versions; v1 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v1 and removes v1 from status.storedVersions"
        ]
    );
}

#[test]
fn old_mistakes_are_forgiven() {
    let list = json!({"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}},
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"]});
    let (old, errors) = create(with_x(list));
    assert_eq!(errors.len(), 1);
    let mut new = old.clone();
    new["metadata"]["labels"] = json!({"a": "b"});
    assert_eq!(update(new, &old).1, Vec::<String>::new());
    let (good, _) = create(crd());
    assert_eq!(update(with_x(old["spec"]["versions"][0]["schema"].clone()), &good).1.len(), 1);
}

#[test]
fn formats_nobody_checks_are_warned_of_once() {
    let crd = with_x(json!({"type": "string", "format": "odd"}));
    assert_eq!(STRATEGY.warnings(&crd), ["unrecognized format \"odd\""]);
    assert_eq!(STRATEGY.update_warnings(&crd, &crd), Vec::<String>::new());
    assert_eq!(STRATEGY.update_warnings(&crd, &self::crd()), ["unrecognized format \"odd\""]);
}

#[test]
fn status_writes_keep_the_spec() {
    let (old, _) = create(crd());
    let mut new = old.clone();
    new["spec"]["scope"] = json!("Cluster");
    new["status"]["acceptedNames"] = json!({"plural": "crontabs", "kind": "CronTab"});
    STRATEGY.prepare_for_status_update(&context(), &mut new, &old);
    assert_eq!(new["spec"], old["spec"]);
    assert_eq!(new["status"]["acceptedNames"]["plural"], "crontabs");
    assert!(STRATEGY.validate_status_update(&new, &old).is_empty());
}

#[test]
fn ca_bundles_are_checked_once_established() {
    use base64::Engine;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    assert!(super::is_ca_bundle(""));
    assert!(!super::is_ca_bundle(&encode("no pem")));
    assert!(!super::is_ca_bundle(&encode("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")));
    assert!(super::is_ca_bundle(&encode(
        "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n"
    )));
    let webhook = json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"],
        "clientConfig": {"service": {"namespace": "a", "name": "b"}}}});
    let (old, errors) = create(with("/spec/conversion", webhook));
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(old["spec"]["conversion"]["webhook"]["clientConfig"]["service"]["port"], 443);
    let mut new = old.clone();
    new["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"] = json!(encode("no pem"));
    assert_eq!(update(new.clone(), &old).1, Vec::<String>::new());
    let mut established = old;
    established["status"]["conditions"] = json!([{"type": "Established", "status": "True"}]);
    let (_, errors) = update(new, &established);
    assert!(
        errors[0].starts_with("spec.conversion.webhookClientConfig.caBundle: Invalid value: "),
        "{errors:?}"
    );
    assert!(errors[0].ends_with("unable to load root certificates: unable to parse bytes as PEM block"));
}

#[test]
fn nothing_panics_on_odd_definitions() {
    for odd in [
        json!({}),
        json!({"spec": 3, "status": []}),
        json!({"spec": {"versions": [1, {}, {"schema": {"openAPIV3Schema": []}}], "names": [], "conversion": {"webhook": 1}}}),
        json!({"spec": {"versions": {"a": 1}, "names": {"kind": 1, "shortNames": {}}}}),
    ] {
        let (created, _) = create(odd.clone());
        let _ = update(odd, &created);
        let _ = STRATEGY.warnings(&created);
        assert_eq!(STRATEGY.row(&created, context().now).len(), STRATEGY.columns().len());
    }
}
