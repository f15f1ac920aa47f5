//! What a request asks for, read from its method, path and query alone: the first step of the chain.
//!
//! Pure. It knows Kubernetes' path grammar, but not which resources exist.

use http::Method;

/// What is done to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Read one object.
    Get,
    /// Read a collection.
    List,
    /// Follow a collection or an object.
    Watch,
    /// Make an object.
    Create,
    /// Replace an object.
    Update,
    /// Change an object.
    Patch,
    /// Delete an object.
    Delete,
    /// Delete a collection.
    DeleteCollection,
}

impl Verb {
    /// As rules and messages name it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

/// A path below `/api/v1` or `/apis/group/version`, taken apart. Absent parts are empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResourcePath {
    /// API group.
    pub(crate) group: String,
    /// Version.
    pub(crate) version: String,
    /// Namespace.
    pub(crate) namespace: String,
    /// Plural resource.
    pub(crate) resource: String,
    /// Object.
    pub(crate) name: String,
    /// Subresource.
    pub(crate) subresource: String,
    /// What follows it, as it was sent, from its slash on: the path of what is asked through a proxy.
    pub(crate) rest: String,
    /// Whether the path is of the old form `/api/v1/watch/…`.
    pub(crate) watched: bool,
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestInfo {
    /// The path as sent.
    pub(crate) path: String,
    /// `get`, `post`… in lower case, for what is no resource.
    pub(crate) method: String,
    /// The resource and what is done to it; nothing for discovery, health and the like.
    pub(crate) resource: Option<(Option<Verb>, ResourcePath)>,
}

impl RequestInfo {
    /// Reads a request's head.
    pub(crate) fn of(method: &Method, uri: &http::Uri) -> Self {
        let path = uri.path().to_owned();
        let resource = parse(&path).map(|target| (verb(method, uri.query().unwrap_or(""), &target), target));
        Self { path, method: method.as_str().to_ascii_lowercase(), resource }
    }

    /// Whether the answer may take as long as it likes: watches and followed logs.
    pub(crate) fn is_long_running(&self) -> bool {
        self.resource.as_ref().is_some_and(|(verb, target)| {
            *verb == Some(Verb::Watch)
                || matches!(target.subresource.as_str(), "log" | "exec" | "attach" | "portforward" | "proxy")
        }) || self.path.starts_with("/v2/")
    }

    /// The verb for rules and metrics.
    pub(crate) fn verb(&self) -> &str {
        match &self.resource {
            Some((Some(verb), _)) => verb.as_str(),
            Some((None, _)) | None => &self.method,
        }
    }
}

/// The query parameter's value, percent-decoded; the first one counts.
pub(crate) fn parameter(query: &str, name: &str) -> Option<String> {
    pairs(query).filter(|(k, _)| k == name).map(|(_, v)| v).next()
}

/// The decoded parameters of a query.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (String, String)> + '_ {
    query.split('&').filter(|p| !p.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key), decode(value))
    })
}

fn decode(text: &str) -> String {
    percent_decode(&text.replace('+', " "))
}

/// Undoes percent-encoding; what is no valid encoding stays as it stands.
pub(crate) fn percent_decode(text: &str) -> String {
    let hex = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match (byte, hex(bytes.get(at + 1)), hex(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push(high * 16 + low);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// Whether a boolean parameter is set: by anything but `false` and `0`, as upstream reads it.
pub(crate) fn is_true(value: Option<&str>) -> bool {
    value.is_some_and(|stated| stated != "0" && !stated.eq_ignore_ascii_case("false"))
}

fn verb(method: &Method, query: &str, target: &ResourcePath) -> Option<Verb> {
    let named = !target.name.is_empty();
    match *method {
        Method::GET | Method::HEAD if target.watched => Some(Verb::Watch),
        Method::GET | Method::HEAD if named => Some(Verb::Get),
        Method::GET | Method::HEAD if is_true(parameter(query, "watch").as_deref()) => Some(Verb::Watch),
        Method::GET | Method::HEAD => Some(Verb::List),
        Method::POST => Some(Verb::Create),
        Method::PUT => Some(Verb::Update),
        Method::PATCH => Some(Verb::Patch),
        Method::DELETE if named => Some(Verb::Delete),
        Method::DELETE => Some(Verb::DeleteCollection),
        _ => None,
    }
}

fn parse(path: &str) -> Option<ResourcePath> {
    let segments = path.trim_matches('/').split('/');
    let count = segments.clone().count();
    let mut parts = segments.map(percent_decode).peekable();
    let (group, version) = match parts.next()?.as_str() {
        "api" => (String::new(), parts.next()?),
        "apis" => (parts.next()?, parts.next()?),
        _ => return None,
    };
    let watched = parts.next_if(|p| p == "watch").is_some();
    let mut rest: Vec<String> = parts.collect();
    let mut namespace = String::new();
    // `/namespaces/x` is the object, `/namespaces/x/status` its subresource, `/namespaces/x/pods` a collection in it.
    if rest.first().is_some_and(|p| p == "namespaces")
        && rest.get(2).is_some_and(|p| !matches!(p.as_str(), "status" | "finalize"))
    {
        namespace = rest.get(1).cloned().unwrap_or_default();
        rest.drain(..2);
    }
    let mut rest = rest.into_iter();
    let resource = rest.next().filter(|r| !r.is_empty())?;
    let name = rest.next().unwrap_or_default();
    let subresource = rest.next().unwrap_or_default();
    // What has been taken apart is passed over; what follows stays as it was before it was decoded.
    let left = rest.count();
    let sent = path.trim_start_matches('/').split('/').skip(count - left);
    let below = left > 0 || subresource == "proxy";
    let rest = sent.filter(|_| below).fold(String::new(), |rest, segment| rest + "/" + segment);
    Some(ResourcePath { group, version, namespace, resource, name, subresource, rest, watched })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_through_a_proxy_stays_as_it_was_sent() {
        let rest = |uri: &str| parse(uri).map(|path| (path.subresource, path.rest)).unwrap();
        let check =
            |uri: &str, sub: &str, expected: &str| assert_eq!(rest(uri), (sub.into(), expected.into()), "{uri}");
        check("/api/v1/nodes/proxy/proxy/stats/summary", "proxy", "/stats/summary");
        check("/api/v1/nodes/n/proxy/a%2Fb/c/", "proxy", "/a%2Fb/c/");
        check("/api/v1/nodes/n/proxy//a//b//", "proxy", "//a//b//");
        check("//api/v1/nodes/n/proxy//", "proxy", "//");
        check("/api/v1/nodes/n/proxy/", "proxy", "/");
        check("/api/v1/nodes/n/proxy", "proxy", "");
        check("/api/v1/namespaces/a/pods/b/status", "status", "");
        check("/api/v1/namespaces/a/pods/b/status/", "status", "");
        check("/api/v1/namespaces/a/pods/b/status/x", "status", "/x");
    }

    fn check(method: &Method, uri: &str, expected: &str) {
        let info = RequestInfo::of(method, &uri.parse().unwrap());
        let text = info.resource.as_ref().map_or("none".to_owned(), |(_, t)| {
            format!(
                "{} {}/{} ns={} {} {} {}",
                info.verb(),
                t.group,
                t.version,
                t.namespace,
                t.resource,
                t.name,
                t.subresource
            )
        });
        assert_eq!(text.trim(), expected, "{uri}");
    }

    #[test]
    fn paths_are_taken_apart_as_upstream() {
        check(&Method::GET, "/api/v1/pods", "list /v1 ns= pods");
        check(&Method::GET, "/api/v1/pods?watch=1", "watch /v1 ns= pods");
        check(&Method::GET, "/api/v1/namespaces/a/pods/b?watch=true", "get /v1 ns=a pods b");
        check(&Method::GET, "/api/v1/watch/namespaces/a/pods/b", "watch /v1 ns=a pods b");
        check(&Method::GET, "/api/v1/namespaces/a", "get /v1 ns= namespaces a");
        check(&Method::PUT, "/api/v1/namespaces/a/finalize", "update /v1 ns= namespaces a finalize");
        check(&Method::POST, "/apis/apps/v1/namespaces/a/deployments", "create apps/v1 ns=a deployments");
        check(
            &Method::PATCH,
            "/apis/apps/v1/namespaces/a/deployments/d/scale",
            "patch apps/v1 ns=a deployments d scale",
        );
        check(&Method::DELETE, "/api/v1/namespaces/a/pods", "deletecollection /v1 ns=a pods");
        check(&Method::GET, "/apis/apps/v1", "none");
        check(&Method::GET, "/healthz", "none");
    }

    #[test]
    fn parameters_are_decoded() {
        let query = "labelSelector=a+in+%28b%29&x=%zz&y";
        assert_eq!(parameter(query, "labelSelector").as_deref(), Some("a in (b)"));
        assert_eq!(parameter(query, "x").as_deref(), Some("%zz"));
        assert_eq!(parameter(query, "y").as_deref(), Some(""));
        assert_eq!(parameter(query, "z"), None);
        for (text, set) in
            [(None, false), (Some(""), true), (Some("x"), true), (Some("False"), false), (Some("0"), false)]
        {
            assert_eq!(is_true(text), set, "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_path_and_no_query_make_it_fail(path in "(/?(api|apis|v1|namespaces|watch|%[0-9a-f]{0,2}|[a-z]{0,3}|%ff|é)){0,8}", query: String) {
            let _ = parse(&path);
            let _ = pairs(&query).count();
        }
    }
}
