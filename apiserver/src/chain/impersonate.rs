//! Acting as somebody else: `kubectl --as`. Whoever may impersonate a user, its groups and what else is claimed of it
//! is that user for the rest of the request.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use coracle_api::names::is_dns1123_label;
use coracle_api::wellknown::{
    GROUP_AUTHENTICATED, GROUP_SERVICE_ACCOUNTS, GROUP_UNAUTHENTICATED, USER_ANONYMOUS, USER_SERVICE_ACCOUNT_PREFIX,
};
use http::HeaderMap;

use super::authorize::forbidden;
use crate::answer::Refused;
use crate::authorizer::{Attributes, Decision, Resource, Target};
use crate::body;
use crate::identity::{Extra, Identity};
use crate::machine::Machine;
use crate::request::percent_decode;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA_PREFIX: &str = "impersonate-extra-";

/// The group of the kinds that users are described by.
const AUTHENTICATION: &str = "authentication.k8s.io";

/// Exchanges the identity for the one that the headers ask for.
pub(crate) async fn impersonate(State(machine): State<Arc<Machine>>, mut request: Request, next: Next) -> Response {
    if !request.headers().keys().any(|name| name.as_str().starts_with("impersonate-")) {
        return next.run(request).await;
    }
    let Some(user) = request.extensions().get::<Identity>() else {
        return Refused::unclassified("no user found for request").into_response();
    };
    match become_other(&machine, user, request.headers()) {
        Ok(Some(other)) => {
            request.extensions_mut().insert(other);
            next.run(request).await
        }
        Ok(None) => next.run(request).await,
        Err(refused) => body::refuse(request.into_body(), refused).await,
    }
}

fn become_other(machine: &Machine, user: &Identity, headers: &HeaderMap) -> Result<Option<Identity>, Refused> {
    let claims = claims(headers)?;
    for claim in &claims {
        let attributes = Attributes { user, verb: "impersonate", target: Target::Resource(claim.resource()) };
        if let Decision::Deny(reason) = machine.authorizer.authorize(&attributes) {
            return Err(forbidden(&attributes, &reason));
        }
    }
    Ok(identity(&claims))
}

/// One thing that is claimed of the other.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Claim {
    ServiceAccount { namespace: String, name: String },
    User(String),
    Group(String),
    Extra { key: String, value: String },
    Uid(String),
}

impl Claim {
    /// What one must be allowed to impersonate for it.
    fn resource(&self) -> Resource<'_> {
        let plain = |resource, name| Resource { resource, name, ..Resource::default() };
        match self {
            Self::ServiceAccount { namespace, name } => Resource { namespace, ..plain("serviceaccounts", name) },
            Self::User(name) => plain("users", name),
            Self::Group(name) => plain("groups", name),
            Self::Extra { key, value } => {
                Resource { group: AUTHENTICATION, subresource: key, ..plain("userextras", value) }
            }
            Self::Uid(uid) => Resource { group: AUTHENTICATION, ..plain("uids", uid) },
        }
    }

    /// As upstream prints the reference that it makes of it.
    fn shown(&self) -> String {
        let version = "authentication.k8s.io/v1";
        match self {
            Self::ServiceAccount { namespace, name } => format!("{{ServiceAccount {namespace} {name}    }}"),
            Self::User(name) => format!("{{User  {name}    }}"),
            Self::Group(name) => format!("{{Group  {name}    }}"),
            Self::Extra { key, value } => format!("{{UserExtra  {value}  {version}  {key}}}"),
            Self::Uid(uid) => format!("{{UID  {uid}  {version}  }}"),
        }
    }
}

fn claims(headers: &HeaderMap) -> Result<Vec<Claim>, Refused> {
    let texts = |name: &str| headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>();
    let first = |name: &str| texts(name).first().copied().filter(|text| !text.is_empty());
    let mut claims = Vec::new();
    if let Some(user) = first(USER) {
        claims.push(service_account(user).unwrap_or_else(|| Claim::User(user.to_owned())));
    }
    claims.extend(texts(GROUP).into_iter().map(|group| Claim::Group(group.to_owned())));
    for name in headers.keys() {
        let Some(key) = name.as_str().strip_prefix(EXTRA_PREFIX) else { continue };
        let key = percent_decode(key);
        claims.extend(texts(name.as_str()).into_iter().map(|v| Claim::Extra { key: key.clone(), value: v.to_owned() }));
    }
    claims.extend(first(UID).map(|uid| Claim::Uid(uid.to_owned())));
    if !claims.is_empty() && first(USER).is_none() {
        let mut shown = String::new();
        for claim in &claims {
            let space = if shown.is_empty() { "" } else { " " };
            let _ = write!(shown, "{space}{}", claim.shown());
        }
        return Err(Refused::bad_request(format!("requested [{shown}] without impersonating a user")));
    }
    Ok(claims)
}

fn service_account(user: &str) -> Option<Claim> {
    let (namespace, name) = user.strip_prefix(USER_SERVICE_ACCOUNT_PREFIX)?.split_once(':')?;
    let valid = is_dns1123_label(namespace) && !name.is_empty() && !name.contains(':');
    valid.then(|| Claim::ServiceAccount { namespace: namespace.to_owned(), name: name.to_owned() })
}

/// The user that the claims make. None: nothing is claimed.
fn identity(claims: &[Claim]) -> Option<Identity> {
    let (mut user, mut uid, mut groups, mut extra) = (None, String::new(), Vec::new(), Extra::new());
    // An account has its groups by nature, unless others are claimed of it.
    let grouped = claims.iter().any(|claim| matches!(claim, Claim::Group(_)));
    for claim in claims {
        match claim {
            Claim::ServiceAccount { namespace, name } => {
                user = Some(format!("{USER_SERVICE_ACCOUNT_PREFIX}{namespace}:{name}"));
                if !grouped {
                    groups.push(GROUP_SERVICE_ACCOUNTS.to_owned());
                    groups.push(format!("{GROUP_SERVICE_ACCOUNTS}:{namespace}"));
                }
            }
            Claim::User(name) => user = Some(name.clone()),
            Claim::Group(name) => groups.push(name.clone()),
            Claim::Extra { key, value } => extra.entry(key.clone()).or_default().push(value.clone()),
            Claim::Uid(of) => uid.clone_from(of),
        }
    }
    let user = user?;
    let is_in = |group: &str| groups.iter().any(|g| g == group);
    if user == USER_ANONYMOUS {
        if !is_in(GROUP_UNAUTHENTICATED) {
            groups.push(GROUP_UNAUTHENTICATED.to_owned());
        }
    } else if !is_in(GROUP_AUTHENTICATED) && !is_in(GROUP_UNAUTHENTICATED) {
        groups.push(GROUP_AUTHENTICATED.to_owned());
    }
    Some(Identity::exactly(user, groups).with_uid(uid).with_extra(extra))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(headers: &[(&'static str, &str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        match claims(&map) {
            Err(refused) => refused.json().get("message").and_then(|m| m.as_str()).unwrap_or("").to_owned(),
            Ok(claims) => identity(&claims).map_or("as before".to_owned(), |i| {
                format!("{} [{}] {:?} {}", i.name(), i.groups().join(" "), i.extra(), i.uid()).trim_end().to_owned()
            }),
        }
    }

    #[test]
    fn headers_make_another_user() {
        let all = "system:authenticated";
        for (headers, expected) in [
            (vec![], "as before".to_owned()),
            (vec![(USER, "jane")], format!("jane [{all}] {{}}")),
            (vec![(USER, "jane"), (GROUP, "a"), (GROUP, "b")], format!("jane [a b {all}] {{}}")),
            (vec![(USER, "system:anonymous")], "system:anonymous [system:unauthenticated] {}".to_owned()),
            (
                vec![(USER, "system:serviceaccount:n:sa")],
                format!("system:serviceaccount:n:sa [system:serviceaccounts system:serviceaccounts:n {all}] {{}}"),
            ),
            (vec![(USER, "system:serviceaccount:n"), (UID, "7")], format!("system:serviceaccount:n [{all}] {{}} 7")),
            (
                vec![(USER, "jane"), ("impersonate-extra-a%2fb", "1"), ("impersonate-extra-a%2fb", "2")],
                format!("jane [{all}] {{\"a/b\": [\"1\", \"2\"]}}"),
            ),
            (vec![(GROUP, "g")], "requested [{Group  g    }] without impersonating a user".to_owned()),
        ] {
            assert_eq!(asked(&headers), expected, "{headers:?}");
        }
    }
}
