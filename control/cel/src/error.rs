//! What can go wrong: at compile time with a place in the source, at run time with cel-go's words.

use std::fmt;

/// Why an expression did not compile: each mistake with its place. Printed as cel-go prints them, source line and caret
/// included.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.render())]
pub struct CompileErrors {
    pub(crate) text: String,
    pub(crate) errors: Vec<CompileError>,
    pub(crate) truncated: usize,
}

/// One mistake in an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 0.
    pub column: usize,
    /// What is wrong, in cel-go's words.
    pub message: String,
}

/// cel-go reports this many mistakes and counts the rest.
const MAX_REPORTED: usize = 100;
/// A longer source line is not repeated in a message.
const MAX_SNIPPET: usize = 16384;

impl CompileErrors {
    pub(crate) fn new(source: &str, mut errors: Vec<CompileError>) -> Self {
        let truncated = errors.len().saturating_sub(MAX_REPORTED);
        errors.truncate(MAX_REPORTED);
        errors.sort_by_key(|e| (e.line, e.column));
        Self { text: source.to_owned(), errors, truncated }
    }

    /// The mistakes, in the order of the source.
    pub fn errors(&self) -> &[CompileError] {
        &self.errors
    }

    fn render(&self) -> String {
        let mut lines: Vec<String> = self.errors.iter().map(|e| e.render(&self.text)).collect();
        if self.truncated > 0 {
            lines.push(format!("{} more errors were truncated", self.truncated));
        }
        lines.join("\n")
    }
}

impl CompileError {
    fn render(&self, source: &str) -> String {
        let mut out = format!("ERROR: <input>:{}:{}: {}", self.line, self.column + 1, self.message);
        let Some(snippet) = source.split('\n').nth(self.line.saturating_sub(1)) else { return out };
        if snippet.len() > MAX_SNIPPET || self.line == 0 {
            return out;
        }
        let snippet = snippet.replace('\t', " ");
        out.push_str("\n | ");
        out.push_str(&snippet);
        out.push_str("\n | ");
        let mut rest = snippet.chars();
        for c in rest.by_ref().take(self.column) {
            // A character of more than one byte is taken for a wide one.
            out.push(if c.len_utf8() > 1 { '\u{ff0e}' } else { '.' });
        }
        out.push(if rest.next().is_some_and(|c| c.len_utf8() > 1) { '\u{ff3e}' } else { '^' });
        out
    }
}

/// Why an evaluation gave no value. The text is what upstream prints after "failed expression" and the like.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// No function takes operands of these types; where they are named, with cel-go's signature.
    #[error("no such overload{0}")]
    NoSuchOverload(String),
    /// A map has no such key, an object no such field.
    #[error("no such key: {0}")]
    NoSuchKey(String),
    /// A variable has no value.
    #[error("no such attribute(s): {0}")]
    NoSuchAttribute(String),
    /// This call used more than its own limit.
    #[error("operation cancelled: actual cost limit exceeded")]
    CostLimit,
    /// The budget that this call shared with others is used up.
    #[error("validation failed due to running out of cost budget, no further validation rules will be run")]
    BudgetExhausted,
    /// Any other failure.
    #[error("{0}")]
    Other(String),
}

impl EvalError {
    pub(crate) fn other(message: impl fmt::Display) -> Self {
        EvalError::Other(message.to_string())
    }

    pub(crate) fn no_overload() -> Self {
        EvalError::NoSuchOverload(String::new())
    }
}

/// Shorthand for results of evaluation.
pub type EvalResult<T> = Result<T, EvalError>;
