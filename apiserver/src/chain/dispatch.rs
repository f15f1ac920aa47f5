//! The last step of the chain: finds the row of a resource, and hands the request to its verb or subresource.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use coracle_api::failure::Failure;
use coracle_api::meet::{Body, HttpRequest};
use http::header::USER_AGENT;
use http::{Method, StatusCode};
use http_body_util::BodyExt;

use crate::answer::{self, Answer, Encoding, Refused, accept};
use crate::body;
use crate::discovery;
use crate::identity::Identity;
use crate::machine::{Call, Machine, Upgrade};
use crate::options::write::manager_of_agent;
use crate::registry::{Row, Scope, Subresource};
use crate::request::{RequestInfo, ResourcePath, Verb};
use crate::subresource;
use crate::verbs;

/// Answers a request for a resource, or says that there is no such path.
pub(crate) async fn resource(State(machine): State<Arc<Machine>>, request: Request) -> Response {
    let encoding = accept::refusal_encoding(request.headers(), request.uri().query().unwrap_or(""));
    answer(machine, request, encoding).await.unwrap_or_else(|refused| refused.response(encoding))
}

async fn answer(machine: Arc<Machine>, request: Request, encoding: Encoding) -> Answer {
    let (parts, sent) = request.into_parts();
    let info = RequestInfo::of(&parts.method, &parts.uri);
    let user = parts.extensions.get::<Identity>().cloned().unwrap_or_else(Identity::anonymous);
    // The body is read whatever comes of it: a connection with an unread body cannot be used again.
    let reads = matches!(parts.method, Method::GET | Method::HEAD);
    let body = if reads { bytes::Bytes::new() } else { body::read(sent).await? };
    let Some((verb, path)) = info.resource else {
        return discovery::group(&machine, &parts);
    };
    let query = parts.uri.query().unwrap_or("").to_owned();
    let agent = agent(&parts);
    let upgrade = Upgrade::of(&parts.extensions);
    if let Some(row) = subresource::binding_collection(&machine, &path) {
        let call = Call { machine, user, row: row?, path, query, headers: parts.headers, body, agent, upgrade };
        return subresource::bind(verb, call).await;
    }
    let Some(row) = machine.registry.get(&path.group, &path.version, &path.resource) else {
        return discovery::no_such_resource(&machine, &path);
    };
    let Some(verb) = verb else { return Err(Failure::MethodNotAllowed.into()) };
    check_path(&row, &path, verb)?;
    if parts.method == Method::HEAD {
        return Err(Failure::MethodNotAllowed.into());
    }
    let call = Call { machine, user, row, path, query, headers: parts.headers, body, agent, upgrade };
    if shows_objects(&call) {
        // Before anything is done: a write whose answer cannot be shown is not made.
        accept::check_representation(&call.headers, verb)?;
        call.wanted()?;
    }
    let deprecation = call.row.strategy.deprecation();
    let answer = if call.path.subresource.is_empty() {
        verbs::perform(verb, &call).await
    } else {
        subresource::perform(verb, call).await
    };
    match deprecation {
        None => answer,
        Some(warning) => {
            let response = answer.unwrap_or_else(|refused| refused.response(encoding));
            Ok(answer::warn(response, &[warning.to_owned()]))
        }
    }
}

/// What the client calls itself. Our own components send no name: they are called after their users.
fn agent(parts: &http::request::Parts) -> String {
    match parts.headers.get(USER_AGENT).map(http::HeaderValue::as_bytes) {
        Some(agent) if !agent.is_empty() => manager_of_agent(&String::from_utf8_lossy(agent)),
        _ => parts.extensions.get::<Identity>().map(Identity::component).unwrap_or_default().to_owned(),
    }
}

/// Whether the answer is an object, not a stream of something else.
fn shows_objects(call: &Call) -> bool {
    let named = &call.path.subresource;
    let streams = |s: &Subresource| matches!(s, Subresource::Log | Subresource::Proxy);
    named.is_empty() || call.row.subresources.iter().any(|s| s.name() == named && !streams(s))
}

/// Whether the path makes sense for the row, and whether the row has the verb.
fn check_path(row: &Row, path: &ResourcePath, verb: Verb) -> Result<(), Refused> {
    let (named, placed) = (!path.name.is_empty(), !path.namespace.is_empty());
    let fits = match row.scope {
        Scope::Namespaced => placed || !named,
        Scope::Cluster => !placed,
    };
    if !fits {
        return Err(Failure::NoSuchPath.into());
    }
    if !path.subresource.is_empty() {
        return Ok(());
    }
    let allowed = match verb {
        Verb::Create => !named && (placed || row.scope == Scope::Cluster),
        Verb::DeleteCollection => placed || row.scope == Scope::Cluster,
        Verb::Update | Verb::Patch => named,
        Verb::Get | Verb::List | Verb::Watch | Verb::Delete => true,
    };
    if allowed && row.verbs.contains(&verb.as_str()) { Ok(()) } else { Err(Failure::MethodNotAllowed.into()) }
}

/// Hands a request to the image registry.
pub(crate) async fn images(State(machine): State<Arc<Machine>>, request: Request) -> Response {
    let request: HttpRequest = request.map(|body| Body::new(body.map_err(Into::into)));
    machine.images.serve(request).await.map(axum::body::Body::new)
}

/// What is answered where there is no path at all.
pub(crate) fn no_such_page() -> Response {
    answer::text(StatusCode::NOT_FOUND, "404 page not found\n")
}
