//! Message expressions: the text that a failed rule shows, computed by an expression.

use crate::error::EvalError;
use crate::eval::{Budget, Resolver};
use crate::program::Program;
use crate::value::Value;

/// The longest message that an expression may make, in octets.
pub const MAX_MESSAGE_BYTES: usize = 5 * 1024;

/// Why a message expression gave no message; the rule's own message is shown instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It failed.
    #[error("{0}")]
    Eval(#[from] EvalError),
    /// Its result is no string.
    #[error("messageExpression should have evaluated to a string, but got {0}")]
    NotString(String),
    /// Its result is longer than [`MAX_MESSAGE_BYTES`].
    #[error("messageExpression beyond allowable length of 5120")]
    TooLong,
    /// Its result is only white space.
    #[error("messageExpression should evaluate to a non-empty string")]
    Empty,
    /// Its result has several lines.
    #[error("messageExpression should not contain line breaks")]
    LineBreaks,
}

/// Evaluates a message expression. The text comes back trimmed. Errors: see [`MessageError`]; what it spent is taken from
/// `budget` in any case.
pub fn message<'a>(
    program: &Program,
    resolver: &dyn Resolver<'a>,
    budget: &mut Budget,
) -> Result<String, MessageError> {
    let value = program.eval(resolver, budget)?;
    let Value::String(text) = &value else {
        return Err(MessageError::NotString(value.type_name().to_owned()));
    };
    let text = text.trim();
    match text {
        _ if text.len() > MAX_MESSAGE_BYTES => Err(MessageError::TooLong),
        "" => Err(MessageError::Empty),
        _ if text.contains('\n') => Err(MessageError::LineBreaks),
        _ => Ok(text.to_owned()),
    }
}
