//! Expressions that share variables: `variables.x` is itself an expression, evaluated when it is first read and at most
//! once per [`Session`].
//!
//! Authority: pkg/admission/plugin/cel/{composition,condition,activation}.go; the texts are theirs.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use xebec_cel::{Budget, Env, EvalError, EvalResult, Program, Resolver, Type, Value};

use super::environment::{
    AUTHORIZER, NAMESPACE, NAMESPACE_DECL, OBJECT, OLD_OBJECT, PARAMS, REQUEST, REQUEST_RESOURCE, VARIABLES,
    base, with_authorizer,
};
use super::{Input, authorize};

/// What an expression must give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Returns {
    Any,
    Bool,
    String,
    StringOrNull,
    /// An `Object{..}`.
    Apply,
    /// A list of `JSONPatch{..}`.
    Patches,
}

impl Returns {
    /// Why a type is not the wanted one.
    fn refuse(self, got: &Type) -> Option<String> {
        let name = got.to_string();
        let (fits, wanted) = match self {
            Self::Any => return None,
            Self::Bool => (*got == Type::Bool, "bool"),
            Self::String => (*got == Type::String, "string"),
            Self::StringOrNull => (matches!(got, Type::String | Type::Null), "one of [string null_type]"),
            Self::Apply => (name == "Object", "Object"),
            Self::Patches => (name == "list(JSONPatch)", "list(JSONPatch)"),
        };
        (!fits).then(|| format!("must evaluate to {wanted} but got {name}"))
    }
}

/// An expression, compiled or not.
#[derive(Clone, Debug)]
pub(crate) struct Expression {
    source: String,
    program: Result<Program, String>,
}

impl Expression {
    /// Its text.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Why it did not compile.
    pub(crate) fn error(&self) -> Option<&str> {
        self.program.as_ref().err().map(String::as_str)
    }
}

/// Why an evaluation gave no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// This expression failed; others may be evaluated.
    Expression(String),
    /// The budget ran out; no other is evaluated.
    Budget(String),
}

/// The environment of one webhook's or policy's expressions. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Composition(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    plain: Env,
    authorized: Env,
    variables: Vec<(String, Expression)>,
}

impl Composition {
    /// Compiles the variables, each of which sees those before it.
    pub(crate) fn new(variables: &[(String, String)], has_params: bool, mutation: bool) -> Self {
        let plain = base(has_params, Type::Dyn, Type::Dyn);
        Self::in_environment(if mutation { plain.with_mutation() } else { plain }, variables)
    }

    /// The same over typed objects, for type checking.
    pub(crate) fn typed(variables: &[(String, String)], object: Type, params: Option<Type>) -> Self {
        Self::in_environment(base(params.is_some(), object, params.unwrap_or(Type::Dyn)), variables)
    }

    fn in_environment(plain: Env, variables: &[(String, String)]) -> Self {
        let mut types: Vec<(String, Type)> = Vec::with_capacity(variables.len());
        let mut compiled = Vec::with_capacity(variables.len());
        let authorized = with_authorizer(plain.clone());
        for (name, source) in variables {
            let env = authorized.clone().declare_fields(VARIABLES, types.clone());
            let expression = compile(&env, source, Returns::Any);
            let ty = expression.program.as_ref().map_or(Type::Dyn, |program| program.output_type().clone());
            types.push((name.clone(), ty));
            compiled.push((name.clone(), expression));
        }
        Self(Arc::new(Shared {
            plain: plain.declare_fields(VARIABLES, types.clone()),
            authorized: authorized.declare_fields(VARIABLES, types),
            variables: compiled,
        }))
    }

    /// Compiles an expression, with or without the authorizer.
    pub(crate) fn compile(&self, source: &str, returns: Returns, authorizer: bool) -> Expression {
        compile(if authorizer { &self.0.authorized } else { &self.0.plain }, source, returns)
    }

    /// Evaluations on one request.
    pub(crate) fn session<'a>(&'a self, input: &'a Input<'_>) -> Session<'a> {
        Session { shared: &self.0, input, known: RefCell::default() }
    }
}

fn compile(env: &Env, source: &str, returns: Returns) -> Expression {
    let program = env.compile(source).map_err(|errors| format!("compilation failed: {errors}"));
    let program = program.and_then(|program| match returns.refuse(program.output_type()) {
        Some(why) => Err(why),
        None => Ok(program),
    });
    Expression { source: source.to_owned(), program }
}

/// Evaluations that share their variables' values.
pub(crate) struct Session<'a> {
    shared: &'a Shared,
    input: &'a Input<'a>,
    known: RefCell<HashMap<&'a str, EvalResult<Value<'a>>>>,
}

impl<'a> Session<'a> {
    /// Evaluates one expression; what it and the variables it reads cost comes out of `budget`.
    pub(crate) fn evaluate(
        &self,
        expression: &'a Expression,
        budget: &mut Budget,
    ) -> Result<Value<'a>, Stop> {
        let program = match &expression.program {
            Ok(program) => program,
            Err(why) => return Err(Stop::Expression(format!("compilation error: {why}"))),
        };
        program.eval(self, budget).map_err(|error| match error {
            EvalError::BudgetExhausted => Stop::Budget(error.to_string()),
            error => {
                Stop::Expression(format!("expression '{}' resulted in error: {error}", expression.source))
            }
        })
    }
}

impl<'a> Resolver<'a> for Session<'a> {
    fn resolve(&self, name: &str) -> Option<EvalResult<Value<'a>>> {
        let or_null =
            |json: Option<&'a serde_json::Value>| Some(Ok(json.map_or(Value::Null, Value::from_json)));
        match name {
            OBJECT => or_null(self.input.objects.object.as_deref()),
            OLD_OBJECT => or_null(self.input.objects.old.as_deref()),
            PARAMS => or_null(self.input.params),
            REQUEST => Some(Ok(Value::from_json(&self.input.request))),
            NAMESPACE => match (self.input.namespace, NAMESPACE_DECL.as_ref()) {
                (Some(namespace), Some(decl)) => Some(decl.value(namespace)),
                _ => Some(Ok(Value::Null)),
            },
            AUTHORIZER => Some(Ok(authorize::authorizer(self.input))),
            REQUEST_RESOURCE => Some(Ok(authorize::request_resource(self.input))),
            _ => None,
        }
    }

    fn field(&self, name: &str, field: &str, budget: &mut Budget) -> Option<EvalResult<Value<'a>>> {
        if name != VARIABLES {
            return None;
        }
        let (name, expression) = self.shared.variables.iter().find(|(known, _)| known == field)?;
        if let Some(known) = self.known.borrow().get(name.as_str()) {
            return Some(known.clone());
        }
        let value = match &expression.program {
            Err(why) => {
                Err(EvalError::Other(format!("composited variable {name:?} fails to compile: {why}")))
            }
            Ok(program) => program.eval(self, budget).map_err(|error| match error {
                EvalError::BudgetExhausted => error,
                error => EvalError::Other(format!("composited variable {name:?} fails to evaluate: {error}")),
            }),
        };
        self.known.borrow_mut().insert(name, value.clone());
        Some(value)
    }
}
