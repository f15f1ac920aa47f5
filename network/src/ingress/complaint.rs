//! What is wrong with an Ingress, to be said in an event of it.

use coracle_api::event::{Kind, Said};
use coracle_api::names::NamespacedName;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::networking::v1::Ingress;

/// Which Ingress.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Subject {
    pub(super) name: NamespacedName,
    uid: String,
}

impl Subject {
    pub(super) fn of(ingress: &Ingress) -> Self {
        let meta = &ingress.metadata;
        let name =
            NamespacedName::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
        Self { name, uid: meta.uid.clone().unwrap_or_default() }
    }

    /// Something to be said of it.
    pub(super) fn said(&self, kind: Kind, reason: &str, message: String) -> Said {
        let about = ObjectReference {
            api_version: Some("networking.k8s.io/v1".to_owned()),
            kind: Some("Ingress".to_owned()),
            namespace: Some(self.name.namespace.clone()),
            name: Some(self.name.name.clone()),
            uid: Some(self.uid.clone()),
            ..ObjectReference::default()
        };
        Said { about, kind, reason: reason.to_owned(), message }
    }
}

/// Why something of it does not hold: the event's reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// Another Ingress has the path, and had it before.
    Conflict,
    /// A port cannot be opened.
    FailedToBind,
    /// An annotation has no sense.
    InvalidAnnotation,
    /// A Secret holds no certificate and key that go together.
    InvalidSecret,
    /// The Service has no such port.
    PortNotFound,
    /// There is no such Secret.
    SecretNotFound,
    /// There is no such Service.
    ServiceNotFound,
    /// It asks for what there is not here.
    Unsupported,
}

/// One complaint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Complaint {
    pub(super) about: Subject,
    reason: Reason,
    pub(super) message: String,
}

impl Complaint {
    pub(super) fn new(about: &Subject, reason: Reason, message: String) -> Self {
        Self { about: about.clone(), reason, message }
    }

    /// As an event.
    pub(super) fn said(&self) -> Said {
        self.about.said(Kind::Warning, &format!("{:?}", self.reason), self.message.clone())
    }
}
