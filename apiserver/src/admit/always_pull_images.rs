//! `AlwaysPullImages`: every pod proves its right to an image by pulling it anew.

use serde_json::Value;

use super::attributes::Attributes;
use super::plugins::Plugin;
use crate::answer::Refused;

pub(super) const PLUGIN: Plugin = Plugin { mutate: Some(mutate), ..Plugin::off("AlwaysPullImages") };

fn mutate(attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Refused> {
    if !attributes.is_of("", "pods") {
        return Ok(());
    }
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return Ok(()) };
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
            container.insert("imagePullPolicy".to_owned(), "Always".into());
        }
    }
    Ok(())
}
