//! Kubernetes' URL library, on URLs as Go's `net/url` parses them: an absolute URI or an absolute path.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use indexmap::IndexMap;
use xebec_api::gotext::quote;

use super::Args;
use crate::error::{EvalError, EvalResult};
use crate::eval::Ctx;
use crate::function::Def;
use crate::value::map::Key;
use crate::value::{Map, Opaque, Value};

pub(super) const DEFS: &[Def] = &[
    ("string_to_url", "url(string): kubernetes.URL", url),
    ("url_get_scheme", "kubernetes.URL!getScheme(): string", scheme),
    ("url_get_host", "kubernetes.URL!getHost(): string", host),
    ("url_get_hostname", "kubernetes.URL!getHostname(): string", hostname),
    ("url_get_port", "kubernetes.URL!getPort(): string", port),
    ("url_get_escaped_path", "kubernetes.URL!getEscapedPath(): string", escaped_path),
    ("url_get_query", "kubernetes.URL!getQuery(): map(string, list(string))", query),
    ("is_url_string", "isURL(string): bool", is_url),
];

/// A URL in its parts.
#[derive(Debug, PartialEq, Eq)]
pub struct ParsedUrl {
    text: String,
    scheme: String,
    host: String,
    path: String,
    query: String,
}

impl ParsedUrl {
    /// The URL as it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Parses an absolute URI or path. Errors: in Go's words, the URL quoted in front.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Self::parts(text).map_err(|why| format!("parse {}: {why}", quote(text)))
    }

    fn parts(text: &str) -> Result<Self, String> {
        if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
            return Err("net/url: invalid control character in URL".to_owned());
        }
        if text.is_empty() {
            return Err("empty url".to_owned());
        }
        let mut out = ParsedUrl {
            text: text.to_owned(),
            scheme: String::new(),
            host: String::new(),
            path: String::new(),
            query: String::new(),
        };
        // A fragment is no part of what the library shows.
        let text = text.split('#').next().unwrap_or_default();
        if text == "*" {
            "*".clone_into(&mut out.path);
            return Ok(out);
        }
        let (scheme, rest) = split_scheme(text)?;
        out.scheme = scheme.to_ascii_lowercase();
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        query.clone_into(&mut out.query);
        if !rest.starts_with('/') {
            if out.scheme.is_empty() {
                return Err("invalid URI for request".to_owned());
            }
            // What follows the scheme is opaque: `mailto:a@b`.
            return Ok(out);
        }
        let mut path = rest;
        if !out.scheme.is_empty()
            && let Some(after) = rest.strip_prefix("//")
        {
            let (authority, rest) = after.split_at(after.find('/').unwrap_or(after.len()));
            out.host = parse_authority(authority)?;
            path = rest;
        }
        unescape(path, false)?;
        path.clone_into(&mut out.path);
        Ok(out)
    }

    fn hostname(&self) -> &str {
        let host = match self.host.rfind(':') {
            Some(at) if is_port(&self.host[at..]) => &self.host[..at],
            _ => &self.host,
        };
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    fn port(&self) -> &str {
        match self.host.rfind(':') {
            Some(at) if is_port(&self.host[at..]) => &self.host[at + 1..],
            _ => "",
        }
    }

    fn escaped_path(&self) -> String {
        const PLAIN: &[u8] = b"-_.~!$&'()*+,;=:@[]%/";
        if self.path == "*" || self.path.bytes().all(|b| b.is_ascii_alphanumeric() || PLAIN.contains(&b)) {
            return self.path.clone();
        }
        let mut out = String::with_capacity(self.path.len());
        for byte in unescape(&self.path, false).unwrap_or_default() {
            if byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte) {
                out.push(char::from(byte));
            } else {
                let _ = write!(out, "%{byte:02X}");
            }
        }
        out
    }
}

fn split_scheme(text: &str) -> Result<(&str, &str), String> {
    for (at, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at == 0 => return Err("missing protocol scheme".to_owned()),
            ':' => return Ok((&text[..at], &text[at + 1..])),
            _ => return Ok(("", text)),
        }
    }
    Ok(("", text))
}

fn parse_authority(authority: &str) -> Result<String, String> {
    let host = match authority.rfind('@') {
        Some(at) => {
            let user = &authority[..at];
            if !user.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&b)) {
                return Err("net/url: invalid userinfo".to_owned());
            }
            unescape(user, false)?;
            &authority[at + 1..]
        }
        None => authority,
    };
    let port = match host.strip_prefix('[') {
        Some(_) => {
            let end = host.rfind(']').ok_or("missing ']' in host")?;
            &host[end + 1..]
        }
        None => host.rfind(':').map_or("", |at| &host[at..]),
    };
    if !is_port(port) {
        return Err(format!("invalid port {} after host", quote(port)));
    }
    let bytes = unescape(host, true)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether it is nothing, or a colon and digits.
fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
}

/// Decodes percent escapes; in a host, other characters are checked too.
fn unescape(text: &str, host: bool) -> Result<Vec<u8>, String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                let hex = bytes.get(at + 1..at + 3).filter(|hex| hex.iter().all(u8::is_ascii_hexdigit));
                let value = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
                let shown = || text.get(at..(at + 3).min(text.len())).unwrap_or(&text[at..at + 1]);
                match value {
                    Some(value) if !host || value >= 0x80 || value == b'%' => out.push(value),
                    _ => return Err(format!("invalid URL escape {}", quote(shown()))),
                }
                at += 3;
            }
            b if host
                && b < 0x80
                && !b.is_ascii_alphanumeric()
                && !b"-_.~!$&'()*+,;=:[]<>\"".contains(&b) =>
            {
                let shown = char::from(b).to_string();
                return Err(format!("invalid character {} in host name", quote(&shown)));
            }
            b => {
                out.push(b);
                at += 1;
            }
        }
    }
    Ok(out)
}

fn get<'v>(args: &'v [Value<'_>]) -> EvalResult<&'v ParsedUrl> {
    match args.opaque(0)? {
        Opaque::Url(url) => Ok(url),
        _ => Err(EvalError::no_overload()),
    }
}

fn url<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let parsed = ParsedUrl::parse(args.string(0)?).map_err(|why| {
        EvalError::other(format_args!("URL parse error during conversion from string: {why}"))
    })?;
    Ok(Value::Opaque(Opaque::Url(Arc::new(parsed))))
}

fn is_url<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::Bool(ParsedUrl::parse(args.string(0)?).is_ok()))
}

fn scheme<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::from(get(args)?.scheme.clone()))
}

fn host<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::from(get(args)?.host.clone()))
}

fn hostname<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::from(get(args)?.hostname().to_owned()))
}

fn port<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::from(get(args)?.port().to_owned()))
}

fn escaped_path<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::from(get(args)?.escaped_path()))
}

fn query<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let mut order = Vec::new();
    let mut values: HashMap<String, Vec<Value<'a>>> = HashMap::new();
    for pair in get(args)?.query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decode = |text: &str| {
            let bytes = unescape(&text.replace('+', " "), false).ok()?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        let (Some(key), Some(value)) = (decode(key), decode(value)) else { continue };
        let list = values.entry(key.clone()).or_insert_with(|| {
            order.push(key);
            Vec::new()
        });
        list.push(Value::from(value));
    }
    let mut out = IndexMap::new();
    for key in order {
        let list = values.remove(&key).unwrap_or_default();
        out.insert(Key::String(key.as_str().into()), (Value::from(key), Value::list(list)));
    }
    Ok(Value::Map(Map::Owned(Arc::new(out))))
}

/// Why a text is no URL, in Go's words, or nothing.
pub(super) fn invalid(text: &str) -> Option<String> {
    ParsedUrl::parse(text).err()
}
