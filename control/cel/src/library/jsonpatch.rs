//! `jsonpatch.escapeKey`: a map key as a part of a JSON pointer (RFC 6901, section 3).

use super::Args;
use crate::error::EvalResult;
use crate::eval::Ctx;
use crate::function::Def;
use crate::value::Value;

pub(crate) const DEFS: &[Def] =
    &[("string_jsonpatch_escapeKey_string", "jsonpatch.escapeKey(string): string", escape_key)];

fn escape_key<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::from(args.string(0)?.replace('~', "~0").replace('/', "~1")))
}
