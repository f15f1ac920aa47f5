//! The history of a Deployment: revisions and annotations of its ReplicaSets, and which of them are forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::wellknown::{
    ANNOTATION_DESIRED_REPLICAS, ANNOTATION_LAST_APPLIED, ANNOTATION_MAX_REPLICAS, ANNOTATION_REVISION,
};
use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::ResourceExt;

use super::rollout::Bounds;
use super::sets::{actual, revision, wanted};

/// The revisions that a ReplicaSet had before it was rolled back to.
const ANNOTATION_REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";

/// Where very old Deployments said what to roll back to.
const ANNOTATION_ROLLBACK_TO: &str = "deprecated.deployment.rollback.to";

/// The longest list of former revisions, in characters (upstream's `maxRevHistoryLengthInChars`).
const REVISION_HISTORY_CHARS_MAX: usize = 2000;

/// What a Deployment's annotations and a ReplicaSet's have in common: all but those about itself.
const NOT_COPIED: [&str; 6] = [
    ANNOTATION_LAST_APPLIED,
    ANNOTATION_REVISION,
    ANNOTATION_REVISION_HISTORY,
    ANNOTATION_DESIRED_REPLICAS,
    ANNOTATION_MAX_REPLICAS,
    ANNOTATION_ROLLBACK_TO,
];

/// The annotations of the current ReplicaSet: the Deployment's own, and the revision if it moves forward.
pub(super) fn annotations(
    deployment: &BTreeMap<String, String>,
    set: &BTreeMap<String, String>,
    next_revision: i64,
) -> BTreeMap<String, String> {
    let mut result = set.clone();
    let copied = deployment.iter().filter(|(key, _)| !NOT_COPIED.contains(&key.as_str()));
    result.extend(copied.map(|(key, value)| (key.clone(), value.clone())));
    let old = set.get(ANNOTATION_REVISION).filter(|text| !text.is_empty());
    let old_number = match old.map(|text| text.parse::<i64>()) {
        None => 0,
        Some(Ok(number)) => number,
        Some(Err(_)) => return result,
    };
    if old_number < next_revision {
        result.insert(ANNOTATION_REVISION.to_owned(), next_revision.to_string());
        if let Some(old) = old {
            let history = set.get(ANNOTATION_REVISION_HISTORY).filter(|h| !h.is_empty());
            let history = history.map_or_else(|| old.clone(), |h| format!("{h},{old}"));
            result.insert(ANNOTATION_REVISION_HISTORY.to_owned(), shortened(&history).to_owned());
        }
    }
    result
}

/// The list without its oldest entries, as long as it is too long.
fn shortened(mut list: &str) -> &str {
    while list.len() > REVISION_HISTORY_CHARS_MAX {
        list = list.split_once(',').map_or("", |(_, rest)| rest);
    }
    list
}

/// The annotations by which a later scaling knows the shares.
pub(super) fn size_annotations(bounds: Bounds) -> BTreeMap<String, String> {
    BTreeMap::from([
        (ANNOTATION_DESIRED_REPLICAS.to_owned(), bounds.replicas.to_string()),
        (ANNOTATION_MAX_REPLICAS.to_owned(), bounds.max_pods().to_string()),
    ])
}

/// The old ReplicaSets beyond `limit`, lowest revisions first, as far as they are empty and at rest.
pub(super) fn forgotten(old: &[Arc<ReplicaSet>], limit: i32) -> Vec<Arc<ReplicaSet>> {
    let mut kept: Vec<_> = old.iter().filter(|set| set.metadata.deletion_timestamp.is_none()).cloned().collect();
    let excess = kept.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    kept.sort_by_key(|set| (revision(set).unwrap_or(0), set.metadata.creation_timestamp.clone(), set.name_any()));
    kept.truncate(excess);
    let observed = |set: &ReplicaSet| set.status.as_ref().and_then(|s| s.observed_generation).unwrap_or(0);
    kept.retain(|set| actual(set) == 0 && wanted(set) == 0 && set.metadata.generation.unwrap_or(0) <= observed(set));
    kept
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn a_rollback_moves_the_revision_and_remembers_the_former() {
        let deployment = map(&[("kubernetes.io/change-cause", "undo"), (ANNOTATION_LAST_APPLIED, "{}")]);
        let set = map(&[(ANNOTATION_REVISION, "2"), (ANNOTATION_REVISION_HISTORY, "1")]);
        let result = annotations(&deployment, &set, 4);
        let expected = map(&[
            ("kubernetes.io/change-cause", "undo"),
            (ANNOTATION_REVISION, "4"),
            (ANNOTATION_REVISION_HISTORY, "1,2"),
        ]);
        assert_eq!(result, expected);
        assert_eq!(annotations(&deployment, &expected, 3), expected, "it never goes back");
    }

    #[test]
    fn only_empty_sets_beyond_the_limit_are_forgotten() {
        let set = |name: &str, revision: &str, replicas: i32| -> Arc<ReplicaSet> {
            Arc::new(
                serde_json::from_value(json!({
                    "metadata": {"name": name, "annotations": {ANNOTATION_REVISION: revision}, "generation": 1},
                    "spec": {"replicas": replicas, "selector": {}},
                    "status": {"replicas": replicas, "observedGeneration": 1},
                }))
                .unwrap(),
            )
        };
        let old = [set("c", "10", 0), set("a", "2", 0), set("b", "9", 1)];
        let names = |limit| forgotten(&old, limit).iter().map(|s| s.name_any()).collect::<Vec<_>>();
        assert_eq!(names(3), Vec::<String>::new());
        assert_eq!(names(2), ["a"]);
        assert_eq!(names(0), ["a", "c"]);
    }
}
