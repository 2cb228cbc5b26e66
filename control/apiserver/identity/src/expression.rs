//! CEL expressions of the configuration files, each over one variable: claims, a user, a review.
//!
//! Enters: the expression's text, its variable, and what it must give. Leaves: something that turns a JSON value into
//! another, within upstream's cost limit for one call. Compiled once, when the configuration is read.
//!
//! Authority: `k8s.io/apiserver/pkg/{authentication,authorization}/cel/compile.go`.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_cel::{Bindings, Budget, Env, PER_CALL_LIMIT, Program, Type};

use crate::authn::config::ConfigError;

/// What an expression is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variable {
    /// `claims`: a map of anything.
    Claims,
    /// `user`: a user as reviews show it.
    User,
    /// `request`: the spec of a SubjectAccessReview.
    Request,
}

/// What an expression must give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A boolean.
    Truth,
    /// A string.
    Text,
    /// A string or a list of strings.
    Texts,
}

impl Variable {
    fn name(self) -> &'static str {
        match self {
            Variable::Claims => "claims",
            Variable::User => "user",
            Variable::Request => "request",
        }
    }

    fn type_of(self) -> Type {
        match self {
            Variable::Claims => Type::map(Type::String, Type::Dyn),
            Variable::User => Type::object("kubernetes.UserInfo", user_fields("username")),
            Variable::Request => {
                let mut fields = user_fields("user");
                fields.push(("resourceAttributes".to_owned(), resource_attributes()));
                let path = Type::object("kubernetes.NonResourceAttributes", texts(&["path", "verb"]));
                fields.push(("nonResourceAttributes".to_owned(), path));
                Type::object("kubernetes.SubjectAccessReviewSpec", fields)
            }
        }
    }
}

/// Fields under their own names: unlike a custom resource's, `namespace` is not escaped here.
fn texts(names: &[&str]) -> Vec<(String, Type)> {
    names.iter().map(|name| ((*name).to_owned(), Type::String)).collect()
}

fn user_fields(name: &str) -> Vec<(String, Type)> {
    let mut fields = texts(&[name, "uid"]);
    let list = || Type::list(Type::String);
    fields.push(("groups".to_owned(), list()));
    fields.push(("extra".to_owned(), Type::map(Type::String, list())));
    fields
}

fn resource_attributes() -> Type {
    let selector = |name: &str| {
        let mut requirement = texts(&["key", "operator"]);
        requirement.push(("values".to_owned(), Type::list(Type::String)));
        let requirement = Type::object(format!("kubernetes.{name}Requirement"), requirement);
        let mut fields = texts(&["rawSelector"]);
        fields.push(("requirements".to_owned(), Type::list(requirement)));
        Type::object(format!("kubernetes.{name}Attributes"), fields)
    };
    let mut fields = texts(&["namespace", "verb", "group", "version", "resource", "subresource", "name"]);
    fields.push(("fieldSelector".to_owned(), selector("FieldSelector")));
    fields.push(("labelSelector".to_owned(), selector("LabelSelector")));
    Type::object("kubernetes.ResourceAttributes", fields)
}

impl Wanted {
    fn admits(self, given: &Type) -> bool {
        let is_texts = matches!(given, Type::List(item) if matches!(**item, Type::String | Type::Dyn));
        match (self, given) {
            (_, Type::Dyn) | (Wanted::Truth, Type::Bool) | (Wanted::Text | Wanted::Texts, Type::String) => {
                true
            }
            (Wanted::Texts, _) => is_texts,
            _ => false,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Wanted::Truth => "must evaluate to bool",
            Wanted::Text => "must evaluate to string",
            Wanted::Texts => "must evaluate to string or list(string)",
        }
    }
}

/// A compiled expression.
pub(crate) struct Compiled {
    program: Program,
    variable: Variable,
}

impl Compiled {
    /// The expression's value for this subject.
    pub(crate) fn eval(&self, subject: &Value) -> Result<Value, String> {
        let bindings = Bindings::new().with(self.variable.name(), xebec_cel::Value::from_json(subject));
        let mut budget = Budget::new(PER_CALL_LIMIT);
        let result = self.program.eval(&bindings, &mut budget).map_err(|error| error.to_string())?;
        result.to_json().map_err(|error| error.to_string())
    }
}

/// Compiles an expression; `at` is its field.
pub(crate) fn compile(
    expression: &str,
    variable: Variable,
    wanted: Wanted,
    at: &Path,
) -> Result<Compiled, ConfigError> {
    let refused = |detail: String| ConfigError::field(FieldError::invalid(at, expression, detail));
    let env = Env::kubernetes().declare(variable.name(), variable.type_of());
    let program =
        env.compile(expression).map_err(|errors| refused(format!("compilation failed: {errors}")))?;
    if !wanted.admits(program.output_type()) {
        return Err(refused(wanted.words().to_owned()));
    }
    Ok(Compiled { program, variable })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn eval(expression: &str, variable: Variable, wanted: Wanted, subject: Value) -> Result<Value, String> {
        let compiled =
            compile(expression, variable, wanted, &Path::new("x")).map_err(|error| error.to_string())?;
        compiled.eval(&subject)
    }

    #[test]
    fn expressions_over_each_variable() {
        use Variable::{Claims, Request, User};
        use Wanted::{Text, Texts, Truth};
        let claims = json!({"sub": "ann", "roles": "a,b", "n": 7, "nested": {"deep": ["x"]}});
        let user = json!({"username": "ann", "groups": ["g"], "extra": {"k": ["v"]}});
        let spec = json!({"user": "ann", "resourceAttributes": {"namespace": "a", "verb": "get"}});
        for (expression, variable, wanted, subject, expected) in [
            ("'x:' + claims.sub", Claims, Text, &claims, json!("x:ann")),
            ("claims.roles.split(',')", Claims, Texts, &claims, json!(["a", "b"])),
            ("claims.nested.deep", Claims, Texts, &claims, json!(["x"])),
            ("has(claims.none) ? claims.none : ''", Claims, Text, &claims, json!("")),
            ("claims.n == 7", Claims, Truth, &claims, json!(true)),
            ("!user.username.startsWith('system:')", User, Truth, &user, json!(true)),
            ("user.groups.all(g, g != 'x') && user.extra['k'][0] == 'v'", User, Truth, &user, json!(true)),
            ("has(request.resourceAttributes)", Request, Truth, &spec, json!(true)),
            ("request.resourceAttributes.namespace == 'b'", Request, Truth, &spec, json!(false)),
            ("has(request.nonResourceAttributes)", Request, Truth, &spec, json!(false)),
        ] {
            assert_eq!(eval(expression, variable, wanted, subject.clone()), Ok(expected), "{expression}");
        }
    }

    #[test]
    fn mistakes_are_found_when_the_file_is_read() {
        for (expression, variable, wanted, detail) in [
            ("claims.", Variable::Claims, Wanted::Text, "compilation failed"),
            ("other.sub", Variable::Claims, Wanted::Text, "compilation failed"),
            ("user.name", Variable::User, Wanted::Truth, "compilation failed"),
            ("1 + 1", Variable::Claims, Wanted::Text, "must evaluate to string"),
            ("['a']", Variable::Claims, Wanted::Text, "must evaluate to string"),
            ("[1]", Variable::Claims, Wanted::Texts, "must evaluate to string or list(string)"),
            ("'true'", Variable::User, Wanted::Truth, "must evaluate to bool"),
        ] {
            let error = eval(expression, variable, wanted, json!({})).unwrap_err();
            assert!(error.starts_with("x: Invalid value") && error.contains(detail), "{error}");
        }
        assert!(eval("claims.none", Variable::Claims, Wanted::Text, json!({})).is_err());
    }
}
