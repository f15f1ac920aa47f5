//! Why a pod fits nowhere, in the words of kube-scheduler.
//!
//! Source: `FitError` in upstream's `framework/types.go` and the plugins' reason constants.

use std::collections::BTreeMap;
use std::fmt;

use coracle_api::names::NodeName;
use k8s_openapi::api::core::v1::Pod;

/// Why a pod cannot run on one node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The node is cordoned.
    Cordoned,
    /// The pod asks for another node by name.
    OtherNodeAsked,
    /// A taint is not tolerated.
    Taint,
    /// The node selector or the required node affinity does not fit.
    Affinity,
    /// The node has as many pods as it takes.
    TooManyPods,
    /// Too little of a resource is free.
    Insufficient {
        /// The resource.
        resource: String,
        /// Whether the node has too little of it even without other pods.
        even_if_empty: bool,
    },
    /// Another pod uses a claim that is for one pod alone.
    ClaimInUse,
    /// A volume is not reached from the node.
    VolumeElsewhere,
    /// A claim that waits for its pod finds no volume there, and none can be made.
    NoVolume,
    /// A claim is bound to a volume that does not exist.
    NoSuchVolume,
}

impl Reason {
    /// Whether fewer pods on the node could help.
    const fn could_be_made_room_for(&self) -> bool {
        match self {
            Self::Cordoned
            | Self::OtherNodeAsked
            | Self::Taint
            | Self::Affinity
            | Self::VolumeElsewhere
            | Self::NoVolume
            | Self::NoSuchVolume => false,
            Self::TooManyPods | Self::ClaimInUse => true,
            Self::Insufficient { even_if_empty, .. } => !*even_if_empty,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cordoned => f.write_str("node(s) were unschedulable"),
            Self::OtherNodeAsked => f.write_str("node(s) didn't match the requested node name"),
            Self::Taint => f.write_str("node(s) had untolerated taint(s)"),
            Self::Affinity => f.write_str("node(s) didn't match Pod's node affinity/selector"),
            Self::TooManyPods => f.write_str("Too many pods"),
            Self::Insufficient { resource, .. } => write!(f, "Insufficient {resource}"),
            Self::ClaimInUse => f.write_str(
                "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",
            ),
            Self::VolumeElsewhere => f.write_str("node(s) had volume node affinity conflict"),
            Self::NoVolume => f.write_str("node(s) didn't find available persistent volumes to bind"),
            Self::NoSuchVolume => {
                f.write_str("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)")
            }
        }
    }
}

/// A pod that fits nowhere; prints as the message that people know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unschedulable {
    /// What speaks against each node. Empty if there are no nodes.
    pub nodes: BTreeMap<NodeName, Vec<Reason>>,
    /// What speaks against the pod itself, wherever it runs, and how many nodes there are.
    everywhere: Option<(usize, String)>,
    never_preempts: bool,
}

impl Unschedulable {
    /// No node looked at yet, for this pod.
    pub(super) fn new(pod: &Pod) -> Self {
        let policy = pod.spec.as_ref().and_then(|spec| spec.preemption_policy.as_deref());
        Self { nodes: BTreeMap::new(), everywhere: None, never_preempts: policy == Some("Never") }
    }

    /// The pod itself is at fault, on each of so many nodes.
    pub(super) fn everywhere(self, nodes: usize, why: String) -> Self {
        Self { everywhere: Some((nodes, why)), ..self }
    }

    /// Whether the pod's claims are at fault: no change of a node will help.
    #[must_use]
    pub fn is_of_claims(&self) -> bool {
        self.everywhere.is_some() || self.nodes.values().flatten().any(|reason| *reason == Reason::NoSuchVolume)
    }
}

impl std::error::Error for Unschedulable {}

impl fmt::Display for Unschedulable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (total, why) = match &self.everywhere {
            Some((total, why)) => (*total, why.clone()),
            None => (self.nodes.len(), counted(self.nodes.values().flatten().map(ToString::to_string))),
        };
        if total == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        write!(f, "0/{total} nodes are available: {why}. preemption: ")?;
        if self.never_preempts {
            return f.write_str("not eligible due to preemptionPolicy=Never.");
        }
        let outlook = |reasons: &Vec<Reason>| {
            if reasons.iter().all(Reason::could_be_made_room_for) {
                "No preemption victims found for incoming pod".to_owned()
            } else {
                "Preemption is not helpful for scheduling".to_owned()
            }
        };
        if self.everywhere.is_some() {
            return write!(f, "0/{total} nodes are available: {total} Preemption is not helpful for scheduling.");
        }
        write!(f, "0/{total} nodes are available: {}.", counted(self.nodes.values().map(outlook)))
    }
}

/// `1 this, 2 that`, sorted as text, which is upstream's order.
fn counted(reasons: impl Iterator<Item = String>) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for reason in reasons {
        *counts.entry(reason).or_default() += 1;
    }
    let mut parts: Vec<_> = counts.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    parts.sort();
    parts.join(", ")
}
