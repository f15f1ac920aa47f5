//! The store as a registry: the OCI distribution API under `/v2/`, so that `coracle image push` and every other
//! OCI tool can push to it, and other nodes can pull from it.
//!
//! Repositories share their blobs. It does no authentication: who may ask is decided before a request gets here.

mod answer;
mod blobs;
mod lists;
mod manifests;
mod own;
mod route;
mod uploads;

use async_trait::async_trait;
use coracle_api::meet::{HttpRequest, HttpResponse, HttpService};
use coracle_api::names::Digest;
use http::{Method, Request};
use serde_json::json;

use crate::query::Query;

use super::{ImageStore, Reference};
use answer::Refusal;
use route::Route;

#[async_trait]
impl HttpService for ImageStore {
    async fn serve(&self, request: HttpRequest) -> HttpResponse {
        self.answer(request).await.unwrap_or_else(Refusal::into_response)
    }
}

impl ImageStore {
    async fn answer(&self, request: HttpRequest) -> Result<HttpResponse, Refusal> {
        let (parts, body) = request.into_parts();
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let route = Route::parse(parts.uri.path()).ok_or(Refusal::NoSuchPath)?;
        let head = Request::from_parts(parts, ());
        let method = head.method().clone();
        match (route, method) {
            (Route::Base, Method::GET | Method::HEAD) => Ok(answer::json(&json!({}))),
            (Route::Catalog, Method::GET) => self.catalog(&query),
            (Route::Images, Method::GET) => Ok(self.images()),
            (Route::Prune, Method::POST) => self.prune(&query).await,
            (Route::Tags { repository }, Method::GET) => self.tags(&repository, &query),
            (Route::Referrers { repository, digest }, Method::GET) => self.referrers(&repository, &digest, &query),
            (Route::Manifest { repository, pick }, method) => {
                let reference = Reference::of(&repository, &pick).map_err(|e| Refusal::NameInvalid(e.to_string()))?;
                match method {
                    Method::GET | Method::HEAD => self.get_manifest(&reference, &method).await,
                    Method::PUT => self.put_manifest(reference, &repository, &head, body).await,
                    Method::DELETE => self.delete_manifest(reference).await,
                    _ => Err(Refusal::Unsupported),
                }
            }
            (Route::Blob { repository, digest }, method) => {
                let digest = named_digest(&repository, &digest)?;
                match method {
                    Method::GET | Method::HEAD => self.get_blob(&digest, &head).await,
                    Method::DELETE => self.delete_blob(&digest),
                    _ => Err(Refusal::Unsupported),
                }
            }
            (Route::Uploads { repository }, Method::POST) => self.begin_upload(&repository, &query, body).await,
            (Route::Upload { repository, id }, method) => {
                self.go_on(&repository, id, &method, &query, &head, body).await
            }
            _ => Err(Refusal::Unsupported),
        }
    }
}

/// The digest in a path whose repository is well formed too.
fn named_digest(repository: &str, digest: &str) -> Result<Digest, Refusal> {
    Reference::of(repository, "latest").map_err(|e| Refusal::NameInvalid(e.to_string()))?;
    Digest::new(digest).map_err(|e| Refusal::DigestInvalid(e.to_string()))
}

/// Does what waits for the disk where waiting is allowed.
async fn blocking<T: Send + 'static>(job: impl FnOnce() -> Result<T, Refusal> + Send + 'static) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(job).await {
        Ok(outcome) => outcome,
        Err(ended) => Err(Refusal::Io(std::io::Error::other(ended))),
    }
}
