//! Costs against upstream's numbers. Upstream's own tests evaluate without the optimizations that Kubernetes turns on;
//! where an expression has constant lists or maps, what making them would cost is subtracted here.

use std::sync::Arc;

use serde_json::json;

use super::compile;
use crate::{Bindings, Budget, Decl, Env, EvalError, SizeHints, Type, Value};

fn runtime(source: &str, variables: &[(&str, Type, serde_json::Value)]) -> u64 {
    let env = variables.iter().fold(Env::kubernetes(), |env, (name, ty, _)| env.declare(name, ty.clone()));
    let program = env.compile(source).unwrap_or_else(|errors| panic!("{source}\n{errors}"));
    let bindings =
        variables.iter().fold(Bindings::new(), |all, (name, _, json)| all.with(name, Value::from_json(json)));
    let (result, cost) = program.eval_counted(&bindings, &mut Budget::new(u64::MAX));
    result.unwrap_or_else(|error| panic!("{source}\n{error}"));
    cost
}

#[test]
fn runtime_costs_are_upstreams() {
    for (source, cost) in [
        ("\"Hello World!\"", 0),
        ("'123'.matches('[0-9]')", 2),
        ("false || false", 0),
        ("true || false", 0),
        ("true && false", 0),
        ("1 < 2", 1),
        ("1 == 2", 1),
        ("2 >= 1", 1),
        ("1 + 1", 1),
        ("1 % 1", 1),
        ("true ? 1 : 2", 0),
        ("size(\"123\")", 1),
        ("'12345678901234567890' == '123456789012345678901234567890'", 2),
        ("false ? false : 1 > 3", 1),
        ("(1 > 2 ? 5 : 3) > 1", 2),
        ("(1 > 2 || 2 > 1) == true", 3),
        ("[1, 2, 3]", 10 - 10),
        ("{\"a\": 1, \"b\": 2, \"c\": 3}", 30 - 30),
        ("2 in [1, 2, 3]", 13 - 10 - 3),
        ("string(1)", 1 - 1),
        ("[1, 2, 3].all(x, true)", 20 - 10),
        ("[{'k1': 1}, {'k2': 2}].all(x, true)", 77 - 70),
        ("[1,2,3,4,5].filter(x, x % 2 == 0)", 62 - 20),
        ("[1,2,3,4,5].map(x, x)", 86 - 20),
        ("[1,2,3,4,5].map(x, x).filter(x, x % 2 == 0)", 138 - 30),
        ("[1,2,3,4,5].map(x, x).exists(x, x == 5) == true", 118 - 20),
        ("[1,2,3,4,5].map(x, x).map(x, x)", 162 - 30),
        ("[1,2,3,4,5].map(x, [x, x]).filter(z, z.size() == 2)", 232 - 30),
        ("[1,2,3,4,5].map(x, [x, x]).all(y, y.all(y, y == 1))", 171 - 20),
        ("[1,2,3,4,5].map(x, x).map(x, x) + [1]", 173 - 40),
        // The inner comprehension runs three times, each with a constant list and a constant start.
        ("[1,2,3].all(i, i in [1,2,3].map(j, j + j))", 86 - 10 - 20),
        ("url('https:://kubernetes.io/')", 3),
        ("url('https:://kubernetes.io/').getScheme()", 4),
        ("'abc'.split('')", 1),
        ("[1, 2, 3].sum()", 3),
        // hasValue of the target, value of the target written again, the body, of().
        ("optional.of(1).optMap(v, v)", (1 + 1) + (1 + 1) + 1 + 1),
        ("optional.of(1).optMap(v, v).optMap(v, v)", (6 + 1) + (6 + 1) + 1 + 1),
        ("optional.none().optMap(v, v)", (1 + 1) + 1),
    ] {
        assert_eq!(runtime(source, &[]), cost, "{source}");
    }
}

#[test]
fn runtime_costs_of_variables_are_upstreams() {
    let ints = || Type::list(Type::Int);
    let strings = || Type::map(Type::String, Type::String);
    let nested = || Type::map(Type::String, Type::map(Type::String, Type::Dyn));
    let long = "x".repeat(500);
    for (source, variables, cost) in [
        ("input", vec![("input", ints(), json!([1, 2]))], 1),
        ("input['key']", vec![("input", strings(), json!({"key": "v"}))], 2),
        ("input[0]", vec![("input", ints(), json!([1]))], 2),
        ("input.key", vec![("input", strings(), json!({"key": "v"}))], 2),
        ("input['ke' + 'y']", vec![("input", strings(), json!({"key": "v"}))], 3),
        ("input[3-3]", vec![("input", ints(), json!([1]))], 3),
        ("has(input.key)", vec![("input", strings(), json!({"key": "v"}))], 1),
        ("has(input.a.b)", vec![("input", nested(), json!({"a": {"b": 1}}))], 2),
        ("a || b || c || d", ["a", "b", "c", "d"].map(|name| (name, Type::Bool, json!(false))).to_vec(), 4),
        (
            "input.contains(arg1)",
            vec![("input", Type::String, json!(long)), ("arg1", Type::String, json!("y".repeat(500)))],
            2502,
        ),
        ("input.matches('\\\\d+a\\\\d+b')", vec![("input", Type::String, json!(long))], 103),
        (
            "input.startsWith(arg1)",
            vec![("input", Type::String, json!("idc")), ("arg1", Type::String, json!(long))],
            3,
        ),
        ("input.size()", vec![("input", Type::String, json!("500"))], 2),
        ("input.all(k, input[k].all(x, true))", vec![("input", nested(), json!({}))], 2),
        ("(list1 + list2).all(x, true)", vec![("list1", ints(), json!([])), ("list2", ints(), json!([]))], 4),
        (
            "\"abcdefg\".contains(str1 + str2)",
            vec![("str1", Type::String, json!("val1")), ("str2", Type::String, json!("val2222222"))],
            6,
        ),
        (
            "(x > 2 ? input1 : input2).all(y, true)",
            vec![("x", Type::Int, json!(1)), ("input1", ints(), json!([1])), ("input2", ints(), json!([1]))],
            6,
        ),
    ] {
        assert_eq!(runtime(source, &variables), cost, "{source}");
    }
}

fn estimated(source: &str) -> (u64, u64) {
    let estimate = compile(source).cost_estimate(&SizeHints::new());
    (estimate.min, estimate.max)
}

#[test]
fn estimates_are_upstreams() {
    for (source, cost) in [
        ("\"Hello World!\"", (0, 0)),
        ("[1, 2, 3]", (10, 10)),
        ("{\"a\": 1}", (30, 30)),
        ("[1, 2, 3].all(x, true)", (20, 20)),
        ("'123'.matches('[0-9]')", (2, 2)),
        ("2 in [1, 2, 3]", (13, 13)),
        ("true ? 1 : 2", (0, 0)),
        ("((5 != 6) == (1 == 2)) == ((3 <= 4) == (9 != 9))", (7, 7)),
        ("[1,2,3,4,5].filter(x, x % 2 == 0)", (41, 101)),
        ("[1,2,3,4,5].map(x, x)", (86, 86)),
        ("[1,2,3,4,5].map(x, x).filter(x, x % 2 == 0)", (117, 177)),
        ("[1,2,3,4,5].map(x, x).exists(x, x == 5) == true", (108, 118)),
        ("[1,2,3,4,5].map(x, x)[4]", (87, 87)),
        ("[[1,2],[1,2],[1,2],[1,2],[1,2]][4]", (61, 61)),
        ("{'a': [1,2], 'b': [1,2], 'c': [1,2], 'd': [1,2], 'e': [1,2]}.b", (81, 81)),
        ("[[1, 1], [2, 2], [3, 3], [4, 4], [5, 5]].all(y, y.all(y, y == 1))", (76, 136)),
        ("[1,2,3,4,5].map(x, [x, x]).all(y, y.all(y, y == 1))", (157, 217)),
        (
            "[\"a\", \"ab\", \"abc\", \"abcd\", \"abcde\"].map(x, [x, x]).all(y, y.all(y, y.startsWith('a')))",
            (157, 217),
        ),
        ("[1,2,3,4,5].map(x, x).map(x, x) + [1]", (173, 173)),
        ("[1,2,3].all(i, i in [1,2,3].map(j, j + j))", (20, 230)),
        ("dyn([1,2,3]).all(i, i in dyn([1,2,3]).map(j, j + j))", (21, 234)),
        ("{'hello': 'hi'}['hello'] != {'hello': 'bye'}['hello']", (63, 63)),
        ("['hello', 'hi'][0] != ['hello', 'bye'][1]", (23, 23)),
        ("type(1)", (1, 1)),
        ("type(1) == int", (3, 1844674407370955266)),
    ] {
        assert_eq!(estimated(source), cost, "{source}");
    }
}

/// A root declaration and the estimate of a rule on it.
fn rule(schema: serde_json::Value, source: &str) -> u64 {
    let decl: Arc<Decl> = Decl::from_schema(&schema, "selfType", false).unwrap();
    let env = Env::kubernetes().declare("self", decl.type_of());
    let program = env.compile(source).unwrap_or_else(|errors| panic!("{source}\n{errors}"));
    program.cost_estimate(&SizeHints::new().with("self", decl)).max
}

#[test]
fn loops_over_what_has_no_bound_are_refused() {
    let list = |max: Option<u64>| {
        let mut list = json!({"type": "array", "items": {"type": "string"}});
        if let Some(max) = max {
            list["maxItems"] = json!(max);
            list["items"]["maxLength"] = json!(64);
        }
        json!({"type": "object", "properties": {"items": list}})
    };
    let once = "self.items.all(x, x != '')";
    let nested = "self.items.all(x, self.items.exists(y, x == y))";
    assert!(rule(list(None), once) <= crate::ESTIMATED_COST_LIMIT, "{}", rule(list(None), once));
    assert!(rule(list(None), nested) > crate::ESTIMATED_COST_LIMIT);
    assert!(
        rule(list(Some(32)), nested) < crate::ESTIMATED_COST_LIMIT / 100,
        "{}",
        rule(list(Some(32)), nested)
    );

    let text = |max: Option<u64>| {
        let mut text = json!({"type": "string"});
        if let Some(max) = max {
            text["maxLength"] = json!(max);
        }
        json!({"type": "object", "properties": {"a": text.clone(), "b": text}})
    };
    assert!(rule(text(None), "self.a.contains(self.b)") > crate::ESTIMATED_COST_LIMIT);
    assert!(rule(text(Some(100)), "self.a.contains(self.b)") < 10_000);
    assert_eq!(rule(text(Some(10)), "self.a == self.b"), 4 + 4);
}

#[test]
fn budgets_hold() {
    let list: Vec<i64> = (0..100_000).collect();
    let list = json!(list);
    let bindings = Bindings::new().with("x", Value::from_json(&list));
    let nested = compile("x.all(a, x.all(b, a != b || a == b))");
    let mut budget = Budget::new(crate::BUDGET);
    assert_eq!(nested.eval(&bindings, &mut budget).unwrap_err(), EvalError::CostLimit);
    assert!(budget.remaining() < crate::BUDGET - crate::PER_CALL_LIMIT);

    let cheap = compile("x.size() > 3");
    let mut budget = Budget::new(5);
    assert!(cheap.eval(&bindings, &mut budget).is_ok());
    assert_eq!(budget.remaining(), 2);
    assert_eq!(cheap.eval(&bindings, &mut budget).unwrap_err(), EvalError::BudgetExhausted);
    assert_eq!(budget.remaining(), 0);

    // Neither `||` nor a macro absorbs the end of the budget.
    let absorbing = compile("x.all(a, x.all(b, a != b || a == b)) || true");
    assert_eq!(absorbing.eval(&bindings, &mut Budget::new(crate::BUDGET)).unwrap_err(), EvalError::CostLimit);
}
