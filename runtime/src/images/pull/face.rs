//! `POST /v2/_coracle/pull`: the store pulls an image because a person asks it to, with the credentials that come along.
//!
//! Everything else under `/v2/` is the store's own registry.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::BytesMut;
use coracle_api::meet::{Body, HttpRequest, HttpResponse, HttpService, body_of};
use http::{HeaderName, Method, Response, StatusCode, header};
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::{ImageStore, Reference};
use super::keyring::Credential;
use super::{PullError, Puller};

/// Where it is asked for.
pub const PULL_PATH: &str = "/v2/_coracle/pull";

/// What a registry says with every answer.
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// The largest request: a name, and some tokens.
const REQUEST_BYTES_MAX: usize = 256 * 1024;

/// What is asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PullRequest {
    /// The image.
    pub name: String,
    /// As whom, the first first; nobody if there are none.
    #[serde(default)]
    pub credentials: Vec<Credential>,
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PullAnswer {
    /// The digest of its manifest.
    pub digest: String,
    /// The size of all that it consists of, in bytes.
    pub size: u64,
}

/// The store's registry, which also pulls.
#[derive(Debug)]
pub struct Registry {
    store: Arc<ImageStore>,
    puller: Arc<Puller>,
}

impl Registry {
    /// Joins the two.
    #[must_use]
    pub fn new(store: Arc<ImageStore>, puller: Arc<Puller>) -> Self {
        Self { store, puller }
    }

    async fn pull(&self, body: &[u8]) -> Result<PullAnswer, (StatusCode, String)> {
        let bad = |why: String| (StatusCode::BAD_REQUEST, why);
        let request: PullRequest = serde_json::from_slice(body).map_err(|e| bad(e.to_string()))?;
        let reference: Reference =
            request.name.parse().map_err(|e: super::super::InvalidReference| bad(e.to_string()))?;
        if !self.puller.has_registry(&reference) {
            return Err(bad(format!(
                "{:?} names no registry; write for example {reference}, or name mirrors of docker.io in registries.yaml",
                reference.familiar()
            )));
        }
        match self.puller.pull(&reference, &request.credentials).await {
            Ok(pulled) => {
                // Who runs the server has put it there for every pod, as if it had been pushed.
                self.puller.grant(&pulled.image, None).await;
                Ok(PullAnswer { digest: pulled.image.digest.to_string(), size: pulled.size })
            }
            Err(error) => {
                let status = match &error {
                    PullError::NotWasm(_) | PullError::TooLarge { .. } => StatusCode::UNPROCESSABLE_ENTITY,
                    PullError::Refused { .. } | PullError::Tls(_) => StatusCode::BAD_GATEWAY,
                    PullError::Write { .. } | PullError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
                };
                Err((status, crate::with_causes(&error)))
            }
        }
    }
}

#[async_trait]
impl HttpService for Registry {
    async fn serve(&self, request: HttpRequest) -> HttpResponse {
        if request.uri().path() != PULL_PATH || *request.method() != Method::POST {
            return self.store.serve(request).await;
        }
        let outcome = match bounded(request.into_body()).await {
            Ok(body) => self.pull(&body).await,
            Err(why) => Err((StatusCode::BAD_REQUEST, why)),
        };
        match outcome {
            Ok(answer) => said(StatusCode::OK, &json!(answer)),
            Err((status, message)) => {
                let code = if status == StatusCode::BAD_REQUEST { "NAME_INVALID" } else { "UNKNOWN" };
                said(status, &json!({ "errors": [{ "code": code, "message": message }] }))
            }
        }
    }
}

/// A whole request, if it is no larger than one may be.
async fn bounded(mut body: Body) -> Result<BytesMut, String> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| e.to_string())?;
        bytes.extend_from_slice(frame.data_ref().map_or(&[], |d| d.as_ref()));
        if bytes.len() > REQUEST_BYTES_MAX {
            return Err(format!("a request to pull may have at most {REQUEST_BYTES_MAX} bytes"));
        }
    }
    Ok(bytes)
}

fn said(status: StatusCode, body: &serde_json::Value) -> HttpResponse {
    let mut response = Response::new(body_of(body.to_string()));
    *response.status_mut() = status;
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    // Else the API server takes a refusal for its own, and tells it in other words.
    response.headers_mut().insert(API_VERSION, http::HeaderValue::from_static("registry/2.0"));
    response
}
