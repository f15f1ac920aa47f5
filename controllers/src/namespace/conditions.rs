//! The conditions of a namespace that is being deleted: what is in the way, in upstream's words.
//!
//! Source: upstream's `status_condition_utils.go`.

use std::collections::BTreeMap;

use coracle_api::clock::whole_seconds;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::NamespaceCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ApiResource;

/// What an attempt to empty a namespace came upon.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Findings {
    pub(super) discovery_failures: Vec<String>,
    pub(super) deletion_failures: Vec<String>,
    remaining: BTreeMap<String, usize>,
    finalizers: BTreeMap<String, usize>,
}

impl Findings {
    /// Notes an object that is still there, and what holds it.
    pub(super) fn remains(&mut self, resource: &ApiResource, finalizers: &[String]) {
        *self.remaining.entry(format!("{}.{}", resource.plural, resource.group)).or_default() += 1;
        for finalizer in finalizers {
            *self.finalizers.entry(finalizer.clone()).or_default() += 1;
        }
    }

    /// Whether nothing is left and nothing failed.
    pub(super) fn is_clean(&self) -> bool {
        *self == Self::default()
    }

    /// Type, status, reason and message of each condition.
    fn said(&self) -> [(&'static str, &'static str, &'static str, String); 5] {
        let tell = |map: &BTreeMap<String, usize>, verb: &str| {
            map.iter().map(|(what, n)| format!("{what} {verb} {n} resource instances")).collect::<Vec<_>>().join(", ")
        };
        let discovery = match self.discovery_failures.as_slice() {
            [] => ("False", "ResourcesDiscovered", "All resources successfully discovered".to_owned()),
            failures => {
                let (n, why) = (failures.len(), failures.join(", "));
                ("True", "DiscoveryFailed", format!("Discovery failed for some groups, {n} failing: {why}"))
            }
        };
        let content = match self.deletion_failures.as_slice() {
            [] => (
                "False",
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization".to_owned(),
            ),
            failures => {
                let (n, why) = (failures.len(), failures.join(", "));
                ("True", "ContentDeletionFailed", format!("Failed to delete all resource types, {n} remaining: {why}"))
            }
        };
        let remaining = if self.remaining.is_empty() {
            ("False", "ContentRemoved", "All content successfully removed".to_owned())
        } else {
            let list = tell(&self.remaining, "has");
            ("True", "SomeResourcesRemain", format!("Some resources are remaining: {list}"))
        };
        let finalizers = if self.finalizers.is_empty() {
            ("False", "ContentHasNoFinalizers", "All content-preserving finalizers finished".to_owned())
        } else {
            let list = tell(&self.finalizers, "in");
            let message = format!("Some content in the namespace has finalizers remaining: {list}");
            ("True", "SomeFinalizersRemain", message)
        };
        let parsed = ("False", "ParsedGroupVersions", "All legacy kube types successfully parsed".to_owned());
        [
            ("NamespaceDeletionDiscoveryFailure", discovery),
            ("NamespaceDeletionGroupVersionParsingFailure", parsed),
            ("NamespaceDeletionContentFailure", content),
            ("NamespaceContentRemaining", remaining),
            ("NamespaceFinalizersRemaining", finalizers),
        ]
        .map(|(type_, (status, reason, message))| (type_, status, reason, message))
    }
}

/// The conditions after an attempt.
pub(super) fn conditions(
    mut all: Vec<NamespaceCondition>,
    findings: &Findings,
    now: Timestamp,
) -> Vec<NamespaceCondition> {
    for (type_, status, reason, message) in findings.said() {
        let next = |since: Option<Time>| NamespaceCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: since,
        };
        let now = Some(Time(whole_seconds(now)));
        match all.iter_mut().find(|c| c.type_ == type_) {
            Some(old) => {
                let since = if old.status == status { old.last_transition_time.clone() } else { now };
                *old = next(since);
            }
            None => all.push(next(now)),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;

    use super::*;

    #[test]
    fn what_is_in_the_way_is_named_and_counted() {
        let pods = ApiResource::erase::<Pod>(&());
        let mut findings = Findings::default();
        findings.remains(&pods, &["example.com/hold".to_owned()]);
        findings.remains(&pods, &[]);
        let first = conditions(Vec::new(), &findings, Timestamp::UNIX_EPOCH);
        let text: Vec<_> = first.iter().map(|c| format!("{} {}", c.status, c.message.clone().unwrap())).collect();
        assert_eq!(
            text,
            [
                "False All resources successfully discovered",
                "False All legacy kube types successfully parsed",
                "False All content successfully deleted, may be waiting on finalization",
                "True Some resources are remaining: pods. has 2 resource instances",
                "True Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances",
            ]
        );
        let later = Timestamp::from_second(60).unwrap();
        let second = conditions(first.clone(), &Findings::default(), later);
        assert_eq!(second[0], first[0], "what did not change keeps its time");
        assert_eq!((second[3].status.as_str(), &second[3].last_transition_time), ("False", &Some(Time(later))));
    }
}
