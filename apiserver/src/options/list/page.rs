//! Tokens for `metadata.continue`: where the next page of a list begins, and of which revision it is.
//!
//! They have upstream's form, and are judged as upstream judges them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use coracle_api::revision::Revision;
use serde::{Deserialize, Serialize};

use crate::answer::Refused;

/// Where a list goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Continue {
    /// The revision of the whole list; nothing: the newest.
    pub(crate) revision: Option<Revision>,
    /// What the key that comes next has after the prefix of the list, or something that sorts before it.
    pub(crate) start: String,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Token {
    v: String,
    rv: i64,
    start: String,
}

const VERSION: &str = "meta.k8s.io/v1";

/// The revision of a token that goes on with the newest state.
const NEWEST: i64 = -1;

/// A token for `metadata.continue`.
pub(crate) fn token(continue_: &Continue) -> String {
    let rv = continue_.revision.and_then(|r| i64::try_from(r.get()).ok()).unwrap_or(NEWEST);
    let token = Token { v: VERSION.to_owned(), rv, start: continue_.start.clone() };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
}

/// Reads a token.
pub(super) fn read(text: &str) -> Result<Continue, Refused> {
    let invalid = |why: String| Refused::bad_request(format!("invalid continue token: continue key is not valid{why}"));
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|e| invalid(format!(": {e}")))?;
    let token: Token = serde_json::from_slice(&bytes).map_err(|e| invalid(format!(": {e}")))?;
    if token.v != VERSION {
        return Err(invalid(format!(": server does not recognize this encoded version {}", token.v)));
    }
    if token.rv == 0 {
        return Err(invalid(format!(": incorrect encoded start resourceVersion (version {VERSION})")));
    }
    if token.start.is_empty() {
        return Err(invalid(format!(": encoded start key empty (version {VERSION})")));
    }
    // It names what lies below the list's own part of the key space, and cannot lead out of it.
    let path = token.start.strip_prefix('/').unwrap_or(&token.start);
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(invalid(format!(": {}", token.start)));
    }
    let revision = u64::try_from(token.rv).ok().map(Revision::new);
    Ok(Continue { revision, start: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refusal(token: &str) -> String {
        let read = read(&URL_SAFE_NO_PAD.encode(token));
        let message = |refused: Refused| refused.json()["message"].as_str().unwrap_or_default().to_owned();
        read.map_or_else(message, |read| format!("{read:?}"))
            .replace("invalid continue token: continue key is not valid", "~")
    }

    #[test]
    fn tokens_that_make_no_sense_are_refused_in_upstreams_words() {
        for (token, expected) in [
            (r#"{"v":"v2","rv":1,"start":"a"}"#, "~: server does not recognize this encoded version v2"),
            ("{}", "~: server does not recognize this encoded version "),
            (
                r#"{"v":"meta.k8s.io/v1","start":"a"}"#,
                "~: incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
            ),
            (r#"{"v":"meta.k8s.io/v1","rv":1}"#, "~: encoded start key empty (version meta.k8s.io/v1)"),
            (r#"{"v":"meta.k8s.io/v1","rv":1,"start":"../a"}"#, "~: ../a"),
            (r#"{"v":"meta.k8s.io/v1","rv":1,"start":"a//b"}"#, "~: a//b"),
        ] {
            assert_eq!(refusal(token), expected, "{token}");
        }
        assert!(read("a b").is_err() && read("abc").is_err());
    }

    proptest! {
        #[test]
        fn a_token_is_read_as_it_was_written(
            namespace in "([a-z][a-z0-9-]{0,8}/)?", name in "[a-z][a-z0-9.-]{0,8}[a-z]", revision in 1_u64..1 << 62,
        ) {
            for revision in [None, Some(Revision::new(revision))] {
                let given = Continue { revision, start: format!("{namespace}{name}\0") };
                prop_assert_eq!(read(&token(&given)).unwrap(), given);
            }
        }

        #[test]
        fn whatever_a_client_sends_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80), text in ".*") {
            let _ = read(&text);
            let _ = read(&URL_SAFE_NO_PAD.encode(bytes));
        }
    }
}
