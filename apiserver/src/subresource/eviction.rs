//! `eviction`: a polite deletion of a pod. Disruption budgets, once there are any, are asked here.

use serde_json::Value;

use super::created;
use crate::answer::{Answer, Refused};
use crate::body::{self, Expected};
use crate::machine::Call;
use crate::object::text;
use crate::options::{self, Run};
use crate::verbs::delete;

/// Evicts the pod.
pub(super) async fn evict(call: &Call) -> Answer {
    let options = options::write::parse(&call.query, "CreateOptions")?;
    let schema = Some("io.k8s.api.policy.v1.Eviction");
    let expected = Expected { api_version: "policy/v1", kind: "Eviction", schema };
    let eviction = body::object(&call.body, &call.headers, &expected, options.validation)?.object;
    if text(&eviction, "name") != call.path.name {
        return Err(Refused::bad_request("name in URL does not match name in Eviction object"));
    }
    let wanted = eviction.get("deleteOptions").filter(|o| o.is_object());
    let mut deletion = options::delete::parse("", Some(wanted.unwrap_or(&Value::Null)))?;
    if options.run == Run::Dry {
        deletion.run = Run::Dry;
    }
    delete::remove(call, &call.path.name, &deletion).await?;
    created()
}
