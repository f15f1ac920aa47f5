//! `RBAC`: who may do what by Roles, ClusterRoles and the bindings to them.
//!
//! [`Policy`] decides and is pure: plain data made of the objects. [`Rbac`] keeps one that is as new as the store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use coracle_api::wellknown::USER_SERVICE_ACCOUNT_PREFIX;
use serde_json::{Value, json};

use super::{Attributes, Decision, Target, defaults};
use crate::identity::Identity;
use crate::object::{map_mut, text};
use crate::store::{Prefix, Store, Watcher};

/// The group of the kinds that policies are made of.
pub(crate) const GROUP: &str = "rbac.authorization.k8s.io";

/// The kinds themselves: by them a policy changes.
const RESOURCES: [&str; 4] = ["clusterroles", "roles", "clusterrolebindings", "rolebindings"];

/// What a role allows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Rule {
    verbs: Vec<String>,
    groups: Vec<String>,
    resources: Vec<String>,
    names: Vec<String>,
    urls: Vec<String>,
}

impl Rule {
    /// The rule that an object states.
    pub(super) fn of(rule: &Value) -> Self {
        let texts = |field: &str| {
            let list = rule.get(field).and_then(Value::as_array).into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Self {
            verbs: texts("verbs"),
            groups: texts("apiGroups"),
            resources: texts("resources"),
            names: texts("resourceNames"),
            urls: texts("nonResourceURLs"),
        }
    }

    /// The rule as a `SelfSubjectRulesReview` tells it: about resources, about paths.
    fn told(&self) -> (Option<Value>, Option<Value>) {
        let resources = (!self.resources.is_empty()).then(|| {
            let mut told = json!({"verbs": self.verbs, "apiGroups": self.groups, "resources": self.resources});
            if !self.names.is_empty() {
                map_mut(&mut told).insert("resourceNames".to_owned(), json!(self.names));
            }
            told
        });
        let paths = (!self.urls.is_empty()).then(|| json!({"verbs": self.verbs, "nonResourceURLs": self.urls}));
        (resources, paths)
    }

    /// Whether it allows this.
    pub(super) fn allows(&self, verb: &str, target: &Target<'_>) -> bool {
        let has = |list: &[String], wanted: &str| list.iter().any(|entry| entry == "*" || entry == wanted);
        if !has(&self.verbs, verb) {
            return false;
        }
        match target {
            Target::Path(path) => self.urls.iter().any(|url| covers(url, path)),
            Target::Resource(of) => {
                let named = self.names.is_empty() || self.names.iter().any(|name| name == of.name);
                has(&self.groups, of.group)
                    && named
                    && self.resources.iter().any(|r| is_of(r, of.resource, of.subresource))
            }
        }
    }
}

/// Whether a rule's URL means this path: an asterisk at its end stands for anything.
fn covers(url: &str, path: &str) -> bool {
    url == path || url.strip_suffix('*').is_some_and(|head| path.starts_with(head))
}

/// Whether a rule's resource means this one: `*`, `pods`, `pods/log` or `*/log`.
fn is_of(rule: &str, resource: &str, subresource: &str) -> bool {
    if rule == "*" {
        return true;
    }
    match rule.split_once('/') {
        None => subresource.is_empty() && rule == resource,
        Some((of, sub)) => !subresource.is_empty() && sub == subresource && (of == "*" || of == resource),
    }
}

/// To whom a binding gives its role.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    User(String),
    Group(String),
}

impl Subject {
    fn of(subject: &Value, namespace: &str) -> Option<Self> {
        let field = |name: &str| subject.get(name).and_then(Value::as_str).unwrap_or("");
        let name = field("name").to_owned();
        match field("kind") {
            "User" => Some(Self::User(name)),
            "Group" => Some(Self::Group(name)),
            "ServiceAccount" => {
                let namespace = if field("namespace").is_empty() { namespace } else { field("namespace") };
                (!namespace.is_empty()).then(|| Self::User(format!("{USER_SERVICE_ACCOUNT_PREFIX}{namespace}:{name}")))
            }
            _ => None,
        }
    }

    fn is(&self, user: &Identity) -> bool {
        match self {
            Self::User(name) => name == user.name(),
            Self::Group(name) => user.is_in(name),
        }
    }
}

/// A role, given to somebody, in one namespace or everywhere.
#[derive(Debug, Clone)]
struct Binding {
    /// Empty: everywhere.
    namespace: String,
    subjects: Vec<Subject>,
    /// The role's rules, or that there is no such role.
    rules: Result<Arc<[Rule]>, String>,
}

/// Who may do what.
#[derive(Debug, Default)]
pub(crate) struct Policy(Vec<Binding>);

impl Policy {
    /// The policy that these objects make, by resource.
    pub(super) fn of(objects: impl Fn(&str) -> Vec<Value>) -> Self {
        let rules = |role: &Value| -> Arc<[Rule]> {
            role.get("rules").and_then(Value::as_array).into_iter().flatten().map(Rule::of).collect()
        };
        let mut roles: HashMap<(String, String), Arc<[Rule]>> = HashMap::new();
        for role in objects("clusterroles").iter().chain(&objects("roles")) {
            roles.insert((text(role, "namespace").to_owned(), text(role, "name").to_owned()), rules(role));
        }
        let all = [objects("clusterrolebindings"), objects("rolebindings")].concat();
        Self(all.iter().map(|binding| Binding::of(binding, &roles)).collect())
    }

    /// All rules that hold for a user in a namespace.
    fn rules_for(&self, user: &Identity, namespace: &str) -> impl Iterator<Item = &Rule> {
        let here = move |binding: &&Binding| binding.namespace.is_empty() || binding.namespace == namespace;
        let theirs = |binding: &&Binding| binding.subjects.iter().any(|subject| subject.is(user));
        self.0
            .iter()
            .filter(here)
            .filter(theirs)
            .filter_map(|binding| binding.rules.as_ref().ok())
            .flat_map(|r| r.iter())
    }

    /// Decides.
    pub(super) fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        let place = match &attributes.target {
            Target::Resource(of) => of.namespace,
            Target::Path(_) => "",
        };
        let mut missing = Vec::new();
        for binding in &self.0 {
            let here = binding.namespace.is_empty() || binding.namespace == place;
            if !here || !binding.subjects.iter().any(|subject| subject.is(attributes.user)) {
                continue;
            }
            match &binding.rules {
                Ok(rules) if rules.iter().any(|rule| rule.allows(attributes.verb, &attributes.target)) => {
                    return Decision::Allow(String::new());
                }
                Ok(_) => {}
                Err(role) if missing.contains(&role) => {}
                Err(role) => missing.push(role),
            }
        }
        Decision::Deny(match missing.as_slice() {
            [] => String::new(),
            [role] => format!("RBAC: {role} not found"),
            roles => {
                let all: Vec<String> = roles.iter().map(|role| format!("{role} not found")).collect();
                format!("RBAC: [{}]", all.join(", "))
            }
        })
    }
}

impl Binding {
    fn of(binding: &Value, roles: &HashMap<(String, String), Arc<[Rule]>>) -> Self {
        let namespace = text(binding, "namespace").to_owned();
        let role = |field: &str| binding.pointer(field).and_then(Value::as_str).unwrap_or("").to_owned();
        let (kind, name) = (role("/roleRef/kind"), role("/roleRef/name"));
        let home = if kind == "Role" { namespace.clone() } else { String::new() };
        let missing = format!("{}.{GROUP} {name:?}", kind.to_ascii_lowercase());
        let subjects = binding.get("subjects").and_then(Value::as_array).into_iter().flatten();
        Self {
            subjects: subjects.filter_map(|subject| Subject::of(subject, &namespace)).collect(),
            rules: roles.get(&(home, name)).cloned().ok_or(missing),
            namespace,
        }
    }
}

/// The policy of the objects in the store.
pub(crate) struct Rbac {
    source: Source,
    kept: Mutex<Kept>,
}

/// Where the objects of a policy are.
pub(crate) enum Source {
    /// In the store, where they may change.
    Stored(Arc<dyn Store>),
    /// Nowhere: the policy is the one that a new cluster has.
    Defaults,
}

/// The policy as it was last, and what tells that it has changed since.
#[derive(Default)]
struct Kept {
    watchers: Vec<Watcher>,
    policy: Arc<Policy>,
}

impl Rbac {
    /// Decides by the objects of this source.
    pub(crate) fn new(source: Source) -> Self {
        let policy = match &source {
            Source::Stored(_) => Arc::default(),
            Source::Defaults => Arc::new(Policy::of(defaults::objects)),
        };
        Self { source, kept: Mutex::new(Kept { watchers: Vec::new(), policy }) }
    }

    /// The rules that hold for a user in a namespace, about resources and about paths.
    pub(super) fn rules_for(&self, user: &Identity, namespace: &str) -> (Vec<Value>, Vec<Value>) {
        let policy = self.policy();
        let (resources, paths): (Vec<_>, Vec<_>) = policy.rules_for(user, namespace).map(Rule::told).unzip();
        (resources.into_iter().flatten().collect(), paths.into_iter().flatten().collect())
    }

    pub(super) fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        self.policy().authorize(attributes)
    }

    /// The newest policy: a write that was answered counts for the next request.
    fn policy(&self) -> Arc<Policy> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Source::Stored(store) = &self.source else { return Arc::clone(&kept.policy) };
        if kept.watchers.is_empty() || kept.watchers.iter_mut().any(has_news) {
            // The watches begin before the objects are read: what changes meanwhile is news again.
            let revision = store.revision();
            let watches = RESOURCES.map(|resource| store.watch(&Prefix::resource(GROUP, resource), revision));
            kept.watchers = watches.into_iter().collect::<Result<_, _>>().unwrap_or_default();
            let stored = |resource: &str| -> Vec<Value> {
                store.list(&Prefix::resource(GROUP, resource)).entries.iter().map(|entry| entry.value()).collect()
            };
            kept.policy = Arc::new(Policy::of(stored));
        }
        Arc::clone(&kept.policy)
    }
}

/// Whether anything has happened. All of it is taken, as the policy is made anew whatever it was.
fn has_news(watcher: &mut Watcher) -> bool {
    let mut news = false;
    loop {
        match watcher.try_next() {
            Ok(Some(_)) => news = true,
            Ok(None) => return news,
            Err(_) => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Resource;
    use super::*;

    fn decided(user: &Identity, verb: &str, target: Target<'_>) -> Decision {
        let role = |name: &str, namespace: &str, rules: Value| json!({"metadata": {"name": name, "namespace": namespace}, "rules": rules});
        let binding = |namespace: &str, kind: &str, role: &str, subject: Value| json!({"metadata": {"namespace": namespace}, "roleRef": {"kind": kind, "name": role}, "subjects": [subject]});
        let pods = json!([{"apiGroups": [""], "resources": ["pods", "pods/log", "*/scale"], "verbs": ["get", "list"]}]);
        let one = json!([{"apiGroups": ["*"], "resources": ["*"], "resourceNames": ["x"], "verbs": ["*"]}]);
        let urls = json!([{"nonResourceURLs": ["/a", "/b/*"], "verbs": ["get"]}]);
        let policy = Policy::of(|resource| match resource {
            "clusterroles" => vec![role("pods", "", pods.clone()), role("urls", "", urls.clone())],
            "roles" => vec![role("one", "n", one.clone())],
            "clusterrolebindings" => vec![
                binding("", "ClusterRole", "urls", json!({"kind": "Group", "name": "g"})),
                binding("", "ClusterRole", "pods", json!({"kind": "User", "name": "all"})),
                binding("", "ClusterRole", "gone", json!({"kind": "User", "name": "lost"})),
            ],
            _ => vec![
                binding("n", "ClusterRole", "pods", json!({"kind": "ServiceAccount", "name": "sa"})),
                binding("n", "Role", "one", json!({"kind": "User", "name": "jane"})),
            ],
        });
        policy.authorize(&Attributes { user, verb, target })
    }

    fn on(namespace: &'static str, resource: &'static str, name: &'static str) -> Target<'static> {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Target::Resource(Resource { group: "", namespace, resource, subresource, name })
    }

    #[test]
    fn roles_count_where_and_for_whom_they_are_bound() {
        let allowed = |user: &str, verb: &str, target| {
            matches!(decided(&Identity::new(user, []), verb, target), Decision::Allow(_))
        };
        let sa = "system:serviceaccount:n:sa";
        assert!(allowed("all", "get", on("m", "pods", "p")) && allowed("all", "list", on("", "pods", "")));
        assert!(!allowed("all", "delete", on("m", "pods", "p")) && !allowed("all", "get", on("m", "secrets", "p")));
        assert!(allowed(sa, "get", on("n", "pods/log", "p")) && !allowed(sa, "get", on("m", "pods/log", "p")));
        assert!(!allowed(sa, "get", on("n", "pods/exec", "p")) && !allowed(sa, "list", on("", "pods", "")));
        assert!(allowed(sa, "get", on("n", "things/scale", "p")) && !allowed(sa, "get", on("n", "things", "p")));
        assert!(
            allowed("jane", "delete", on("n", "secrets", "x")) && !allowed("jane", "delete", on("n", "secrets", "y"))
        );
        assert!(allowed("jane", "get", on("n", "pods/log", "x")) && !allowed("jane", "list", on("n", "secrets", "")));
    }

    #[test]
    fn paths_are_allowed_by_name_or_by_their_beginning() {
        let member = Identity::new("u", ["g".to_owned()]);
        for (path, expected) in [("/a", true), ("/a/", false), ("/b/", true), ("/b/c/d", true), ("/b", false)] {
            let allowed = matches!(decided(&member, "get", Target::Path(path)), Decision::Allow(_));
            assert_eq!(allowed, expected, "{path}");
        }
        assert!(matches!(decided(&member, "post", Target::Path("/a")), Decision::Deny(_)));
    }

    #[test]
    fn a_binding_to_no_role_is_named_in_the_refusal() {
        let why = r#"RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found"#;
        let refused = decided(&Identity::user("lost"), "get", on("m", "pods", "p"));
        assert_eq!(refused, Decision::Deny(why.to_owned()));
    }
}
