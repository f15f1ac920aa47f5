//! The registry of kinds: a kind is a row. Handlers know rows, never kinds.
//!
//! Built-in rows come from [`kinds`]; a CustomResourceDefinition will make the same row at run time.

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use serde_json::Value;

use crate::store::Durability;

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
    /// Subresources beyond the object itself.
    pub subresources: &'static [Subresource],
    /// Name of the root schema: `io.k8s.api.apps.v1.Deployment`.
    pub schema: &'static str,
    /// Columns that `kubectl get` prints.
    pub columns: &'static [Column],
    /// Paths that `fieldSelector` offers beyond `metadata.name` and `metadata.namespace`.
    pub fields: &'static [&'static str],
    /// Whether a write is worth a flash write.
    pub durability: Durability,
    /// What is particular to the kind.
    pub strategy: Arc<dyn Strategy>,
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

    /// The rules for a new object, `metadata` aside.
    fn validate(&self, object: &Value) -> Vec<FieldError>;

    /// The rules for a change: those for a new object, and what may not change.
    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError>;

    /// The rules for a change of the status.
    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError>;

    /// What is allowed but odd: sent as `Warning` headers.
    fn warnings(&self, object: &Value) -> Vec<String>;

    /// The cells of the object's row in a Table, one per column of the row.
    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value>;
}

/// A body that is JSON but not an object of the kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unparsable(pub String);
