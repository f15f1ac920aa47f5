//! The ways in which an API request fails: one enum, the only thing that becomes a `Status`.
//!
//! Source of codes, reasons and words: `k8s.io/apimachinery/pkg/api/errors`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ListMeta, Status, StatusCause, StatusDetails};

use crate::field::{FieldError, aggregate};
use crate::quoted::Quoted;

/// Which resource a failure is about, as `details` and messages name it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct About {
    /// API group; empty for the core group.
    pub group: String,
    /// What upstream puts into `details.kind`: the plural resource, or for `Invalid` the kind.
    pub kind: String,
    /// The object's name; empty if none is meant.
    pub name: String,
}

impl About {
    /// `deployments.apps`, or `pods` in the core group.
    #[must_use]
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.kind.clone() } else { format!("{}.{}", self.kind, self.group) }
    }
}

/// A request that failed, and why.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Failure {
    /// 400: the request itself makes no sense.
    #[error("{0}")]
    BadRequest(String),
    /// 401: nobody has shown who is asking.
    #[error("Unauthorized")]
    Unauthorized,
    /// 403: the one who asks may not; the sentence says who, what and where.
    #[error("{}forbidden: {why}", subject(about))]
    Forbidden {
        /// The resource.
        about: About,
        /// `User "x" cannot list resource "pods" in API group "" at the cluster scope`, or a rule's reason.
        why: String,
    },
    /// 404: there is no such object.
    #[error("{} {} not found", about.qualified(), Quoted(&about.name))]
    NotFound {
        /// The object.
        about: About,
    },
    /// 404: there is no such path or resource.
    #[error("the server could not find the requested resource")]
    NoSuchPath,
    /// 405: the resource has no such verb.
    #[error("the server does not allow this method on the requested resource")]
    MethodNotAllowed,
    /// 406: none of the media types that the client accepts is offered.
    #[error("only the following media types are accepted: {0}")]
    NotAcceptable(String),
    /// 406: the resource is not shown in any of the media types that the client accepts.
    #[error("406: Not Acceptable\n\nAvailable representations: {0}")]
    NoRepresentation(String),
    /// 409: an object of this name exists.
    #[error("{} {} already exists", about.qualified(), Quoted(&about.name))]
    AlreadyExists {
        /// The object.
        about: About,
    },
    /// 409: the object changed meanwhile, or a precondition does not hold.
    #[error("Operation cannot be fulfilled on {} {}: {why}", about.qualified(), Quoted(&about.name))]
    Conflict {
        /// The object.
        about: About,
        /// What does not fit.
        why: String,
        /// Causes per field, for apply conflicts.
        causes: Vec<StatusCause>,
    },
    /// 410: the history asked for is no longer kept; list again.
    #[error("{0}")]
    Expired(String),
    /// 413: the body or object is larger than allowed.
    #[error("{0}")]
    TooLarge(String),
    /// 415: the body's media type is not understood here.
    #[error("the body of the request was in an unknown format - accepted media types include: {0}")]
    UnsupportedMediaType(String),
    /// 415: no patch is written in this media type.
    #[error("415: Unsupported Media Type")]
    NoSuchPatch,
    /// 422: the request is understood, but what it asks for cannot be done; upstream says no more than that.
    #[error("the server rejected our request due to an error in our request")]
    Unprocessable,
    /// 422: the object breaks rules; one cause per field.
    #[error("{} {} is invalid{}", about.qualified(), Quoted(&about.name), because(errors))]
    Invalid {
        /// The object; `kind` is the kind here, not the resource.
        about: About,
        /// What is wrong, field by field.
        errors: Vec<FieldError>,
    },
    /// 429: too much at once; the client may try again after so many seconds.
    #[error("{why}")]
    TooManyRequests {
        /// Why.
        why: String,
        /// `Retry-After`, in seconds.
        retry_after: u32,
        /// Causes, for disruption budgets.
        causes: Vec<StatusCause>,
    },
    /// 500: our mistake or a broken disk.
    #[error("Internal error occurred: {0}")]
    Internal(String),
    /// 500: what upstream answers with a bare sentence and no reason, though it is the client's mistake.
    #[error("{0}")]
    Unclassified(String),
    /// 503: what is needed to answer is not there at the moment.
    #[error("{0}")]
    Unavailable(String),
    /// 504: it took too long.
    #[error("Timeout: {0}")]
    Timeout(String),
}

/// What is forbidden, as far as it is known: `pods "a" is `, `pods is `, or nothing.
fn subject(about: &About) -> String {
    match (about.kind.as_str(), about.name.as_str()) {
        ("", _) => String::new(),
        (_, "") => format!("{} is ", about.qualified()),
        (_, name) => format!("{} {} is ", about.qualified(), Quoted(name)),
    }
}

fn because(errors: &[FieldError]) -> String {
    if errors.is_empty() { String::new() } else { format!(": {}", aggregate(errors)) }
}

impl Failure {
    /// A conflict by `resourceVersion`, in upstream's words.
    #[must_use]
    pub fn modified(about: About) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::Conflict { about, why: why.to_owned(), causes: Vec::new() }
    }

    /// The HTTP status code.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Self::BadRequest(_) => 400,
            Self::Unauthorized => 401,
            Self::Forbidden { .. } => 403,
            Self::NotFound { .. } | Self::NoSuchPath => 404,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable(_) | Self::NoRepresentation(_) => 406,
            Self::AlreadyExists { .. } | Self::Conflict { .. } => 409,
            Self::Expired(_) => 410,
            Self::TooLarge(_) => 413,
            Self::UnsupportedMediaType(_) | Self::NoSuchPatch => 415,
            Self::Invalid { .. } | Self::Unprocessable => 422,
            Self::TooManyRequests { .. } => 429,
            Self::Internal(_) | Self::Unclassified(_) => 500,
            Self::Unavailable(_) => 503,
            Self::Timeout(_) => 504,
        }
    }

    /// The machine-readable reason; empty if there is none.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "BadRequest",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden { .. } => "Forbidden",
            Self::NotFound { .. } | Self::NoSuchPath => "NotFound",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::NotAcceptable(_) | Self::NoRepresentation(_) => "NotAcceptable",
            Self::AlreadyExists { .. } => "AlreadyExists",
            Self::Conflict { .. } => "Conflict",
            Self::Expired(_) => "Expired",
            Self::TooLarge(_) => "RequestEntityTooLarge",
            Self::UnsupportedMediaType(_) | Self::NoSuchPatch => "UnsupportedMediaType",
            Self::Invalid { .. } | Self::Unprocessable => "Invalid",
            Self::TooManyRequests { .. } => "TooManyRequests",
            Self::Internal(_) => "InternalError",
            Self::Unclassified(_) => "",
            Self::Unavailable(_) => "ServiceUnavailable",
            Self::Timeout(_) => "Timeout",
        }
    }

    /// The `Status` that clients are sent.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            status: Some("Failure".to_owned()),
            message: Some(self.to_string()),
            reason: Some(self.reason()).filter(|r| !r.is_empty()).map(str::to_owned),
            code: Some(i32::from(self.code())),
            details: self.details(),
            metadata: ListMeta::default(),
        }
    }

    fn details(&self) -> Option<StatusDetails> {
        let some = |s: &str| (!s.is_empty()).then(|| s.to_owned());
        let of = |about: &About, causes: Vec<StatusCause>| StatusDetails {
            group: some(&about.group),
            kind: some(&about.kind),
            name: some(&about.name),
            causes: (!causes.is_empty()).then_some(causes),
            ..StatusDetails::default()
        };
        match self {
            Self::Forbidden { about, .. } | Self::NotFound { about } | Self::AlreadyExists { about } => {
                Some(of(about, Vec::new()))
            }
            Self::Conflict { about, causes, .. } => Some(of(about, causes.clone())),
            Self::Invalid { about, errors } => Some(of(about, errors.iter().map(FieldError::cause).collect())),
            Self::TooManyRequests { retry_after, causes, .. } => Some(StatusDetails {
                causes: (!causes.is_empty()).then(|| causes.clone()),
                retry_after_seconds: i32::try_from(*retry_after).ok().filter(|s| *s > 0),
                ..StatusDetails::default()
            }),
            Self::Internal(message) => Some(StatusDetails {
                causes: Some(vec![StatusCause { message: Some(message.clone()), ..StatusCause::default() }]),
                ..StatusDetails::default()
            }),
            Self::NoSuchPath
            | Self::MethodNotAllowed
            | Self::NoRepresentation(_)
            | Self::NoSuchPatch
            | Self::Unprocessable
            | Self::Timeout(_) => Some(StatusDetails::default()),
            Self::BadRequest(_)
            | Self::Unauthorized
            | Self::NotAcceptable(_)
            | Self::Expired(_)
            | Self::TooLarge(_)
            | Self::UnsupportedMediaType(_)
            | Self::Unclassified(_)
            | Self::Unavailable(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(group: &str, kind: &str, name: &str) -> About {
        About { group: group.into(), kind: kind.into(), name: name.into() }
    }

    #[test]
    fn messages_are_upstreams() {
        let f = Failure::NotFound { about: about("apps", "deployments", "x") };
        assert_eq!(f.to_string(), r#"deployments.apps "x" not found"#);
        let f = Failure::Invalid {
            about: about("", "Pod", "p"),
            errors: vec![FieldError::required("spec.containers", "")],
        };
        assert_eq!(f.to_string(), r#"Pod "p" is invalid: spec.containers: Required value"#);
        assert_eq!(f.status().code, Some(422));
        let f = Failure::Invalid { about: About::default(), errors: vec![FieldError::required("patch", "")] };
        assert_eq!(
            f.to_string(),
            r#" "" is invalid: patch: Required value"#,
            "the object is named even if it has no name"
        );
        let f = Failure::Forbidden { about: about("", "pods", ""), why: "x".into() };
        assert_eq!(f.to_string(), "pods is forbidden: x");
        let f = Failure::Forbidden { about: About::default(), why: "x".into() };
        assert_eq!(f.to_string(), "forbidden: x");
    }
}
