//! What the machinery does differently for some resources: one table, as upstream's storage has it per kind.
//!
//! It is keyed by resource and says only how objects come and go; what they hold is their strategy's matter.

use crate::registry::Row;

/// How objects of a resource are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deletion {
    /// At once, but for finalizers.
    AtOnce,
    /// Their node gets time to stop them.
    Graceful,
    /// They are emptied first, by the namespace controller.
    Emptied,
}

/// What a client is answered when an object is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// The last state of the object.
    Object,
    /// A `Status` that names it.
    Status,
}

/// What a replacement of an absent object does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absent {
    /// It is refused.
    NotFound,
    /// It makes the object.
    Created,
}

/// Whether a replacement may leave out the resource version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unconditional {
    /// Yes: the last one wins.
    Allowed,
    /// No.
    Refused,
}

/// How objects of a resource come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Policy {
    /// How they are deleted.
    pub(crate) deletion: Deletion,
    /// What is answered then.
    pub(crate) farewell: Farewell,
    /// What a replacement of an absent one does.
    pub(crate) absent: Absent,
    /// Whether a replacement may leave out the resource version.
    pub(crate) unconditional: Unconditional,
    /// What besides its own content counts the generation up.
    pub(crate) counted: Counted,
}

/// What besides its own content counts an object's generation up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// Nothing.
    Content,
    /// Its annotations, which say how a rollout came about.
    Annotations,
}

impl Policy {
    /// The policy of a resource.
    pub(crate) fn of(row: &Row) -> Self {
        let usual = Self {
            deletion: Deletion::AtOnce,
            farewell: Farewell::Status,
            absent: Absent::NotFound,
            unconditional: Unconditional::Allowed,
            counted: Counted::Content,
        };
        let object = Self { farewell: Farewell::Object, ..usual };
        match (row.group, row.plural) {
            ("", "pods") => Self { deletion: Deletion::Graceful, ..object },
            ("", "namespaces") => Self { deletion: Deletion::Emptied, ..usual },
            ("", "services") => Self { absent: Absent::Created, ..object },
            (
                "",
                "serviceaccounts" | "persistentvolumeclaims" | "persistentvolumes" | "podtemplates" | "resourcequotas",
            ) => object,
            ("" | "events.k8s.io", "events") | ("", "endpoints" | "limitranges") => {
                Self { absent: Absent::Created, ..usual }
            }
            ("coordination.k8s.io", "leases") => {
                Self { absent: Absent::Created, unconditional: Unconditional::Refused, ..usual }
            }
            ("policy", "poddisruptionbudgets") => Self { unconditional: Unconditional::Refused, ..usual },
            ("apps", "deployments") => Self { counted: Counted::Annotations, ..usual },
            _ => usual,
        }
    }
}
