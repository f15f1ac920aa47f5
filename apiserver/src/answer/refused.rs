//! A refusal on its way out: a [`Failure`] as the `Status` that clients are sent.
//!
//! Made of a `Failure` and nothing else; here it may gain a cause that only one rule knows, or lose its reason where
//! upstream gives none.

use axum::response::{IntoResponse, Response};
use coracle_api::failure::{About, Failure};
use coracle_api::field::FieldError;
use coracle_api::selector::InvalidSelector;
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Status, StatusCause, StatusDetails};

use super::Encoding;
use crate::registry::Row;
use crate::store::{CommitError, WatchError};

/// Why a request is refused, ready to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Refused(Box<Status>);

impl Refused {
    /// An object that does not exist.
    pub(crate) fn not_found(row: &Row, name: &str) -> Self {
        Failure::NotFound { about: about(row, name) }.into()
    }

    /// An object that breaks rules.
    pub(crate) fn invalid(row: &Row, name: &str, errors: Vec<FieldError>) -> Self {
        let about = About { group: row.group.to_owned(), kind: row.kind.to_owned(), name: name.to_owned() };
        Failure::Invalid { about, errors }.into()
    }

    /// Options of a request that break rules: `ListOptions`, `DeleteOptions`…
    pub(crate) fn invalid_options(kind: &str, errors: Vec<FieldError>) -> Self {
        let about = About { group: "meta.k8s.io".to_owned(), kind: kind.to_owned(), name: String::new() };
        Failure::Invalid { about, errors }.into()
    }

    /// A request that makes no sense.
    pub(crate) fn bad_request(why: impl Into<String>) -> Self {
        Failure::BadRequest(why.into()).into()
    }

    /// What upstream answers with 500, a bare sentence and no reason, though it is the client's mistake.
    pub(crate) fn unclassified(sentence: impl Into<String>) -> Self {
        Failure::Unclassified(sentence.into()).into()
    }

    /// The same with another sentence.
    pub(crate) fn saying(mut self, message: impl Into<String>) -> Self {
        self.0.message = Some(message.into());
        self
    }

    /// The same with one more cause.
    pub(crate) fn because(mut self, reason: &str, message: impl Into<String>, field: &str) -> Self {
        let some = |s: &str| (!s.is_empty()).then(|| s.to_owned());
        let cause = StatusCause { reason: some(reason), message: Some(message.into()), field: some(field) };
        let details = self.0.details.get_or_insert_with(StatusDetails::default);
        details.causes.get_or_insert_default().push(cause);
        self
    }

    /// The same, telling the client to come back after so many seconds.
    pub(crate) fn retry_after(mut self, seconds: i32) -> Self {
        self.0.details.get_or_insert_with(StatusDetails::default).retry_after_seconds = Some(seconds);
        self
    }

    /// The same with a token to go on with, for lists that lost their history.
    pub(crate) fn continued(mut self, token: String) -> Self {
        self.0.metadata.continue_ = Some(token);
        self
    }

    /// The status as JSON, for the inside of a watch.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::to_value(&self.0).unwrap_or_default()
    }

    /// The HTTP status code.
    pub(crate) fn code(&self) -> StatusCode {
        let code = self.0.code.and_then(|c| u16::try_from(c).ok()).and_then(|c| StatusCode::from_u16(c).ok());
        code.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// The resource and object that a failure is about.
pub(crate) fn about(row: &Row, name: &str) -> About {
    About { group: row.group.to_owned(), kind: row.plural.to_owned(), name: name.to_owned() }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        if let Failure::Internal(error) = &failure {
            tracing::error!(%error, "a request failed for a reason of ours");
        }
        Self(Box::new(failure.status()))
    }
}

impl From<InvalidSelector> for Refused {
    fn from(error: InvalidSelector) -> Self {
        Self::bad_request(error.0)
    }
}

impl From<WatchError> for Refused {
    fn from(error: WatchError) -> Self {
        match error {
            WatchError::Expired { .. } => Failure::Expired(error.to_string()).into(),
            WatchError::Stopped => Failure::Unavailable("the server is stopping".to_owned()).into(),
        }
    }
}

impl From<CommitError> for Refused {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Mismatch { .. } => Failure::Internal(error.to_string()).into(),
            CommitError::Disk(ref source) => Failure::Internal(format!("{error}: {source}")).into(),
            CommitError::Stopped => Failure::Unavailable("the server is stopping".to_owned()).into(),
        }
    }
}

impl Refused {
    /// The answer, encoded as the client reads it.
    pub(crate) fn response(&self, encoding: Encoding) -> Response {
        let mut response = match encoding {
            Encoding::Json => super::json(self.code(), serde_json::to_vec(&self.0).unwrap_or_default()),
            Encoding::Pretty | Encoding::Yaml => super::value(self.code(), &self.json(), encoding),
        };
        let seconds = self.0.details.as_ref().and_then(|d| d.retry_after_seconds);
        if let Some(seconds) = seconds.and_then(|s| HeaderValue::from_str(&s.to_string()).ok()) {
            response.headers_mut().insert(RETRY_AFTER, seconds);
        }
        response
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        self.response(Encoding::Json)
    }
}
