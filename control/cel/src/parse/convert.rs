//! The parser's tree as ours, and the depth of it checked on the way.

use cel::common::ast::{self as theirs, EntryExpr, IdedExpr, LiteralValue, SourceInfo};

use super::Places;
use super::macros::OPT_FLAT_MAP;
use super::macros::OPT_MAP;
use crate::ast::{Entry, Expr, Field, Fold, Kind, string};
use crate::value::Value;

/// The depth of a tree, macros expanded. cel-go refuses 250 levels before it expands them; each adds a few.
const MAX_DEPTH: usize = 512;

pub(super) fn convert(root: IdedExpr, info: &SourceInfo, places: &mut Places) -> Result<Expr, String> {
    Converter { info, places }.expr(root, 0)
}

struct Converter<'a> {
    info: &'a SourceInfo,
    places: &'a mut Places,
}

impl Converter<'_> {
    fn expr(&mut self, expr: IdedExpr, depth: usize) -> Result<Expr, String> {
        if depth > MAX_DEPTH {
            return Err("expression recursion limit exceeded: 250".to_owned());
        }
        if let Some((start, _)) = self.info.offset_for(expr.id) {
            self.places.offsets.insert(expr.id, start as usize);
        }
        let depth = depth + 1;
        let kind = match expr.expr {
            theirs::Expr::Unspecified => {
                return Err("unexpected unspecified type: an expression is missing".to_owned());
            }
            theirs::Expr::Literal(literal) => Kind::Literal(self.literal(literal)),
            theirs::Expr::Ident(name) => Kind::Ident(name),
            theirs::Expr::Select(select) => Kind::Select {
                operand: Box::new(self.expr(*select.operand, depth)?),
                field: select.field,
                test: select.test,
            },
            theirs::Expr::Call(call) => self.call(call, depth)?,
            theirs::Expr::List(list) => {
                let mut optional = vec![false; list.elements.len()];
                for at in list.optional_indices {
                    if let Some(flag) = optional.get_mut(at) {
                        *flag = true;
                    }
                }
                Kind::List { items: self.exprs(list.elements, depth)?, optional }
            }
            theirs::Expr::Map(map) => Kind::Map(self.entries(map.entries, depth)?),
            theirs::Expr::Struct(object) => {
                Kind::Struct { name: object.type_name, fields: self.fields(object.entries, depth)? }
            }
            theirs::Expr::Comprehension(fold) => Kind::Fold(Box::new(Fold {
                range: self.expr(fold.iter_range, depth)?,
                var: fold.iter_var,
                var2: fold.iter_var2,
                accu: fold.accu_var,
                init: self.expr(fold.accu_init, depth)?,
                cond: self.expr(fold.loop_cond, depth)?,
                step: self.expr(fold.loop_step, depth)?,
                result: self.expr(fold.result, depth)?,
            })),
        };
        Ok(Expr { id: expr.id, kind })
    }

    fn literal(&self, literal: LiteralValue) -> Value<'static> {
        match literal {
            LiteralValue::Boolean(b) => Value::Bool(b.into_inner()),
            LiteralValue::Int(n) => Value::Int(n.into_inner()),
            LiteralValue::UInt(n) => Value::Uint(n.into_inner()),
            LiteralValue::Double(d) => Value::Double(d.into_inner()),
            LiteralValue::String(s) => string(s.inner()),
            LiteralValue::Bytes(b) => Value::Bytes(b.inner().into()),
            LiteralValue::Null => Value::Null,
        }
    }

    fn exprs(&mut self, exprs: Vec<IdedExpr>, depth: usize) -> Result<Vec<Expr>, String> {
        exprs.into_iter().map(|expr| self.expr(expr, depth)).collect()
    }

    fn call(&mut self, call: theirs::CallExpr, depth: usize) -> Result<Kind, String> {
        let target = match call.target {
            Some(target) => Some(Box::new(self.expr(*target, depth)?)),
            None => None,
        };
        let mut args = self.exprs(call.args, depth)?;
        let flat = call.func_name == OPT_FLAT_MAP;
        if flat || call.func_name == OPT_MAP {
            return match (target, args.pop(), args.pop()) {
                (Some(target), Some(body), Some(Expr { kind: Kind::Ident(var), .. })) => {
                    Ok(Kind::OptMap { target, var, body: Box::new(body), flat })
                }
                _ => Err("optMap() needs a target, a name and an expression".to_owned()),
            };
        }
        Ok(Kind::Call { target, function: call.func_name, args })
    }

    fn entries(&mut self, entries: Vec<theirs::IdedEntryExpr>, depth: usize) -> Result<Vec<Entry>, String> {
        let mut out = Vec::with_capacity(entries.len());
        for entry in entries {
            if let EntryExpr::MapEntry(entry) = entry.expr {
                let (key, value) = (self.expr(entry.key, depth)?, self.expr(entry.value, depth)?);
                out.push(Entry { key, value, optional: entry.optional });
            }
        }
        Ok(out)
    }

    fn fields(&mut self, entries: Vec<theirs::IdedEntryExpr>, depth: usize) -> Result<Vec<Field>, String> {
        let mut out = Vec::with_capacity(entries.len());
        for entry in entries {
            if let Some((start, _)) = self.info.offset_for(entry.id) {
                self.places.offsets.insert(entry.id, start as usize);
            }
            if let EntryExpr::StructField(field) = entry.expr {
                let value = self.expr(field.value, depth)?;
                out.push(Field { id: entry.id, name: field.field, value, optional: field.optional });
            }
        }
        Ok(out)
    }
}
