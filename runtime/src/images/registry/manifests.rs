//! Manifests in the registry: read, put and deleted, by tag or by digest.
//!
//! Invariant: a manifest is accepted only when its blobs are here. Its subject may be missing, as the specification has
//! it, and of an index the manifests of other platforms.

use bytes::{Bytes, BytesMut};
use coracle_api::clock;
use coracle_api::meet::{Body, HttpResponse};
use coracle_api::names::Digest;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use sha2::{Digest as _, Sha256};

use super::super::entry::Origin;
use super::super::layout::Arrival;
use super::super::manifest::{Descriptor, Manifest};
use super::super::upload::hex;
use super::super::{ImageStore, MANIFEST_BYTES_MAX, Pick, Reference};
use super::answer::{self, Refusal};
use super::blocking;

impl ImageStore {
    pub(super) async fn get_manifest(&self, reference: &Reference, method: &Method) -> Result<HttpResponse, Refusal> {
        let (digest, media_type) =
            self.manifest_of(reference).ok_or_else(|| Refusal::ManifestUnknown(reference.familiar()))?;
        let bytes = match tokio::fs::read(self.blob_path(&digest)).await {
            Ok(bytes) => bytes,
            // A manifest of an index, for another platform.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Refusal::ManifestUnknown(reference.familiar()));
            }
            Err(error) => return Err(Refusal::Io(error)),
        };
        let media_type = media_type
            .or_else(|| Manifest::parse(&bytes).ok().map(|m| m.media_type(None).to_owned()))
            .unwrap_or_default();
        Ok(answer::content(method, &digest, &media_type, bytes))
    }

    /// The digest of the manifest, and its media type unless it is a part of an index.
    fn manifest_of(&self, reference: &Reference) -> Option<(Digest, Option<String>)> {
        let layout = self.layout();
        if let Some(entry) = layout.find(reference) {
            return Some((entry.digest.clone(), Some(entry.media_type.clone())));
        }
        match reference.pick() {
            Pick::Digest(digest) if layout.is_manifest_of_index(digest) => Some((digest.clone(), None)),
            Pick::Digest(_) | Pick::Tag(_) => None,
        }
    }

    pub(super) async fn put_manifest(
        &self,
        reference: Reference,
        repository: &str,
        head: &Request<()>,
        body: Body,
    ) -> Result<HttpResponse, Refusal> {
        let bytes = bounded(body).await?;
        let manifest = Manifest::parse(&bytes).map_err(Refusal::ManifestInvalid)?;
        let digest = digest_of(&bytes)?;
        if let Pick::Digest(claimed) = reference.pick()
            && *claimed != digest
        {
            return Err(Refusal::DigestInvalid(format!("the manifest has the digest {digest}")));
        }
        let is_here = |d: &Descriptor| Digest::new(&*d.digest).is_ok_and(|digest| self.blob_path(&digest).exists());
        // Of an index, one manifest is enough: nobody needs those of other platforms.
        let parts = manifest.manifests();
        let missing = manifest.blobs().find(|blob| !is_here(blob));
        if let Some(blob) = missing.or_else(|| parts.first().filter(|_| !parts.iter().any(is_here))) {
            return Err(Refusal::ManifestBlobUnknown(blob.digest.clone()));
        }
        let subject = manifest.subject().map(|s| s.digest.clone());
        let media_type = head.headers().get(header::CONTENT_TYPE).and_then(|t| t.to_str().ok()).map(str::to_owned);
        let (store, placed) = (self.clone(), digest.clone());
        blocking(move || {
            let media_type = media_type.as_deref();
            let (origin, now) = (Origin::Pushed, clock::now());
            let arrival = Arrival { reference: &reference, digest: &placed, bytes: &bytes, media_type, origin, now };
            store.place(arrival).map_err(Refusal::Layout)
        })
        .await?;
        let created = answer::created(&format!("/v2/{repository}/manifests/{digest}"), &digest);
        Ok(match subject {
            Some(subject) => answer::about(created, &subject),
            None => created,
        })
    }

    pub(super) async fn delete_manifest(&self, reference: Reference) -> Result<HttpResponse, Refusal> {
        let (store, wanted) = (self.clone(), reference.clone());
        let removed = blocking(move || store.take_out(|l| l.remove(&wanted)).map_err(Refusal::Layout)).await?;
        if removed.entries.is_empty() {
            return Err(Refusal::ManifestUnknown(reference.familiar()));
        }
        Ok(answer::empty(StatusCode::ACCEPTED))
    }
}

/// A whole body, if it is no larger than a manifest may be.
async fn bounded(mut body: Body) -> Result<Bytes, Refusal> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Refusal::ManifestInvalid(e.to_string()))?;
        bytes.extend_from_slice(frame.data_ref().map_or(&[], |d| d.as_ref()));
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(Refusal::ManifestTooLarge);
        }
    }
    Ok(bytes.freeze())
}

fn digest_of(bytes: &[u8]) -> Result<Digest, Refusal> {
    let text = format!("sha256:{}", hex(&Sha256::digest(bytes)));
    Digest::new(text).map_err(|e| Refusal::DigestInvalid(e.to_string()))
}
