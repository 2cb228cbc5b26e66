//! Whatever the text, compiling and evaluating end, within their bounds, and never panic.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;

use super::{compile, env};
use crate::{Bindings, Budget, EvalError, SizeHints, Value};

fn refused(source: &str, text: &str) {
    let errors = env().compile(source).unwrap_err().to_string();
    assert!(errors.contains(text), "{}\n{errors}", &source[..source.len().min(60)]);
}

#[test]
fn nesting_is_bounded() {
    let limit = "expression recursion limit exceeded: 250";
    for source in [
        format!("{}1{}", "(".repeat(10_000), ")".repeat(10_000)),
        "(".repeat(10_000),
        "[".repeat(50_000),
        format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000)),
        format!("x{}", ".a".repeat(40_000)),
        format!("x{}", "[0]".repeat(20_000)),
        format!("1{}", "+1".repeat(40_000)),
        format!("1{}", "+1".repeat(2_000)),
        format!("x{}", ".a".repeat(1_000)),
        format!("{}1{}", "[0].map(a, ".repeat(2_000), ")".repeat(2_000)),
        format!("{}true", "true ? true : ".repeat(5_000)),
        format!("x{}", "({".repeat(5_000)),
    ] {
        let errors = env().compile(&source).unwrap_err().to_string();
        assert!(errors.contains(limit) || errors.contains("Syntax error"), "{}\n{errors}", &source[..40]);
    }
    refused(&"1 ".repeat(60_000), "expression code point size exceeds limit: size: 120000, limit 100000");
    // What is within the bounds compiles and runs.
    assert!(
        compile(&format!("1{}", "+1".repeat(200))).eval(&Bindings::new(), &mut Budget::new(9999)).is_ok()
    );
    let wide = vec!["x == 1"; 1000].join(" || ");
    let one = json!(1);
    let bindings = Bindings::new().with("x", Value::from_json(&one));
    assert!(compile(&wide).eval(&bindings, &mut Budget::new(9999)).is_ok());
    assert!(
        compile(&format!("{}1{}", "(".repeat(240), ")".repeat(240)))
            .eval(&bindings, &mut Budget::new(9))
            .is_ok()
    );
    assert!(
        compile(&format!("{}1{}", "[0].map(a, ".repeat(20), ")".repeat(20)))
            .cost_estimate(&SizeHints::new())
            .max
            > 0
    );
    let not = format!("{}true", "!".repeat(2001));
    assert!(compile(&not).eval(&bindings, &mut Budget::new(9)).is_ok());
}

#[test]
fn deep_nesting_needs_no_deep_stack() {
    let deep = format!("{}1{}", "[".repeat(80), "]".repeat(80));
    let chain = format!("!x{}.hasValue()", ".?a".repeat(100));
    let run = move || {
        for source in [&deep, &chain] {
            let program = compile(source);
            let none = json!({});
            let bindings = Bindings::new().with("x", Value::from_json(&none));
            program.eval(&bindings, &mut Budget::new(crate::BUDGET)).unwrap();
            program.cost_estimate(&SizeHints::new());
        }
    };
    // Two megabytes is what a worker thread has.
    std::thread::Builder::new().stack_size(512 << 10).spawn(run).unwrap().join().unwrap();
}

#[test]
fn what_grows_by_itself_is_stopped() {
    for source in [
        // Doubling a string, and a list, many times over.
        format!("['a']{}", ".map(x, x + x)".repeat(60)),
        format!("[[1]]{}", ".map(x, x + x)".repeat(60)),
        format!("[[1]]{}.map(x, x == x)", ".map(x, x + x)".repeat(24)),
        format!("[[1]]{}.all(x, x.all(y, y == 1))", ".map(x, x + x)".repeat(24)),
        // A replacement between all characters.
        "['x']".to_owned() + &".map(s, s.replace('', '0123456789'))".repeat(12),
        "lists.range(9223372036854775807)".to_owned(),
        "lists.range(100000000)".to_owned(),
        "lists.range(1000).map(a, lists.range(1000)).map(a, a.distinct())".to_owned(),
        "lists.range(3000).map(a, lists.range(3000).map(b, b)) == []".to_owned(),
        "'%s'.format(['x'])".to_owned() + &".split('').map(c, c + c + c + c).join('-')".repeat(40),
    ] {
        let start = Instant::now();
        let result = compile(&source).eval(&Bindings::new(), &mut Budget::new(crate::BUDGET));
        assert_eq!(result.unwrap_err(), EvalError::CostLimit, "{source}");
        assert!(start.elapsed() < Duration::from_secs(20), "{source} took {:?}", start.elapsed());
    }
}

#[test]
fn optional_chains_do_not_multiply() {
    let source = format!("optional.of(1){}", ".optMap(v, v + 1)".repeat(40));
    let start = Instant::now();
    let program = compile(&source);
    // Upstream writes the target twice, so that its cost doubles with each link: the budget ends it.
    let (result, cost) = program.eval_counted(&Bindings::new(), &mut Budget::new(crate::BUDGET));
    assert_eq!(result.unwrap_err(), EvalError::CostLimit, "{cost}");
    assert!(start.elapsed() < Duration::from_secs(10));
    let few = compile(&format!("optional.of(1){}", ".optMap(v, v + 1)".repeat(5)));
    let value = few.eval(&Bindings::new(), &mut Budget::new(crate::BUDGET)).unwrap();
    assert_eq!(value.to_json().unwrap(), json!(6));
}

/// Pieces of expressions, put together at random.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("1".to_owned()),
        Just("-9223372036854775808".to_owned()),
        Just("2u".to_owned()),
        Just("1.5".to_owned()),
        Just("'aé'".to_owned()),
        Just("b'x'".to_owned()),
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("x".to_owned()),
        Just("y".to_owned()),
        Just("object.spec".to_owned()),
        Just("object.list".to_owned()),
        Just("int".to_owned()),
        Just("[]".to_owned()),
        Just("{}".to_owned()),
        Just("timestamp(0)".to_owned()),
        Just("duration('1s')".to_owned()),
        Just("optional.none()".to_owned()),
        Just("quantity('1Gi')".to_owned()),
        Just("ip('1.2.3.4')".to_owned()),
        Just("cidr('10.0.0.0/8')".to_owned()),
        Just("format.uuid()".to_owned()),
        Just("lists.range(3)".to_owned()),
    ];
    leaf.prop_recursive(5, 48, 3, |inner| {
        let binary = prop::sample::select(vec![
            "+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "in",
        ]);
        let method = prop::sample::select(vec![
            "size()",
            "map(x, x)",
            "filter(x, x == y)",
            "all(x, x == 1)",
            "exists(y, y == x)",
            "exists_one(a, true)",
            "transformMap(k, v, v)",
            "transformList(i, v, i)",
            "optMap(v, v)",
            "orValue(1)",
            "hasValue()",
            "sum()",
            "max()",
            "isSorted()",
            "sort()",
            "sortBy(e, e)",
            "distinct()",
            "flatten()",
            "reverse()",
            "join(',')",
            "split('')",
            "replace('', 'ab')",
            "trim()",
            "substring(1)",
            "charAt(0)",
            "lowerAscii()",
            "find('a+')",
            "findAll('.')",
            "matches('(a|b)*')",
            "getFullYear()",
            "getHours('+01:00')",
            "family()",
            "masked()",
            "isInteger()",
            "first()",
            "format([x, 1])",
            "a.b",
            "?a",
            "value()",
            "slice(0, 1)",
            "indexOf('a')",
        ]);
        let function = prop::sample::select(vec![
            "size",
            "type",
            "string",
            "int",
            "uint",
            "double",
            "bool",
            "bytes",
            "dyn",
            "timestamp",
            "duration",
            "has",
            "quantity",
            "url",
            "ip",
            "isIP",
            "semver",
            "optional.of",
            "optional.ofNonZeroValue",
            "strings.quote",
            "!",
            "-",
            "lists.range",
        ]);
        prop_oneof![
            (inner.clone(), binary, inner.clone()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            (inner.clone(), method).prop_map(|(a, method)| format!("{a}.{method}")),
            (function, inner.clone()).prop_map(|(function, a)| format!("{function}({a})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("dyn({a})[{b}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}[?{b}]")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{{{a}: {b}}}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("dyn({a}).map(x, {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("dyn({a}).all(x, y, dyn({b}))")),
            inner.prop_map(|a| format!("Object{{spec: {a}}}")),
        ]
    })
}

/// Compiles and evaluates; what comes out does not matter.
fn run(source: &str) {
    let Ok(program) = env().with_mutation().compile(source) else { return };
    let object = json!({"spec": {"a": 1, "b": [true, null, "x"]}, "list": [3, 1, 2]});
    let x = json!([1, "a", {"a": {"b": 2}}]);
    let bindings = Bindings::new()
        .with("object", Value::from_json(&object))
        .with("x", Value::from_json(&x))
        .with("y", Value::Int(7));
    let mut budget = Budget::new(100_000);
    let (result, cost) = program.eval_counted(&bindings, &mut budget);
    assert!(cost <= 100_000 + crate::PER_CALL_LIMIT, "{source} cost {cost}");
    if let Ok(value) = result {
        let _ = value.to_json();
    }
    let estimate = program.cost_estimate(&SizeHints::new());
    assert!(estimate.min <= estimate.max, "{source} {estimate:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn expressions_end(source in expression()) {
        run(&source);
    }

    #[test]
    fn any_text_ends(source in "[a-z0-9 .,:?!'\"()\\[\\]{}+*/%<>=&|é\\\\\n-]{0,40}") {
        run(&source);
    }

    #[test]
    fn any_unicode_ends(source in "\\PC{0,24}") {
        run(&source);
    }
}
