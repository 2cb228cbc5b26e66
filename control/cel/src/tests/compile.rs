//! What the checker and the parser say.

use super::{compile, env, mistakes};
use crate::Type;

#[test]
fn mistakes_read_as_upstreams() {
    for (source, text) in [
        ("foo", "ERROR: <input>:1:1: undeclared reference to 'foo' (in container '')\n | foo\n | ^"),
        (
            "1 + x + foo",
            "ERROR: <input>:1:9: undeclared reference to 'foo' (in container '')\n | 1 + x + foo\n | ........^",
        ),
        (
            "'a' + 1",
            "ERROR: <input>:1:5: found no matching overload for '_+_' applied to '(string, int)'\n | 'a' + 1\n | ....^",
        ),
        (
            "'a'.size() + 'b'",
            "ERROR: <input>:1:12: found no matching overload for '_+_' applied to '(int, string)'\n | 'a'.size() + 'b'\n | ...........^",
        ),
        (
            "'a'.foo(1)",
            "ERROR: <input>:1:8: undeclared reference to 'foo' (in container '')\n | 'a'.foo(1)\n | .......^",
        ),
        (
            "'a'.startsWith(1)",
            "ERROR: <input>:1:15: found no matching overload for 'startsWith' applied to 'string.(int)'\n | 'a'.startsWith(1)\n | ..............^",
        ),
        ("1 && true", "ERROR: <input>:1:1: expected type 'bool' but found 'int'\n | 1 && true\n | ^"),
        ("[1, 'a']", "ERROR: <input>:1:5: expected type 'int' but found 'string'\n | [1, 'a']\n | ....^"),
        (
            "{'a': 1, 'b': 'c'}",
            "ERROR: <input>:1:15: expected type 'int' but found 'string'\n | {'a': 1, 'b': 'c'}\n | ..............^",
        ),
        ("1.foo", "ERROR: <input>:1:2: type 'int' does not support field selection\n | 1.foo\n | .^"),
        ("(1).foo", "ERROR: <input>:1:4: type 'int' does not support field selection\n | (1).foo\n | ...^"),
        (
            "(1).all(i, true)",
            "ERROR: <input>:1:2: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)\n | (1).all(i, true)\n | .^",
        ),
        (
            "duration('1x')",
            "ERROR: <input>:1:10: invalid duration argument\n | duration('1x')\n | .........^",
        ),
        (
            "timestamp('yesterday')",
            "ERROR: <input>:1:11: invalid timestamp argument\n | timestamp('yesterday')\n | ..........^",
        ),
        (
            "'a'.matches('(')",
            "ERROR: <input>:1:13: invalid matches argument\n | 'a'.matches('(')\n | ............^",
        ),
        ("has(x)", "ERROR: <input>:1:5: invalid argument to has() macro\n | has(x)\n | ....^"),
        (
            "'é' + foo",
            "ERROR: <input>:1:7: undeclared reference to 'foo' (in container '')\n | 'é' + foo\n | .．....^",
        ),
        (
            "true &&\n  foo",
            "ERROR: <input>:2:3: undeclared reference to 'foo' (in container '')\n |   foo\n | ..^",
        ),
        (
            "Foo{a: 1}",
            "ERROR: <input>:1:4: undeclared reference to 'Foo' (in container '')\n | Foo{a: 1}\n | ...^",
        ),
        (
            "'%d'.format(['a'])",
            "ERROR: <input>:1:14: error during formatting: decimal clause can only be used on integers, was given string\n | '%d'.format(['a'])\n | .............^",
        ),
        ("'é' + + 1", "ERROR: <input>:1:7: Syntax error: "),
        ("", "ERROR: <input>:1:1: Syntax error: mismatched input '<EOF>' expecting "),
        ("1 +", "ERROR: <input>:1:4: Syntax error: mismatched input '<EOF>' expecting "),
        ("a b", "ERROR: <input>:1:3: Syntax error: "),
    ] {
        let found = mistakes(source);
        let exact = text.contains('\n');
        assert!(
            if exact { found == text } else { found.starts_with(text) },
            "{source}\nfound\n{found}\nwanted\n{text}"
        );
    }
}

#[test]
fn several_mistakes_come_in_the_order_of_the_source() {
    let text = mistakes("foo + bar + 'a'.baz()");
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("ERROR")).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(
        lines[0].contains("1:1: ") && lines[1].contains("1:7: ") && lines[2].contains("1:20: "),
        "{text}"
    );
}

#[test]
fn results_have_types() {
    for (source, ty) in [
        ("1", "int"),
        ("[1]", "list(int)"),
        ("{'a': [1.0]}", "map(string, list(double))"),
        ("[]", "list(dyn)"),
        ("x", "dyn"),
        ("x.y", "dyn"),
        ("optional.of(1)", "optional_type(int)"),
        ("{'a': 1}.?a", "optional_type(int)"),
        ("[1].map(e, string(e))", "list(string)"),
        ("{'a': 1}.map(k, k)", "list(string)"),
        ("timestamp(0)", "timestamp"),
        ("duration('1s')", "duration"),
        ("null", "null"),
        ("type(1)", "type(int)"),
        ("true ? 1 : 2", "int"),
        ("quantity('1')", "kubernetes.Quantity"),
        ("'a'.split(',')", "list(string)"),
        ("[1].transformMap(i, v, 'a')", "map(int, string)"),
        ("optional.of(1).optMap(v, 'a')", "optional_type(string)"),
        ("[3, 1].sortBy(e, -e)", "list(int)"),
        ("url('/a').getQuery()", "map(string, list(string))"),
    ] {
        assert_eq!(compile(source).output_type().to_string(), ty, "{source}");
    }
}

#[test]
fn null_is_not_a_scalar() {
    let env = env().declare("s", Type::String).declare("t", Type::Timestamp);
    let error = env.compile("s == null").unwrap_err().to_string();
    assert!(error.contains("found no matching overload for '_==_' applied to '(string, null)'"), "{error}");
    assert!(env.compile("t == null").is_ok());
}

#[test]
fn variables_are_known() {
    let env = env().declare_fields("variables", [("a".to_owned(), Type::Int)]);
    let program = env.compile("variables.a > 1 && object.metadata.name == x && [1].all(y, y > 0)").unwrap();
    assert_eq!(program.variables(), ["object", "variables.a", "x"]);
    let error = env.compile("variables.b > 1").unwrap_err().to_string();
    assert!(error.contains("undefined field 'b'"), "{error}");
}
