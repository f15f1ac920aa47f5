//! `Priority`: a pod's priority is that of the PriorityClass which it names, or of the one for all that name none.

use serde_json::{Map, Value};

use super::attributes::{Attributes, Operation};
use super::plugins::Plugin;
use crate::answer::Refused;
use crate::object::text;

/// What pods do if their class does not say: upstream's default.
const PREEMPTS: &str = "PreemptLowerPriority";

const GROUP: &str = "scheduling.k8s.io";
const RESOURCE: &str = "priorityclasses";

pub(super) const PLUGIN: Plugin = Plugin { mutate: Some(mutate), validate: Some(validate), ..Plugin::on("Priority") };

/// What a pod gets from its class.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Class {
    name: String,
    value: i64,
    /// Nothing: the pod may say.
    preemption: Option<String>,
}

impl Class {
    fn none() -> Self {
        Self { name: String::new(), value: 0, preemption: Some(PREEMPTS.to_owned()) }
    }

    fn of(object: &Value) -> Self {
        Self {
            name: text(object, "name").to_owned(),
            value: object.get("value").and_then(Value::as_i64).unwrap_or(0),
            preemption: object.get("preemptionPolicy").and_then(Value::as_str).map(str::to_owned),
        }
    }
}

fn mutate(attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Refused> {
    if !attributes.is_of("", "pods") {
        return Ok(());
    }
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return Ok(()) };
    let why = match attributes.operation {
        Operation::Delete => return Ok(()),
        Operation::Update { old, .. } => {
            carry_over(spec, old);
            return Ok(());
        }
        Operation::Create => {
            let named = spec.get("priorityClassName").and_then(Value::as_str).unwrap_or("");
            match class(attributes, named) {
                Some(class) => give(spec, &class),
                None => Err(format!("no PriorityClass with name {named} was found")),
            }
        }
    };
    why.map_err(|why| attributes.forbidden(pod, why))
}

/// At most one class is for all pods that name none.
fn validate(attributes: &Attributes<'_>, class: &Value) -> Result<(), Refused> {
    if !attributes.is_of(GROUP, RESOURCE) || !is_default(class) {
        return Ok(());
    }
    let name = text(class, "name");
    let other = defaults(attributes).find(|other| text(other, "name") != name);
    let Some(other) = other else { return Ok(()) };
    let other = text(&other, "name");
    let why = format!("PriorityClass {other} is already marked as default. Only one default can exist");
    Err(attributes.forbidden(class, why))
}

/// The classes that are for all pods which name none.
fn defaults(attributes: &Attributes<'_>) -> impl Iterator<Item = Value> {
    attributes.stored_holding(GROUP, RESOURCE, "\"globalDefault\":true").filter(is_default)
}

fn is_default(class: &Value) -> bool {
    class.get("globalDefault").and_then(Value::as_bool) == Some(true)
}

fn class(attributes: &Attributes<'_>, name: &str) -> Option<Class> {
    if name.is_empty() {
        // Of several, which only a race can make, the lowest.
        let classes = defaults(attributes).map(|class| Class::of(&class));
        return Some(classes.min_by_key(|class| class.value).unwrap_or_else(Class::none));
    }
    attributes.stored(GROUP, RESOURCE, "", name).map(|class| Class::of(&class))
}

/// Gives the pod what its class says. The pod may say the same itself, but nothing else.
fn give(spec: &mut Map<String, Value>, class: &Class) -> Result<(), String> {
    if let Some(own) = spec.get("priority").and_then(Value::as_i64).filter(|own| *own != class.value) {
        return Err(format!(
            "the integer value of priority ({own}) must not be provided in pod spec; \
             priority admission controller computed {} from the given PriorityClass name",
            class.value
        ));
    }
    if let Some(wanted) = &class.preemption {
        if let Some(own) = spec.get("preemptionPolicy").and_then(Value::as_str).filter(|own| own != wanted) {
            return Err(format!(
                "the string value of PreemptionPolicy ({own}) must not be provided in pod spec; \
                 priority admission controller computed {wanted} from the given PriorityClass name"
            ));
        }
        spec.insert("preemptionPolicy".to_owned(), wanted.as_str().into());
    }
    if !class.name.is_empty() {
        spec.insert("priorityClassName".to_owned(), class.name.as_str().into());
    }
    spec.insert("priority".to_owned(), class.value.into());
    Ok(())
}

/// What was given at creation stays where a change leaves it out.
fn carry_over(spec: &mut Map<String, Value>, old: &Value) {
    for field in ["priority", "preemptionPolicy"] {
        if let (None, Some(value)) = (spec.get(field), old.pointer("/spec").and_then(|s| s.get(field))) {
            spec.insert(field.to_owned(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn given(mut pod: Value, class: &Class) -> String {
        let spec = pod.as_object_mut().unwrap();
        give(spec, class).map_or_else(|why| why, |()| pod.to_string())
    }

    #[test]
    fn a_pod_gets_the_priority_of_its_class_and_may_not_ask_for_another() {
        let plain = r#"{"preemptionPolicy":"PreemptLowerPriority","priority":0}"#;
        assert_eq!(given(json!({}), &Class::none()), plain);
        assert_eq!(given(json!({"priority": 0}), &Class::none()), plain);
        assert!(
            given(json!({"priority": 5}), &Class::none()).starts_with("the integer value of priority (5) must not")
        );
        let other = given(json!({"preemptionPolicy": "Never"}), &Class::none());
        assert!(other.starts_with("the string value of PreemptionPolicy (Never) must not"), "{other}");
        let default = Class { name: "d".to_owned(), value: 9, preemption: Some(PREEMPTS.to_owned()) };
        let expected = r#"{"preemptionPolicy":"PreemptLowerPriority","priority":9,"priorityClassName":"d"}"#;
        assert_eq!(given(json!({}), &default), expected);
        let silent = Class { name: "c".to_owned(), value: 7, preemption: None };
        let expected = r#"{"preemptionPolicy":"Never","priority":7,"priorityClassName":"c"}"#;
        assert_eq!(given(json!({"preemptionPolicy": "Never"}), &silent), expected);
    }
}
