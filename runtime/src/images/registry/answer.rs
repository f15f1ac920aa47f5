//! Answers of the registry, with the headers and error bodies that the specification asks for.

use coracle_api::meet::{Body, HttpResponse, body_of};
use coracle_api::names::Digest;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Value, json};

use super::super::upload::UploadError;
use super::super::{LayoutError, MANIFEST_BYTES_MAX};

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// Why a request is refused: each has the code that the specification gives it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("there is no such path in the registry's API")]
    NoSuchPath,
    #[error("the operation is unsupported")]
    Unsupported,
    #[error("{0}")]
    NameInvalid(String),
    #[error("repository {0:?} is not known")]
    NameUnknown(String),
    #[error("manifest {0:?} is not known")]
    ManifestUnknown(String),
    #[error("{0}")]
    ManifestInvalid(String),
    #[error("a manifest may have at most {MANIFEST_BYTES_MAX} bytes")]
    ManifestTooLarge,
    #[error("n={0:?} is no number of entries")]
    PageInvalid(String),
    #[error("the blob has {size} bytes, and what is asked for lies beyond them")]
    RangeInvalid { size: u64 },
    #[error("the manifest refers to {0}, which has not been pushed")]
    ManifestBlobUnknown(String),
    #[error("blob {0} is not known")]
    BlobUnknown(String),
    #[error("{0}")]
    DigestInvalid(String),
    #[error("{0}")]
    Denied(String),
    #[error(transparent)]
    Upload(#[from] UploadError),
    #[error(transparent)]
    Layout(LayoutError),
    #[error("the image store's disk failed")]
    Io(#[source] std::io::Error),
}

impl Refusal {
    fn code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NoSuchPath => (StatusCode::NOT_FOUND, "UNSUPPORTED"),
            Self::Unsupported => (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED"),
            Self::NameInvalid(_) => (StatusCode::BAD_REQUEST, "NAME_INVALID"),
            Self::NameUnknown(_) => (StatusCode::NOT_FOUND, "NAME_UNKNOWN"),
            Self::ManifestUnknown(_) => (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"),
            Self::ManifestInvalid(_) => (StatusCode::BAD_REQUEST, "MANIFEST_INVALID"),
            Self::ManifestTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "MANIFEST_INVALID"),
            Self::PageInvalid(_) => (StatusCode::BAD_REQUEST, "PAGINATION_NUMBER_INVALID"),
            Self::RangeInvalid { .. } => (StatusCode::RANGE_NOT_SATISFIABLE, "RANGE_INVALID"),
            Self::ManifestBlobUnknown(_) => (StatusCode::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN"),
            Self::BlobUnknown(_) => (StatusCode::NOT_FOUND, "BLOB_UNKNOWN"),
            Self::DigestInvalid(_) => (StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
            Self::Denied(_) => (StatusCode::FORBIDDEN, "DENIED"),
            Self::Upload(error) => match error {
                UploadError::TooMany => (StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS"),
                UploadError::Unknown => (StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN"),
                UploadError::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID"),
                UploadError::OutOfOrder { .. } => (StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID"),
                UploadError::Digest { .. } => (StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
                UploadError::Body(_) => (StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID"),
                UploadError::Write(_) => (StatusCode::INTERNAL_SERVER_ERROR, "BLOB_UPLOAD_INVALID"),
            },
            Self::Layout(_) | Self::Io(_) => (StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN"),
        }
    }

    /// The refusal as the specification words it; what a person must look at is logged here.
    pub(super) fn into_response(self) -> HttpResponse {
        let (status, code) = self.code();
        let message = describe(&self);
        if status.is_server_error() {
            tracing::error!(error = %message, "the image registry failed");
        }
        let mut response = json(&json!({ "errors": [{ "code": code, "message": message }] }));
        *response.status_mut() = status;
        match self {
            Self::RangeInvalid { size } => with(response, header::CONTENT_RANGE, &format!("bytes */{size}")),
            _ => response,
        }
    }

    /// Whether the client may go on with the upload after this.
    pub(super) fn leaves_session_whole(error: &UploadError) -> bool {
        matches!(error, UploadError::OutOfOrder { .. })
    }
}

/// An error with its causes, in one line.
fn describe(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |e| e.source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

pub(super) fn with(mut response: HttpResponse, name: HeaderName, value: &str) -> HttpResponse {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
    response
}

fn of(status: StatusCode, body: Body) -> HttpResponse {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    with(response, HeaderName::from_static("docker-distribution-api-version"), "registry/2.0")
}

pub(super) fn empty(status: StatusCode) -> HttpResponse {
    of(status, body_of(""))
}

pub(super) fn json(value: &Value) -> HttpResponse {
    typed_json(value, "application/json")
}

pub(super) fn typed_json(value: &Value, media_type: &str) -> HttpResponse {
    with(of(StatusCode::OK, body_of(value.to_string())), header::CONTENT_TYPE, media_type)
}

/// Says that a manifest was taken for one about another.
pub(super) fn about(response: HttpResponse, subject: &str) -> HttpResponse {
    with(response, HeaderName::from_static("oci-subject"), subject)
}

/// Says which filters a list went through.
pub(super) fn filtered(response: HttpResponse, filters: &str) -> HttpResponse {
    with(response, HeaderName::from_static("oci-filters-applied"), filters)
}

pub(super) fn created(location: &str, digest: &Digest) -> HttpResponse {
    let response = with(empty(StatusCode::CREATED), header::LOCATION, location);
    with(response, CONTENT_DIGEST, digest.as_str())
}

pub(super) fn upload(status: StatusCode, repository: &str, id: &str, size: u64) -> HttpResponse {
    let response = with(empty(status), header::LOCATION, &format!("/v2/{repository}/blobs/uploads/{id}"));
    let response = with(response, header::RANGE, &format!("0-{}", size.saturating_sub(1)));
    with(response, UPLOAD_ID, id)
}

pub(super) fn content(method: &Method, digest: &Digest, media_type: &str, bytes: Vec<u8>) -> HttpResponse {
    let length = bytes.len().to_string();
    let body = if *method == Method::HEAD { body_of("") } else { body_of(bytes) };
    let response = with(of(StatusCode::OK, body), header::CONTENT_TYPE, media_type);
    with(with(response, header::CONTENT_LENGTH, &length), CONTENT_DIGEST, digest.as_str())
}

pub(super) fn blob(digest: &Digest, size: u64, body: Body) -> HttpResponse {
    let response = with(of(StatusCode::OK, body), header::CONTENT_TYPE, "application/octet-stream");
    let response = with(response, header::ACCEPT_RANGES, "bytes");
    with(with(response, header::CONTENT_LENGTH, &size.to_string()), CONTENT_DIGEST, digest.as_str())
}

/// Makes the answer with a part of a blob of one that had all of it.
pub(super) fn partial(mut response: HttpResponse, first: u64, last: u64, size: u64) -> HttpResponse {
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    with(response, header::CONTENT_RANGE, &format!("bytes {first}-{last}/{size}"))
}
