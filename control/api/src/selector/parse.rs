//! The grammar of label selector texts: a lexer and a recursive-descent parser with upstream's messages.

use super::SelectorError;
use super::labels::{Operator, Requirement, key_error};
use crate::field::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    End,
    Error,
    Open,
    Close,
    Comma,
    Not,
    Op(Operator),
    Identifier,
}

/// A token and its text.
type Scanned<'a> = (Token, &'a str);

fn is_special(b: u8) -> bool {
    matches!(b, b'=' | b'!' | b'(' | b')' | b',' | b'>' | b'<')
}

fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\r' | b'\n')
}

fn scan(text: &str) -> Vec<Scanned<'_>> {
    let bytes = text.as_bytes();
    let (mut tokens, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        if is_space(bytes[at]) {
            at += 1;
            continue;
        }
        let rest = &text[at..];
        let (token, length) = if is_special(bytes[at]) {
            match rest {
                r if r.starts_with("==") => (Token::Op(Operator::DoubleEquals), 2),
                r if r.starts_with("!=") => (Token::Op(Operator::NotEquals), 2),
                r if r.starts_with('=') => (Token::Op(Operator::Equals), 1),
                r if r.starts_with('>') => (Token::Op(Operator::GreaterThan), 1),
                r if r.starts_with('<') => (Token::Op(Operator::LessThan), 1),
                r if r.starts_with('!') => (Token::Not, 1),
                r if r.starts_with('(') => (Token::Open, 1),
                r if r.starts_with(')') => (Token::Close, 1),
                r if r.starts_with(',') => (Token::Comma, 1),
                _ => (Token::Error, 1),
            }
        } else {
            let length = rest.bytes().position(|b| is_space(b) || is_special(b)).unwrap_or(rest.len());
            let token = match &rest[..length] {
                "in" => Token::Op(Operator::In),
                "notin" => Token::Op(Operator::NotIn),
                _ => Token::Identifier,
            };
            (token, length)
        };
        tokens.push((token, &rest[..length]));
        at += length;
    }
    tokens.push((Token::End, ""));
    tokens
}

struct Parser<'a> {
    tokens: Vec<Scanned<'a>>,
    at: usize,
}

impl<'a> Parser<'a> {
    /// The next token where values may stand: `in` and `notin` are plain words there.
    fn peek(&self) -> Scanned<'a> {
        let (token, text) = self.raw();
        match token {
            Token::Op(Operator::In | Operator::NotIn) => (Token::Identifier, text),
            _ => (token, text),
        }
    }

    fn raw(&self) -> Scanned<'a> {
        self.tokens.get(self.at).copied().unwrap_or((Token::End, ""))
    }

    fn next(&mut self) -> Scanned<'a> {
        let item = self.peek();
        self.at += 1;
        item
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let (mut token, mut key) = self.next();
        let negated = token == Token::Not;
        if negated {
            (token, key) = self.next();
        }
        if token != Token::Identifier {
            return Err(format!("found '{key}', expected: identifier"));
        }
        if let Some(error) = key_error(key, &Path::root()) {
            return Err(error.to_string());
        }
        if negated {
            return Requirement::new(key, Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Requirement::new(key, Operator::Exists, Vec::new());
        }
        let (token, text) = self.raw();
        self.at += 1;
        let Token::Op(operator) = token else {
            return Err(format!("found '{text}', expected: in, notin, =, ==, !=, gt, lt"));
        };
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.exact_value()?],
        };
        Requirement::new(key, operator, values)
    }

    fn exact_value(&mut self) -> Result<String, String> {
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Ok(String::new());
        }
        match self.next() {
            (Token::Identifier, text) => Ok(text.to_owned()),
            (_, text) => Err(format!("found '{text}', expected: identifier")),
        }
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        let (token, text) = self.next();
        if token != Token::Open {
            return Err(format!("found '{text}' expected: '('"));
        }
        match self.peek() {
            (Token::Identifier | Token::Comma, _) => self.identifiers(),
            (Token::Close, _) => {
                self.next();
                Ok(Vec::new())
            }
            (_, text) => Err(format!("found '{text}', expected: ',', ')' or identifier")),
        }
    }

    /// `a,b)`: an empty place between commas or at either end is the empty value.
    fn identifiers(&mut self) -> Result<Vec<String>, String> {
        let mut values = Vec::new();
        let mut expect_value = true;
        loop {
            match self.next() {
                (Token::Identifier, text) if expect_value => {
                    values.push(text.to_owned());
                    expect_value = false;
                    let (token, text) = self.peek();
                    if !matches!(token, Token::Comma | Token::Close) {
                        return Err(format!("found '{text}', expected: ',' or ')'"));
                    }
                }
                (Token::Comma, _) => {
                    if expect_value {
                        values.push(String::new());
                    }
                    expect_value = true;
                }
                (Token::Close, _) => {
                    if expect_value {
                        values.push(String::new());
                    }
                    return Ok(values);
                }
                (_, text) => return Err(format!("found '{text}', expected: ',', or identifier")),
            }
        }
    }
}

/// The requirements of a selector text, in the order they stand.
pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    let mut parser = Parser { tokens: scan(text), at: 0 };
    let mut requirements = Vec::new();
    loop {
        match parser.peek() {
            (Token::End, _) => return Ok(requirements),
            (Token::Identifier | Token::Not, _) => {}
            (_, found) => {
                let message = format!("found '{found}', expected: !, identifier, or 'end of string'");
                return Err(SelectorError::Grammar(message));
            }
        }
        requirements.push(parser.requirement().map_err(SelectorError::Requirement)?);
        match parser.next() {
            (Token::End, _) => return Ok(requirements),
            (Token::Comma, _) => {
                let (token, found) = parser.peek();
                if !matches!(token, Token::Identifier | Token::Not) {
                    let message = format!("found '{found}', expected: identifier after ','");
                    return Err(SelectorError::Grammar(message));
                }
            }
            (_, found) => {
                let message = format!("found '{found}', expected: ',' or 'end of string'");
                return Err(SelectorError::Grammar(message));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::selector::LabelSelector;

    fn round(text: &str) -> String {
        LabelSelector::parse(text).unwrap().to_string()
    }

    fn error(text: &str) -> String {
        LabelSelector::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn prints_sorted() {
        assert_eq!(round("x in (b, a),!y , a=1"), "a=1,x in (a,b),!y");
        assert_eq!(round("x in (,)"), "x in ()");
        assert_eq!(round("x in (a,,b)"), "x in (,a,b)");
        assert_eq!(round("in=notin,notin in (in)"), "in=notin,notin in (in)");
        assert_eq!(round("a>3,b<2"), "a>3,b<2");
        assert_eq!(round("x="), "x=");
    }

    #[test]
    fn errors_as_upstream() {
        assert_eq!(error("x=a||y=b").split(": ").next().unwrap(), "unable to parse requirement");
        assert_eq!(error("a,"), "found '', expected: identifier after ','");
        assert_eq!(error("=a"), "found '=', expected: !, identifier, or 'end of string'");
        assert_eq!(error("x in a"), "unable to parse requirement: found 'a' expected: '('");
        assert_eq!(
            error("x y"),
            "unable to parse requirement: found 'y', expected: in, notin, =, ==, !=, gt, lt"
        );
        assert_eq!(error("a=b c"), "found 'c', expected: ',' or 'end of string'");
        assert_eq!(
            error("x in ()"),
            "unable to parse requirement: values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty"
        );
        assert_eq!(
            error("x>a"),
            "unable to parse requirement: values[0]: Invalid value: \"a\": for 'Gt', 'Lt' operators, the value must be an integer"
        );
        assert!(
            error("-a=b")
                .starts_with("unable to parse requirement: <nil>: Invalid value: \"-a\": name part must")
        );
        assert!(
            error("a=-b").starts_with(
                "unable to parse requirement: values[0][a]: Invalid value: \"-b\": a valid label"
            )
        );
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in ".{0,60}") {
            let _ = LabelSelector::parse(&text);
        }

        #[test]
        fn printing_is_stable(text in "[a-c!=,()<> inot1]{0,30}") {
            if let Ok(s) = LabelSelector::parse(&text) {
                let printed = s.to_string();
                proptest::prop_assert_eq!(LabelSelector::parse(&printed).map(|s| s.to_string()), Ok(printed));
            }
        }
    }
}
