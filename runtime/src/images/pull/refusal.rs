//! Why a registry gave no image, in the registry's own words.

use http::StatusCode;
use serde::Deserialize;

/// The longest text of a registry that is repeated: it ends up in events and statuses.
const WORDS_MAX: usize = 512;

/// Why one registry did not give what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// It answered, and said no.
    #[error("{url}: {status}{}", prefixed(words))]
    Status { url: String, status: StatusCode, words: String },
    /// It asks for credentials in a way that we have no answer to.
    #[error("{url}: it asks for credentials of a kind that is not known here: {challenge:?}")]
    Challenge { url: String, challenge: String },
    /// It could not be reached, or fell silent.
    #[error("{url}: {why}")]
    Unreachable { url: String, why: String },
    /// It sends round in circles, or to a place that is none.
    #[error("{url}: {why}")]
    Redirect { url: String, why: &'static str },
    /// What it sent is not what was asked for.
    #[error("{url}: {why}")]
    Content { url: String, why: String },
}

fn prefixed(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(": {words}") }
}

impl Refusal {
    /// Whether another credential may be answered otherwise. Many registries call what one may not see not found.
    pub(super) fn may_depend_on_who_asks(&self) -> bool {
        match self {
            Self::Status { status, .. } => {
                matches!(*status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND)
            }
            Self::Challenge { .. } => true,
            Self::Unreachable { .. } | Self::Redirect { .. } | Self::Content { .. } => false,
        }
    }
}

#[derive(Deserialize)]
struct Envelope {
    errors: Vec<OneError>,
}

#[derive(Deserialize)]
struct OneError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// The token servers' form.
#[derive(Deserialize)]
struct TokenError {
    #[serde(alias = "error")]
    details: String,
    #[serde(default)]
    error_description: String,
}

/// What a registry says in the body of a refusal, as `docker pull` prints it: `manifest unknown: …`.
pub(super) fn words(body: &[u8]) -> String {
    let said = if let Ok(envelope) = serde_json::from_slice::<Envelope>(body) {
        envelope.errors.iter().map(sentence).collect::<Vec<_>>().join("; ")
    } else if let Ok(error) = serde_json::from_slice::<TokenError>(body) {
        [error.details, error.error_description]
            .iter()
            .filter(|w| !w.is_empty())
            .cloned()
            .collect::<Vec<_>>()
            .join(": ")
    } else {
        let text = String::from_utf8_lossy(body);
        // A page for people says nothing that fits into a line.
        if text.trim_start().starts_with('<') { String::new() } else { text.into_owned() }
    };
    let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect()
}

fn sentence(error: &OneError) -> String {
    let code = error.code.to_lowercase().replace('_', " ");
    match (code.as_str(), error.message.as_str()) {
        ("", message) => message.to_owned(),
        (code, "") => code.to_owned(),
        (code, message) if message.to_lowercase() == code => code.to_owned(),
        (code, message) => format!("{code}: {message}"),
    }
}

/// The innermost cause of a broken request: what hyper wraps around it says nothing to a person.
pub(super) fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let innermost = std::iter::successors(Some(error), |e| e.source()).last();
    let text = innermost.map_or_else(|| error.to_string(), ToString::to_string);
    // `Connection refused (os error 111)`, said as Go says it.
    let text = text.split(" (os error").next().unwrap_or(&text).to_owned();
    text.strip_prefix("Connection ").map_or_else(|| text.clone(), |rest| format!("connection {rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_quoted_in_one_line() {
        for (body, expected) in [
            (
                r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required","detail":[]}]}"#,
                "unauthorized: authentication required",
            ),
            (r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#, "manifest unknown"),
            (r#"{"errors":[{"code":"TOOMANYREQUESTS"},{"message":"later"}]}"#, "toomanyrequests; later"),
            (r#"{"details":"incorrect username or password"}"#, "incorrect username or password"),
            (r#"{"error":"invalid_grant","error_description":"no"}"#, "invalid_grant: no"),
            ("<html>502</html>", ""),
            ("gone\n for\tgood", "gone for good"),
            ("", ""),
        ] {
            assert_eq!(words(body.as_bytes()), expected, "{body}");
        }
        assert_eq!(words(&[b'a'; 5000]).len(), WORDS_MAX);
    }

    #[test]
    fn a_refusal_names_place_status_and_words() {
        let refusal = Refusal::Status {
            url: "https://r.io/v2/a/manifests/1".into(),
            status: StatusCode::NOT_FOUND,
            words: "manifest unknown".into(),
        };
        assert_eq!(refusal.to_string(), "https://r.io/v2/a/manifests/1: 404 Not Found: manifest unknown");
    }

    #[test]
    fn the_innermost_cause_is_what_is_told() {
        let refused = std::io::Error::from_raw_os_error(111);
        assert_eq!(cause(&refused), "connection refused");
    }
}
