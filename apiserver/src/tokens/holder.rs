//! Whom a token speaks for, if all that it is bound to still exists.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::LEEWAY_SECONDS;
use super::claims::{Claims, Named};
use crate::object::text;
use crate::store::{Key, Store};

/// An account that has been authenticated: what a `UserInfo` holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    /// `system:serviceaccount:namespace:name`.
    pub(crate) user: String,
    /// The account's UID.
    pub(crate) uid: String,
    /// The groups of all accounts, and of those of its namespace.
    pub(crate) groups: Vec<String>,
    /// Where and as which token it is used.
    pub(crate) extra: BTreeMap<String, Vec<String>>,
}

/// The holder of a token, or why it is worth nothing (any more).
pub(crate) fn of(claims: &Claims, store: &dyn Store, now: Timestamp) -> Result<Holder, String> {
    let bound = &claims.kubernetes;
    let account = &bound.serviceaccount;
    account_is_there(&bound.namespace, account, store, now)?;
    if let Some(secret) = &bound.secret {
        is_there(("secrets", "secret"), &bound.namespace, secret, store, now)?;
    }
    if let Some(pod) = &bound.pod {
        is_there(("pods", "pod"), &bound.namespace, pod, store, now)?;
    } else if let Some(node) = &bound.node {
        is_there(("nodes", "node"), "", node, store, now)?;
    }
    Ok(Holder {
        user: claims.sub.clone(),
        uid: account.uid.clone(),
        groups: vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{}", bound.namespace),
            coracle_api::wellknown::GROUP_AUTHENTICATED.to_owned(),
        ],
        extra: extra(claims),
    })
}

fn extra(claims: &Claims) -> BTreeMap<String, Vec<String>> {
    let mut extra = BTreeMap::new();
    let mut tell = |key: &str, value: String| {
        if !value.is_empty() {
            extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value]);
        }
    };
    if !claims.jti.is_empty() {
        tell("credential-id", format!("JTI={}", claims.jti));
    }
    for (kind, named) in [("pod", &claims.kubernetes.pod), ("node", &claims.kubernetes.node)] {
        if let Some(named) = named {
            tell(&format!("{kind}-name"), named.name.clone());
            tell(&format!("{kind}-uid"), named.uid.clone());
        }
    }
    extra
}

fn account_is_there(namespace: &str, account: &Named, store: &dyn Store, now: Timestamp) -> Result<(), String> {
    let name = &account.name;
    let Some(entry) = store.get(&Key::new("", "serviceaccounts", namespace, name)) else {
        return Err(format!("serviceaccounts {name:?} not found"));
    };
    let object = entry.value();
    if is_going(&object, now) {
        return Err(format!("service account {namespace}/{name} has been deleted"));
    }
    let (is, claimed) = (text(&object, "uid"), &account.uid);
    if is == claimed {
        return Ok(());
    }
    Err(format!("service account UID ({is}) does not match claim ({claimed})"))
}

fn is_there(
    (plural, kind): (&str, &str),
    namespace: &str,
    named: &Named,
    store: &dyn Store,
    now: Timestamp,
) -> Result<(), String> {
    let found = store.get(&Key::new("", plural, namespace, &named.name)).map(|entry| entry.value());
    let Some(object) = found.filter(|object| !is_going(object, now)) else {
        return Err("service account token has been invalidated".to_owned());
    };
    let (is, claimed) = (text(&object, "uid"), &named.uid);
    if is == claimed {
        return Ok(());
    }
    Err(format!("{kind} UID ({is}) does not match service account {kind} ref claim ({claimed})"))
}

/// Whether an object was to be gone by now, but for clocks that differ.
fn is_going(object: &Value, now: Timestamp) -> bool {
    let Ok(at) = text(object, "deletionTimestamp").parse::<Timestamp>() else { return false };
    at < now.checked_sub(SignedDuration::from_secs(LEEWAY_SECONDS)).unwrap_or(now)
}
