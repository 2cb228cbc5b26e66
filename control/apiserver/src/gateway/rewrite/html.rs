//! A page's links, rewritten while it streams by. Pure.
//!
//! Only the values of attributes that hold URLs change; every other byte stays, also in pages that are not quite
//! HTML. What is held back is bounded: a tag longer than [`TAG_LIMIT`] passes unchanged.

use super::Place;

/// Longest tag that is looked at.
const TAG_LIMIT: usize = 64 * 1024;

/// Elements whose content is text, with no tags in it but their own end.
const RAW: [&str; 9] =
    ["script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes", "plaintext"];

/// Attributes that hold URLs, by element.
const LINKS: [(&str, &[&str]); 25] = [
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];

/// Where the page is.
enum State {
    Text,
    /// Until this end, which is not part of a tag.
    Until(&'static str),
    /// Inside an element of [`RAW`].
    Raw(String),
}

/// Rewrites one page.
pub struct Page {
    place: Place,
    held: Vec<u8>,
    state: State,
}

impl Page {
    /// A page whose links are seen from `place`.
    pub fn new(place: Place) -> Self {
        Self { place, held: Vec::new(), state: State::Text }
    }

    /// Takes the next bytes; gives what is ready.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        let held = std::mem::take(&mut self.held);
        let mut out = Vec::with_capacity(held.len() + 64);
        let mut rest = held.as_slice();
        while let Some(after) = self.step(rest, &mut out) {
            rest = after;
        }
        self.held = rest.to_vec();
        out
    }

    /// The page is over: what was held back.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    /// Passes on one piece and gives what follows; none when more bytes are needed.
    fn step<'a>(&mut self, rest: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
        if rest.is_empty() {
            return None;
        }
        let end = match &self.state {
            State::Text => return self.text(rest, out),
            State::Until(end) => (*end).to_owned(),
            State::Raw(element) => format!("</{element}"),
        };
        match find(rest, end.as_bytes()) {
            Some(at) => {
                // An end tag is left to be read as one.
                let passed = if matches!(self.state, State::Raw(_)) { at } else { at + end.len() };
                self.state = State::Text;
                out.extend_from_slice(&rest[..passed]);
                if passed == 0 { self.text(rest, out) } else { Some(&rest[passed..]) }
            }
            None => {
                let passed = rest.len().saturating_sub(end.len() - 1);
                out.extend_from_slice(&rest[..passed]);
                (passed > 0).then(|| &rest[passed..])
            }
        }
    }

    fn text<'a>(&mut self, rest: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
        let at = rest.iter().position(|byte| *byte == b'<').unwrap_or(rest.len());
        if at > 0 {
            out.extend_from_slice(&rest[..at]);
            return Some(&rest[at..]);
        }
        let needed = if rest.starts_with(b"<!") { 4 } else { 2 };
        if rest.len() < needed {
            return None;
        }
        match rest[1] {
            b'!' | b'?' => {
                self.state = State::Until(if rest.starts_with(b"<!--") { "-->" } else { ">" });
                out.extend_from_slice(&rest[..2]);
                Some(&rest[2..])
            }
            byte if byte.is_ascii_alphabetic() => match tag_end(rest) {
                Some(end) => {
                    self.tag(&rest[..end], out);
                    Some(&rest[end..])
                }
                None if rest.len() > TAG_LIMIT => {
                    out.push(b'<');
                    Some(&rest[1..])
                }
                None => None,
            },
            _ => {
                out.push(b'<');
                Some(&rest[1..])
            }
        }
    }

    fn tag(&mut self, tag: &[u8], out: &mut Vec<u8>) {
        let name_end = tag[1..].iter().position(|b| b.is_ascii_whitespace() || b"/>".contains(b));
        let name_end = name_end.map_or(tag.len(), |at| at + 1);
        let name = String::from_utf8_lossy(&tag[1..name_end]).to_ascii_lowercase();
        let wanted = LINKS.iter().find(|(element, _)| *element == name).map_or(&[][..], |(_, names)| names);
        let mut copied = 0;
        for (attribute, start, end) in attributes(tag, name_end) {
            let known = wanted.contains(&attribute.as_str());
            let Some(value) = std::str::from_utf8(&tag[start..end]).ok().filter(|_| known) else { continue };
            if let Some(link) = self.place.link(value.trim()) {
                out.extend_from_slice(&tag[copied..start]);
                out.extend_from_slice(link.as_bytes());
                copied = end;
            }
        }
        out.extend_from_slice(&tag[copied..]);
        if RAW.contains(&name.as_str()) && !tag.ends_with(b"/>") {
            self.state = State::Raw(name);
        }
    }
}

/// Where `needle` (ASCII) is, in upper or lower case.
fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|window| window.eq_ignore_ascii_case(needle))
}

/// Behind the `>` that ends the tag; a `>` in quotes does not.
fn tag_end(tag: &[u8]) -> Option<usize> {
    let (mut quote, mut value) = (None, false);
    for (at, byte) in tag.iter().enumerate() {
        match (quote, byte) {
            (Some(open), byte) if open == *byte => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') if value => quote = Some(*byte),
            (None, b'>') => return Some(at + 1),
            (None, b'=') => {
                value = true;
                continue;
            }
            (None, byte) if byte.is_ascii_whitespace() => continue,
            _ => {}
        }
        value = false;
    }
    None
}

/// The attributes with a value: name in lower case, and where the value stands without its quotes.
fn attributes(tag: &[u8], from: usize) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    let mut at = from;
    let skip = |mut at: usize, what: &dyn Fn(u8) -> bool| {
        while tag.get(at).is_some_and(|byte| what(*byte)) {
            at += 1;
        }
        at
    };
    let blank = |byte: u8| byte.is_ascii_whitespace();
    loop {
        at = skip(at, &|byte| blank(byte) || byte == b'/');
        let name_end = skip(at, &|byte| !blank(byte) && !b"=/>".contains(&byte));
        if name_end == at {
            // Stray characters are passed over, the tag's end ends the list.
            match tag.get(at) {
                Some(b'>') | None => return found,
                Some(_) => at += 1,
            }
            continue;
        }
        let name = String::from_utf8_lossy(&tag[at..name_end]).to_ascii_lowercase();
        at = skip(name_end, &blank);
        if tag.get(at) != Some(&b'=') {
            continue;
        }
        at = skip(at + 1, &blank);
        let (start, end) = match tag.get(at) {
            Some(quote @ (b'"' | b'\'')) => (at + 1, skip(at + 1, &|byte| byte != *quote)),
            _ => (at, skip(at, &|byte| !blank(byte) && byte != b'>')),
        };
        found.push((name, start, end));
        at = if start > at { end + 1 } else { end };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &str = "/api/v1/namespaces/a/pods/b/proxy";

    fn whole(page: &str, step: usize) -> String {
        let mut rewriter = Page::new(super::super::place());
        let mut out = Vec::new();
        for piece in page.as_bytes().chunks(step) {
            out.extend(rewriter.push(piece));
        }
        out.extend(rewriter.finish());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn links_change_and_nothing_else() {
        let page = "<!DOCTYPE html><html><head><link rel=stylesheet href=/a.css>\n<title><a href=\"/t\"></title>\
            <!-- <a href=\"/c\"> > --><script src='/s.js'>if (a<b) { x = '<a href=\"/no\">'; }</script></head>\
            <body class=\"x>y\" background = \"/bg.png\"><a  href=\"/x?a=1&amp;b=2\" title='/t'>ü</a>\
            <IMG SRC=\"http://10.0.0.1:80/i.png\" alt=/i><a href=rel>a < b</a><form action=\"/f\"/></body>";
        let expected = page
            .replace("href=/a.css", &format!("href={PREFIX}/a.css"))
            .replace("'/s.js'", &format!("'{PREFIX}/s.js'"))
            .replace("\"/bg.png\"", &format!("\"{PREFIX}/bg.png\""))
            .replace("\"/x?a", &format!("\"{PREFIX}/x?a"))
            .replace("\"http://10.0.0.1:80/i.png\"", &format!("\"{PREFIX}/i.png\""))
            .replace("\"/f\"", &format!("\"{PREFIX}/f\""));
        for step in [1, 2, 3, 5, 17, 10_000] {
            assert_eq!(whole(page, step), expected, "pieces of {step}");
        }
    }

    #[test]
    fn what_is_no_html_passes() {
        for page in
            ["", "<", "a < b", "<a", "<a href=\"/x", "<!--", "<script>", "<!", "<<<>>>", "</", "<a =/x =>"]
        {
            assert_eq!(whole(page, 1), page);
        }
        let long = format!("<a href=\"{}", "/x".repeat(100_000));
        assert_eq!(whole(&long, 4096), long);
    }
}
