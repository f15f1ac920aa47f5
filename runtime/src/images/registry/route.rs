//! The paths of the distribution API, parsed.
//!
//! It knows their shape only: whether names and digests are well formed is checked where they are used.

use coracle_api::meet::HttpResponse;
use http::{Request, header};

use crate::query::{Query, decoded};

use super::answer::{self, Refusal};

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    Base,
    Catalog,
    Images,
    Prune,
    Tags { repository: String },
    Referrers { repository: String, digest: String },
    Manifest { repository: String, pick: String },
    Blob { repository: String, digest: String },
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
        match rest {
            "_catalog" => return Some(Self::Catalog),
            "_coracle/images" => return Some(Self::Images),
            "_coracle/prune" => return Some(Self::Prune),
            _ => {}
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
        if let Some((repository, digest)) = rest.rsplit_once("/blobs/") {
            return Some(Self::Blob { repository: repository.to_owned(), digest: decoded(digest) });
        }
        if let Some((repository, digest)) = rest.rsplit_once("/referrers/") {
            return Some(Self::Referrers { repository: repository.to_owned(), digest: decoded(digest) });
        }
        let (repository, pick) = rest.rsplit_once("/manifests/")?;
        Some(Self::Manifest { repository: repository.to_owned(), pick: decoded(pick) })
    }
}

/// A page of a sorted list, as `n` and `last` ask for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) items: Vec<String>,
    /// The query that asks for the page after it, if there is one.
    next: Option<String>,
}

impl Page {
    pub(super) fn of(query: &Query, items: Vec<String>) -> Result<Self, Refusal> {
        let count = match query.get("n") {
            None => usize::MAX,
            Some(n) => n.parse().map_err(|_| Refusal::PageInvalid(n.to_owned()))?,
        };
        let last = query.get("last").unwrap_or_default();
        let mut items: Vec<String> = items.into_iter().filter(|i| i.as_str() > last).collect();
        let more = items.len() > count;
        items.truncate(count);
        let next = items.last().filter(|_| more).map(|last| {
            let last: String = form_urlencoded::byte_serialize(last.as_bytes()).collect();
            format!("last={last}&n={count}")
        });
        Ok(Self { items, next })
    }

    /// The answer with a link to the next page.
    pub(super) fn linked(&self, response: HttpResponse, path: &str) -> HttpResponse {
        match &self.next {
            Some(next) => answer::with(response, header::LINK, &format!("<{path}?{next}>; rel=\"next\"")),
            None => response,
        }
    }
}

/// The first number of `Content-Range: 0-9`.
pub(super) fn chunk_start(head: &Request<()>) -> Option<u64> {
    let range = head.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
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
            ("/v2/a/b/blobs/sha256%3Ax", Some(Route::Blob { repository: repository(), digest: "sha256:x".into() })),
            ("/v2/a/b/referrers/x", Some(Route::Referrers { repository: repository(), digest: "x".into() })),
            ("/v2/_coracle/images", Some(Route::Images)),
            ("/v2/a/b/blobs/uploads/", Some(Route::Uploads { repository: repository() })),
            ("/v2/a/b/blobs/uploads/7", Some(Route::Upload { repository: repository(), id: "7".into() })),
            ("/v1/x", None),
            ("/v2/x", None),
        ] {
            assert_eq!(Route::parse(path), route, "{path}");
        }
    }

    #[test]
    fn a_page_says_how_to_go_on_while_there_is_more() {
        let page = |query: &str| {
            let items = ["a", "b/c", "d"].map(str::to_owned).to_vec();
            Page::of(&Query::parse(query), items).map(|p| (p.items.join(" "), p.next)).map_err(|e| e.to_string())
        };
        assert_eq!(page(""), Ok(("a b/c d".into(), None)));
        assert_eq!(page("n=2"), Ok(("a b/c".into(), Some("last=b%2Fc&n=2".into()))));
        assert_eq!(page("n=2&last=b%2Fc"), Ok(("d".into(), None)));
        assert_eq!(page("n=0"), Ok((String::new(), None)));
        assert!(page("n=x").is_err());
    }
}
