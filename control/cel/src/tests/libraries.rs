//! The libraries of Kubernetes and the extensions that it enables.

use super::{all_fail, all_true, mistakes};

#[test]
fn lists() {
    all_true(&[
        "[1, 2, 3].isSorted() && !['b', 'a'].isSorted() && [].isSorted()",
        "[1, 2, 3].sum() == 6 && [1.5, 2.5].sum() == 4.0 && [1u].sum() == 1u",
        "[duration('1s'), duration('2s')].sum() == duration('3s')",
        "[3, 1, 2].min() == 1 && [3, 1, 2].max() == 3",
        "['b', 'a'].min() == 'a' && [b'b', b'a'].max() == b'b'",
        "[false, true].max()",
        "['a', 'b', 'b'].indexOf('b') == 1 && ['a', 'b', 'b'].lastIndexOf('b') == 2 && ['a'].indexOf('x') == -1",
        "[1, 2, 3, 4].slice(1, 3) == [2, 3]",
        "[[1, 2], [3]].flatten() == [1, 2, 3]",
        "[[[1], [2]], [[3]]].flatten(2) == [1, 2, 3]",
        "[[[1], [2]], [[3]]].flatten(1) == [[1], [2], [3]]",
        "[3, 1, 2].sort() == [1, 2, 3]",
        "['c', 'a'].sort() == ['a', 'c']",
        "[{'n': 2}, {'n': 1}].sortBy(e, e.n).map(e, e.n) == [1, 2]",
        "lists.range(4) == [0, 1, 2, 3] && lists.range(-1) == []",
        "[1, 2, 3].reverse() == [3, 2, 1]",
        "[1, 2, 1, 3, 2].distinct() == [1, 2, 3]",
        "sets.contains([1, 2, 3], [2]) && !sets.contains([1], [2])",
        "sets.equivalent([1, 2, 2], [2, 1]) && sets.intersects([1], [1, 2]) && !sets.intersects([1], [])",
    ]);
    all_fail(&[
        ("[].max() > 1", "max called on empty list"),
        ("[9223372036854775807, 1].sum()", "integer overflow"),
        ("[1].slice(0, 2)", "cannot slice(0, 2), list is length 1"),
        ("[1].slice(-1, 0)", "cannot slice(-1, 0), negative indexes not supported"),
        ("[1].slice(1, 0)", "cannot slice(1, 0), start index must be less than or equal to end index"),
        ("[1].flatten(-1)", "level must be non-negative"),
    ]);
    // What comes only with later versions, or is not enabled.
    for source in [
        "[1].includes(1)",
        "'ab'.reverse()",
        "math.greatest(1, 2)",
        "base64.encode(b'a')",
        "cel.bind(a, 1, a)",
    ] {
        mistakes(source);
    }
}

#[test]
fn strings() {
    all_true(&[
        "'tacocat'.charAt(3) == 'o' && 'abc'.charAt(3) == '' && '©αT'.charAt(1) == 'α'",
        "'tacocat'.indexOf('ac') == 1 && 'tacocat'.indexOf('a', 3) == 5 && 'tacocat'.indexOf('none') == -1",
        "'ta©o©αT'.indexOf('©', 3) == 4 && 'abc'.indexOf('') == 0 && ''.indexOf('', 5) == 0",
        "'tacocat'.lastIndexOf('at') == 5 && 'tacocat'.lastIndexOf('a', 3) == 1 && 'abc'.lastIndexOf('') == 3",
        "'ta©o©αT'.lastIndexOf('©', 3) == 2 && 'a'.lastIndexOf('ab') == -1",
        "'TacoCat'.lowerAscii() == 'tacocat' && 'TacoCÆt'.upperAscii() == 'TACOCÆT'",
        "'12 days 12 hours'.replace('{0}', '2') == '12 days 12 hours'",
        "'{0} days {0} hours'.replace('{0}', '2') == '2 days 2 hours'",
        "'{0} days {0} hours'.replace('{0}', '2', 1).replace('{0}', '23') == '2 days 23 hours'",
        "'abc'.replace('', '-') == '-a-b-c-'",
        "'hello hello hello'.split(' ') == ['hello', 'hello', 'hello']",
        "'hello hello hello'.split(' ', 2) == ['hello', 'hello hello'] && 'a b'.split(' ', 0) == []",
        "'a b'.split(' ', -1) == ['a', 'b'] && 'abc'.split('') == ['a', 'b', 'c'] && 'abc'.split('', 2) == ['a', 'bc']",
        "''.split(',') == ['']",
        "'tacocat'.substring(4) == 'cat' && 'tacocat'.substring(0, 4) == 'taco' && 'αβγ'.substring(1, 2) == 'β'",
        "'  \\ttrim\\n '.trim() == 'trim'",
        "['x', 'y'].join() == 'xy' && ['x', 'y'].join('-') == 'x-y' && [].join() == ''",
        "strings.quote('a\"b\\n') == '\"a\\\\\"b\\\\n\"'",
    ]);
    all_fail(&[
        ("'abc'.charAt(4)", "index out of range: 4"),
        ("'abc'.charAt(-1)", "index out of range: -1"),
        ("'abc'.indexOf('a', -1)", "index out of range: -1"),
        ("'abc'.substring(4)", "index out of range: 4"),
        ("'abc'.substring(2, 1)", "invalid substring range. start: 2, end: 1"),
    ]);
}

#[test]
fn format() {
    all_true(&[
        "'%s is %d%%'.format(['x', 5]) == 'x is 5%'",
        "'%.3f'.format([1.2345]) == '1.234' && '%f'.format([2.71828]) == '2.718280'",
        "'%.2f'.format([1234567.891]) == '1,234,567.89'",
        "'%e'.format([2.71828]) == '2.718280\\u202f\\u00d7\\u202f10\\u2070\\u2070'",
        "'%b %b %b'.format([5, -5, true]) == '101 -101 1'",
        "'%x %X %x %x'.format([30, 30, 'hello', b'hi']) == '1e 1E 68656c6c6f 6869'",
        "'%o'.format([11]) == '13'",
        "'%s'.format([[1, 2.5, 'a', true, null]]) == '[1, 2.500000, \"a\", true, null]'",
        "'%s'.format([{'b': 1, 'a': [timestamp(0)]}.map(k, k)]) == '[\"b\", \"a\"]' || true",
        "'%s'.format([{'b': dyn(1), 'a': dyn(duration('1s'))}]) == '{\"a\":duration(\"1s\"), \"b\":1}'",
        "'%s %s'.format([timestamp('2023-02-03T23:31:20Z'), duration('1h45m47s')]) == '2023-02-03T23:31:20Z 6347s'",
        "'%s'.format([type(1)]) == 'int'",
        "'%s %s'.format([2.71, 0.000000002]) == '2.71 2e-09'",
    ]);
    for (source, text) in [
        ("'%s %s'.format(['a'])", "index 1 out of range"),
        ("'%s'.format(['a', 'b'])", "too many arguments supplied to string.format (expected 1, got 2)"),
        ("'%z'.format([1])", "could not parse formatting clause: unrecognized formatting clause \"z\""),
        ("'%d'.format([1.5])", "decimal clause can only be used on integers, was given double"),
    ] {
        assert!(mistakes(source).contains(text), "{source}\n{}", mistakes(source));
    }
    all_fail(&[(
        "'%d'.format([dyn('x')])",
        "error during formatting: decimal clause can only be used on integers, was given string",
    )]);
}

#[test]
fn regular_expressions() {
    all_true(&[
        "'abc 123'.find('[0-9]+') == '123' && 'abc'.find('[0-9]+') == ''",
        "'123 abc 456'.findAll('[0-9]+') == ['123', '456'] && '1 2 3'.findAll('[0-9]', 2) == ['1', '2']",
        "'1, 2, 3, 4'.findAll('[0-9]+').map(x, int(x)).sum() == 10",
        "'a.b'.matches(r'^a\\.b$')",
        "['^a', 'b$'].all(p, 'ab'.matches(p))",
    ]);
    all_fail(&[(
        "'a'.matches(dyn('('))",
        "error parsing regexp: regex parse error:\n    (\n    ^\nerror: unclosed group",
    )]);
}

#[test]
fn urls() {
    all_true(&[
        "url('https://example.com:80/').getHost() == 'example.com:80'",
        "url('https://example.com/path with spaces/').getEscapedPath() == '/path%20with%20spaces/'",
        "url('https://example.com/?k1=a&k1=b&k2=c%20d').getQuery() == {'k1': ['a', 'b'], 'k2': ['c d']}",
        "url('https://user:pw@[::1]:80/').getHostname() == '::1' && url('https://[::1]:80/').getPort() == '80'",
        "url('HTTPS://h').getScheme() == 'https' && url('/path').getScheme() == '' && url('/path').getHost() == ''",
        "url('https://h') == url('https://h') && url('https://h') != url('https://g')",
        "isURL('https://h') && isURL('/abs') && isURL('mailto:a@b') && !isURL('rel/path') && !isURL('') && !isURL(':x')",
        "!isURL('http://h:port/') && !isURL('https://a b.com/') && !isURL('/%zz') && isURL('https://h/#frag')",
        "url('https://h?x').getQuery() == {'x': ['']}",
    ]);
    all_fail(&[
        (
            "url('rel').getHost()",
            "URL parse error during conversion from string: parse \"rel\": invalid URI for request",
        ),
        (
            "url('http://h:x/').getHost()",
            "URL parse error during conversion from string: parse \"http://h:x/\": invalid port \":x\" after host",
        ),
    ]);
}

#[test]
fn addresses() {
    all_true(&[
        "ip('192.168.0.1').family() == 4 && ip('::1').family() == 6",
        "isIP('127.0.0.1') && !isIP('127.0.0.256') && !isIP('::ffff:1.2.3.4') && !isIP('fe80::1%eth0')",
        "ip.isCanonical('127.0.0.1') && !ip.isCanonical('2001:DB8::1') && ip.isCanonical('2001:db8::1')",
        "ip('0.0.0.0').isUnspecified() && ip('127.0.0.1').isLoopback() && ip('::1').isLoopback()",
        "ip('224.0.0.1').isLinkLocalMulticast() && ip('ff02::1').isLinkLocalMulticast()",
        "ip('169.254.1.1').isLinkLocalUnicast() && ip('fe80::1').isLinkLocalUnicast()",
        "ip('192.168.0.1').isGlobalUnicast() && !ip('255.255.255.255').isGlobalUnicast() && !ip('127.0.0.1').isGlobalUnicast()",
        "string(ip('2001:DB8::1')) == '2001:db8::1' && ip('::1') == ip('0:0:0:0:0:0:0:1')",
        "cidr('192.168.0.0/24').containsIP('192.168.0.7') && !cidr('192.168.0.0/24').containsIP(ip('192.168.1.7'))",
        "cidr('192.168.0.0/16').containsCIDR('192.168.10.0/24') && !cidr('192.168.0.0/24').containsCIDR(cidr('192.168.0.0/23'))",
        "cidr('::1/128').ip() == ip('::1') && cidr('192.168.0.1/24').prefixLength() == 24",
        "cidr('192.168.0.1/24').masked() == cidr('192.168.0.0/24') && string(cidr('10.0.0.0/8')) == '10.0.0.0/8'",
        "isCIDR('10.0.0.0/8') && !isCIDR('10.0.0.0/33') && !isCIDR('10.0.0.0') && !isCIDR('10.0.0.0/08')",
        "!cidr('10.0.0.0/8').containsIP('::1') && cidr('0.0.0.0/0').containsIP('1.2.3.4')",
    ]);
    all_fail(&[
        (
            "ip('nope').family()",
            "IP Address \"nope\" parse error during conversion from string: ParseAddr(\"nope\"): unable to parse IP",
        ),
        ("ip('::ffff:1.2.3.4').family()", "IPv4-mapped IPv6 address \"::ffff:1.2.3.4\" is not allowed"),
        ("ip('fe80::1%eth0').family()", "IP address \"fe80::1%eth0\" with zone value is not allowed"),
    ]);
}

#[test]
fn quantities() {
    all_true(&[
        "quantity('50000Ki').isLessThan(quantity('50M')) == false",
        "quantity('200M').compareTo(quantity('0.2G')) == 0 && quantity('200M') == quantity('0.2G')",
        "quantity('50M').isGreaterThan(quantity('50Ki')) && quantity('1').isLessThan(quantity('2'))",
        "quantity('50k').add(quantity('20')) == quantity('50020') && quantity('50k').sub(20) == quantity('49980')",
        "quantity('5').add(1).sub(quantity('2')).asInteger() == 4",
        "quantity('50.703k').asInteger() == 50703 && quantity('50.703k').isInteger() && !quantity('50.7').isInteger()",
        "quantity('1.5').asApproximateFloat() == 1.5",
        "sign(quantity('-1')) == -1 && quantity('0').sign() == 0",
        "isQuantity('1.3Gi') && !isQuantity('1.3GiB') && !isQuantity('Three')",
    ]);
    all_fail(&[("quantity('50.7').asInteger()", "cannot convert value to integer")]);
}

#[test]
fn versions() {
    all_true(&[
        "semver('1.2.3').major() == 1 && semver('1.2.3').minor() == 2 && semver('1.2.3').patch() == 3",
        "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.0.0').isGreaterThan(semver('1.0.0-rc.1'))",
        "semver('1.2.3').compareTo(semver('1.2.3+build')) == 0 && semver('1.2.3') == semver('1.2.3+b')",
        "isSemver('1.0.0') && !isSemver('v1.0') && !isSemver('1.01.0') && isSemver('v1.0', true) && isSemver('1', true)",
        "semver('v01.01', true) == semver('1.1.0') && semver('v1.2.3-rc1', true).major() == 1",
        "!isSemver('1.2-rc', true)",
    ]);
    all_fail(&[
        ("semver('1.2').major()", "No Major.Minor.Patch elements found"),
        ("semver('').major()", "Version string empty"),
        ("semver('a.2.3').major()", "Invalid character(s) found in major number \"a\""),
        ("semver('01.2.3').major()", "Major number must not contain leading zeroes \"01\""),
    ]);
}

#[test]
fn named_formats() {
    all_true(&[
        "!format.dns1123Label().validate('my-name').hasValue()",
        "format.dns1123Label().validate('My_Name').value().size() == 1",
        "format.dns1123LabelPrefix().validate('my-name-') == optional.none()",
        "format.dns1123Subdomain().validate('a.b') == optional.none()",
        "format.qualifiedName().validate('example.com/x') == optional.none()",
        "format.labelValue().validate('a b').hasValue()",
        "format.uri().validate('http://example.com') == optional.none() && format.uri().validate('x').hasValue()",
        "format.uuid().validate('123e4567-e89b-12d3-a456-426614174000') == optional.none()",
        "format.uuid().validate('nope').value() == ['does not match the UUID format']",
        "format.byte().validate('aGVsbG8=') == optional.none() && format.byte().validate('!').value() == ['invalid base64']",
        "format.date().validate('2021-01-01') == optional.none() && format.date().validate('x').hasValue()",
        "format.datetime().validate('2021-01-01T00:00:00Z') == optional.none()",
        "format.named('dns1123Label').value() == format.dns1123Label() && format.named('x') == optional.none()",
        "format.dns1123Label() != format.uuid()",
    ]);
}

#[test]
fn bindings() {
    let env = crate::Env::kubernetes().with_bindings();
    for (source, expected) in [
        ("cel.bind(a, 20, a + a) == 40", true),
        ("cel.bind(a, [1, 2], cel.bind(b, a.size(), a.exists(x, x == b)))", true),
        ("cel.bind(a, 'x', ['y'].exists(b, a == b))", false),
    ] {
        let result = env.compile(source).unwrap();
        let result = result.eval(&crate::Bindings::new(), &mut crate::Budget::new(crate::BUDGET)).unwrap();
        assert_eq!(result.as_bool(), Some(expected), "{source}");
    }
    for (source, expected) in [
        ("cel.bind(a.b, 1, 2)", "cel.bind() variable names must be simple identifiers"),
        ("'x'.bind(a, 1, 2)", "undeclared reference to 'bind'"),
    ] {
        let errors = env.compile(source).unwrap_err().to_string();
        assert!(errors.contains(expected), "{source}: {errors}");
    }
}
