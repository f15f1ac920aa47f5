//! What the registry lists: repositories, their tags, and what refers to a manifest.

use coracle_api::meet::HttpResponse;
use serde_json::{Value, json};

use crate::query::Query;

use super::super::entry::Entry;
use super::super::{ImageStore, Pick, Reference};
use super::answer::{self, Refusal};
use super::named_digest;
use super::route::Page;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

impl ImageStore {
    pub(super) fn catalog(&self, query: &Query) -> Result<HttpResponse, Refusal> {
        let mut names: Vec<String> =
            self.list().into_iter().filter_map(|i| Some(i.reference?.written().to_owned())).collect();
        names.sort();
        names.dedup();
        let page = Page::of(query, names)?;
        let response = answer::json(&json!({ "repositories": page.items }));
        Ok(page.linked(response, "/v2/_catalog"))
    }

    pub(super) fn tags(&self, repository: &str, query: &Query) -> Result<HttpResponse, Refusal> {
        let wanted = Reference::of(repository, "latest").map_err(|e| Refusal::NameInvalid(e.to_string()))?;
        let images = self.list().into_iter().filter_map(|i| i.reference);
        let mut images = images.filter(|r| r.repository() == wanted.repository()).peekable();
        if images.peek().is_none() {
            return Err(Refusal::NameUnknown(repository.to_owned()));
        }
        let tag = |reference: Reference| match reference.pick() {
            Pick::Tag(tag) => Some(tag.clone()),
            Pick::Digest(_) => None,
        };
        let mut tags: Vec<String> = images.filter_map(tag).collect();
        tags.sort();
        let page = Page::of(query, tags)?;
        let response = answer::json(&json!({ "name": repository, "tags": page.items }));
        Ok(page.linked(response, &format!("/v2/{repository}/tags/list")))
    }

    /// What says something about a manifest: signatures, bills of materials. An index, empty if there is nothing.
    pub(super) fn referrers(&self, repository: &str, digest: &str, query: &Query) -> Result<HttpResponse, Refusal> {
        let subject = named_digest(repository, digest)?;
        let wanted = query.get("artifactType");
        let layout = self.layout();
        let of_type = |e: &&Entry| wanted.is_none_or(|wanted| e.artifact_type.as_deref() == Some(wanted));
        let referrers = layout.entries().iter().filter(|e| e.subject.as_ref() == Some(&subject)).filter(of_type);
        let manifests: Vec<Value> = referrers.map(descriptor).collect();
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
        let response = answer::typed_json(&index, INDEX);
        Ok(if wanted.is_some() { answer::filtered(response, "artifactType") } else { response })
    }
}

fn descriptor(entry: &Entry) -> Value {
    json!({
        "mediaType": entry.media_type,
        "digest": entry.digest.as_str(),
        "size": entry.size,
        "artifactType": entry.artifact_type,
        "annotations": entry.annotations,
    })
}
