//! From text to a syntax tree, by the parser of the `cel` crate, within bounds.
//!
//! Enters: the text of an expression. Leaves: a tree of bounded depth with the place of each node, or cel-go's messages.
//! Caller: [`crate::Env::compile`].

mod convert;
mod guard;
mod macros;

pub(crate) use macros::MAP_INSERT;

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::ast::Expr;
use crate::error::{CompileError, CompileErrors};

/// A longer text is refused, as in cel-go: code points.
const MAX_CODE_POINTS: usize = 100_000;
/// Nesting that the parser takes, as in cel-go.
const MAX_RECURSION: u16 = 250;
/// Stack that the parser gets for each bracket that is open at once: each takes it through all rules of the grammar, about
/// 100 KiB in a debug build. It is address space; only what is used becomes memory.
const STACK_PER_BRACKET: usize = 256 << 10;
/// Stack that the parser gets for each level of nesting of the tree.
const STACK_PER_LEVEL: usize = 32 << 10;
/// Stack that the parser gets in any case.
const STACK_BASE: usize = 1 << 20;

/// A tree and the places of its nodes.
pub(crate) struct Parsed {
    pub(crate) root: Expr,
    pub(crate) places: Places,
}

/// Where nodes stand: octet offsets by node id.
#[derive(Debug, Default)]
pub(crate) struct Places {
    offsets: HashMap<u64, usize>,
    source: String,
}

impl Places {
    /// The line (from 1) and column (in characters, from 0) of a node; 0 and 0 if it has no place.
    pub(crate) fn of(&self, id: u64) -> (usize, usize) {
        let before = self.offsets.get(&id).and_then(|offset| self.source.get(..*offset));
        let Some(before) = before else { return (0, 0) };
        let line = before.rsplit('\n').next().unwrap_or_default();
        (before.matches('\n').count() + 1, line.chars().count())
    }

    fn new(source: &str) -> Self {
        Places { offsets: HashMap::new(), source: source.to_owned() }
    }
}

static PARSER: LazyLock<cel::Env> = LazyLock::new(|| macros::environment(false));
static PARSER_WITH_BINDINGS: LazyLock<cel::Env> = LazyLock::new(|| macros::environment(true));

/// Parses an expression, which may use `cel.bind` if `bindings` is set.
pub(crate) fn parse(source: &str, bindings: bool) -> Result<Parsed, CompileErrors> {
    let size = source.chars().count();
    if size > MAX_CODE_POINTS {
        let message =
            format!("expression code point size exceeds limit: size: {size}, limit {MAX_CODE_POINTS}");
        return Err(at_start(source, message));
    }
    let Some(depth) = guard::depth(source) else {
        return Err(at_start(source, format!("expression recursion limit exceeded: {MAX_RECURSION}")));
    };
    let stack = STACK_BASE + depth.brackets * STACK_PER_BRACKET + depth.levels * STACK_PER_LEVEL;
    stacker::maybe_grow(stack, stack, || parse_within(source, bindings))
}

fn parse_within(source: &str, bindings: bool) -> Result<Parsed, CompileErrors> {
    let macros = if bindings { &PARSER_WITH_BINDINGS } else { &PARSER };
    let parser = macros.parser().max_recursion_depth(MAX_RECURSION).enable_optional_syntax(true);
    match parser.parse_with_source_info(source) {
        Ok((root, info)) => {
            let mut places = Places::new(source);
            convert::convert(root, &info, &mut places)
                .map(|root| Parsed { root, places })
                .map_err(|message| at_start(source, message))
        }
        Err(errors) => Err(CompileErrors::new(source, errors.errors.into_iter().map(parse_error).collect())),
    }
}

fn at_start(source: &str, message: String) -> CompileErrors {
    CompileErrors::new(source, vec![CompileError { line: 1, column: 0, message }])
}

fn parse_error(error: cel::ParseError) -> CompileError {
    let (line, column) = error.pos;
    let mut message = error.msg;
    if message == "UNKNOWN" || message.starts_with("Recursion limit") {
        // The parser gives no place to an error that stopped it.
        message = format!("expression recursion limit exceeded: {MAX_RECURSION}");
    }
    CompileError { line: line.max(1) as usize, column: column.max(1) as usize - 1, message }
}
