//! Compiling the rules of one schema node.

use std::sync::Arc;

use xebec_cel::{Decl, Env, Program, SizeHints, Type};

use super::{OLD_SELF, SELF};
use crate::openapi::schema_json;
use crate::schema::{Rule, Schema, resolve};

/// The rules of a node.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// What the node's values are to CEL.
    pub decl: Arc<Decl>,
    /// Its rules, in their order; empty ones are left out by nobody, they have no program.
    pub rules: Vec<CompiledRule>,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct CompiledRule {
    /// The rule as written.
    pub rule: Rule,
    /// Its program; `None` for an empty rule, an error in upstream's words for a bad one.
    pub program: Option<Result<Program, String>>,
    /// Whether it compares with the value before.
    pub uses_old: bool,
    /// What it costs at most, once.
    pub cost: u64,
    /// The program of its message.
    pub message: Option<Result<Program, String>>,
    /// What the message costs at most, once.
    pub message_cost: u64,
    /// The field its error names, relative to the node.
    pub field: Option<String>,
}

/// Compiles the rules of a node, not those below. `resource`: the node is the root of a resource. `None` when CEL has no
/// type for the node's values.
pub fn compile_node(schema: &Schema, resource: bool) -> Option<Compiled> {
    let decl = Decl::from_schema(&schema_json(schema), "selfType", resource)?;
    let rules = schema.ext.validations.iter().map(|rule| compile(rule, schema, &decl)).collect();
    Some(Compiled { decl, rules })
}

fn compile(rule: &Rule, schema: &Schema, decl: &Arc<Decl>) -> CompiledRule {
    let mut compiled = CompiledRule {
        rule: rule.clone(),
        program: None,
        uses_old: false,
        cost: 0,
        message: None,
        message_cost: 0,
        field: None,
    };
    if rule.rule.trim().is_empty() {
        return compiled;
    }
    let own = decl.type_of();
    let old = if rule.optional_old_self == Some(true) { Type::optional(own.clone()) } else { own.clone() };
    let env = Env::kubernetes().declare(SELF, own).declare(OLD_SELF, old);
    let hints = SizeHints::new().with(SELF, decl.clone()).with(OLD_SELF, decl.clone());
    let program =
        typed(&env, &rule.rule, &Type::Bool, "compilation failed", "cel expression must evaluate to a bool");
    let Ok(good) = &program else {
        compiled.program = Some(program);
        return compiled;
    };
    compiled.uses_old = good.variables().iter().any(|name| name == OLD_SELF);
    compiled.cost = good.cost_estimate(&hints).max;
    compiled.program = Some(program);
    if !rule.message_expression.is_empty() {
        let message = typed(
            &env,
            &rule.message_expression,
            &Type::String,
            "messageExpression compilation failed",
            "messageExpression must evaluate to a string",
        );
        let failed = message.is_err();
        compiled.message_cost = message.as_ref().map_or(0, |program| program.cost_estimate(&hints).max);
        compiled.message = Some(message);
        if failed {
            return compiled;
        }
    }
    if !rule.field_path.is_empty() {
        compiled.field = resolve(&rule.field_path, schema, true).ok().map(|found| found.shown);
    }
    compiled
}

fn typed(env: &Env, source: &str, wanted: &Type, failed: &str, wrong: &str) -> Result<Program, String> {
    let program = env.compile(source).map_err(|errors| format!("{failed}: {errors}"))?;
    if program.output_type() == wanted { Ok(program) } else { Err(wrong.to_owned()) }
}
