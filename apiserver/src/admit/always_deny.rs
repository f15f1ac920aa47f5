//! `AlwaysDeny`: refuses every write. Of use in tests of what clients do then.

use serde_json::Value;

use super::attributes::Attributes;
use super::plugins::Plugin;
use crate::answer::Refused;

const WHY: &str = "admission control is denying all modifications";

pub(super) const PLUGIN: Plugin = Plugin { mutate: Some(mutate), delete: Some(delete), ..Plugin::off("AlwaysDeny") };

fn mutate(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Refused> {
    Err(attributes.forbidden(object, WHY))
}

fn delete(attributes: &Attributes<'_>, name: &str) -> Result<(), Refused> {
    Err(attributes.forbidden_by_name(name, WHY))
}
