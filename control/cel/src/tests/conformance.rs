//! Cases in the manner of the language's conformance suite.

use super::{all_fail, all_true, eval};

#[test]
fn integers() {
    all_true(&[
        "40 + 2 == 42",
        "42 - 45 == -3",
        "40 * -2 == -80",
        "47 / 3 == 15",
        "-47 / 3 == -15",
        "47 % 5 == 2",
        "-47 % 5 == -2",
        "-(42) == -42",
        "--42 == 42",
        "9223372036854775807 > 0",
        "-9223372036854775808 < 0",
        "0x55 == 85",
        "-0x5a == -90",
        "2u + 3u == 5u",
        "7u / 2u == 3u",
        "7u % 2u == 1u",
        "43u - 1u == 42u",
        "0xffu == 255u",
    ]);
    all_fail(&[
        ("9223372036854775807 + 1", "integer overflow"),
        ("-9223372036854775808 - 1", "integer overflow"),
        ("5000000000000000000 * 2", "integer overflow"),
        ("-(-9223372036854775808)", "integer overflow"),
        ("-9223372036854775808 / -1", "integer overflow"),
        ("1 / 0", "division by zero"),
        ("1 % 0", "modulus by zero"),
        ("1u / 0u", "division by zero"),
        ("1u % 0u", "modulus by zero"),
        ("0u - 1u", "unsigned integer overflow"),
        ("18446744073709551615u + 1u", "unsigned integer overflow"),
        ("18446744073709551615u * 2u", "unsigned integer overflow"),
    ]);
}

#[test]
fn doubles() {
    all_true(&[
        "1.5 + 1.5 == 3.0",
        "42.0 - 42.0 == 0.0",
        "-2.25 * 2.0 == -4.5",
        "1.0 / 0.0 == double('Infinity')",
        "-1.0 / 0.0 == double('-Infinity')",
        "0.0 / 0.0 != 0.0 / 0.0",
        "1e3 == 1000.0",
        ".5 == 0.5",
        "-(1.5) == -1.5",
    ]);
}

#[test]
fn numbers_compare_across_types() {
    all_true(&[
        "dyn(1) == 1u",
        "dyn(1) == 1.0",
        "1 < 1.5",
        "1u < 2",
        "2 > 1u",
        "1.5 >= 1u",
        "-1 < 1u",
        "18446744073709551615u > -1",
        "18446744073709551615u > 9223372036854775807",
        "9223372036854775807 < 9223372036854775808.0",
        "dyn(9007199254740993) != 9007199254740992.0",
        "dyn(1) in [dyn(1.0)]",
        "{1: 'a'}[dyn(1u)] == 'a'",
        "{1: 'a'}[dyn(1.0)] == 'a'",
        "[1, 2][dyn(1u)] == 2",
        "[1, 2][dyn(1.0)] == 2",
    ]);
    all_fail(&[
        ("dyn(0.0 / 0.0) < 1", "NaN values cannot be ordered"),
        ("dyn('a') < 1", "no such overload"),
        ("[1][dyn(0.5)]", "unsupported index value 0.5 in list"),
    ]);
}

#[test]
fn strings_and_bytes() {
    all_true(&[
        "'a' + 'b' == 'ab'",
        "size('αβγ') == 3",
        "size(b'αβγ') == 6",
        "'αβγ'.size() == 3",
        "'foobar'.startsWith('foo')",
        "'foobar'.endsWith('bar')",
        "'foobar'.contains('oba')",
        "!'foobar'.contains('x')",
        "'a' < 'b' && 'b' <= 'b' && 'c' > 'b' && 'c' >= 'c'",
        "b'a' < b'b'",
        "b'a' + b'b' == b'ab'",
        "'foobar'.matches('^fo+b')",
        "matches('foobar', 'bar$')",
        "r'\\d' == '\\\\d'",
        "'''a'b''' == \"a'b\"",
        "'\\u00e9' == 'é'",
        "'\\x41\\101' == 'AA'",
        "b'\\xff' != b'ÿ'",
        "'' == \"\"",
    ]);
}

#[test]
fn conversions() {
    all_true(&[
        "int('42') == 42",
        "int(42u) == 42",
        "int(42.9) == 42",
        "int(-42.9) == -42",
        "int(timestamp('2004-09-16T23:59:59Z')) == 1095379199",
        "uint(42) == 42u",
        "uint('42') == 42u",
        "uint(1.9) == 1u",
        "double(1) == 1.0",
        "double('6.02e23') == 6.02e23",
        "double(3u) == 3.0",
        "string(1) == '1'",
        "string(1u) == '1'",
        "string(-3.5) == '-3.5'",
        "string(1e6) == '1e+06'",
        "string(123456.0) == '123456'",
        "string(1e-7) == '1e-07'",
        "string(true) == 'true'",
        "string(b'abc') == 'abc'",
        "bytes('abc') == b'abc'",
        "bool('true') && !bool('False') && bool('1')",
        "string(duration('1h30m')) == '5400s'",
        "string(timestamp('2009-02-13T23:31:30Z')) == '2009-02-13T23:31:30Z'",
        "type(1) == int",
        "type('') == string",
        "type([1]) == list",
        "type({}) == map",
        "type(null) == null_type",
        "type(int) == type",
        "type(timestamp(0)) == google.protobuf.Timestamp",
        "type(ip('1.2.3.4')) == net.IP",
        "type(quantity('1')) == kubernetes.Quantity",
        "type(optional.none()) == optional_type",
    ]);
    all_fail(&[
        ("int('x')", "strconv.ParseInt: parsing \"x\": invalid syntax"),
        (
            "int('9223372036854775808')",
            "strconv.ParseInt: parsing \"9223372036854775808\": value out of range",
        ),
        ("int(1e99)", "integer overflow"),
        ("int(18446744073709551615u)", "integer overflow"),
        ("uint(-1)", "unsigned integer overflow"),
        ("bool('yes')", "strconv.ParseBool: parsing \"yes\": invalid syntax"),
        ("string(b'\\xff')", "invalid UTF-8 in bytes, cannot convert to string"),
        ("int(dyn([]))", "no such overload: int(list)"),
    ]);
}

#[test]
fn logic_absorbs_errors() {
    all_true(&[
        "true || 1 / 0 > 1",
        "1 / 0 > 1 || true",
        "!(false && 1 / 0 > 1)",
        "!(1 / 0 > 1 && false)",
        "true ? true : 1 / 0 > 1",
        "false ? 1 / 0 > 1 : true",
        "[1, 2, 3].exists(e, 1 / (e - 2) > 0)",
        "![dyn('a'), dyn(1)].all(e, e == 'a')",
        "![0, 1].all(e, 1 / e > 1)",
    ]);
    all_fail(&[
        ("1 / 0 > 1 || false", "division by zero"),
        ("1 / 0 > 1 && true", "division by zero"),
        ("false || 1 / 0 > 1", "division by zero"),
        ("[0, 2].all(e, 4 / e > 1)", "division by zero"),
        ("[0].exists(e, 4 / e > 1)", "division by zero"),
        ("dyn('a') || false", "no such overload"),
        ("dyn(1) ? 1 : 2", "no such overload"),
        ("!dyn(1)", "no such overload"),
    ]);
}

#[test]
fn lists_and_maps() {
    all_true(&[
        "[1, 2, 3][0] == 1",
        "[1, 2] + [3] == [1, 2, 3]",
        "[] + [] == []",
        "size([1, 2]) == 2 && [1].size() == 1",
        "2 in [1, 2]",
        "!(3 in [1, 2])",
        "[dyn(1), dyn([2])] == [dyn(1), dyn([2])]",
        "[[1], [2]] == [[1], [2]]",
        "{'a': 1}['a'] == 1",
        "{'a': 1}.a == 1",
        "'a' in {'a': 1}",
        "size({'a': 1, 'b': 2}) == 2",
        "{'a': 1, 'b': 2} == {'b': 2, 'a': 1}",
        "{1: 'x', 2: 'y'}[2] == 'y'",
        "{true: 1}[true] == 1",
        "{1u: 'x'}[1u] == 'x'",
        "[1, 2, 3] != [1, 2]",
        "{'a': {'b': [1, 2]}}.a.b[1] == 2",
        "dyn([1]) != dyn({1: 1})",
        "dyn('1') != dyn(1)",
        "null == null",
        "dyn(null) != 0",
    ]);
    all_fail(&[
        ("[1, 2][2]", "index out of bounds: 2"),
        ("[1, 2][-1]", "index out of bounds: -1"),
        ("{'a': 1}['b']", "no such key: b"),
        ("{'a': 1}.b", "no such key: b"),
        ("{1: 1}[7]", "no such key: 7"),
        ("dyn(1).a", "no such key: a"),
        ("dyn(null).a", "no such key: a"),
        ("dyn(1)[0]", "no such key: 0"),
        ("dyn([1]).a", "unsupported index type 'string' in list"),
    ]);
}

#[test]
fn macros() {
    all_true(&[
        "[1, 2, 3].all(x, x > 0)",
        "[].all(x, x > 0)",
        "[1, 2, 3].exists(x, x == 2)",
        "![].exists(x, x == 2)",
        "[1, 2, 3].exists_one(x, x == 2)",
        "![2, 2].exists_one(x, x == 2)",
        "[1, 2, 3].map(x, x * 2) == [2, 4, 6]",
        "[1, 2, 3].map(x, x > 1, x * 2) == [4, 6]",
        "[1, 2, 3].filter(x, x % 2 == 1) == [1, 3]",
        "{'a': 1, 'b': 2}.map(k, k) == ['a', 'b']",
        "{'a': 1, 'b': 2}.all(k, k in ['a', 'b'])",
        "{'a': 1, 'b': 2}.filter(k, k == 'a') == ['a']",
        "has({'a': 1}.a)",
        "!has(dyn(1).a)",
        "!has(dyn(null).a)",
        "dyn(1).?a == optional.none()",
        "{'a': 1, 'a': 2} == {'a': 2}",
        "{'a': 1, ?'a': optional.none()} == {}",
        "!has({'a': 1}.b)",
        "[[1, 2], [3]].map(l, l.map(e, e + 1)) == [[2, 3], [4]]",
        "[1, 2].map(x, [3, 4].map(y, x * y)) == [[3, 4], [6, 8]]",
        "[1, 2, 3].map(x, x).map(x, x + 1).filter(x, x > 2) == [3, 4]",
    ]);
}

#[test]
fn macros_of_two_variables() {
    all_true(&[
        "[1, 2, 3].all(i, v, i + 1 == v)",
        "[1, 2, 3].exists(i, v, i == 1 && v == 2)",
        "[1, 2, 3].existsOne(i, v, v == 2)",
        "[1, 2, 3].exists_one(i, v, v == 2)",
        "{'a': 1, 'b': 2}.all(k, v, v > 0)",
        "{'a': 1, 'b': 2}.exists(k, v, k == 'b' && v == 2)",
        "['x', 'y'].transformList(i, v, string(i) + v) == ['0x', '1y']",
        "['x', 'y'].transformList(i, v, i > 0, v) == ['y']",
        "{'a': 1, 'b': 2}.transformMap(k, v, v * 10) == {'a': 10, 'b': 20}",
        "{'a': 1, 'b': 2}.transformMap(k, v, k == 'a', v * 10) == {'a': 10}",
        "['x', 'y'].transformMap(i, v, v) == {0: 'x', 1: 'y'}",
        "{'a': 'b'}.transformMapEntry(k, v, {v: k}) == {'b': 'a'}",
        "['x', 'y'].transformMapEntry(i, v, i == 1, {v: i}) == {'y': 1}",
    ]);
    all_fail(&[("['x', 'x'].transformMapEntry(i, v, {v: i})", "insert failed: key x already exists")]);
}

#[test]
fn optionals() {
    all_true(&[
        "optional.of(1).value() == 1",
        "optional.of(1).hasValue()",
        "!optional.none().hasValue()",
        "optional.ofNonZeroValue(0) == optional.none()",
        "optional.ofNonZeroValue('a').value() == 'a'",
        "optional.none().orValue(3) == 3",
        "optional.of(2).orValue(3) == 2",
        "optional.none().or(optional.of(4)).value() == 4",
        "optional.of(2).orValue(1 / 0) == 2",
        "{'a': 1}.?a == optional.of(1)",
        "{'a': 1}.?b == optional.none()",
        "{'a': 1}[?'a'].value() == 1",
        "{'a': {'b': 2}}.?a.b.value() == 2",
        "{'a': {'b': 2}}.?a.?c.orValue(5) == 5",
        "{'a': [1, 2]}.?a[1].value() == 2",
        "[1, 2][?5] == optional.none()",
        "[1, 2][?1] == optional.of(2)",
        "[1, ?optional.none(), ?optional.of(3)] == [1, 3]",
        "{?'a': optional.none(), ?'b': optional.of(1)} == {'b': 1}",
        "optional.of(3).optMap(x, x * 2) == optional.of(6)",
        "optional.none().optMap(x, x) == optional.none()",
        "optional.of(3).optFlatMap(x, optional.of(x + 1)).value() == 4",
        "optional.of(3).optFlatMap(x, optional.none()) == optional.none()",
        "has({'a': {'b': 1}}.?a.b)",
        "[1, 2].first().value() == 1",
        "[1, 2].last().value() == 2",
        "[].first() == optional.none()",
        "[optional.of(1), optional.none()].unwrapOpt() == [1]",
        "optional.unwrap([optional.none(), optional.of('a')]) == ['a']",
    ]);
    all_fail(&[("optional.none().value()", "optional.none() dereference")]);
}

#[test]
fn timestamps_and_durations() {
    all_true(&[
        "timestamp('2009-02-13T23:31:30Z').getFullYear() == 2009",
        "timestamp('2009-02-13T23:31:30Z').getMonth() == 1",
        "timestamp('2009-02-13T23:31:30Z').getDate() == 13",
        "timestamp('2009-02-13T23:31:30Z').getDayOfMonth() == 12",
        "timestamp('2009-02-13T23:31:30Z').getDayOfWeek() == 5",
        "timestamp('2009-02-13T23:31:30Z').getDayOfYear() == 43",
        "timestamp('2009-02-13T23:31:30Z').getHours() == 23",
        "timestamp('2009-02-13T23:31:30Z').getMinutes() == 31",
        "timestamp('2009-02-13T23:31:30Z').getSeconds() == 30",
        "timestamp('2009-02-13T23:31:20.123456789Z').getMilliseconds() == 123",
        "timestamp('2009-02-13T23:31:30Z').getDate('Australia/Sydney') == 14",
        "timestamp('2009-02-13T23:31:30Z').getHours('+02:00') == 1",
        "timestamp('2009-02-13T23:31:30Z').getHours('-02:30') == 21",
        "timestamp('2009-02-13T23:00:00Z') + duration('1h') == timestamp('2009-02-14T00:00:00Z')",
        "duration('1h') + timestamp('2009-02-13T23:00:00Z') == timestamp('2009-02-14T00:00:00Z')",
        "timestamp('2009-02-13T23:00:00Z') - duration('1h') == timestamp('2009-02-13T22:00:00Z')",
        "timestamp('2009-02-13T23:00:00Z') - timestamp('2009-02-13T22:00:00Z') == duration('1h')",
        "timestamp('2009-02-13T00:00:00Z') < timestamp('2009-02-13T00:00:01Z')",
        "timestamp('2009-02-13T01:00:00+01:00') == timestamp('2009-02-13T00:00:00Z')",
        "timestamp(1234567890) == timestamp('2009-02-13T23:31:30Z')",
        "duration('1h').getMinutes() == 60",
        "duration('90s').getHours() == 0",
        "duration('1.5s').getMilliseconds() == 1500",
        "duration('1m') < duration('1h')",
        "duration('1m') + duration('1s') == duration('61s')",
        "int(duration('1us')) == 1000",
    ]);
    all_fail(&[
        ("timestamp('9999-12-31T23:59:59Z') + duration('1s')", "timestamp overflow"),
        ("timestamp('0001-01-01T00:00:00Z') - duration('1ns')", "timestamp overflow"),
        ("duration('2562047h') + duration('2562047h')", "duration overflow"),
        ("duration(dyn('x'))", "time: invalid duration \"x\""),
        ("timestamp(dyn(0)).getHours('Mars/Base')", "unknown time zone Mars/Base"),
    ]);
    assert!(eval("timestamp(dyn('x'))").is_err());
}
