//! The registry of kinds: a kind is a row. Handlers know rows, never kinds.
//!
//! Built-in rows come from [`kinds`]; a CustomResourceDefinition will make the same row at run time.

pub mod catalogue;
pub mod fields;
pub mod meta;

mod cells;
mod check;
mod kinds;
mod pod_spec;
mod quantity;
mod typed;

use std::sync::Arc;

pub use catalogue::Registry;
pub(crate) use kinds::priority_class::SYSTEM as SYSTEM_PRIORITIES;
pub use kinds::service::addresses;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::schemars::SchemaGenerator;
use serde_json::Value;

use crate::store::{Conversion, Durability};

/// Everything the machinery knows about one resource in one version.
#[derive(Clone)]
pub struct Row {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Version: `v1`.
    pub version: &'static str,
    /// Kind: `Deployment`.
    pub kind: &'static str,
    /// Plural resource name: `deployments`.
    pub plural: &'static str,
    /// Singular name: `deployment`.
    pub singular: &'static str,
    /// Short names: `deploy`.
    pub short_names: &'static [&'static str],
    /// Categories: `all`.
    pub categories: &'static [&'static str],
    /// Whether objects live in a namespace.
    pub scope: Scope,
    /// What can be done with it, in the order of discovery.
    pub verbs: &'static [&'static str],
    /// Subresources beyond the object itself.
    pub subresources: &'static [Subresource],
    /// Name of the root schema: `io.k8s.api.apps.v1.Deployment`.
    pub schema: &'static str,
    /// Columns that `kubectl get` prints.
    pub columns: &'static [Column],
    /// Paths that `fieldSelector` offers beyond `metadata.name` and `metadata.namespace`.
    pub fields: &'static [&'static str],
    /// What its objects' names must look like.
    pub name_rule: meta::NameRule,
    /// When `metadata.generation` counts.
    pub generation: Generation,
    /// Whether a write is worth a flash write.
    pub durability: Durability,
    /// What is particular to the kind.
    pub strategy: Arc<dyn Strategy>,
}

impl Row {
    /// `apps/v1`, or `v1` in the core group.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The kind of a list: `DeploymentList`.
    #[must_use]
    pub fn list_kind(&self) -> String {
        format!("{}List", self.kind)
    }

    /// The group under which its objects are kept: its own, unless they are another group's in another form.
    #[must_use]
    pub fn stored_group(&self) -> &'static str {
        self.strategy.conversion().map_or(self.group, |conversion| conversion.group)
    }

    /// Whether it has this subresource.
    #[must_use]
    pub fn has(&self, subresource: Subresource) -> bool {
        self.subresources.contains(&subresource)
    }
}

/// When `metadata.generation` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// The kind has none.
    Never,
    /// When the spec changes.
    OfSpec,
    /// When anything but metadata and status changes.
    OfContent,
}

/// Where objects of a kind live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// In a namespace.
    Namespaced,
    /// In the cluster.
    Cluster,
}

/// What hangs below an object's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subresource {
    /// `status`: get, update, patch; writes the status only.
    Status,
    /// `scale`: get, update, patch of an `autoscaling/v1` Scale.
    Scale,
    /// `binding`: create; gives a pod to a node.
    Binding,
    /// `log`: get; streamed from the node.
    Log,
    /// `finalize`: update of a namespace's `spec.finalizers`.
    Finalize,
    /// `eviction`: create; deletes a pod politely.
    Eviction,
    /// `token`: create; issues a token for a ServiceAccount.
    Token,
    /// `ephemeralcontainers`: get, update, patch; adds containers to a pod for looking into it.
    EphemeralContainers,
    /// `resize`: get, update, patch; changes what a pod's containers may use.
    Resize,
    /// `attach`: get, create; a stream to a running container.
    Attach,
    /// `exec`: get, create; a stream to a new process in a container.
    Exec,
    /// `portforward`: get, create; streams to a pod's ports.
    PortForward,
    /// `proxy`: any verb; a request to what the object serves.
    Proxy,
}

/// Group, version and kind of what a subresource takes and gives.
pub type GroupVersionKind = (&'static str, &'static str, &'static str);

impl Subresource {
    /// Its name in the path.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Scale => "scale",
            Self::Binding => "binding",
            Self::Log => "log",
            Self::Finalize => "finalize",
            Self::Eviction => "eviction",
            Self::Token => "token",
            Self::EphemeralContainers => "ephemeralcontainers",
            Self::Resize => "resize",
            Self::Attach => "attach",
            Self::Exec => "exec",
            Self::PortForward => "portforward",
            Self::Proxy => "proxy",
        }
    }

    /// What can be done with it, in the order of discovery.
    #[must_use]
    pub const fn verbs(self) -> &'static [&'static str] {
        match self {
            Self::Status | Self::Scale | Self::EphemeralContainers | Self::Resize => &["get", "patch", "update"],
            Self::Binding | Self::Eviction | Self::Token => &["create"],
            Self::Log => &["get"],
            Self::Attach | Self::Exec | Self::PortForward => &["create", "get"],
            Self::Proxy => &["create", "delete", "get", "patch", "update"],
            Self::Finalize => &["update"],
        }
    }

    /// The kind that it takes and gives where that is not the kind of `row`.
    #[must_use]
    pub fn own_kind(self, row: &str) -> Option<GroupVersionKind> {
        match self {
            Self::Attach => Some(("", "v1", "PodAttachOptions")),
            Self::Exec => Some(("", "v1", "PodExecOptions")),
            Self::PortForward => Some(("", "v1", "PodPortForwardOptions")),
            Self::Proxy => match row {
                "Node" => Some(("", "v1", "NodeProxyOptions")),
                "Service" => Some(("", "v1", "ServiceProxyOptions")),
                _ => Some(("", "v1", "PodProxyOptions")),
            },
            Self::Scale => Some(("autoscaling", "v1", "Scale")),
            Self::Binding => Some(("", "v1", "Binding")),
            Self::Eviction => Some(("policy", "v1", "Eviction")),
            Self::Token => Some(("authentication.k8s.io", "v1", "TokenRequest")),
            Self::Status | Self::Log | Self::Finalize | Self::EphemeralContainers | Self::Resize => None,
        }
    }
}

/// A column of a Table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Heading.
    pub name: &'static str,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: &'static str,
    /// `name` for the name column, else mostly empty.
    pub format: &'static str,
    /// What it shows.
    pub description: &'static str,
    /// 0: always shown; above: only by `-o wide`.
    pub priority: i32,
}

/// What is particular to a kind. Objects come and go as JSON; an implementation is typed at its edge
/// with `k8s-openapi` (see `kinds`), which also drops the fields that the kind does not have.
///
/// Order in a create: `default`, `prepare_for_create`, admission, `validate`. In an update: `default`,
/// `prepare_for_update`, admission, `validate_update`. Of the status subresource: `prepare_for_status_update`,
/// `validate_status_update`. The machinery itself keeps `metadata` (names, uid, timestamps, generation on a changed
/// spec, immutable fields) and never asks a strategy about it.
pub trait Strategy: Send + Sync + 'static {
    /// How objects become those of the version in which they are kept; nothing: they are kept as they are.
    fn conversion(&self) -> Option<Conversion> {
        None
    }

    /// What every client of the kind is told, whatever it does with it; nothing unless the kind is on its way out.
    fn deprecation(&self) -> Option<&'static str> {
        None
    }

    /// Parses and prunes the object, and fills in what upstream fills in when a field is absent.
    ///
    /// # Errors
    /// What serde says about a value of the wrong type, in a form fit for a 400.
    fn default(&self, object: Value) -> Result<Value, Unparsable>;

    /// Takes away what a client may not set at creation (mostly: the status), and sets what it starts with.
    fn prepare_for_create(&self, object: &mut Value);

    /// Takes over from the old object what an update may not touch (mostly: the status).
    fn prepare_for_update(&self, new: &mut Value, old: &Value);

    /// Takes over from the old object all but the status and what else a status write may touch.
    fn prepare_for_status_update(&self, new: &mut Value, old: &Value);

    /// Takes over from the old object all but what a subresource other than `status` may touch.
    fn prepare_for_part_update(&self, part: Subresource, new: &mut Value, old: &Value);

    /// The rules for a new object, `metadata` aside, and what is odd about it.
    fn judge(&self, object: &Value) -> Verdict;

    /// The rules for a change: those for a new object, and what may not change; and what is odd about it.
    fn judge_update(&self, new: &Value, old: &Value) -> Verdict;

    /// What breaks the rules for a new object.
    fn validate(&self, object: &Value) -> Vec<FieldError> {
        self.judge(object).errors
    }

    /// What breaks the rules for a change.
    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        self.judge_update(new, old).errors
    }

    /// The rules for a change of the status.
    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError>;

    /// The rules for a change by a subresource other than `status`.
    fn validate_part_update(&self, part: Subresource, new: &Value, old: &Value) -> Vec<FieldError>;

    /// What is allowed but odd about a new object: sent as `Warning` headers.
    fn warnings(&self, object: &Value) -> Vec<String> {
        self.judge(object).warnings
    }

    /// The same of a change.
    fn update_warnings(&self, new: &Value, old: &Value) -> Vec<String> {
        self.judge_update(new, old).warnings
    }

    /// The row of an encoded object in a Table, with one cell per column of the kind.
    fn table_row(&self, object: &[u8], now: Timestamp) -> TableRow;

    /// Tells a generator the types that the kind is made of. A kind whose schema comes from elsewhere tells nothing.
    fn describe(&self, _generator: &mut SchemaGenerator) {}
}

/// What a Table shows of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRow {
    /// One for each column.
    pub cells: Vec<Value>,
    /// What is told of the row as a whole, if there is something.
    pub completed: Option<Completed>,
}

/// That what an object stands for has come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completed {
    /// How, in one word.
    pub reason: &'static str,
    /// The same in a sentence.
    pub message: &'static str,
}

/// What the rules say of an object.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Verdict {
    /// What breaks them.
    pub errors: Vec<FieldError>,
    /// What is allowed but odd: sent as `Warning` headers.
    pub warnings: Vec<String>,
}

/// A body that is JSON but not an object of the kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unparsable(pub String);
