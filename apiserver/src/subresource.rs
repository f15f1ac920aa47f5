//! Subresources: what hangs below an object's path, one file each.

mod binding;
mod connect;
mod eviction;
mod log;
mod part;
mod proxy;
mod scale;
mod token;

use std::sync::Arc;

use coracle_api::failure::Failure;
use serde_json::json;

use crate::admit::Part;
use crate::answer::{self, Answer, Refused};
use crate::machine::{Call, Machine};
use crate::registry::{Row, Subresource};
use crate::request::{ResourcePath, Verb};

pub(crate) use proxy::{FORWARDED_FOR, proxy};

/// Does what the request asks with a subresource.
pub(crate) async fn perform(verb: Verb, call: Call) -> Answer {
    let asked = call.path.subresource.as_str();
    let found = call.row.subresources.iter().find(|s| s.name() == asked).copied();
    // Only a proxy has something below it, and that does not come here.
    let found = found.filter(|_| call.path.rest.is_empty());
    let Some(subresource) = found else { return Err(Failure::NoSuchPath.into()) };
    if !subresource.verbs().contains(&verb.as_str()) {
        return Err(Failure::MethodNotAllowed.into());
    }
    match subresource {
        Subresource::Status => part::perform(verb, &call, Part::Status).await,
        Subresource::EphemeralContainers | Subresource::Finalize | Subresource::Resize => {
            part::perform(verb, &call, Part::Below(subresource)).await
        }
        Subresource::Scale => scale::perform(verb, &call).await,
        Subresource::Binding => binding::bind(&call).await,
        Subresource::Log => log::log(&call).await,
        Subresource::Eviction => eviction::evict(&call).await,
        Subresource::Token => token::issue(&call).await,
        Subresource::Proxy => Err(Failure::NoSuchPath.into()),
        Subresource::Attach | Subresource::Exec | Subresource::PortForward => {
            connect::connect(verb, &call, subresource).await
        }
    }
}

/// The row of pods if the path is `…/bindings`, the old way to bind one.
pub(crate) fn binding_collection(machine: &Machine, path: &ResourcePath) -> Option<Result<Arc<Row>, Refused>> {
    let is = path.group.is_empty() && path.resource == "bindings" && path.name.is_empty() && !path.namespace.is_empty();
    is.then(|| machine.registry.get("", &path.version, "pods").ok_or_else(|| Failure::NoSuchPath.into()))
}

/// Binds the pod that the body names.
pub(crate) async fn bind(verb: Option<Verb>, call: Call) -> Answer {
    match verb {
        Some(Verb::Create) => binding::bind_named_by_body(call).await,
        _ => Err(Failure::MethodNotAllowed.into()),
    }
}

/// The answer to a creation that has nothing to show: a `Status`.
fn created() -> Answer {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(answer::json(http::StatusCode::CREATED, status.to_string()))
}
