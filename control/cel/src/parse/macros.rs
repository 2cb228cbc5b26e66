//! The macros. Each expands as cel-go's does, so that types and costs come out alike; except optMap, which stays a call
//! that the converter turns into a node of its own: expanded, it would hold its target twice.

use cel::common::ast::{
    CallExpr, ComprehensionExpr, Expr, IdedExpr, ListExpr, LiteralValue, MapExpr, operators,
};
use cel::parser::{Macro, MacroExprHelper};
use cel::{Env, ParseError};

use crate::ast::ACCUMULATOR;

/// What `target.optMap(var, body)` is called in the parser's tree; no function can be spelt so.
pub(super) const OPT_MAP: &str = "@optMap";
/// The same for `optFlatMap`.
pub(super) const OPT_FLAT_MAP: &str = "@optFlatMap";
/// The function by which a fold fills a map.
pub(crate) const MAP_INSERT: &str = "cel.@mapInsert";

type Expansion = Result<Option<IdedExpr>, ParseError>;

/// The parser's environment: these macros and nothing else; `cel.bind` only where it is asked for.
pub(super) fn environment(bindings: bool) -> Env {
    let mut env = Env::default();
    let bind = bindings.then(|| Macro::receiver("bind", 3, bind));
    for addition in macros().into_iter().chain(bind) {
        // No two of them share a name and a number of arguments, which is all that could be refused.
        let _ = env.add_macro(addition);
    }
    env
}

fn macros() -> Vec<Macro> {
    let mut out = vec![
        Macro::global("has", 1, has),
        Macro::receiver("optMap", 2, |h, target, args| opt_map(h, target, args, OPT_MAP)),
        Macro::receiver("optFlatMap", 2, |h, target, args| opt_map(h, target, args, OPT_FLAT_MAP)),
        Macro::receiver("sortBy", 2, sort_by),
        Macro::receiver("filter", 2, |h, target, args| fold(h, target, args, 1, filter)),
        Macro::receiver("map", 2, |h, target, args| fold(h, target, args, 1, transform_list)),
        Macro::receiver("map", 3, |h, target, args| fold(h, target, args, 1, transform_list)),
    ];
    type Body = fn(&mut Nodes<'_, '_>, &str, Option<IdedExpr>, IdedExpr) -> Parts;
    let quantifiers: [(&str, Body); 4] =
        [("all", all), ("exists", exists), ("exists_one", exists_one), ("existsOne", exists_one)];
    for (name, body) in quantifiers {
        for variables in [1, 2] {
            out.push(Macro::receiver(name, variables + 1, move |h, target, args| {
                fold(h, target, args, variables, body)
            }));
        }
    }
    let transforms: [(&str, Body); 3] = [
        ("transformList", transform_list),
        ("transformMap", transform_map),
        ("transformMapEntry", transform_entry),
    ];
    for (name, body) in transforms {
        for args in [3, 4] {
            out.push(Macro::receiver(name, args, move |h, target, args| fold(h, target, args, 2, body)));
        }
    }
    out
}

fn has(helper: &mut MacroExprHelper<'_>, _: &mut Option<IdedExpr>, args: &mut Vec<IdedExpr>) -> Expansion {
    match args.pop() {
        Some(IdedExpr { expr: Expr::Select(mut select), .. }) => {
            select.test = true;
            Ok(Some(helper.next_expr(Expr::Select(select))))
        }
        Some(other) => Err(helper.new_error(other.id, "invalid argument to has() macro")),
        None => Ok(None),
    }
}

/// The parts of a fold that differ from macro to macro.
struct Parts {
    init: IdedExpr,
    cond: IdedExpr,
    step: IdedExpr,
    result: IdedExpr,
}

/// What a macro is written with: nodes at the place of the call.
struct Nodes<'a, 'b>(&'a mut MacroExprHelper<'b>);

impl Nodes<'_, '_> {
    fn node(&mut self, expr: Expr) -> IdedExpr {
        self.0.next_expr(expr)
    }

    fn ident(&mut self, name: &str) -> IdedExpr {
        self.node(Expr::Ident(name.to_owned()))
    }

    fn accu(&mut self) -> IdedExpr {
        self.ident(ACCUMULATOR)
    }

    fn boolean(&mut self, value: bool) -> IdedExpr {
        self.node(Expr::Literal(LiteralValue::Boolean(value.into())))
    }

    fn int(&mut self, value: i64) -> IdedExpr {
        self.node(Expr::Literal(LiteralValue::Int(value.into())))
    }

    fn call(&mut self, function: &str, args: Vec<IdedExpr>) -> IdedExpr {
        self.node(Expr::Call(CallExpr { func_name: function.to_owned(), target: None, args }))
    }

    fn list(&mut self, items: Vec<IdedExpr>) -> IdedExpr {
        self.node(Expr::List(ListExpr::new(items)))
    }

    /// `filter ? step : @result`, or the step itself.
    fn filtered(&mut self, filter: Option<IdedExpr>, step: IdedExpr) -> IdedExpr {
        let Some(filter) = filter else { return step };
        let accu = self.accu();
        self.call(operators::CONDITIONAL, vec![filter, step, accu])
    }
}

/// What remains of a macro's arguments: an optional filter, and the body.
fn filter_and_body(args: &mut Vec<IdedExpr>) -> Option<(Option<IdedExpr>, IdedExpr)> {
    let body = args.pop()?;
    Some((args.pop(), body))
}

/// Expands a macro of one or two variables over `target`.
fn fold(
    helper: &mut MacroExprHelper<'_>,
    target: &mut Option<IdedExpr>,
    args: &mut Vec<IdedExpr>,
    variables: usize,
    parts: fn(&mut Nodes<'_, '_>, &str, Option<IdedExpr>, IdedExpr) -> Parts,
) -> Expansion {
    let var = variable(helper, &args[0])?;
    let var2 = if variables > 1 { Some(variable(helper, &args[1])?) } else { None };
    if var2.as_ref() == Some(&var) {
        return Err(helper.new_error(args[1].id, format!("duplicate variable name: {var}")));
    }
    let mut rest = args.split_off(variables);
    let (Some((filter, body)), Some(range)) = (filter_and_body(&mut rest), target.take()) else {
        return Ok(None);
    };
    let Parts { init, cond, step, result } = parts(&mut Nodes(helper), &var, filter, body);
    let fold = ComprehensionExpr {
        iter_range: range,
        iter_var: var,
        iter_var2: var2,
        accu_var: ACCUMULATOR.to_owned(),
        accu_init: init,
        loop_cond: cond,
        loop_step: step,
        result,
    };
    Ok(Some(helper.next_expr(Expr::Comprehension(Box::new(fold)))))
}

fn variable(helper: &MacroExprHelper<'_>, arg: &IdedExpr) -> Result<String, ParseError> {
    match &arg.expr {
        Expr::Ident(name) if name != ACCUMULATOR && name != "__result__" => Ok(name.clone()),
        Expr::Ident(_) => Err(helper.new_error(arg.id, "iteration variable overwrites accumulator variable")),
        _ => Err(helper.new_error(arg.id, "argument must be a simple name")),
    }
}

fn all(n: &mut Nodes<'_, '_>, _: &str, _: Option<IdedExpr>, body: IdedExpr) -> Parts {
    let (init, accu) = (n.boolean(true), n.accu());
    let cond = n.call(operators::NOT_STRICTLY_FALSE, vec![accu]);
    let accu = n.accu();
    let step = n.call(operators::LOGICAL_AND, vec![accu, body]);
    Parts { init, cond, step, result: n.accu() }
}

fn exists(n: &mut Nodes<'_, '_>, _: &str, _: Option<IdedExpr>, body: IdedExpr) -> Parts {
    let (init, accu) = (n.boolean(false), n.accu());
    let not = n.call(operators::LOGICAL_NOT, vec![accu]);
    let cond = n.call(operators::NOT_STRICTLY_FALSE, vec![not]);
    let accu = n.accu();
    let step = n.call(operators::LOGICAL_OR, vec![accu, body]);
    Parts { init, cond, step, result: n.accu() }
}

fn exists_one(n: &mut Nodes<'_, '_>, _: &str, _: Option<IdedExpr>, body: IdedExpr) -> Parts {
    let (init, cond, accu, one) = (n.int(0), n.boolean(true), n.accu(), n.int(1));
    let more = n.call(operators::ADD, vec![accu, one]);
    let accu = n.accu();
    let step = n.call(operators::CONDITIONAL, vec![body, more, accu]);
    let (accu, one) = (n.accu(), n.int(1));
    Parts { init, cond, step, result: n.call(operators::EQUALS, vec![accu, one]) }
}

/// `filter`: its body is the filter, and what it keeps is the variable itself.
fn filter(n: &mut Nodes<'_, '_>, var: &str, _: Option<IdedExpr>, body: IdedExpr) -> Parts {
    let item = n.ident(var);
    transform_list(n, var, Some(body), item)
}

fn transform_list(n: &mut Nodes<'_, '_>, _: &str, filter: Option<IdedExpr>, body: IdedExpr) -> Parts {
    let (init, cond, accu) = (n.list(Vec::new()), n.boolean(true), n.accu());
    let one = n.list(vec![body]);
    let step = n.call(operators::ADD, vec![accu, one]);
    let step = n.filtered(filter, step);
    Parts { init, cond, step, result: n.accu() }
}

fn transform_map(n: &mut Nodes<'_, '_>, key: &str, filter: Option<IdedExpr>, body: IdedExpr) -> Parts {
    let init = n.node(Expr::Map(MapExpr { entries: Vec::new() }));
    let (cond, accu, key) = (n.boolean(true), n.accu(), n.ident(key));
    let step = n.call(MAP_INSERT, vec![accu, key, body]);
    let step = n.filtered(filter, step);
    Parts { init, cond, step, result: n.accu() }
}

fn transform_entry(n: &mut Nodes<'_, '_>, _: &str, filter: Option<IdedExpr>, body: IdedExpr) -> Parts {
    let init = n.node(Expr::Map(MapExpr { entries: Vec::new() }));
    let (cond, accu) = (n.boolean(true), n.accu());
    let step = n.call(MAP_INSERT, vec![accu, body]);
    let step = n.filtered(filter, step);
    Parts { init, cond, step, result: n.accu() }
}

fn opt_map(
    helper: &mut MacroExprHelper<'_>,
    target: &mut Option<IdedExpr>,
    args: &mut Vec<IdedExpr>,
    name: &str,
) -> Expansion {
    if !matches!(args[0].expr, Expr::Ident(_)) {
        let message = format!("{}() variable name must be a simple identifier", &name[1..]);
        return Err(helper.new_error(args[0].id, message));
    }
    let call = CallExpr {
        func_name: name.to_owned(),
        target: target.take().map(Box::new),
        args: std::mem::take(args),
    };
    Ok(Some(helper.next_expr(Expr::Call(call))))
}

/// `cel.bind(var, value, body)`: the body with the value under a name. Any other target's `bind` is a function's.
fn bind(
    helper: &mut MacroExprHelper<'_>,
    target: &mut Option<IdedExpr>,
    args: &mut Vec<IdedExpr>,
) -> Expansion {
    if !matches!(target, Some(IdedExpr { expr: Expr::Ident(name), .. }) if name == "cel") {
        return Ok(None);
    }
    let Expr::Ident(var) = &args[0].expr else {
        return Err(helper.new_error(args[0].id, "cel.bind() variable names must be simple identifiers"));
    };
    let var = var.clone();
    let (Some(body), Some(value)) = (args.pop(), args.pop()) else { return Ok(None) };
    let bind = named(&mut Nodes(helper), &var, value, body);
    Ok(Some(bind))
}

/// A fold that goes over nothing and only gives `value` a name in `body`.
fn named(n: &mut Nodes<'_, '_>, name: &str, value: IdedExpr, body: IdedExpr) -> IdedExpr {
    let (range, cond, step) = (n.list(Vec::new()), n.boolean(false), n.ident(name));
    let bind = ComprehensionExpr {
        iter_range: range,
        iter_var: "#unused".to_owned(),
        iter_var2: None,
        accu_var: name.to_owned(),
        accu_init: value,
        loop_cond: cond,
        loop_step: step,
        result: body,
    };
    n.node(Expr::Comprehension(Box::new(bind)))
}

/// `target.sortBy(v, key)` names the target once and sorts it by the list of its keys.
fn sort_by(
    helper: &mut MacroExprHelper<'_>,
    target: &mut Option<IdedExpr>,
    args: &mut Vec<IdedExpr>,
) -> Expansion {
    const INPUT: &str = "@__sortBy_input__";
    let Expr::Ident(var) = &args[0].expr else {
        return Err(helper.new_error(args[0].id, "argument is not an identifier"));
    };
    let var = var.clone();
    let list = target.as_ref().map(|target| (target.id, &target.expr));
    if let Some((id, Expr::Literal(_) | Expr::Map(_) | Expr::Struct(_))) = list {
        let message =
            "sortBy can only be applied to a list, identifier, comprehension, call or select expression";
        return Err(helper.new_error(id, message));
    }
    let (Some(body), Some(target)) = (args.pop(), target.take()) else { return Ok(None) };
    args.clear();
    let mut n = Nodes(helper);
    let (range, init, cond, accu) = (n.ident(INPUT), n.list(Vec::new()), n.boolean(true), n.accu());
    let key = n.list(vec![body]);
    let step = n.call(operators::ADD, vec![accu, key]);
    let result = n.accu();
    let keys = ComprehensionExpr {
        iter_range: range,
        iter_var: var,
        iter_var2: None,
        accu_var: ACCUMULATOR.to_owned(),
        accu_init: init,
        loop_cond: cond,
        loop_step: step,
        result,
    };
    let keys = n.node(Expr::Comprehension(Box::new(keys)));
    let input = n.ident(INPUT);
    let sorted = n.node(Expr::Call(CallExpr {
        func_name: "@sortByAssociatedKeys".to_owned(),
        target: Some(Box::new(input)),
        args: vec![keys],
    }));
    Ok(Some(named(&mut n, INPUT, target, sorted)))
}
