//! Blobs on their way in: in one go, in chunks, or by naming one that is here already.

use coracle_api::meet::{Body, HttpResponse};
use coracle_api::names::Digest;
use http::{Method, Request, StatusCode};

use crate::query::Query;

use super::super::upload::Session;
use super::super::{ImageStore, Reference};
use super::answer::{self, Refusal};
use super::route;

impl ImageStore {
    pub(super) async fn begin_upload(
        &self,
        repository: &str,
        query: &Query,
        body: Body,
    ) -> Result<HttpResponse, Refusal> {
        Reference::of(repository, "latest").map_err(|e| Refusal::NameInvalid(e.to_string()))?;
        // All repositories share their blobs: wherever it is to be mounted from, it is here or it is not.
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

    pub(super) async fn go_on(
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
            _ => {
                uploads.keep(id, session);
                Err(Refusal::Unsupported)
            }
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
