//! What a request asks for, as metrics tell it apart: in words of closed sets only.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::registry::{Registry, Scope};
use crate::request::{RequestInfo, ResourcePath, Verb, parameter};

/// Paths that are no resources, and are told apart.
const PATHS: [&str; 12] = [
    "/api",
    "/apis",
    "/healthz",
    "/livez",
    "/metrics",
    "/openapi/v2",
    "/openapi/v3",
    "/readyz",
    "/version",
    "/.well-known/openid-configuration",
    "/openid/v1/jwks",
    "/",
];

/// The labels of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct Asked {
    pub(super) verb: &'static str,
    pub(super) dry_run: &'static str,
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) resource: &'static str,
    pub(super) subresource: &'static str,
    pub(super) scope: &'static str,
}

impl Asked {
    /// Of a request. What is not there has names of the client's choosing: they are left out.
    pub(crate) fn of(info: &RequestInfo, query: &str, headers: &HeaderMap, registry: &Registry) -> Self {
        let Some((verb, path)) = &info.resource else {
            let subresource = PATHS.iter().find(|known| **known == info.path).copied().unwrap_or_default();
            return Self { verb: method(&info.method), subresource, ..Self::default() };
        };
        let row = registry.get(&path.group, &path.version, &path.resource);
        let below = |row: &crate::registry::Row| {
            row.subresources.iter().map(|s| s.name()).find(|name| *name == path.subresource)
        };
        let subresource = row.as_deref().and_then(below).unwrap_or_default();
        let is_apply =
            || headers.get(CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"application/apply-patch"));
        let verb = match (verb, subresource) {
            (_, "attach" | "exec" | "portforward" | "proxy") => "CONNECT",
            (Some(Verb::Get), _) => "GET",
            (Some(Verb::List), _) => "LIST",
            (Some(Verb::Watch), _) => "WATCH",
            (Some(Verb::Create), _) => "POST",
            (Some(Verb::Update), _) => "PUT",
            (Some(Verb::Patch), _) if is_apply() => "APPLY",
            (Some(Verb::Patch), _) => "PATCH",
            (Some(Verb::Delete), _) => "DELETE",
            (Some(Verb::DeleteCollection), _) => "DELETECOLLECTION",
            (None, _) => method(&info.method),
        };
        let dry_run = if parameter(query, "dryRun").as_deref() == Some("All") { "All" } else { "" };
        let Some(row) = row else { return Self { verb, dry_run, ..Self::default() } };
        let scope = scope(row.scope, verb, path);
        Self { verb, dry_run, group: row.group, version: row.version, resource: row.plural, subresource, scope }
    }

    /// Whether something is read, and so its size is of interest.
    pub(super) fn reads(&self) -> bool {
        matches!(self.verb, "GET" | "LIST")
    }

    /// The labels in the text format, without those of the dry run.
    pub(super) fn labels(&self) -> String {
        let Self { verb, group, version, resource, subresource, scope, .. } = self;
        format!(
            "component=\"apiserver\",group=\"{group}\",resource=\"{resource}\",scope=\"{scope}\",\
             subresource=\"{subresource}\",verb=\"{verb}\",version=\"{version}\""
        )
    }
}

fn scope(of_row: Scope, verb: &str, path: &ResourcePath) -> &'static str {
    match of_row {
        _ if !path.name.is_empty() || verb == "POST" => "resource",
        Scope::Namespaced if !path.namespace.is_empty() => "namespace",
        Scope::Namespaced | Scope::Cluster => "cluster",
    }
}

fn method(name: &str) -> &'static str {
    match name {
        "get" | "head" => "GET",
        "post" => "POST",
        "put" => "PUT",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "options" => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn check(method: &Method, uri: &str, expected: &str) {
        let uri: http::Uri = uri.parse().unwrap();
        let info = RequestInfo::of(method, &uri);
        let asked = Asked::of(&info, uri.query().unwrap_or(""), &HeaderMap::new(), &Registry::builtin());
        let Asked { verb, group, resource, subresource, scope, dry_run, .. } = asked;
        assert_eq!([verb, group, resource, subresource, scope, dry_run].join(","), expected, "{uri}");
    }

    #[test]
    fn requests_are_told_apart_as_upstream_does() {
        check(&Method::GET, "/api/v1/pods", "LIST,,pods,,cluster,");
        check(&Method::GET, "/api/v1/namespaces/a/pods?watch=1", "WATCH,,pods,,namespace,");
        check(&Method::GET, "/apis/apps/v1/namespaces/a/deployments/x", "GET,apps,deployments,,resource,");
        check(&Method::POST, "/api/v1/namespaces/a/pods?dryRun=All", "POST,,pods,,resource,All");
        check(&Method::PATCH, "/api/v1/nodes/n/status", "PATCH,,nodes,status,resource,");
        check(&Method::GET, "/api/v1/namespaces/a/pods/p/exec", "CONNECT,,pods,exec,resource,");
        check(&Method::GET, "/apis/nope.example.com/v1/things", "LIST,,,,,");
        check(&Method::GET, "/readyz", "GET,,,/readyz,,");
        check(&Method::GET, "/nope", "GET,,,,,");
    }
}
