//! The file of `--token-auth-file`: a line a token, `token,user,uid,"group1,group2"`, as kube-apiserver reads it.
//!
//! It is read once, at the start. Tokens are kept as digests, so that looking one up tells nothing by the time it takes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::identity::Identity;

/// Why a token file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// It cannot be read.
    #[error("cannot read --token-auth-file {path:?}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("--token-auth-file {path:?}: {what}")]
    Parse {
        /// Which.
        path: PathBuf,
        /// What is wrong, and where.
        what: ParseError,
    },
}

/// What is wrong in a token file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// A quote inside of a field that does not begin with one, or after the end of a field that does.
    #[error("line {0}: a quote stands where none may be; write a field with quotes as \"a \"\"quoted\"\" word\"")]
    Quote(usize),
    /// A quoted field that does not end.
    #[error("line {0}: the quote that begins here has no end")]
    Open(usize),
    /// A line with fewer than three columns.
    #[error("line {line}: must have at least 3 columns (token, user name, user uid), found {found}")]
    Columns {
        /// Which.
        line: usize,
        /// How many it has.
        found: usize,
    },
}

/// What is kept of a token.
pub(super) type Digest = [u8; 32];

/// The tokens, and who may show them.
#[derive(Debug, Default)]
pub(crate) struct Tokens(HashMap<Digest, Identity>);

impl Tokens {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, TokenFileError> {
        let read = std::fs::read_to_string(path);
        let text = read.map_err(|source| TokenFileError::Read { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|what| TokenFileError::Parse { path: path.to_owned(), what })
    }

    /// Reads the text of a file.
    pub(crate) fn parse(text: &str) -> Result<Self, ParseError> {
        let mut tokens = HashMap::new();
        for (line, record) in records(text)? {
            let [token, user, uid, rest @ ..] = record.as_slice() else {
                return Err(ParseError::Columns { line, found: record.len() });
            };
            if token.is_empty() {
                tracing::warn!(line, "an empty token in the token file is passed over");
                continue;
            }
            let groups = rest.first().map(|groups| groups.split(',').map(str::to_owned).collect::<Vec<_>>());
            let identity = Identity::new(user.as_str(), groups.unwrap_or_default()).with_uid(uid.as_str());
            if tokens.insert(digest(token), identity).is_some() {
                tracing::warn!(line, "a token in the token file was there before; the last one counts");
            }
        }
        Ok(Self(tokens))
    }

    /// Whose token it is.
    pub(crate) fn find(&self, token: &str) -> Option<&Identity> {
        self.0.get(&digest(token))
    }
}

pub(super) fn digest(token: &str) -> Digest {
    Sha256::digest(token).into()
}

/// The records of comma-separated values, each with the line on which it begins. Empty lines are none.
fn records(text: &str) -> Result<Vec<(usize, Vec<String>)>, ParseError> {
    let mut records = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while !rest.is_empty() {
        let begun = line;
        let mut record = Vec::new();
        loop {
            let (field, end) = match rest.strip_prefix('"') {
                Some(quoted) => quoted_field(quoted, &mut line)?,
                None => plain_field(rest, line)?,
            };
            record.push(field);
            rest = end;
            match rest.strip_prefix(',') {
                Some(next) => rest = next,
                None => break,
            }
        }
        rest = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n')).unwrap_or("");
        line += 1;
        if record.len() > 1 || record.first().is_some_and(|field| !field.is_empty()) {
            records.push((begun, record));
        }
    }
    Ok(records)
}

fn plain_field(text: &str, line: usize) -> Result<(String, &str), ParseError> {
    let end = text.find([',', '\n']).unwrap_or(text.len());
    let (field, rest) = text.split_at(end);
    // A line may end as on other systems.
    let field = if rest.starts_with(',') { field } else { field.strip_suffix('\r').unwrap_or(field) };
    if field.contains('"') { Err(ParseError::Quote(line)) } else { Ok((field.to_owned(), rest)) }
}

/// The rest of a field after its first quote; a quote in it is written twice.
fn quoted_field<'a>(text: &'a str, line: &mut usize) -> Result<(String, &'a str), ParseError> {
    let begun = *line;
    let mut field = String::new();
    let mut rest = text;
    loop {
        let Some((part, after)) = rest.split_once('"') else { return Err(ParseError::Open(begun)) };
        *line += part.matches('\n').count();
        field.push_str(part);
        match after.strip_prefix('"') {
            Some(next) => {
                field.push('"');
                rest = next;
            }
            None if after.is_empty() || after.starts_with([',', '\n']) || after.starts_with("\r\n") => {
                return Ok((field, after));
            }
            None => return Err(ParseError::Quote(*line)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, token: &str) -> String {
        match Tokens::parse(text) {
            Ok(tokens) => tokens.find(token).map_or("nobody".to_owned(), |identity| {
                format!("{}/{}/{}", identity.name(), identity.uid(), identity.groups().join("+"))
            }),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_line_is_a_token_a_user_its_uid_and_its_groups() {
        let all = "system:authenticated";
        for (text, token, expected) in [
            ("t,u,1", "t", format!("u/1/{all}")),
            ("t,u,1\n\nv,w,2,g\n", "v", format!("w/2/g+{all}")),
            ("t,u,1,\"a,b\",ignored\r\nv,w,2\r\n", "t", format!("u/1/a+b+{all}")),
            ("t,u,1\r\nv,w,2\r\n", "v", format!("w/2/{all}")),
            ("\"t\"\"q\",u,1,system:authenticated", "t\"q", format!("u/1/{all}")),
            ("t,u,1\nt,w,2", "t", format!("w/2/{all}")),
            (",u,1\n", "", "nobody".to_owned()),
            ("t,u,1", "T", "nobody".to_owned()),
        ] {
            assert_eq!(shown(text, token), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let columns = "must have at least 3 columns (token, user name, user uid), found 2";
        assert_eq!(shown("t,u,1\nv,w\n", "t"), format!("line 2: {columns}"));
        assert_eq!(shown("\"a\nb\",u,1\nv,w\n", "t"), format!("line 3: {columns}"));
        assert!(shown("t,u,1\nt,\"u", "t").starts_with("line 2: the quote that begins here"));
        assert!(shown("t,u\"v,1", "t").starts_with("line 1: a quote stands"));
        assert!(shown("t,\"u\"v,1", "t").starts_with("line 1: a quote stands"));
    }
}
