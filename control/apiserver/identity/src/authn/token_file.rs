//! Tokens of a file (`--token-auth-file`): one a line, `token,user,uid,"group1,group2"`.
//!
//! Enters: the file's text, once. Leaves: the user of a token. Tokens do not expire and changes need a restart, as
//! upstream; the file is for clusters that have nothing better.
//!
//! Authority: `k8s.io/apiserver/pkg/authentication/token/tokenfile`.

use std::collections::HashMap;

use crate::User;

/// Why a token file is refused; the line counts from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFileError {
    /// Fewer than three columns.
    #[error(
        "line {line}: token file must have at least 3 columns (token, user name, user uid), found {found}"
    )]
    Columns {
        /// Which line.
        line: usize,
        /// How many it has.
        found: usize,
    },
    /// A quotation mark that is not closed.
    #[error("line {line}: a quoted column is not closed")]
    Quote {
        /// Which line.
        line: usize,
    },
}

/// The tokens of a file, by their SHA-256.
#[derive(Clone, Debug, Default)]
pub struct TokenFile {
    users: HashMap<[u8; 32], User>,
}

fn digest(token: &str) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, token.as_bytes()).as_ref());
    digest
}

/// The columns of a line (RFC 4180, no line breaks inside a column).
fn columns(text: &str, line: usize) -> Result<Vec<String>, TokenFileError> {
    let mut columns = vec![String::new()];
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let Some(column) = columns.last_mut() else { break };
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                column.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => columns.push(String::new()),
            other => column.push(other),
        }
    }
    if quoted { Err(TokenFileError::Quote { line }) } else { Ok(columns) }
}

impl TokenFile {
    /// Reads the file's text; lines without a token are left out.
    pub fn parse(text: &str) -> Result<TokenFile, TokenFileError> {
        let mut users = HashMap::new();
        for (index, content) in text.lines().enumerate() {
            let line = index + 1;
            if content.trim().is_empty() || content.starts_with('#') {
                continue;
            }
            let columns = columns(content, line)?;
            let [token, name, uid, rest @ ..] = columns.as_slice() else {
                return Err(TokenFileError::Columns { line, found: columns.len() });
            };
            if token.is_empty() {
                tracing::warn!(line, "empty token in the token file, the line is ignored");
                continue;
            }
            let groups = rest.first().map(String::as_str).unwrap_or_default();
            let groups = groups.split(',').filter(|group| !group.is_empty()).map(str::to_owned).collect();
            let user = User { name: name.clone(), uid: uid.clone(), groups, ..User::default() };
            if users.insert(digest(token), user).is_some() {
                tracing::warn!(line, "token given twice in the token file, the last line counts");
            }
        }
        Ok(TokenFile { users })
    }

    /// The user of a token.
    pub(super) fn user(&self, token: &str) -> Option<User> {
        if self.users.is_empty() { None } else { self.users.get(&digest(token)).cloned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_what_is_wrong_with_them() {
        let file = TokenFile::parse("t1,ann,7,\"a,b\"\n\n# note\nt2,\"Bob \"\"B\"\"\",8\n").unwrap();
        let ann = file.user("t1").unwrap();
        assert_eq!(
            (ann.name.as_str(), ann.uid.as_str(), ann.groups),
            ("ann", "7", vec!["a".to_owned(), "b".to_owned()])
        );
        assert_eq!(file.user("t2").unwrap().name, "Bob \"B\"");
        assert_eq!(file.user("t3"), None);
        assert_eq!(TokenFile::parse("x\na,b").unwrap_err(), TokenFileError::Columns { line: 1, found: 1 });
        assert_eq!(TokenFile::parse("t,u,1\n\"x").unwrap_err(), TokenFileError::Quote { line: 2 });
    }
}
