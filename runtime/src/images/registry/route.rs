//! The paths of the distribution API, parsed.
//!
//! It knows their shape only: whether names and digests are well formed is checked where they are used.

use http::Request;

use crate::query::{Query, decoded};

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    Base,
    Catalog,
    Tags { repository: String },
    Manifest { repository: String, pick: String },
    Blob { digest: String },
    Uploads { repository: String },
    Upload { repository: String, id: String },
}

impl Route {
    /// A repository's name may contain slashes, so a path is read from its end.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/v2")?;
        if matches!(rest, "" | "/") {
            return Some(Self::Base);
        }
        let rest = rest.strip_prefix('/')?;
        if rest == "_catalog" {
            return Some(Self::Catalog);
        }
        if let Some(repository) = rest.strip_suffix("/tags/list") {
            return Some(Self::Tags { repository: repository.to_owned() });
        }
        if let Some((repository, id)) = rest.rsplit_once("/blobs/uploads") {
            let repository = repository.to_owned();
            return match id.trim_start_matches('/') {
                "" => Some(Self::Uploads { repository }),
                id => Some(Self::Upload { repository, id: id.to_owned() }),
            };
        }
        if let Some((_, digest)) = rest.rsplit_once("/blobs/") {
            return Some(Self::Blob { digest: decoded(digest) });
        }
        let (repository, pick) = rest.rsplit_once("/manifests/")?;
        Some(Self::Manifest { repository: repository.to_owned(), pick: decoded(pick) })
    }
}

/// The page of a sorted list that `n` and `last` ask for.
pub(super) fn page(query: &Query, items: Vec<String>) -> Vec<String> {
    let count = query.get("n").and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
    let last = query.get("last").unwrap_or_default();
    items.into_iter().filter(|i| i.as_str() > last).take(count).collect()
}

/// The first number of `Content-Range: 0-9`.
pub(super) fn chunk_start(head: &Request<()>) -> Option<u64> {
    let range = head.headers().get(http::header::CONTENT_RANGE)?.to_str().ok()?;
    range.trim_start_matches("bytes ").split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_from_its_end() {
        let repository = || "a/b".to_owned();
        for (path, route) in [
            ("/v2/", Some(Route::Base)),
            ("/v2/_catalog", Some(Route::Catalog)),
            ("/v2/a/b/tags/list", Some(Route::Tags { repository: repository() })),
            ("/v2/a/b/manifests/1", Some(Route::Manifest { repository: repository(), pick: "1".into() })),
            ("/v2/a/b/blobs/sha256%3Ax", Some(Route::Blob { digest: "sha256:x".into() })),
            ("/v2/a/b/blobs/uploads/", Some(Route::Uploads { repository: repository() })),
            ("/v2/a/b/blobs/uploads/7", Some(Route::Upload { repository: repository(), id: "7".into() })),
            ("/v1/x", None),
            ("/v2/x", None),
        ] {
            assert_eq!(Route::parse(path), route, "{path}");
        }
    }
}
