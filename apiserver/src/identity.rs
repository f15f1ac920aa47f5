//! Who is asking: a user and its groups, proven by a client certificate or stamped on by our own process.
//!
//! An identity travels as a request extension, which nothing that arrives by a socket can set.

use coracle_api::wellknown::{GROUP_AUTHENTICATED, GROUP_MASTERS, USER_NODE_PREFIX};
use x509_parser::prelude::{FromDer, X509Certificate};

/// A user that has been authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    user: String,
    groups: Vec<String>,
}

impl Identity {
    /// A user in these groups, and in the group of all who proved who they are.
    #[must_use]
    pub fn new(user: impl Into<String>, groups: impl IntoIterator<Item = String>) -> Self {
        let mut groups: Vec<String> = groups.into_iter().collect();
        if !groups.iter().any(|g| g == GROUP_AUTHENTICATED) {
            groups.push(GROUP_AUTHENTICATED.to_owned());
        }
        Self { user: user.into(), groups }
    }

    /// A user in no group of its own: a component, by its name in `coracle_api::wellknown`.
    #[must_use]
    pub fn user(user: impl Into<String>) -> Self {
        Self::new(user, [])
    }

    /// The node agent of the node with this name.
    #[must_use]
    pub fn node(name: &str) -> Self {
        Self::new(format!("{USER_NODE_PREFIX}{name}"), ["system:nodes".to_owned()])
    }

    /// The person who started the server: may do everything.
    #[must_use]
    pub fn admin() -> Self {
        Self::new("admin", [GROUP_MASTERS.to_owned()])
    }

    /// The user's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.user
    }

    /// The name of the component that the user is: `kube-scheduler`, `kubelet`; empty if it is none.
    pub(crate) fn component(&self) -> &str {
        match self.user.strip_prefix("system:") {
            Some(_) if self.user.starts_with(USER_NODE_PREFIX) => "kubelet",
            Some(name) => name.rsplit(':').next().unwrap_or(name),
            None => "",
        }
    }

    /// The groups that the user is in.
    #[must_use]
    pub fn groups(&self) -> &[String] {
        &self.groups
    }

    /// Whether the user is in this group.
    #[must_use]
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// The identity that a verified client certificate states: the common name is the user, the organisations
    /// are the groups. Nothing if the certificate names nobody.
    pub(crate) fn of_certificate(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let subject = certificate.subject();
        let user = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
        let groups: Vec<String> =
            subject.iter_organization().filter_map(|o| o.as_str().ok().map(str::to_owned)).collect();
        (!user.is_empty()).then(|| Self::new(user, groups))
    }
}
