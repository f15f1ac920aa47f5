//! The limits that more than one crate must agree on, each with the reason for its size.
//! A limit that one crate alone keeps is declared there, in the same way.

use std::time::Duration;

/// The largest object, encoded: etcd's default request limit, which upstream inherits.
pub const OBJECT_BYTES_MAX: usize = 1_536 * 1024;

/// How long a deleted pod may take to stop when nobody says otherwise (Kubernetes' default).
pub const POD_GRACE_PERIOD: Duration = Duration::from_secs(30);

/// How often a node renews its Lease (the kubelet's default).
pub const NODE_LEASE_RENEWAL: Duration = Duration::from_secs(10);

/// How long a node's Lease may be silent before the node counts as lost (Kubernetes' default).
pub const NODE_LEASE_DURATION: Duration = Duration::from_secs(40);

/// The largest image layer accepted: a component of CPython is 18 MB; a guest with a model may be larger.
pub const IMAGE_LAYER_BYTES_MAX: usize = 512 * 1024 * 1024;

/// How long components may take to stop, all together, after a signal, before the process ends anyway.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
