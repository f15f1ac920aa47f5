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

/// What becomes of the dependents of a deleted object if nobody says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dependents {
    /// They are collected.
    Collected,
    /// They stay: so it was when their owner's kind was young.
    Orphaned,
    /// Objects of this kind own nothing, whatever a client wishes.
    None,
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
    /// What becomes of their dependents if nobody says.
    pub(crate) dependents: Dependents,
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

/// Said to those who delete a Job and do not know what becomes of its pods.
const JOBS: &str = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to \
                    remove them or set propagationPolicy=Orphan to suppress this warning";

/// What a client is warned of who deletes objects of this resource without saying what becomes of their dependents.
pub(crate) fn deletion_warning(row: &Row) -> Option<&'static str> {
    ((row.group, row.plural) == ("batch", "jobs")).then_some(JOBS)
}

impl Policy {
    /// The policy of a resource.
    pub(crate) fn of(row: &Row) -> Self {
        let usual = Self {
            deletion: Deletion::AtOnce,
            farewell: Farewell::Status,
            dependents: Dependents::Collected,
            absent: Absent::NotFound,
            unconditional: Unconditional::Allowed,
            counted: Counted::Content,
        };
        let object = Self { farewell: Farewell::Object, ..usual };
        match (row.group, row.plural) {
            ("", "pods") => Self { deletion: Deletion::Graceful, ..object },
            ("", "namespaces") => Self { deletion: Deletion::Emptied, ..object },
            ("", "replicationcontrollers") | ("batch", "jobs") => Self { dependents: Dependents::Orphaned, ..usual },
            ("", "services") => Self { absent: Absent::Created, ..object },
            (
                "",
                "serviceaccounts" | "persistentvolumeclaims" | "persistentvolumes" | "podtemplates" | "resourcequotas",
            ) => object,
            ("" | "events.k8s.io", "events") => Self { absent: Absent::Created, dependents: Dependents::None, ..usual },
            ("", "endpoints" | "limitranges") => Self { absent: Absent::Created, ..usual },
            ("coordination.k8s.io", "leases") => {
                Self { absent: Absent::Created, unconditional: Unconditional::Refused, ..usual }
            }
            ("policy", "poddisruptionbudgets") => Self { unconditional: Unconditional::Refused, ..usual },
            ("apps", "deployments") => Self { counted: Counted::Annotations, ..usual },
            _ => usual,
        }
    }
}
