//! Verdicts, messages, actions, variables, the authorizer, budgets.

use serde_json::{Value, json};

use super::{bind, policy, validating};
use crate::testing::{Bench, deployment};
use crate::{Attributes, Kind, Operation, Recorded, Resource};
use xebec_api::status::{ApiError, Reason};

async fn validate(bench: &Bench, object: &Value) -> Result<Recorded, ApiError> {
    let record = Recorded::default();
    let attributes = bench.attributes(Operation::Create, "prod");
    bench.dynamic.validate(&attributes, Some(object), &record).await.map(|()| record)
}

/// The message behind `deployments.apps "web" is forbidden: `.
async fn denied(bench: &Bench, object: &Value) -> String {
    let error = validate(bench, object).await.unwrap_err();
    error.message.strip_prefix("deployments.apps \"web\" is forbidden: ").unwrap().to_owned()
}

#[tokio::test]
async fn the_first_example_of_the_documentation() {
    let bench = validating(
        json!({"validations": [{"expression": "object.spec.replicas <= 5"}]}),
        json!({"matchResources": {"namespaceSelector": {"matchLabels": {"env": "prod"}}, "objectSelector": {}}}),
    );
    let mut object = deployment("prod");
    validate(&bench, &object).await.unwrap();
    object["spec"]["replicas"] = json!(6);
    let error = validate(&bench, &object).await.unwrap_err();
    let message = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: failed expression: object.spec.replicas <= 5";
    assert_eq!((error.code, error.reason), (422, Reason::Invalid));
    assert_eq!(error.message, format!("deployments.apps \"web\" is forbidden: {message}"));
    let details = error.details.unwrap();
    assert_eq!((details.kind.as_str(), details.causes[0].message.as_str()), ("deployments", message));
    let attributes = bench.attributes(Operation::Create, "default");
    bench.dynamic.validate(&attributes, Some(&object), &Recorded::default()).await.unwrap();
}

#[tokio::test]
async fn messages_and_reasons() {
    let cases = [
        (json!({"message": " fixed "}), "fixed"),
        (
            json!({"message": "fixed", "messageExpression": "'computed ' + string(object.spec.replicas)"}),
            "computed 2",
        ),
        (json!({"message": "fixed", "messageExpression": "'  '"}), "fixed"),
        (json!({"message": "fixed", "messageExpression": "'two\\nlines'"}), "fixed"),
        (json!({"message": "fixed", "messageExpression": "object.nothing"}), "fixed"),
        (json!({"messageExpression": "object.nothing + ''"}), "failed expression: false"),
    ];
    for (extra, expected) in cases {
        let mut validation = json!({"expression": "false"});
        for (field, value) in extra.as_object().unwrap() {
            validation[field] = value.clone();
        }
        let bench = validating(json!({"validations": [validation]}), json!({}));
        let message = denied(&bench, &deployment("prod")).await;
        assert_eq!(
            message,
            format!("ValidatingAdmissionPolicy 'p' with binding 'b' denied request: {expected}")
        );
    }
    for (reason, code) in
        [("Unauthorized", 401), ("Forbidden", 403), ("Invalid", 422), ("RequestEntityTooLarge", 413)]
    {
        let bench =
            validating(json!({"validations": [{"expression": "false", "reason": reason}]}), json!({}));
        let error = validate(&bench, &deployment("prod")).await.unwrap_err();
        assert_eq!((error.code, error.reason.as_str()), (code, reason));
    }
}

#[tokio::test]
async fn actions() {
    let spec = json!({"validations": [{"expression": "true"}, {"expression": "false", "message": "no"}]});
    let bench = validating(spec, json!({"validationActions": ["Warn", "Audit"]}));
    let record = validate(&bench, &deployment("prod")).await.unwrap();
    assert_eq!(
        record.warnings(),
        ["Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': no"]
    );
    let failures: Value =
        serde_json::from_str(&record.annotations()["validation.policy.admission.k8s.io/validation_failure"])
            .unwrap();
    assert_eq!(
        failures,
        json!([{"message": "no", "policy": "p", "binding": "b", "expressionIndex": 1, "validationActions": ["Warn", "Audit"]}])
    );
    let bench = validating(
        json!({"validations": [{"expression": "false", "message": "no"}]}),
        json!({"validationActions": ["Deny", "Audit"]}),
    );
    assert!(validate(&bench, &deployment("prod")).await.is_err());
}

#[tokio::test]
async fn variables_are_lazy_and_build_on_each_other() {
    let spec = json!({
        "variables": [
            {"name": "foo", "expression": "'foo' in object.metadata.labels ? object.metadata.labels['foo'] : 'default'"},
            {"name": "long", "expression": "variables.foo.size() > 3"},
            {"name": "broken", "expression": "object.nothing.at.all"},
        ],
        "validations": [{"expression": "variables.long && variables.foo == 'default'"}],
    });
    let bench = validating(spec, json!({}));
    validate(&bench, &deployment("prod")).await.unwrap();
    let mut object = deployment("prod");
    object["metadata"]["labels"]["foo"] = json!("bar");
    assert!(validate(&bench, &object).await.is_err());
    let bench = validating(
        json!({
            "variables": [{"name": "broken", "expression": "object.nothing.at.all"}],
            "validations": [{"expression": "variables.broken == 1"}],
        }),
        json!({}),
    );
    assert_eq!(
        denied(&bench, &deployment("prod")).await,
        "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: expression 'variables.broken == 1' resulted in \
         error: composited variable \"broken\" fails to evaluate: no such key: nothing"
    );
}

#[tokio::test]
async fn failures_obey_the_failure_policy() {
    let cases = [
        ("object.nothing == 1", "expression 'object.nothing == 1' resulted in error: no such key: nothing"),
        ("1", "compilation error: must evaluate to bool but got int"),
    ];
    for (expression, expected) in cases {
        let spec =
            |failure: &str| json!({"failurePolicy": failure, "validations": [{"expression": expression}]});
        validate(&validating(spec("Ignore"), json!({})), &deployment("prod")).await.unwrap();
        let message = denied(&validating(spec("Fail"), json!({})), &deployment("prod")).await;
        assert_eq!(
            message,
            format!("ValidatingAdmissionPolicy 'p' with binding 'b' denied request: {expected}")
        );
    }
}

#[tokio::test]
async fn match_conditions() {
    let spec = |conditions: Value, failure: &str| json!({"failurePolicy": failure, "matchConditions": conditions, "validations": [{"expression": "false"}]});
    let condition = |expression: &str| json!({"name": "c", "expression": expression});
    let cases = [
        (
            json!([condition("request.userInfo.username == 'alice'")]),
            "Fail",
            Some("failed expression: false"),
        ),
        (json!([condition("request.userInfo.username == 'bob'")]), "Fail", None),
        (json!([condition("object.nothing == 1"), condition("false")]), "Fail", None),
        (json!([condition("object.nothing == 1")]), "Ignore", None),
        (
            json!([condition("true"), condition("object.nothing == 1")]),
            "Fail",
            Some("expression 'object.nothing == 1' resulted in error: no such key: nothing"),
        ),
    ];
    for (conditions, failure, expected) in cases {
        let bench = validating(spec(conditions.clone(), failure), json!({}));
        match expected {
            None => drop(
                validate(&bench, &deployment("prod")).await.unwrap_or_else(|e| panic!("{conditions}: {e}")),
            ),
            Some(expected) => {
                let message = denied(&bench, &deployment("prod")).await;
                assert_eq!(
                    message,
                    format!("ValidatingAdmissionPolicy 'p' with binding 'b' denied request: {expected}")
                );
            }
        }
    }
}

#[tokio::test]
async fn what_expressions_see() {
    let true_expressions = [
        "object.metadata.name == 'web' && oldObject == null",
        "request.operation == 'CREATE' && request.kind.kind == 'Deployment' && request.kind == request.requestKind",
        "request.resource.resource == 'deployments' && request.namespace == 'prod' && !request.dryRun",
        "request.userInfo.groups.exists(g, g == 'devs') && !has(request.subResource)",
        "request.options.kind == 'CreateOptions'",
        "namespaceObject.metadata.labels['env'] == 'prod'",
        "!authorizer.group('apps').resource('deployments').namespace('prod').check('create').allowed()",
        "!authorizer.requestResource.check('scale').allowed()",
    ];
    for expression in true_expressions {
        let bench = validating(json!({"validations": [{"expression": expression}]}), json!({}));
        validate(&bench, &deployment("prod")).await.unwrap_or_else(|error| panic!("{expression}: {error}"));
    }
}

#[tokio::test]
async fn the_authorizer_answers_by_rbac() {
    let expression = "authorizer.requestResource.check('breakglass').allowed()";
    let bench = validating(json!({"validations": [{"expression": expression}]}), json!({}));
    assert!(validate(&bench, &deployment("prod")).await.is_err());
    let rbac = "rbac.authorization.k8s.io/v1";
    bench.objects.add(
        json!({"apiVersion": rbac, "kind": "ClusterRole", "metadata": {"name": "r"}, "rules": [
            {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["breakglass"]},
        ]}),
    );
    bench.objects.add(json!({
        "apiVersion": rbac, "kind": "ClusterRoleBinding", "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"},
        "subjects": [{"kind": "User", "name": "alice", "apiGroup": "rbac.authorization.k8s.io"}],
    }));
    validate(&bench, &deployment("prod")).await.unwrap();
}

#[tokio::test]
async fn deletes_have_an_old_object_only() {
    let spec = json!({"validations": [{"expression": "object != null || oldObject.metadata.name != 'web'"}]});
    let bench = validating(spec, json!({}));
    let old = deployment("prod");
    let mut attributes = bench.attributes(Operation::Delete, "prod");
    attributes.old_object = Some(&old);
    assert!(bench.dynamic.validate(&attributes, None, &Recorded::default()).await.is_err());
}

#[tokio::test]
async fn audit_annotations() {
    let spec = json!({
        "validations": [{"expression": "true"}],
        "auditAnnotations": [
            {"key": "high", "valueExpression": "'replicas ' + string(object.spec.replicas)"},
            {"key": "empty", "valueExpression": "''"},
        ],
    });
    let record = validate(&validating(spec, json!({})), &deployment("prod")).await.unwrap();
    assert_eq!(
        record.annotations().into_iter().collect::<Vec<_>>(),
        [("p/high".to_owned(), "replicas 2".to_owned())]
    );
    let broken = |failure: &str| json!({"failurePolicy": failure, "auditAnnotations": [{"key": "k", "valueExpression": "object.nothing + ''"}]});
    assert!(validate(&validating(broken("Ignore"), json!({})), &deployment("prod")).await.is_ok());
    let message = denied(&validating(broken("Fail"), json!({})), &deployment("prod")).await;
    assert!(message.contains("resulted in error: no such key: nothing"), "{message}");
}

#[tokio::test]
async fn the_budget_is_shared_by_all_validations() {
    let dear = "[0,1,2,3,4,5,6,7,8,9].all(a, [0,1,2,3,4,5,6,7,8,9].all(b, [0,1,2,3,4,5,6,7,8,9].all(c, \
                [0,1,2,3,4,5,6,7,8,9].all(d, [0,1,2,3,4,5,6,7,8,9].all(e, e < 10)))))";
    let spec = |count: usize| {
        let validations: Vec<Value> = (0..count).map(|_| json!({"expression": dear})).collect();
        json!({"validations": validations})
    };
    validate(&validating(spec(2), json!({})), &deployment("prod")).await.unwrap();
    let message = denied(&validating(spec(40), json!({})), &deployment("prod")).await;
    assert!(
        message.ends_with(
            "validation failed due to running out of cost budget, no further validation rules will be run"
        ),
        "{message}"
    );
}

#[tokio::test]
async fn unbound_policies_do_nothing_and_the_first_by_name_answers() {
    let bench = Bench::new();
    for name in ["b", "a"] {
        policy(&bench, "ValidatingAdmissionPolicy", name, json!({"validations": [{"expression": "false"}]}));
    }
    validate(&bench, &deployment("prod")).await.unwrap();
    for name in ["b", "a"] {
        bind(&bench, "ValidatingAdmissionPolicyBinding", &format!("bind-{name}"), name, json!({}));
    }
    let message = denied(&bench, &deployment("prod")).await;
    assert!(
        message.starts_with("ValidatingAdmissionPolicy 'a' with binding 'bind-a' denied request"),
        "{message}"
    );
    // A policy that changes is compiled anew.
    bench.objects.add(json!({
        "apiVersion": super::API, "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "a", "uid": "a", "resourceVersion": "2"},
        "spec": {"matchConstraints": super::constraints(), "validations": [{"expression": "true"}]},
    }));
    let message = denied(&bench, &deployment("prod")).await;
    assert!(message.starts_with("ValidatingAdmissionPolicy 'b' "), "{message}");
}

#[tokio::test]
async fn reviews_and_configurations_are_exempt() {
    let everything = json!({"resourceRules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}]});
    let spec = json!({"matchConstraints": everything, "validations": [{"expression": "false"}]});
    let bench = validating(spec, json!({}));
    let mut review: Attributes<'_> = bench.attributes(Operation::Create, "");
    review.resource = Resource::new("authorization.k8s.io", "v1", "subjectaccessreviews");
    review.kind = Kind::new("authorization.k8s.io", "v1", "SubjectAccessReview");
    bench.dynamic.validate(&review, Some(&json!({})), &Recorded::default()).await.unwrap();
    let mut webhook = bench.attributes(Operation::Create, "");
    webhook.kind = Kind::new("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy");
    bench.dynamic.validate(&webhook, Some(&json!({})), &Recorded::default()).await.unwrap();
    let plain = bench.attributes(Operation::Create, "");
    assert!(bench.dynamic.validate(&plain, Some(&json!({})), &Recorded::default()).await.is_err());
}

#[tokio::test]
async fn names_to_be_generated_are_told() {
    let bench = validating(json!({"validations": [{"expression": "false"}]}), json!({}));
    let mut attributes = bench.attributes(Operation::Create, "prod");
    attributes.name = String::new();
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"generateName": "web-"}, "spec": {}});
    let error = bench.dynamic.validate(&attributes, Some(&object), &Recorded::default()).await.unwrap_err();
    assert!(error.message.starts_with("deployments.apps \"web-\" is forbidden: "), "{}", error.message);
}
