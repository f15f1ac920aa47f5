//! The store as a registry: the OCI distribution API under `/v2/`, so that `coracle image push` and every other
//! OCI tool can push to it, and other nodes can pull from it.
//!
//! Repositories share their blobs. It does no authentication: who may ask is decided before a request gets here.

mod answer;
mod route;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use coracle_api::meet::{Body, BodyError, HttpRequest, HttpResponse, HttpService};
use coracle_api::names::Digest;
use futures::TryStreamExt;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::query::Query;

use super::manifest::Manifest;
use super::upload::{Session, hex};
use super::{ImageStore, MANIFEST_BYTES_MAX, Reference};
use answer::Refusal;
use route::Route;

/// How many bytes of a blob are read and sent at a time.
const CHUNK_BYTES: usize = 64 * 1024;

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
            (Route::Catalog, Method::GET) => Ok(self.catalog(&query)),
            (Route::Tags { repository }, Method::GET) => self.tags(&repository, &query),
            (Route::Manifest { repository, pick }, method) => {
                let reference = Reference::of(&repository, &pick).map_err(|e| Refusal::NameInvalid(e.to_string()))?;
                match method {
                    Method::GET | Method::HEAD => self.get_manifest(&reference, &method).await,
                    Method::PUT => self.put_manifest(reference, &repository, body).await,
                    Method::DELETE => self.delete_manifest(reference).await,
                    _ => Err(Refusal::Unsupported),
                }
            }
            (Route::Blob { digest }, method) => {
                let digest = Digest::new(digest).map_err(|e| Refusal::DigestInvalid(e.to_string()))?;
                match method {
                    Method::GET | Method::HEAD => self.get_blob(&digest, &method).await,
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

    fn catalog(&self, query: &Query) -> HttpResponse {
        let mut names: Vec<String> = self.list().into_iter().filter_map(|i| repository_of(&i.name)).collect();
        names.sort();
        names.dedup();
        answer::json(&json!({ "repositories": route::page(query, names) }))
    }

    fn tags(&self, repository: &str, query: &Query) -> Result<HttpResponse, Refusal> {
        let wanted = Reference::of(repository, "latest").map_err(|e| Refusal::NameInvalid(e.to_string()))?;
        let tag = |name: String| {
            let reference: Reference = name.parse().ok()?;
            let tag = name.rsplit_once(':')?.1.to_owned();
            (reference.repository() == wanted.repository()).then_some(tag)
        };
        let mut tags: Vec<String> = self.list().into_iter().filter_map(|i| tag(i.name)).collect();
        if tags.is_empty() {
            return Err(Refusal::NameUnknown(repository.to_owned()));
        }
        tags.sort();
        Ok(answer::json(&json!({ "name": repository, "tags": route::page(query, tags) })))
    }

    async fn get_manifest(&self, reference: &Reference, method: &Method) -> Result<HttpResponse, Refusal> {
        let unknown = || Refusal::ManifestUnknown(reference.familiar());
        let (digest, media_type) = {
            let layout = self.layout();
            let entry = layout.find(reference).ok_or_else(unknown)?;
            (entry.digest.clone(), entry.media_type.clone())
        };
        let bytes = tokio::fs::read(self.blob_path(&digest)).await.map_err(Refusal::Io)?;
        Ok(answer::content(method, &digest, &media_type, bytes))
    }

    async fn put_manifest(&self, reference: Reference, repository: &str, body: Body) -> Result<HttpResponse, Refusal> {
        let bytes = bounded(body).await?;
        let manifest = Manifest::parse(&bytes).map_err(Refusal::ManifestInvalid)?;
        let digest = digest_of(&bytes)?;
        if let super::name::Pick::Digest(claimed) = reference.pick()
            && *claimed != digest
        {
            return Err(Refusal::DigestInvalid(format!("the manifest has the digest {digest}")));
        }
        let missing = |d: &&super::manifest::Descriptor| {
            Digest::new(&*d.digest).is_ok_and(|digest| !self.blob_path(&digest).exists())
                || Digest::new(&*d.digest).is_err()
        };
        if let Some(blob) = manifest.references().find(missing) {
            return Err(Refusal::ManifestBlobUnknown(blob.digest.clone()));
        }
        let (store, placed) = (self.clone(), digest.clone());
        blocking(move || store.layout().put(&reference, &placed, &bytes).map_err(Refusal::Layout)).await?;
        self.announce();
        Ok(answer::created(&format!("/v2/{repository}/manifests/{digest}"), &digest))
    }

    async fn delete_manifest(&self, reference: Reference) -> Result<HttpResponse, Refusal> {
        let (store, wanted) = (self.clone(), reference.clone());
        let went = blocking(move || store.layout().remove(&wanted).map_err(Refusal::Layout)).await?;
        if went { Ok(answer::empty(StatusCode::ACCEPTED)) } else { Err(Refusal::ManifestUnknown(reference.familiar())) }
    }

    async fn get_blob(&self, digest: &Digest, method: &Method) -> Result<HttpResponse, Refusal> {
        let unknown = |_| Refusal::BlobUnknown(digest.to_string());
        let file = tokio::fs::File::open(self.blob_path(digest)).await.map_err(unknown)?;
        let size = file.metadata().await.map_err(Refusal::Io)?.len();
        if *method == Method::HEAD {
            return Ok(answer::blob(digest, size, coracle_api::meet::body_of("")));
        }
        let chunks = futures::stream::try_unfold(file, |mut file| async move {
            use tokio::io::AsyncReadExt;
            let mut buffer = BytesMut::with_capacity(CHUNK_BYTES);
            let read = file.read_buf(&mut buffer).await?;
            Ok::<_, std::io::Error>((read > 0).then(|| (http_body::Frame::data(buffer.freeze()), file)))
        });
        Ok(answer::blob(digest, size, StreamBody::new(chunks.map_err(|e| -> BodyError { Box::new(e) })).boxed_unsync()))
    }

    fn delete_blob(&self, digest: &Digest) -> Result<HttpResponse, Refusal> {
        let mut layout = self.layout();
        if layout.is_referenced(digest) {
            return Err(Refusal::Denied("an image needs this blob; delete its manifest first".to_owned()));
        }
        layout.delete_blob(digest).map_err(|_| Refusal::BlobUnknown(digest.to_string()))?;
        Ok(answer::empty(StatusCode::ACCEPTED))
    }

    async fn begin_upload(&self, repository: &str, query: &Query, body: Body) -> Result<HttpResponse, Refusal> {
        Reference::of(repository, "latest").map_err(|e| Refusal::NameInvalid(e.to_string()))?;
        if let Some(digest) = query.get("mount").and_then(|d| Digest::new(d).ok())
            && self.blob_path(&digest).exists()
        {
            return Ok(answer::created(&format!("/v2/{repository}/blobs/{digest}"), &digest));
        }
        let (id, mut session) = self.inner.uploads.begin()?;
        if let Some(digest) = query.get("digest") {
            session.append(None, body).await?;
            return self.finish(session, repository, digest).await;
        }
        self.inner.uploads.keep(id.clone(), session);
        Ok(answer::upload(StatusCode::ACCEPTED, repository, &id, 0))
    }

    async fn go_on(
        &self,
        repository: &str,
        id: String,
        method: &Method,
        query: &Query,
        head: &Request<()>,
        body: Body,
    ) -> Result<HttpResponse, Refusal> {
        let uploads = &self.inner.uploads;
        let mut session = uploads.take(&id)?;
        match *method {
            Method::GET => {
                let size = session.size();
                uploads.keep(id.clone(), session);
                Ok(answer::upload(StatusCode::NO_CONTENT, repository, &id, size))
            }
            Method::DELETE => Ok(answer::empty(StatusCode::NO_CONTENT)),
            Method::PATCH => {
                let outcome = session.append(route::chunk_start(head), body).await;
                let size = session.size();
                if outcome.as_ref().err().is_none_or(Refusal::leaves_session_whole) {
                    uploads.keep(id.clone(), session);
                }
                outcome?;
                Ok(answer::upload(StatusCode::ACCEPTED, repository, &id, size))
            }
            Method::PUT => {
                session.append(route::chunk_start(head), body).await?;
                let digest =
                    query.get("digest").ok_or_else(|| Refusal::DigestInvalid("digest is missing".to_owned()))?;
                self.finish(session, repository, digest).await
            }
            _ => Err(Refusal::Unsupported),
        }
    }

    async fn finish(&self, session: Session, repository: &str, digest: &str) -> Result<HttpResponse, Refusal> {
        let digest = Digest::new(digest).map_err(|e| Refusal::DigestInvalid(e.to_string()))?;
        // Known before it is in its place, so that no sweep takes it in between.
        self.layout().blob_arrived(digest.clone());
        session.finish(digest.as_str(), &self.blob_path(&digest)).await?;
        Ok(answer::created(&format!("/v2/{repository}/blobs/{digest}"), &digest))
    }
}

/// A whole body, if it is no larger than a manifest may be.
async fn bounded(mut body: Body) -> Result<Bytes, Refusal> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Refusal::ManifestInvalid(e.to_string()))?;
        bytes.extend_from_slice(frame.data_ref().map_or(&[], |d| d.as_ref()));
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(Refusal::ManifestInvalid(format!("a manifest may have at most {MANIFEST_BYTES_MAX} bytes")));
        }
    }
    Ok(bytes.freeze())
}

async fn blocking<T: Send + 'static>(job: impl FnOnce() -> Result<T, Refusal> + Send + 'static) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(job).await {
        Ok(outcome) => outcome,
        Err(ended) => Err(Refusal::Io(std::io::Error::other(ended))),
    }
}

fn digest_of(bytes: &[u8]) -> Result<Digest, Refusal> {
    let text = format!("sha256:{}", hex(&Sha256::digest(bytes)));
    Digest::new(text).map_err(|e| Refusal::DigestInvalid(e.to_string()))
}

/// `hello` of `hello:1`.
fn repository_of(name: &str) -> Option<String> {
    name.rsplit_once(':').map(|(repository, _)| repository.to_owned())
}
