//! The node's configuration in the kubelet's words: `/configz`. It names what has an effect here, and no more.

use coracle_api::limits::{NODE_LEASE_DURATION, NODE_LEASE_RENEWAL};
use serde_json::{Value, json};

use crate::logs::Rotation;

/// The configuration of a node that takes so many pods.
pub(crate) fn config(pods_max: u64, rotation: &Rotation) -> Value {
    json!({"kubeletconfig": {
        "enableServer": true,
        "maxPods": pods_max,
        "containerLogMaxSize": format!("{}Mi", rotation.max_bytes >> 20),
        "containerLogMaxFiles": rotation.max_files,
        "nodeStatusUpdateFrequency": format!("{}s", NODE_LEASE_RENEWAL.as_secs()),
        "nodeLeaseDurationSeconds": NODE_LEASE_DURATION.as_secs(),
    }})
}
