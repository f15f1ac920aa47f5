//! What no registry has: the store as `coracle image` sees it, under `/v2/_coracle/`, where the distribution
//! specification leaves room for extensions.

use coracle_api::meet::HttpResponse;
use serde_json::{Value, json};

use crate::query::Query;

use super::super::garbage::Reach;
use super::super::{ImageStore, Listed, Pick};
use super::answer::{self, Refusal};
use super::blocking;

impl ImageStore {
    /// All images, sorted by name, with what else is known of them.
    pub(super) fn images(&self) -> HttpResponse {
        answer::json(&json!({ "images": shown(self.list()) }))
    }

    /// Takes out what no pod uses and can be pulled again or has no tag; with `all`, also what was pushed by a tag.
    /// With `dryRun` it only tells what would go.
    pub(super) async fn prune(&self, query: &Query) -> Result<HttpResponse, Refusal> {
        let is = |key: &str| query.get(key).is_some_and(|value| matches!(value, "" | "true" | "1"));
        let reach = if is("all") { Reach::All } else { Reach::Replaceable };
        let (images, bytes) = if is("dryRun") {
            self.unused(reach)
        } else {
            let store = self.clone();
            blocking(move || store.remove_unused(reach).map_err(Refusal::Layout)).await?
        };
        Ok(answer::json(&json!({ "images": shown(images), "bytes": bytes })))
    }
}

fn shown(mut images: Vec<Listed>) -> Vec<Value> {
    images.sort_by_key(|i| (i.reference.as_ref().map(ToString::to_string), i.digest.clone()));
    images.iter().map(show).collect()
}

fn show(image: &Listed) -> Value {
    let tag = image.reference.as_ref().and_then(|r| match r.pick() {
        Pick::Tag(tag) => Some(tag.as_str()),
        Pick::Digest(_) => None,
    });
    json!({
        "name": image.reference.as_ref().map(super::super::Reference::familiar),
        "repository": image.reference.as_ref().map(super::super::Reference::written),
        "tag": tag,
        "digest": image.digest.as_str(),
        "mediaType": image.media_type,
        "size": image.size,
        "origin": image.origin,
        "arrived": image.arrived,
        "created": image.created,
        "lastUsed": image.last_used,
        "pods": image.pods.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
