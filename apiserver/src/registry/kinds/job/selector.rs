//! The labels by which a Job knows its own pods: made by the server, of the Job's uid and name.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::object::{map_mut, metadata_mut, text};

/// The labels that hold a Job's uid, the one of today first.
pub(super) const UID: [&str; 2] = ["batch.kubernetes.io/controller-uid", "controller-uid"];
/// The labels that hold a Job's name, the one of today first.
pub(super) const NAME: [&str; 2] = ["batch.kubernetes.io/job-name", "job-name"];

/// The labels that pods of a Job of this uid and name have.
pub(super) fn expected(uid: &str, name: &str) -> BTreeMap<String, String> {
    let pairs = UID.iter().map(|label| (label, uid)).chain(NAME.iter().map(|label| (label, name)));
    pairs.map(|(label, value)| ((*label).to_owned(), value.to_owned())).collect()
}

fn child<'a>(object: &'a mut Map<String, Value>, field: &str) -> &'a mut Map<String, Value> {
    map_mut(object.entry(field).or_insert(Value::Null))
}

/// Gives a new Job its selector and labels, unless it brings its own.
pub(super) fn generate(job: &mut Value) {
    let (uid, name) = (text(job, "uid").to_owned(), text(job, "name").to_owned());
    let Some(spec) = job.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if spec.get("manualSelector") == Some(&Value::Bool(true)) {
        return;
    }
    let labels = child(child(child(spec, "template"), "metadata"), "labels");
    // What is there already is left for the rules to refuse, if it is wrong.
    for label in NAME {
        labels.entry(label).or_insert_with(|| name.as_str().into());
    }
    for label in UID {
        labels.insert(label.to_owned(), uid.as_str().into());
    }
    let labels = labels.clone();
    let matched = child(child(spec, "selector"), "matchLabels");
    matched.entry(UID[0]).or_insert_with(|| uid.as_str().into());
    metadata_mut(job).entry("labels").or_insert(Value::Object(labels));
}
