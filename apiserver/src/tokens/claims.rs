//! What a token says: whom it speaks for, to whom, from when until when.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The claims of a token, under the names that JWT and upstream give them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    /// To whom it speaks.
    pub(crate) aud: Vec<String>,
    /// Until when it is good, in seconds.
    pub(crate) exp: i64,
    /// When it was issued.
    pub(crate) iat: i64,
    /// Who issued it.
    pub(crate) iss: String,
    /// Which token it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) jti: String,
    /// What it is bound to.
    #[serde(rename = "kubernetes.io")]
    pub(crate) kubernetes: Bound,
    /// From when it is good.
    pub(crate) nbf: i64,
    /// Whom it speaks for: the account's user name.
    pub(crate) sub: String,
}

/// The objects without which a token is worth nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Bound {
    /// The account's namespace.
    pub(crate) namespace: String,
    /// The node, or the node of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<Named>,
    /// The pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<Named>,
    /// The secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<Named>,
    /// The account.
    pub(crate) serviceaccount: Named,
    /// From when its use is worth a warning: it should have been renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) warnafter: Option<i64>,
}

/// One object, and which of those that ever had its name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Named {
    /// Its name.
    pub(crate) name: String,
    /// Its UID; empty for a node that is not there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) uid: String,
}

impl Claims {
    /// The claims of a new token that is good for so many seconds.
    pub(crate) fn new(kubernetes: Bound, aud: Vec<String>, seconds: i64, now: Timestamp) -> Self {
        let now = now.as_second();
        Self {
            aud,
            exp: now.saturating_add(seconds),
            iat: now,
            iss: super::ISSUER.to_owned(),
            jti: uuid::Uuid::new_v4().to_string(),
            nbf: now,
            sub: user_name(&kubernetes.namespace, &kubernetes.serviceaccount.name),
            kubernetes,
        }
    }
}

/// The user that an account is.
pub(crate) fn user_name(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}
