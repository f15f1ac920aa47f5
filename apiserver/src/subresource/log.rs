//! `log`: what a container wrote, streamed from the kubelet of its node.

use axum::response::Response;
use coracle_api::failure::{About, Failure};
use coracle_api::field::FieldError;
use coracle_api::meet::body_of;
use coracle_api::names::NodeName;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;

use super::connect::node_is_there;
use crate::answer::{Answer, Refused};
use crate::machine::Call;
use crate::request::pairs;

/// The largest error text that is taken from a kubelet.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// Streams the log.
pub(super) async fn log(call: &Call) -> Answer {
    let name = &call.path.name;
    check_options(call)?;
    let pod = call.existing()?.value();
    let container = container(call, &pod)?;
    let node = pod.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or("");
    if node.is_empty() {
        // Nothing has been written where nothing has been placed: upstream answers an empty body.
        let mut response = Response::new(axum::body::Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        return Ok(response);
    }
    node_is_there(call, node)?;
    let unreachable = || Refused::from(Failure::Unavailable(format!("the kubelet of node {node:?} cannot be reached")));
    let kubelet =
        NodeName::new(node).ok().and_then(|node| call.machine.nodes.kubelet(&node)).ok_or_else(unreachable)?;
    let query: Vec<&str> = call.query.split('&').filter(|p| !p.is_empty() && !p.starts_with("container=")).collect();
    let uri = format!("/containerLogs/{}/{name}/{container}?{}", call.path.namespace, query.join("&"));
    let request = Request::get(uri).body(body_of(""));
    let request = request.map_err(|error| Refused::bad_request(format!("the log cannot be asked for: {error}")))?;
    let answer = kubelet.serve(request).await;
    if !answer.status().is_success() {
        return Err(relay_error(answer).await);
    }
    let stopping = call.machine.stopping.clone();
    let stream = futures::StreamExt::take_until(answer.into_body().into_data_stream(), async move {
        stopping.cancelled().await;
    });
    let mut response = Response::new(axum::body::Body::from_stream(stream));
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

/// A kubelet says in plain text what is wrong: the client is shown that.
async fn relay_error(answer: coracle_api::meet::HttpResponse) -> Refused {
    let status = answer.status();
    let text = http_body_util::Limited::new(axum::body::Body::new(answer.into_body()), ERROR_BYTES_MAX).collect().await;
    let text = text.map(|b| String::from_utf8_lossy(&b.to_bytes()).trim().to_owned()).unwrap_or_default();
    if status.is_client_error() {
        Refused::bad_request(text)
    } else {
        Failure::Internal(format!("the kubelet answered {status}: {text}")).into()
    }
}

/// The container that is meant: the named one, or the pod's only one.
pub(super) fn container(call: &Call, pod: &Value) -> Result<String, Refused> {
    let name = &call.path.name;
    let names = |field: &str| -> Vec<String> {
        let list = pod.pointer(&format!("/spec/{field}")).and_then(Value::as_array);
        let named = list.into_iter().flatten().filter_map(|c| c.get("name").and_then(Value::as_str));
        named.map(str::to_owned).collect()
    };
    let (containers, init, ephemeral) = (names("containers"), names("initContainers"), names("ephemeralContainers"));
    let asked = pairs(&call.query).find(|(k, v)| k == "container" && !v.is_empty()).map(|(_, v)| v);
    if let Some(asked) = asked {
        if [&containers, &init, &ephemeral].iter().any(|list| list.contains(&asked)) {
            return Ok(asked);
        }
        return Err(Refused::bad_request(format!("container {asked} is not valid for pod {name}")));
    }
    if let [only] = containers.as_slice() {
        return Ok(only.clone());
    }
    let mut why =
        format!("a container name must be specified for pod {name}, choose one of: [{}]", containers.join(" "));
    if !init.is_empty() {
        why += &format!(" or one of the init containers: [{}]", init.join(" "));
    }
    Err(Refused::bad_request(why))
}

/// The rules for the numbers among the options.
fn check_options(call: &Call) -> Result<(), Refused> {
    let mut errors = Vec::new();
    for (key, value) in pairs(&call.query) {
        let least = match key.as_str() {
            "tailLines" => 0,
            "limitBytes" | "sinceSeconds" => 1,
            _ => continue,
        };
        let number = crate::options::number(&value)?;
        if number < least {
            let why = if least == 0 { "must be greater than or equal to 0" } else { "must be greater than 0" };
            errors.push(FieldError::invalid(key, number, why));
        }
    }
    let stated = |name: &str| pairs(&call.query).any(|(key, value)| key == name && !value.is_empty());
    if stated("sinceSeconds") && stated("sinceTime") {
        errors.push(FieldError::forbidden("", "at most one of `sinceTime` or `sinceSeconds` may be specified"));
    }
    if errors.is_empty() {
        return Ok(());
    }
    let about = About { group: String::new(), kind: "PodLogOptions".to_owned(), name: call.path.name.clone() };
    Err(Failure::Invalid { about, errors }.into())
}
