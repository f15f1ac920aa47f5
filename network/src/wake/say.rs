//! What is said, in events of Services and of what is scaled for them.

use std::time::Duration;

use coracle_api::event::{Kind, Said};
use k8s_openapi::api::core::v1::ObjectReference;

use super::scaler::Scaler;
use super::wish::{InvalidWish, Sleepy, Target};

/// Whom it is about.
pub(super) struct Subject;

/// What is said.
pub(super) struct What {
    kind: Kind,
    reason: &'static str,
    message: String,
}

impl What {
    pub(super) fn of(&self, about: ObjectReference) -> Said {
        Said { about, kind: self.kind, reason: self.reason.to_owned(), message: self.message.clone() }
    }
}

impl Subject {
    pub(super) fn service(sleepy: &Sleepy) -> ObjectReference {
        ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Service".to_owned()),
            namespace: Some(sleepy.service.namespace.clone()),
            name: Some(sleepy.service.name.clone()),
            uid: Some(sleepy.uid.clone()),
            ..ObjectReference::default()
        }
    }

    pub(super) fn target(scaler: &Scaler, uid: &str) -> ObjectReference {
        ObjectReference {
            api_version: Some("apps/v1".to_owned()),
            kind: Some(scaler.target.kind.as_str().to_owned()),
            namespace: Some(scaler.namespace.clone()),
            name: Some(scaler.target.name.clone()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        }
    }
}

/// It was scaled up.
pub(super) fn woken(target: &Target, to: i32) -> What {
    let message = format!("Scaled up {target} from 0 to {to}: a client waits");
    What { kind: Kind::Normal, reason: "Woken", message }
}

/// It was scaled to zero.
pub(super) fn asleep(target: &Target, from: i32, idle: Duration) -> What {
    let message = format!("Scaled down {target} from {from} to 0: not used for {idle:?}");
    What { kind: Kind::Normal, reason: "ScaledToZero", message }
}

/// It could not be scaled up.
pub(super) fn failed(target: &Target, to: i32, error: &kube::Error) -> What {
    let message = format!("Failed to scale up {target} to {to}, while connections wait: {error}");
    What { kind: Kind::Warning, reason: "WakeFailed", message }
}

/// Clients have waited in vain.
pub(super) fn late(target: &Target, count: u64) -> What {
    let message = format!(
        "No pod of {target} took connections in time: clients refused: {count}; see whether its pods are ready and \
         listen at the target port of the Service"
    );
    What { kind: Kind::Warning, reason: "WakeTimedOut", message }
}

/// The wish cannot be followed.
pub(super) fn invalid(wish: &InvalidWish) -> What {
    What { kind: Kind::Warning, reason: "InvalidScaleToZero", message: wish.to_string() }
}

/// Nothing is there to be scaled.
pub(super) fn nothing(target: Option<&Target>) -> What {
    let message = match target {
        Some(target) => format!("There is no {target}: nothing sleeps or wakes for this Service"),
        None => {
            "No deployment or statefulset has pods that this Service selects: nothing sleeps or wakes for it".to_owned()
        }
    };
    What { kind: Kind::Warning, reason: "ScaleTargetNotFound", message }
}
