//! `DenyServiceExternalIPs`: no Service may claim new external addresses, as any of them could be somebody else's.

use serde_json::Value;

use super::attributes::{Attributes, Operation};
use super::plugins::Plugin;
use crate::answer::Refused;

pub(super) const PLUGIN: Plugin = Plugin { validate: Some(validate), ..Plugin::off("DenyServiceExternalIPs") };

fn validate(attributes: &Attributes<'_>, service: &Value) -> Result<(), Refused> {
    if !attributes.is_of("", "services") {
        return Ok(());
    }
    let before: Vec<&str> = match attributes.operation {
        Operation::Update { old, .. } => addresses(old).collect(),
        Operation::Create | Operation::Delete => Vec::new(),
    };
    if addresses(service).all(|address| before.contains(&address)) {
        return Ok(());
    }
    Err(attributes.forbidden(service, "Use of external IPs is denied by admission control."))
}

fn addresses(service: &Value) -> impl Iterator<Item = &str> {
    let list = service.pointer("/spec/externalIPs").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str)
}
