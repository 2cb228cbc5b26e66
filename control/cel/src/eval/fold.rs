//! Comprehensions.

use std::sync::Arc;

use indexmap::IndexMap;

use super::construct::insert;
use super::run::{Evaluator, boolean, unless_fatal};
use crate::cost::LIST_COST;
use crate::error::{EvalError, EvalResult};
use crate::plan::{Collect, Fold, Node, Step};
use crate::value::map::Key;
use crate::value::{Map, Value};

/// What a comprehension is about to visit: a variable, or two.
struct Item<'a>(EvalResult<Value<'a>>, Option<EvalResult<Value<'a>>>);

/// What a collecting comprehension has so far.
enum Collected<'a> {
    List(Vec<Value<'a>>),
    Map(IndexMap<Key, (Value<'a>, Value<'a>)>),
}

impl<'a> Evaluator<'_, 'a> {
    /// A name for a value. cel-go computes the value when the name is first read; it is read by what the macro wraps.
    pub(super) fn bind(&mut self, value: &Node, body: &Node) -> EvalResult<Value<'a>> {
        let value = unless_fatal(self.node(value))?;
        self.locals.push(value);
        let result = self.node(body);
        self.locals.pop();
        result
    }

    pub(super) fn fold(&mut self, fold: &Fold) -> EvalResult<Value<'a>> {
        let range = self.node(&fold.range)?;
        let init = unless_fatal(self.node(&fold.init))?;
        let base = self.locals.len();
        self.locals.push(init);
        let visited = match &fold.step {
            Step::Fold(step) => self.each(&range, fold.two, |me| me.accumulate(fold, step, base)),
            Step::Collect { filter, what } => {
                let mut out = match what {
                    Collect::Item(_) => Collected::List(Vec::new()),
                    Collect::Entry(..) | Collect::Entries(_) => Collected::Map(IndexMap::new()),
                };
                let visited = self.each(&range, fold.two, |me| {
                    me.collect(filter.as_ref(), what, &mut out)?;
                    Ok(true)
                });
                self.locals[base] = match visited {
                    Ok(()) => Ok(match out {
                        Collected::List(items) => Value::list(items),
                        Collected::Map(entries) => Value::Map(Map::Owned(Arc::new(entries))),
                    }),
                    Err(ref error) => Err(error.clone()),
                };
                visited
            }
        };
        self.locals.truncate(base + 1);
        let result = match visited {
            Ok(()) => self.node(&fold.result),
            Err(error) => Err(error),
        };
        self.locals.truncate(base);
        result
    }

    /// Visits each item of a list, or each entry of a map, until `visit` has enough.
    fn each(
        &mut self,
        range: &Value<'a>,
        two: bool,
        mut visit: impl FnMut(&mut Self) -> EvalResult<bool>,
    ) -> EvalResult<()> {
        match range {
            Value::List(list) => {
                for index in 0..list.len() {
                    let item = list.get(index);
                    let item = match two {
                        true => Item(Ok(Value::Int(index as i64)), Some(item)),
                        false => Item(item, None),
                    };
                    if !self.visit(item, &mut visit)? {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for key in map.keys() {
                    let item = match two {
                        true => {
                            let value =
                                map.find(&key).and_then(|found| found.ok_or_else(EvalError::no_overload));
                            Item(Ok(key), Some(value))
                        }
                        false => Item(Ok(key), None),
                    };
                    if !self.visit(item, &mut visit)? {
                        break;
                    }
                }
            }
            _ => return Err(EvalError::no_overload()),
        }
        Ok(())
    }

    fn visit(
        &mut self,
        item: Item<'a>,
        visit: &mut impl FnMut(&mut Self) -> EvalResult<bool>,
    ) -> EvalResult<bool> {
        // An item costs nothing by itself; visiting very many still takes time.
        self.ctx.work.take(1)?;
        let depth = self.locals.len();
        self.locals.push(item.0);
        self.locals.extend(item.1);
        let more = visit(self);
        self.locals.truncate(depth);
        more
    }

    fn accumulate(&mut self, fold: &Fold, step: &Node, accu: usize) -> EvalResult<bool> {
        if !boolean(self.node(&fold.cond))? {
            return Ok(false);
        }
        let next = unless_fatal(self.node(step))?;
        self.locals[accu] = next;
        Ok(true)
    }

    fn collect(&mut self, filter: Option<&Node>, what: &Collect, out: &mut Collected<'a>) -> EvalResult<()> {
        if let Some(filter) = filter
            && !boolean(self.node(filter))?
        {
            return Ok(());
        }
        match (what, out) {
            (Collect::Item(item), Collected::List(items)) => {
                let item = self.node(item)?;
                // Reading the accumulator, making a list of one item, adding the two.
                self.ctx.charge(1 + LIST_COST + 1)?;
                items.push(item);
            }
            (Collect::Entry(key, value), Collected::Map(entries)) => {
                let key = self.node(key)?;
                let value = self.node(value)?;
                self.ctx.charge(2)?;
                add(entries, key, value)?;
            }
            (Collect::Entries(map), Collected::Map(entries)) => {
                let Value::Map(map) = self.node(map)? else { return Err(EvalError::no_overload()) };
                self.ctx.charge(2)?;
                for key in map.keys() {
                    self.ctx.work.take(1)?;
                    let value = map.find(&key)?.ok_or_else(EvalError::no_overload)?;
                    add(entries, key, value)?;
                }
            }
            _ => return Err(EvalError::no_overload()),
        }
        Ok(())
    }
}

fn add<'a>(
    entries: &mut IndexMap<Key, (Value<'a>, Value<'a>)>,
    key: Value<'a>,
    value: Value<'a>,
) -> EvalResult<()> {
    let text = match &key {
        Value::String(s) => s.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Uint(n) => n.to_string(),
        Value::Bool(b) => b.to_string(),
        _ => String::new(),
    };
    match insert(entries, key, value)? {
        true => Ok(()),
        false => Err(EvalError::other(format_args!("insert failed: key {text} already exists"))),
    }
}
