//! Who is asking: a user, its groups, and what else is known of it.
//!
//! An identity travels as a request extension, which nothing that arrives by a socket can set. It is cheap to clone.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::wellknown::{
    GROUP_AUTHENTICATED, GROUP_MASTERS, GROUP_NODES, GROUP_UNAUTHENTICATED, USER_ANONYMOUS, USER_NODE_PREFIX,
};
use x509_parser::prelude::{FromDer, X509Certificate};

/// A user that has been authenticated, or nobody in particular.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity(Arc<User>);

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct User {
    name: String,
    uid: String,
    groups: Vec<String>,
    extra: Extra,
}

/// What else an authenticator knows of a user.
pub type Extra = BTreeMap<String, Vec<String>>;

impl Identity {
    /// A user in these groups, and in the group of all who proved who they are.
    #[must_use]
    pub fn new(user: impl Into<String>, groups: impl IntoIterator<Item = String>) -> Self {
        let mut groups: Vec<String> = groups.into_iter().collect();
        if !groups.iter().any(|g| g == GROUP_AUTHENTICATED) {
            groups.push(GROUP_AUTHENTICATED.to_owned());
        }
        Self::exactly(user.into(), groups)
    }

    /// A user in these groups and no others.
    pub(crate) fn exactly(name: String, groups: Vec<String>) -> Self {
        Self(Arc::new(User { name, groups, ..User::default() }))
    }

    /// A user in no group of its own: a component, by its name in `coracle_api::wellknown`.
    #[must_use]
    pub fn user(user: impl Into<String>) -> Self {
        Self::new(user, [])
    }

    /// The node agent of the node with this name.
    #[must_use]
    pub fn node(name: &str) -> Self {
        Self::new(format!("{USER_NODE_PREFIX}{name}"), [GROUP_NODES.to_owned()])
    }

    /// The person who started the server: may do everything.
    #[must_use]
    pub fn admin() -> Self {
        Self::new("admin", [GROUP_MASTERS.to_owned()])
    }

    /// Who shows nothing.
    pub(crate) fn anonymous() -> Self {
        Self::exactly(USER_ANONYMOUS.to_owned(), vec![GROUP_UNAUTHENTICATED.to_owned()])
    }

    /// The same with a uid.
    #[must_use]
    pub fn with_uid(mut self, uid: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.0).uid = uid.into();
        self
    }

    /// The same with more that is known.
    #[must_use]
    pub fn with_extra(mut self, extra: Extra) -> Self {
        Arc::make_mut(&mut self.0).extra = extra;
        self
    }

    /// The user's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The user's uid; empty if its authenticator knows none.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.0.uid
    }

    /// The name of the component that the user is: `kube-scheduler`, `kubelet`; empty if it is none.
    pub(crate) fn component(&self) -> &str {
        match self.0.name.strip_prefix("system:") {
            Some(_) if self.0.name.starts_with(USER_NODE_PREFIX) => "kubelet",
            Some(name) => name.rsplit(':').next().unwrap_or(name),
            None => "",
        }
    }

    /// The groups that the user is in.
    #[must_use]
    pub fn groups(&self) -> &[String] {
        &self.0.groups
    }

    /// What else is known of the user.
    #[must_use]
    pub fn extra(&self) -> &Extra {
        &self.0.extra
    }

    /// Whether the user is in this group.
    #[must_use]
    pub fn is_in(&self, group: &str) -> bool {
        self.0.groups.iter().any(|g| g == group)
    }

    /// The identity that a client certificate states: the common name is the user, the organisations are the groups.
    /// Nothing if the certificate names nobody.
    pub(crate) fn of_certificate(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let subject = certificate.subject();
        let user = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
        let groups: Vec<String> =
            subject.iter_organization().filter_map(|o| o.as_str().ok().map(str::to_owned)).collect();
        (!user.is_empty()).then(|| Self::new(user, groups))
    }
}
