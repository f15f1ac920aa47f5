//! What a writer cannot write, and so never owns: upstream's `GetResetFields`, resource by resource.

use super::fields::FieldSet;
use crate::registry::{Row, Subresource};

/// What of an object its server keeps: nobody owns it. Fields of `metadata`.
pub(super) const SERVERS_METADATA: [&str; 9] = [
    "clusterName",
    "creationTimestamp",
    "generation",
    "managedFields",
    "name",
    "namespace",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// What of an object a writer cannot write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reset {
    /// These fields at the top, and these of the metadata.
    These(&'static [&'static str], &'static [&'static str]),
    /// All but what is at these paths; `*` stands for any element.
    AllBut(&'static [&'static [&'static str]]),
}

impl Reset {
    /// What a write by way of a subresource of a row leaves alone.
    pub(crate) fn of(row: &Row, subresource: &str) -> Self {
        match (row.plural, subresource) {
            ("pods", "status") => Self::These(&["spec"], &["deletionTimestamp", "ownerReferences"]),
            ("pods", "ephemeralcontainers") => Self::AllBut(&[&["spec", "ephemeralContainers"]]),
            ("pods", "resize") => Self::AllBut(&[
                &["spec", "containers", "*", "resources"],
                &["spec", "containers", "*", "resizePolicy"],
                &["spec", "initContainers", "*", "resources"],
                &["spec", "initContainers", "*", "resizePolicy"],
            ]),
            ("deployments", "status") => Self::These(&["spec"], &["labels"]),
            (_, "status") => Self::These(&["spec"], &[]),
            ("namespaces", "finalize") => Self::These(&["status"], &[]),
            _ if row.has(Subresource::Status) => Self::These(&["status"], &[]),
            _ => Self::These(&[], &[]),
        }
    }

    /// Whether a field at the top of an object is left alone.
    pub(super) fn skips(self, field: &str) -> bool {
        match self {
            Self::These(fields, _) => fields.contains(&field),
            Self::AllBut(_) => false,
        }
    }

    /// Whether a field of the metadata is left alone.
    pub(super) fn skips_metadata(self, field: &str) -> bool {
        match self {
            Self::These(_, fields) => fields.contains(&field),
            Self::AllBut(_) => false,
        }
    }

    /// Takes out of a set what is left alone.
    pub(super) fn filter(self, set: &mut FieldSet) {
        if let Self::AllBut(paths) = self {
            set.keep_below(paths);
        }
    }
}

/// The versions of a resource that is served in several.
pub(super) fn versions(row: &Row) -> &'static [&'static str] {
    match row.plural {
        "events" => &["v1", "events.k8s.io/v1"],
        _ => &[],
    }
}

/// How deep in an object a walk is: near the root some fields are left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// At the root.
    Root,
    /// In the metadata of the root.
    Metadata,
    /// Anywhere else.
    Below,
}

impl Depth {
    /// Whether a field here can be written.
    pub(super) fn writes(self, reset: Reset, name: &str) -> bool {
        match self {
            Self::Root => !reset.skips(name),
            Self::Metadata => !reset.skips_metadata(name),
            Self::Below => true,
        }
    }

    /// Whether a field here can be owned.
    pub(super) fn takes(self, reset: Reset, name: &str) -> bool {
        let servers = match self {
            Self::Root => matches!(name, "apiVersion" | "kind"),
            Self::Metadata => SERVERS_METADATA.contains(&name),
            Self::Below => false,
        };
        !servers && self.writes(reset, name)
    }

    /// How deep a field here is.
    pub(super) fn below(self, name: &str) -> Self {
        if self == Self::Root && name == "metadata" { Self::Metadata } else { Self::Below }
    }
}
