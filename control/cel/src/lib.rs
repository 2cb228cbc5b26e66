//! The Common Expression Language as Kubernetes 1.36 uses it.
//!
//! An expression is compiled once in an [`Env`] (parse, check, plan) and evaluated often: each time with variables from a
//! [`Resolver`], which hands out views of JSON that copy nothing, and within a [`Budget`] in upstream's units of cost. The
//! result and every message are those of cel-go with Kubernetes' libraries.
//!
//! ```
//! use xebec_cel::{Bindings, Budget, Decl, Env};
//!
//! let schema = serde_json::json!({"type": "object", "properties": {"replicas": {"type": "integer"}}});
//! let decl = Decl::from_schema(&schema, "selfType", true).ok_or("no type")?;
//! let program = Env::kubernetes().declare("self", decl.type_of()).compile("self.replicas > 0")?;
//!
//! let object = serde_json::json!({"replicas": 3});
//! let bindings = Bindings::new().with("self", decl.value(&object)?);
//! let result = program.eval(&bindings, &mut Budget::new(xebec_cel::BUDGET))?;
//! assert_eq!(result.as_bool(), Some(true));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Everything is pure: no clock, no I/O, no global state but tables that never change. Programs and environments are
//! shared between threads freely.

mod ast;
mod check;
mod cost;
mod decl;
mod env;
mod error;
mod escape;
mod eval;
mod function;
mod library;
mod message;
mod parse;
mod plan;
mod program;
#[cfg(test)]
mod tests;
mod types;
mod value;

pub use cost::range::{CostEstimate, SizeEstimate};
pub use cost::{PathSizes, SizeHints};
pub use decl::{Decl, MAX_REQUEST_BYTES};
pub use env::Env;
pub use error::{CompileError, CompileErrors, EvalError, EvalResult};
pub use escape::{escape, unescape};
pub use eval::{Bindings, Budget, Resolver};
pub use library::authz::{Attributes, Authorizer, Decision, PathAttributes, ResourceAttributes, User};
pub use message::{MAX_MESSAGE_BYTES, MessageError, message};
pub use program::Program;
pub use types::{Fields, ObjectType, Type};
pub use value::{Instant, List, Map, Object, Opaque, Str, Value};

/// The cost that one evaluation may reach: about a tenth of a second on upstream's reference machine.
pub const PER_CALL_LIMIT: u64 = 1_000_000;
/// The cost that all rules of one custom resource, or all expressions of one policy binding, may reach together.
pub const BUDGET: u64 = 10_000_000;
/// The cost that the match conditions of one webhook or policy may reach together.
pub const MATCH_CONDITIONS_BUDGET: u64 = 2_500_000;
/// The estimated cost that one rule of a custom resource definition may have.
pub const ESTIMATED_COST_LIMIT: u64 = 10_000_000;
/// The estimated cost that all rules of a custom resource definition may have together.
pub const ESTIMATED_CRD_COST_LIMIT: u64 = 100_000_000;
