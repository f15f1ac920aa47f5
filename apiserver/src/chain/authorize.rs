//! Whether the one who asks may: the question is put together here, and decided by the [`authorizer`](crate::authorizer).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use coracle_api::failure::{About, Failure};
use coracle_api::selector::{FieldRelation, parse_fields};

use crate::answer::Refused;
use crate::authorizer::{Attributes, Decision, Resource, Target};
use crate::body;
use crate::identity::Identity;
use crate::machine::Machine;
use crate::request::{RequestInfo, Verb, parameter};

/// Lets through who may.
pub(crate) async fn authorize(State(machine): State<Arc<Machine>>, request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    let (Some(user), Some(info)) = (extensions.get::<Identity>(), extensions.get::<Arc<RequestInfo>>()) else {
        return Refused::from(Failure::Internal("the request was not read".to_owned())).into_response();
    };
    let selected = selected_name(info, request.uri().query().unwrap_or(""));
    let attributes = Attributes { user, verb: info.verb(), target: target(info, &selected) };
    match machine.authorizer.authorize(&attributes) {
        Decision::Allow(_) => next.run(request).await,
        Decision::Deny(reason) => {
            let refused = forbidden(&attributes, &reason);
            body::refuse(request.into_body(), refused).await
        }
    }
}

/// The name that a list or watch of one object selects: a rule for that object is enough for it.
fn selected_name(info: &RequestInfo, query: &str) -> String {
    if !matches!(info.resource, Some((Some(Verb::List | Verb::Watch), _))) {
        return String::new();
    }
    let fields = parameter(query, "fieldSelector").and_then(|selector| parse_fields(&selector).ok());
    let mut fields = fields.into_iter().flatten();
    let name = fields.find(|field| field.path == "metadata.name" && field.relation == FieldRelation::Equal);
    name.map(|field| field.value).filter(|name| !name.contains(['/', '%'])).unwrap_or_default()
}

fn target<'a>(info: &'a RequestInfo, selected: &'a str) -> Target<'a> {
    let Some((_, path)) = &info.resource else { return Target::Path(&info.path) };
    // A namespace is in itself: whoever may read a namespace's objects may be allowed to read the namespace.
    let own = if path.resource == "namespaces" { path.name.as_str() } else { "" };
    Target::Resource(Resource {
        group: &path.group,
        namespace: if path.namespace.is_empty() { own } else { &path.namespace },
        resource: &path.resource,
        subresource: &path.subresource,
        name: if path.name.is_empty() { selected } else { &path.name },
    })
}

/// The refusal of something that nobody allows.
pub(crate) fn forbidden(attributes: &Attributes<'_>, reason: &str) -> Refused {
    let mut why = attributes.sentence();
    if !reason.is_empty() {
        why = format!("{why}: {reason}");
    }
    match attributes.target {
        Target::Path(_) => {
            let sentence = format!("forbidden: {why}");
            Refused::from(Failure::Forbidden { about: About::default(), why }).saying(sentence)
        }
        Target::Resource(of) => {
            let about = About { group: of.group.to_owned(), kind: of.resource.to_owned(), name: of.name.to_owned() };
            Failure::Forbidden { about, why }.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn check(method: &Method, uri: &str, reason: &str, expected: &str) {
        let eve = Identity::user("eve");
        let uri: http::Uri = uri.parse().unwrap();
        let info = RequestInfo::of(method, &uri);
        let selected = selected_name(&info, uri.query().unwrap_or(""));
        let attributes = Attributes { user: &eve, verb: info.verb(), target: target(&info, &selected) };
        let refused = forbidden(&attributes, reason).json();
        assert_eq!(refused.get("message").and_then(|m| m.as_str()), Some(expected));
    }

    #[test]
    fn strangers_are_told_what_they_may_not_do() {
        check(
            &Method::GET,
            "/api/v1/namespaces/a/pods",
            "",
            r#"pods is forbidden: User "eve" cannot list resource "pods" in API group "" in the namespace "a""#,
        );
        check(
            &Method::GET,
            "/api/v1/pods?fieldSelector=metadata.name%3Dx&watch=1",
            "",
            r#"pods "x" is forbidden: User "eve" cannot watch resource "pods" in API group "" at the cluster scope"#,
        );
        check(
            &Method::DELETE,
            "/apis/apps/v1/namespaces/a/deployments/d/scale",
            "why",
            r#"deployments.apps "d" is forbidden: User "eve" cannot delete resource "deployments/scale" in API group "apps" in the namespace "a": why"#,
        );
        check(
            &Method::GET,
            "/api/v1/namespaces/a",
            "",
            r#"namespaces "a" is forbidden: User "eve" cannot get resource "namespaces" in API group "" in the namespace "a""#,
        );
        check(&Method::GET, "/metrics", "", r#"forbidden: User "eve" cannot get path "/metrics""#);
        check(&Method::POST, "/a&b", "", r#"forbidden: User "eve" cannot post path "/a&amp;b""#);
    }
}
