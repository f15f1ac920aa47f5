//! Roles and their bindings: who may do what. Four kinds of two shapes: of a namespace, and of the cluster.

pub(super) mod bindings;
pub(super) mod roles;

/// The group of all four.
const GROUP: &str = "rbac.authorization.k8s.io";
