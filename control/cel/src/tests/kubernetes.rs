//! Expressions of the Kubernetes documentation: rules of custom resources, admission policies, mutations.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use serde_json::{Value as Json, json};

use crate::{
    Attributes, Authorizer, Bindings, Budget, Decision, Decl, Env, EvalResult, MessageError, Program,
    Resolver, ResourceAttributes, Type, User, Value, message,
};

fn schema() -> Json {
    json!({"type": "object", "properties": {
        "minReplicas": {"type": "integer"}, "replicas": {"type": "integer"}, "maxReplicas": {"type": "integer"},
        "stateCounts": {"type": "object", "additionalProperties": {"type": "integer"}},
        "list1": {"type": "array", "items": {"type": "string"}}, "list2": {"type": "array", "items": {"type": "string"}},
        "set1": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "set2": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "envars": {"type": "array", "items": {"type": "object", "properties": {
            "name": {"type": "string"}, "value": {"type": "string"}}}},
        "created": {"type": "string", "format": "date-time"}, "expired": {"type": "string", "format": "date-time"},
        "ttl": {"type": "string", "format": "duration"},
        "health": {"type": "string"}, "prefix": {"type": "string"},
        "widgets": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["key"],
            "items": {"type": "object", "properties": {"key": {"type": "string"}, "foo": {"type": "integer"}}}},
        "port": {"x-kubernetes-int-or-string": true},
        "names": {"type": "array", "items": {"type": "string"}},
        "details": {"type": "object", "additionalProperties": {"type": "string"}},
        "clusters": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
        "primary": {"type": "string"}, "weight": {"type": "number"}, "data": {"type": "string", "format": "byte"},
        "namespace": {"type": "string"}, "x-prop": {"type": "integer"}, "redact__d": {"type": "integer"},
        "string": {"type": "string"}, "maybe": {"type": "string", "nullable": true},
    }})
}

fn object() -> Json {
    json!({
        "apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": "pre-one", "generateName": ""},
        "minReplicas": 1, "replicas": 3, "maxReplicas": 5, "stateCounts": {"Available": 2},
        "list1": [], "list2": ["a"], "set1": ["a", "b"], "set2": ["c"],
        "envars": [{"name": "MY_ENV", "value": "abc"}, {"name": "OTHER", "value": "1"}],
        "created": "2024-01-01T00:00:00Z", "expired": "2024-01-02T00:00:01Z", "ttl": "24h",
        "health": "ok: fine", "prefix": "pre-", "widgets": [{"key": "x", "foo": 9}, {"key": "y", "foo": 20}],
        "port": "99%", "names": ["a", "b"], "details": {"a": "1", "b": "2"}, "clusters": [{"name": "east"}],
        "primary": "east", "weight": 1, "data": "aGVsbG8=", "namespace": "prod", "x-prop": 4, "redact__d": 5,
        "string": "x", "maybe": null,
    })
}

fn rule_env() -> (Env, Arc<Decl>) {
    let decl = Decl::from_schema(&schema(), "selfType", true).unwrap();
    let env = Env::kubernetes().declare("self", decl.type_of()).declare("oldSelf", decl.type_of());
    (env, decl)
}

fn holds(source: &str, new: &Json, old: &Json) -> bool {
    let (env, decl) = rule_env();
    let program = env.compile(source).unwrap_or_else(|errors| panic!("{source}\n{errors}"));
    assert_eq!(*program.output_type(), Type::Bool, "{source}");
    let bindings =
        Bindings::new().with("self", decl.value(new).unwrap()).with("oldSelf", decl.value(old).unwrap());
    let result = program.eval(&bindings, &mut Budget::new(crate::BUDGET));
    result.unwrap_or_else(|error| panic!("{source}\n{error}")).as_bool().unwrap()
}

#[test]
fn rules_of_the_documentation() {
    let object = object();
    for source in [
        "self.minReplicas <= self.replicas && self.replicas <= self.maxReplicas",
        "'Available' in self.stateCounts",
        "(self.list1.size() == 0) != (self.list2.size() == 0)",
        "self.envars.filter(e, e.name == 'MY_ENV').all(e, e.value.matches('^[a-zA-Z]*$'))",
        "has(self.expired) && self.created + self.ttl < self.expired",
        "self.health.startsWith('ok')",
        "self.widgets.exists(w, w.key == 'x' && w.foo < 10)",
        "type(self.port) == string ? self.port == '99%' : self.port == 42",
        "self.metadata.name.startsWith(self.prefix)",
        "self.set1.all(e, !(e in self.set2))",
        "self.names.size() == self.details.size() && self.names.all(n, n in self.details)",
        "size(self.clusters.filter(c, c.name == self.primary)) == 1",
        "self.names.isSorted()",
        "self.widgets.map(x, x.foo).sum() == 29",
        "self.names.indexOf('b') == 1",
        "self.weight == 1.0",
        "self.data == b'hello'",
        "self.__namespace__ == 'prod' && self.x__dash__prop == 4 && self.redact__underscores__d == 5",
        "self.string == 'x'",
        "!has(self.maybe)",
        "self.kind == 'CronTab' && self.apiVersion == 'stable.example.com/v1'",
        "self.created.getFullYear() == 2024",
        "self.?maybe.orValue('none') == 'none'",
        "self.envars.map(e, e.name).join(',') == 'MY_ENV,OTHER'",
        "self.details.all(k, v, v.size() > 0)",
        "self == oldSelf",
    ] {
        assert!(holds(source, &object, &object), "{source}");
    }
}

#[test]
fn sets_and_maps_compare_without_order() {
    let old = object();
    let mut new = object();
    new["set1"] = json!(["b", "a"]);
    new["widgets"] = json!([{"key": "y", "foo": 20}, {"key": "x", "foo": 9}]);
    assert!(holds("self.set1 == oldSelf.set1", &new, &old));
    assert!(holds("self.widgets == oldSelf.widgets", &new, &old));
    assert!(holds("self == oldSelf", &new, &old));
    new["widgets"][0]["foo"] = json!(21);
    assert!(holds("self.widgets != oldSelf.widgets", &new, &old));
    new["list2"] = json!(["b", "a"]);
    assert!(holds("self.list2 != oldSelf.set1", &new, &old));
    // A set takes what it lacks, a map takes the items of the same keys in place.
    assert!(holds("self.set1 + ['a', 'z'] == ['b', 'a', 'z']", &new, &old));
    assert!(holds("(self.widgets + oldSelf.widgets).map(w, w.foo) == [20, 9]", &new, &old));
}

#[test]
fn rules_that_do_not_compile() {
    let (env, _) = rule_env();
    for (source, text) in [
        ("self.nope", "undefined field 'nope'"),
        ("self.replicas + 'a'", "found no matching overload for '_+_' applied to '(int, string)'"),
        ("self.maybe == null", "found no matching overload for '_==_' applied to '(string, null)'"),
        ("self.metadata.labels", "undefined field 'labels'"),
        ("self.widgets[0].bar", "undefined field 'bar'"),
        ("self.stateCounts.a.b", "type 'int' does not support field selection"),
        ("self == 1", "found no matching overload for '_==_' applied to '(selfType, int)'"),
    ] {
        let errors = env.compile(source).unwrap_err().to_string();
        assert!(errors.contains(text), "{source}\n{errors}");
    }
}

fn policy_env() -> Env {
    ["object", "oldObject", "request", "params", "namespaceObject"]
        .into_iter()
        .fold(Env::kubernetes(), |env, name| env.declare(name, Type::Dyn))
        .declare("authorizer", Type::Opaque("kubernetes.authorization.Authorizer"))
}

fn policy(source: &str, bindings: &Bindings<'_>) -> bool {
    let program = policy_env().compile(source).unwrap_or_else(|errors| panic!("{source}\n{errors}"));
    let result = program.eval(bindings, &mut Budget::new(crate::BUDGET));
    result.unwrap_or_else(|error| panic!("{source}\n{error}")).as_bool().unwrap()
}

#[test]
fn policies_of_the_documentation() {
    let object = json!({
        "metadata": {"name": "web", "namespace": "test", "labels": {"app": "web", "example.com/x": "y"}},
        "spec": {"replicas": 3, "template": {"spec": {"containers": [
            {"name": "a", "image": "docker.io/a:1", "securityContext": {"privileged": false}},
            {"name": "b", "image": "docker.io/b:1"}]}}},
    });
    let request = json!({"operation": "UPDATE", "userInfo": {"username": "alice", "groups": ["dev"]}, "dryRun": false,
        "resource": {"group": "apps", "version": "v1", "resource": "deployments"}});
    let params = json!({"maxReplicas": 5});
    let namespace = json!({"metadata": {"labels": {"environment": "test"}}});
    let bindings = Bindings::new()
        .with("object", Value::from_json(&object))
        .with("oldObject", Value::Null)
        .with("request", Value::from_json(&request))
        .with("params", Value::from_json(&params))
        .with("namespaceObject", Value::from_json(&namespace));
    for source in [
        "object.spec.replicas <= params.maxReplicas",
        "object.spec.replicas <= 5",
        "oldObject == null || object.spec.replicas >= oldObject.spec.replicas",
        "has(object.metadata.labels) && 'app' in object.metadata.labels",
        "object.metadata.labels['example.com/x'] == 'y'",
        "object.spec.template.spec.containers.all(c, c.image.startsWith('docker.io/'))",
        "object.spec.template.spec.containers.all(c, !has(c.securityContext) || !has(c.securityContext.privileged) || !c.securityContext.privileged)",
        "request.operation in ['CREATE', 'UPDATE']",
        "!('system:masters' in request.userInfo.groups)",
        "request.resource.group == 'apps' && !request.dryRun",
        "'environment' in namespaceObject.metadata.labels && namespaceObject.metadata.labels['environment'] == 'test'",
        "object.metadata.?annotations[?'a'].orValue('none') == 'none'",
        "has(object.spec.template.spec.containers[0].securityContext)",
        "object.spec.?template.spec.hostNetwork.orValue(false) == false",
        "object.spec.replicas < 3.5 && object.spec.replicas == 3.0",
    ] {
        assert!(policy(source, &bindings), "{source}");
    }
    let missing = policy_env().compile("object.spec.nope > 1").unwrap();
    let error = missing.eval(&bindings, &mut Budget::new(crate::BUDGET)).unwrap_err();
    assert_eq!(error.to_string(), "no such key: nope");
}

struct OnlyPods(AtomicUsize);

impl Authorizer for OnlyPods {
    fn authorize(&self, user: &User, attributes: &Attributes) -> Decision {
        self.0.fetch_add(1, Ordering::Relaxed);
        let allowed = match attributes {
            Attributes::Path(path) => path.path == "/healthz" && path.verb == "get",
            Attributes::Resource(resource) => {
                *resource
                    == ResourceAttributes {
                        resource: "pods".into(),
                        subresource: "status".into(),
                        namespace: "default".into(),
                        name: "x".into(),
                        verb: "get".into(),
                        label_selector: "a=b".into(),
                        field_selector: "spec.nodeName=n".into(),
                        ..ResourceAttributes::default()
                    }
                    || user.name == "system:serviceaccount:default:robot"
            }
        };
        let error =
            matches!(attributes, Attributes::Resource(r) if r.group == "broken").then(|| "down".to_owned());
        Decision { allowed, reason: format!("asked for {}", user.name), error }
    }
}

#[test]
fn authorization() {
    let authorizer = Arc::new(OnlyPods(AtomicUsize::new(0)));
    let user = User { name: "alice".to_owned(), ..User::default() };
    let bindings = Bindings::new().with("authorizer", Value::authorizer(authorizer.clone(), user));
    for source in [
        "authorizer.path('/healthz').check('get').allowed()",
        "!authorizer.path('/metrics').check('get').allowed()",
        "authorizer.group('').resource('pods').subresource('status').namespace('default').name('x').fieldSelector('spec.nodeName=n').labelSelector('a=b').check('get').allowed()",
        "!authorizer.group('apps').resource('deployments').check('create').allowed()",
        "authorizer.group('apps').resource('deployments').check('create').reason() == 'asked for alice'",
        "authorizer.serviceAccount('default', 'robot').group('').resource('pods').check('list').allowed()",
        "authorizer.group('broken').resource('x').check('get').errored()",
        "authorizer.group('broken').resource('x').check('get').error() == 'down'",
        "authorizer.group('').resource('pods').check('get').error() == ''",
    ] {
        assert!(policy(source, &bindings), "{source}");
    }
    for (source, text) in [
        ("authorizer.path('  ')", "path must not be empty"),
        ("authorizer.group('').resource('')", "resource must not be empty"),
        ("authorizer.serviceAccount('default', 'no@name')", "Invalid service account name"),
        ("authorizer.serviceAccount('no.name', 'x')", "Invalid service account namespace"),
        // An expression has room for two checks.
        (
            "[1, 2, 3].all(i, authorizer.path('/healthz').check('get').allowed())",
            "operation cancelled: actual cost limit exceeded",
        ),
    ] {
        let program = policy_env().compile(source).unwrap();
        let error = program.eval(&bindings, &mut Budget::new(crate::BUDGET)).unwrap_err();
        assert_eq!(error.to_string(), text, "{source}");
    }
    assert!(authorizer.0.load(Ordering::Relaxed) > 0);
}

/// The variables of a policy: each computed once, when it is first read.
struct Variables<'p, 'a> {
    base: Bindings<'a>,
    programs: Vec<(&'p str, Program)>,
    values: Vec<OnceLock<EvalResult<Value<'a>>>>,
    runs: AtomicUsize,
}

impl<'a> Resolver<'a> for Variables<'_, 'a> {
    fn resolve(&self, name: &str) -> Option<EvalResult<Value<'a>>> {
        self.base.resolve(name)
    }

    fn field(&self, name: &str, field: &str, budget: &mut Budget) -> Option<EvalResult<Value<'a>>> {
        assert_eq!(name, "variables");
        let at = self.programs.iter().position(|(known, _)| *known == field)?;
        let value = self.values[at].get_or_init(|| {
            self.runs.fetch_add(1, Ordering::Relaxed);
            self.programs[at].1.eval(self, budget)
        });
        Some(value.clone())
    }
}

#[test]
fn variables_are_lazy_and_build_on_each_other() {
    let object = json!({"spec": {"replicas": 3}});
    let mut env = policy_env().declare_fields("variables", []);
    let mut fields = Vec::new();
    let mut programs = Vec::new();
    for (name, source) in [
        ("spec", "object.spec"),
        ("double", "variables.spec.replicas * 2"),
        ("bad", "1 / (object.spec.replicas - 3)"),
    ] {
        let program = env.compile(source).unwrap();
        fields.push((name.to_owned(), program.output_type().clone()));
        env = env.declare_fields("variables", fields.clone());
        programs.push((name, program));
    }
    let variables = Variables {
        base: Bindings::new().with("object", Value::from_json(&object)),
        values: programs.iter().map(|_| OnceLock::new()).collect(),
        programs,
        runs: AtomicUsize::new(0),
    };
    let program =
        env.compile("variables.double == 6 && variables.double + variables.spec.replicas == 9").unwrap();
    let mut budget = Budget::new(crate::BUDGET);
    assert_eq!(program.eval(&variables, &mut budget).unwrap().as_bool(), Some(true));
    assert_eq!(variables.runs.load(Ordering::Relaxed), 2);
    assert!(budget.remaining() < crate::BUDGET - 10);
    let bad = env.compile("variables.bad > 0").unwrap().eval(&variables, &mut budget).unwrap_err();
    assert_eq!(bad.to_string(), "division by zero");
    let has = env.compile("has(variables.spec)").unwrap().eval(&variables, &mut budget).unwrap();
    assert_eq!(has.as_bool(), Some(true));
}

#[test]
fn mutations() {
    let object = json!({"spec": {"containers": [{"name": "a"}]}, "metadata": {}});
    let env = policy_env().with_mutation();
    let bindings = Bindings::new().with("object", Value::from_json(&object));
    for (source, result) in [
        ("Object{}", json!({})),
        ("Object{spec: Object.spec{replicas: 3}}", json!({"spec": {"replicas": 3}})),
        (
            "Object{spec: Object.spec{template: Object.spec.template{containers: [Object.spec.template.containers.item{name: 'nginx', args: ['-g']}]}}}",
            json!({"spec": {"template": {"containers": [{"name": "nginx", "args": ["-g"]}]}}}),
        ),
        ("Object{annotations: {'foo': 'bar'}}", json!({"annotations": {"foo": "bar"}})),
        ("Object{intList: [1, 2, 3]}.intList.sum()", json!(6)),
        ("Object{spec: Object.spec{a: 3}} == Object{spec: Object.spec{a: 1 + 2}}", json!(true)),
        ("Object{?existing: optional.none()}", json!({})),
        ("Object{?spec: optional.ofNonZeroValue(Object.spec{?replicas: Object{}.?replicas})}", json!({})),
        (
            "Object{spec: Object.spec{first: object.spec.containers[0]}}",
            json!({"spec": {"first": {"name": "a"}}}),
        ),
        (
            "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('example.com/a~b'), value: 'x'}]",
            json!([{"op": "add", "path": "/metadata/labels/example.com~1a~0b", "value": "x"}]),
        ),
        ("JSONPatch{op: 'test', path: '/spec', value: Object.spec{}}.op", json!("test")),
        (
            "has(object.metadata.labels) ? [] : [JSONPatch{op: 'add', path: '/metadata/labels', value: {}}]",
            json!([{"op": "add", "path": "/metadata/labels", "value": {}}]),
        ),
        (
            "object.spec.containers.map(c, Object.spec.containers{name: c.name, image: 'x'})",
            json!([{"name": "a", "image": "x"}]),
        ),
    ] {
        let program = env.compile(source).unwrap_or_else(|errors| panic!("{source}\n{errors}"));
        let value = program.eval(&bindings, &mut Budget::new(crate::BUDGET)).unwrap();
        assert_eq!(value.to_json().unwrap(), result, "{source}");
    }
    for (source, text) in [
        ("Invalid{}", "undeclared reference to 'Invalid'"),
        ("JSONPatch{op: 1, path: '/'}", "expected type of field 'op' is 'string' but provided type is 'int'"),
        ("JSONPatch{nope: 1}", "undefined field 'nope'"),
    ] {
        let errors = env.compile(source).unwrap_err().to_string();
        assert!(errors.contains(text), "{source}\n{errors}");
    }
    assert!(policy_env().compile("Object{}").is_err());
    assert!(policy_env().compile("jsonpatch.escapeKey('a')").is_err());
}

#[test]
fn messages() {
    let object = json!({"spec": {"replicas": 9}});
    let bindings = Bindings::new().with("object", Value::from_json(&object));
    let run = |source: &str| {
        message(&policy_env().compile(source).unwrap(), &bindings, &mut Budget::new(crate::BUDGET))
    };
    assert_eq!(run("'replicas is ' + string(object.spec.replicas) + ' '"), Ok("replicas is 9".to_owned()));
    assert_eq!(run("'a\\nb'"), Err(MessageError::LineBreaks));
    assert_eq!(run("'  '"), Err(MessageError::Empty));
    assert_eq!(run("object.spec.replicas"), Err(MessageError::NotString("int".to_owned())));
    assert_eq!(run(&format!("'{}'", "x".repeat(6000))), Err(MessageError::TooLong));
    assert!(matches!(run("object.nope"), Err(MessageError::Eval(_))));
}
