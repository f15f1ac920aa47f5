//! Who may do what.
//!
//! The rule is [`decide`], a pure function: members of `system:masters` and our own components may do everything,
//! others may find out what there is and bring images.

use std::sync::Arc;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use coracle_api::failure::{About, Failure};
use coracle_api::wellknown::{
    GROUP_MASTERS, USER_CONTROLLER_MANAGER, USER_DNS, USER_NODE_PREFIX, USER_PROXY, USER_SCHEDULER,
};

use super::authenticate::OPEN_PATHS;
use crate::answer::Refused;
use crate::body;
use crate::identity::Identity;
use crate::request::RequestInfo;

/// The components that the server is made of.
const COMPONENTS: [&str; 4] = [USER_CONTROLLER_MANAGER, USER_SCHEDULER, USER_PROXY, USER_DNS];

/// What is decided about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It goes on.
    Allow,
    /// It is refused.
    Deny,
}

/// Lets through who may.
pub(crate) async fn authorize(request: Request, next: Next) -> Response {
    let identity = request.extensions().get::<Identity>();
    let Some(info) = request.extensions().get::<Arc<RequestInfo>>() else {
        return Refused::from(Failure::Internal("the request was not read".to_owned())).into_response();
    };
    match decide(identity, info) {
        Decision::Allow => next.run(request).await,
        Decision::Deny => {
            let refused = forbidden(identity, info);
            body::refuse(request.into_body(), refused).await
        }
    }
}

/// The rule.
pub(crate) fn decide(identity: Option<&Identity>, info: &RequestInfo) -> Decision {
    if OPEN_PATHS.contains(&info.path.as_str()) {
        return Decision::Allow;
    }
    let Some(identity) = identity else { return Decision::Deny };
    let ours = COMPONENTS.contains(&identity.name()) || identity.name().starts_with(USER_NODE_PREFIX);
    let finds_out = info.resource.is_none()
        && info.method == "get"
        && ["/api", "/apis", "/openapi"].iter().any(|p| info.path == *p || info.path.starts_with(&format!("{p}/")));
    // Whoever may run pods may bring their images: the registry is open to all who have shown who they are.
    let images = info.path == "/v2" || info.path.starts_with("/v2/");
    if identity.is_in(GROUP_MASTERS) || ours || finds_out || images { Decision::Allow } else { Decision::Deny }
}

fn forbidden(identity: Option<&Identity>, info: &RequestInfo) -> Refused {
    let user = identity.map_or("system:anonymous", Identity::name);
    let Some((_, target)) = &info.resource else {
        let why = format!("User {user:?} cannot {} path {:?}", info.method, info.path);
        let about = About::default();
        let sentence = format!("forbidden: {why}");
        return Refused::from(Failure::Forbidden { about, why }).saying(sentence);
    };
    let resource = if target.subresource.is_empty() {
        target.resource.clone()
    } else {
        format!("{}/{}", target.resource, target.subresource)
    };
    let place = if target.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {:?}", target.namespace)
    };
    let why =
        format!("User {user:?} cannot {} resource {resource:?} in API group {:?} {place}", info.verb(), target.group);
    let about = About { group: target.group.clone(), kind: target.resource.clone(), name: target.name.clone() };
    Failure::Forbidden { about, why }.into()
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn check(user: &Identity, method: &Method, uri: &str) -> String {
        let info = RequestInfo::of(method, &uri.parse().unwrap());
        match decide(Some(user), &info) {
            Decision::Allow => "allow".to_owned(),
            Decision::Deny => {
                forbidden(Some(user), &info).json().get("message").and_then(|m| m.as_str()).unwrap_or("").to_owned()
            }
        }
    }

    #[test]
    fn strangers_are_told_what_they_may_not_do() {
        let eve = Identity::user("eve");
        assert_eq!(
            check(&eve, &Method::GET, "/api/v1/namespaces/a/pods"),
            r#"pods is forbidden: User "eve" cannot list resource "pods" in API group "" in the namespace "a""#
        );
        assert_eq!(
            check(&eve, &Method::DELETE, "/apis/apps/v1/namespaces/a/deployments/d"),
            r#"deployments.apps "d" is forbidden: User "eve" cannot delete resource "deployments" in API group "apps" in the namespace "a""#
        );
        assert_eq!(check(&eve, &Method::GET, "/metrics"), r#"forbidden: User "eve" cannot get path "/metrics""#);
        assert_eq!(check(&eve, &Method::GET, "/apis/apps/v1"), "allow");
        assert_eq!(check(&eve, &Method::PUT, "/v2/hello/manifests/1"), "allow");
    }

    #[test]
    fn admins_and_our_own_components_may_do_everything() {
        for user in [Identity::admin(), Identity::user(USER_SCHEDULER), Identity::node("n")] {
            assert_eq!(check(&user, &Method::DELETE, "/api/v1/namespaces/a"), "allow", "{user:?}");
        }
    }
}
