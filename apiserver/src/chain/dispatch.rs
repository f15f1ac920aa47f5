//! The last step of the chain: finds the row of a resource, and hands the request to its verb or subresource.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use coracle_api::failure::Failure;
use coracle_api::meet::{Body, HttpRequest};
use http::header::{EXPECT, HOST, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use http_body_util::BodyExt;

use crate::answer::{self, Answer, Encoding, Refused, accept};
use crate::body;
use crate::discovery;
use crate::identity::Identity;
use crate::machine::{Call, Machine, Upgrade};
use crate::options::write::manager_of_agent;
use crate::registry::{Row, Scope, Subresource};
use crate::request::{RequestInfo, ResourcePath, Verb};
use crate::subresource::{self, FORWARDED_FOR};
use crate::tls::Peer;
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
    if let Some(proxied) = proxied(&machine, &info) {
        return hand_on(machine, user, proxied, parts, sent).await;
    }
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
    check_place(&row, &path)?;
    check_verb(&row, &path, verb)?;
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
fn agent(parts: &Parts) -> String {
    match parts.headers.get(USER_AGENT).map(http::HeaderValue::as_bytes) {
        Some(agent) if !agent.is_empty() => manager_of_agent(&String::from_utf8_lossy(agent)),
        _ => parts.extensions.get::<Identity>().map(Identity::component).unwrap_or_default().to_owned(),
    }
}

/// Whether the answer is an object, not a stream of something else.
fn shows_objects(call: &Call) -> bool {
    let named = &call.path.subresource;
    named.is_empty() || call.row.subresources.iter().any(|s| s.name() == named && *s != Subresource::Log)
}

/// The row and the path of a request that is to be handed on.
fn proxied(machine: &Machine, info: &RequestInfo) -> Option<(Arc<Row>, ResourcePath)> {
    let (_, path) = info.resource.as_ref().filter(|(_, path)| path.subresource == Subresource::Proxy.name())?;
    let row = machine.registry.get(&path.group, &path.version, &path.resource)?;
    row.subresources.contains(&Subresource::Proxy).then(|| (row, path.clone()))
}

/// Hands a request on with its method as it is, and with its body as it comes: neither is ours to read.
async fn hand_on(
    machine: Arc<Machine>,
    user: Identity,
    (row, path): (Arc<Row>, ResourcePath),
    parts: Parts,
    sent: axum::body::Body,
) -> Answer {
    let (query, upgrade) = (parts.uri.query().unwrap_or("").to_owned(), Upgrade::of(&parts.extensions));
    let headers = with_origin(parts.headers, &parts.uri, parts.extensions.get::<Peer>());
    let (body, agent) = (bytes::Bytes::new(), String::new());
    let call = Call { machine, user, row, path, query, headers, body, agent, upgrade };
    let mut sent = Some(sent);
    let answer = match check_place(&call.row, &call.path) {
        Ok(()) => subresource::proxy(&call, parts.method, &mut sent).await,
        Err(refused) => Err(refused),
    };
    // A connection with an unread body cannot be used again; but a body that was not yet begun need not come at all.
    if let Some(unread) = sent.filter(|_| !call.headers.contains_key(EXPECT)) {
        body::drain(unread).await;
    }
    answer
}

/// Headers that say which host was asked, which HTTP/2 has elsewhere, and for whom we ask, as proxies say it.
fn with_origin(mut headers: HeaderMap, uri: &Uri, peer: Option<&Peer>) -> HeaderMap {
    let host = uri.authority().and_then(|host| HeaderValue::try_from(host.as_str()).ok());
    if let (false, Some(host)) = (headers.contains_key(HOST), host) {
        headers.insert(HOST, host);
    }
    if let Some(Peer(ip)) = peer {
        let before = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
        let chain: Vec<String> = before.map(str::to_owned).chain([ip.to_string()]).collect();
        headers.extend(HeaderValue::try_from(chain.join(", ")).ok().map(|chain| (FORWARDED_FOR, chain)));
    }
    headers
}

/// Whether the path makes sense for the row.
fn check_place(row: &Row, path: &ResourcePath) -> Result<(), Refused> {
    let (named, placed) = (!path.name.is_empty(), !path.namespace.is_empty());
    let fits = match row.scope {
        Scope::Namespaced => placed || !named,
        Scope::Cluster => !placed,
    };
    if fits { Ok(()) } else { Err(Failure::NoSuchPath.into()) }
}

/// Whether the row has the verb.
fn check_verb(row: &Row, path: &ResourcePath, verb: Verb) -> Result<(), Refused> {
    let (named, placed) = (!path.name.is_empty(), !path.namespace.is_empty());
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
