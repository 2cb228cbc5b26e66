//! Tests of whole expressions.

mod compile;
mod conformance;
mod cost;
mod kubernetes;
mod libraries;
mod robustness;
mod schema;

use crate::{Bindings, Budget, Env, EvalError, Program, Type, Value};

/// The environment of these tests: Kubernetes', and a few variables of type dyn.
pub(super) fn env() -> Env {
    ["x", "y", "object", "oldObject"]
        .into_iter()
        .fold(Env::kubernetes(), |env, name| env.declare(name, Type::Dyn))
}

pub(super) fn compile(source: &str) -> Program {
    env().compile(source).unwrap_or_else(|errors| panic!("{source}\n{errors}"))
}

/// What an expression without variables gives.
pub(super) fn eval(source: &str) -> Result<Value<'static>, EvalError> {
    compile(source).eval(&Bindings::new(), &mut Budget::new(crate::BUDGET))
}

/// Asserts that each expression is true.
pub(super) fn all_true(sources: &[&str]) {
    for source in sources {
        match eval(source) {
            Ok(Value::Bool(true)) => {}
            other => panic!("{source}\ngave {other:?}"),
        }
    }
}

/// Asserts that each expression fails with a text.
pub(super) fn all_fail(cases: &[(&str, &str)]) {
    for (source, text) in cases {
        match eval(source) {
            Err(error) => assert_eq!(error.to_string(), *text, "{source}"),
            Ok(value) => panic!("{source}\ngave {value:?}, not an error"),
        }
    }
}

/// The mistakes of an expression that does not compile.
pub(super) fn mistakes(source: &str) -> String {
    match env().compile(source) {
        Err(errors) => errors.to_string(),
        Ok(program) => panic!("{source}\ncompiled to {}", program.output_type()),
    }
}
