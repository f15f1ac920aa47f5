//! Who may do what: the modes of `--authorization-mode`, asked in order until one has an opinion.
//!
//! Members of `system:masters` may do everything in every mode, as upstream: else a wrong policy could not be mended.

pub(crate) mod defaults;
pub(crate) mod rbac;

use std::fmt::Write as _;
use std::str::FromStr;

use coracle_api::wellknown::{GROUP_MASTERS, GROUP_NODES, USER_NODE_PREFIX};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::identity::Identity;
use rbac::{Rbac, Rule};

/// Something that somebody wants to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes<'a> {
    /// Who.
    pub(crate) user: &'a Identity,
    /// `get`, `list`…; of a path that is no resource, the method in lower case.
    pub(crate) verb: &'a str,
    /// To what.
    pub(crate) target: Target<'a>,
}

/// What something is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    /// A path that is no resource.
    Path(&'a str),
    /// A resource.
    Resource(Resource<'a>),
}

/// A resource, or one of its objects. Absent parts are empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Resource<'a> {
    /// API group.
    pub(crate) group: &'a str,
    /// Namespace.
    pub(crate) namespace: &'a str,
    /// Plural resource.
    pub(crate) resource: &'a str,
    /// Subresource.
    pub(crate) subresource: &'a str,
    /// Object.
    pub(crate) name: &'a str,
}

impl Attributes<'_> {
    /// Who cannot do what, where: upstream's sentence, with what a browser would take for markup made harmless.
    pub(crate) fn sentence(&self) -> String {
        let (user, verb) = (self.user.name(), self.verb);
        let text = match self.target {
            Target::Path(path) => format!("User {user:?} cannot {verb} path {path:?}"),
            Target::Resource(of) => {
                let mut resource = of.resource.to_owned();
                if !of.subresource.is_empty() {
                    let _ = write!(resource, "/{}", of.subresource);
                }
                let place = match of.namespace {
                    "" => "at the cluster scope".to_owned(),
                    namespace => format!("in the namespace {namespace:?}"),
                };
                format!("User {user:?} cannot {verb} resource {resource:?} in API group {:?} {place}", of.group)
            }
        };
        text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
    }
}

/// What is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It may be done, for this reason if there is one to tell.
    Allow(String),
    /// Nobody allows it; perhaps there is a reason.
    Deny(String),
}

/// A way to decide, by kube-apiserver's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthorizationMode {
    /// By Roles and the bindings to them.
    #[serde(rename = "RBAC")]
    Rbac,
    /// What node agents need.
    Node,
    /// Everybody may do everything.
    AlwaysAllow,
    /// Nobody may do anything.
    AlwaysDeny,
}

impl AuthorizationMode {
    const ALL: [(&str, Self); 4] = [
        ("RBAC", Self::Rbac),
        ("Node", Self::Node),
        ("AlwaysAllow", Self::AlwaysAllow),
        ("AlwaysDeny", Self::AlwaysDeny),
    ];
}

/// A list of modes that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModeError {
    /// A name that there is not.
    #[error("authorization-mode {0:?} is not a valid mode; the modes are: RBAC, Node, AlwaysAllow, AlwaysDeny")]
    Unknown(String),
    /// A mode that is named twice.
    #[error("authorization-mode {0:?} has mode specified more than once")]
    Twice(AuthorizationMode),
    /// No mode at all.
    #[error("at least one authorization-mode must be passed")]
    None,
}

impl FromStr for AuthorizationMode {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        let found = Self::ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, mode)| *mode).ok_or_else(|| ModeError::Unknown(text.to_owned()))
    }
}

/// The modes in force.
pub(crate) struct Authorizer {
    modes: Vec<AuthorizationMode>,
    rbac: Rbac,
    node: Vec<Rule>,
}

impl Authorizer {
    /// Asks these modes, in this order.
    pub(crate) fn new(modes: &[AuthorizationMode], rbac: Rbac) -> Result<Self, ModeError> {
        if modes.is_empty() {
            return Err(ModeError::None);
        }
        let twice = modes.iter().enumerate().find(|(at, mode)| modes.iter().take(*at).any(|before| before == *mode));
        if let Some((_, mode)) = twice {
            return Err(ModeError::Twice(*mode));
        }
        Ok(Self { modes: modes.to_vec(), rbac, node: defaults::node_rules() })
    }

    /// Decides.
    pub(crate) fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        if attributes.user.is_in(GROUP_MASTERS) {
            return Decision::Allow(String::new());
        }
        let mut reasons = Vec::new();
        for mode in &self.modes {
            let decision = match mode {
                AuthorizationMode::AlwaysAllow => Decision::Allow(String::new()),
                AuthorizationMode::AlwaysDeny => Decision::Deny("Everything is forbidden.".to_owned()),
                AuthorizationMode::Rbac => self.rbac.authorize(attributes),
                AuthorizationMode::Node => self.node(attributes),
            };
            match decision {
                Decision::Allow(reason) => return Decision::Allow(reason),
                Decision::Deny(reason) if reason.is_empty() => {}
                Decision::Deny(reason) => reasons.push(reason),
            }
        }
        Decision::Deny(reasons.join("\n"))
    }

    /// What a user may do in a namespace: to resources, and to paths that are none. The rules of the mode `Node` are not
    /// told: they are the same for all nodes.
    pub(crate) fn rules_for(&self, user: &Identity, namespace: &str) -> (Vec<Value>, Vec<Value>) {
        let all = || ["*".to_owned()];
        let everything = || {
            let resources = json!({"verbs": all(), "apiGroups": all(), "resources": all()});
            (vec![resources], vec![json!({"verbs": all(), "nonResourceURLs": all()})])
        };
        let (mut resources, mut paths) = (Vec::new(), Vec::new());
        for mode in &self.modes {
            let (to_resources, to_paths) = match mode {
                AuthorizationMode::AlwaysAllow => everything(),
                AuthorizationMode::Rbac => self.rbac.rules_for(user, namespace),
                AuthorizationMode::AlwaysDeny | AuthorizationMode::Node => continue,
            };
            resources.extend(to_resources);
            paths.extend(to_paths);
        }
        (resources, paths)
    }

    fn node(&self, attributes: &Attributes<'_>) -> Decision {
        let user = attributes.user;
        let is_node = user.is_in(GROUP_NODES) && user.name().starts_with(USER_NODE_PREFIX);
        let allowed = is_node && self.node.iter().any(|rule| rule.allows(attributes.verb, &attributes.target));
        if allowed { Decision::Allow(String::new()) } else { Decision::Deny(String::new()) }
    }
}
