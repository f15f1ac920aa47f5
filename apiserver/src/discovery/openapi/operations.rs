//! What can be done, path by path: read off the rows, told alike by both versions of OpenAPI.

use super::parameters::{self, NAMESPACE, PRETTY, PROXIED, Parameter, name};
use crate::discovery::Group;
use crate::policy::{Deletion, Farewell, Policy};
use crate::registry::{GroupVersionKind, Row, Scope, Subresource};
use crate::schema;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// A path and what can be done there.
#[derive(Debug)]
pub(super) struct Path {
    /// With its variable parts in braces.
    pub(super) at: String,
    /// One a method.
    pub(super) operations: Vec<Operation>,
}

/// One thing that can be done.
#[derive(Debug)]
pub(super) struct Operation {
    /// `get`, `put`…
    pub(super) method: &'static str,
    /// What generated clients call it.
    pub(super) id: String,
    /// What it is sorted under.
    pub(super) tag: String,
    /// In words.
    pub(super) description: String,
    /// Kubernetes' word for it.
    pub(super) action: Option<&'static str>,
    /// What it is done to.
    pub(super) kind: Option<GroupVersionKind>,
    /// In path and query, by name.
    pub(super) parameters: Vec<Parameter>,
    /// What is sent.
    pub(super) body: Body,
    /// What is answered.
    pub(super) shown: Shown,
    /// With which codes.
    pub(super) codes: &'static [(u16, &'static str)],
}

/// What is sent with a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// Nothing.
    None,
    /// An object of this schema.
    Object(String),
    /// Options, which may be left out.
    Options,
    /// A patch, in any of its forms.
    Patch,
}

/// What is answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// An object of this schema.
    Object(String),
    /// The same, or a stream of such.
    Stream(String),
    /// An object of this schema, only as JSON.
    Json(String),
    /// Text, or whatever a program writes.
    Raw,
    /// A pod's log.
    Log,
}

const OK: &[(u16, &str)] = &[(200, "OK")];
const CREATED: &[(u16, &str)] = &[(200, "OK"), (201, "Created"), (202, "Accepted")];
const WRITTEN: &[(u16, &str)] = &[(200, "OK"), (201, "Created")];
const DELETED: &[(u16, &str)] = &[(200, "OK"), (202, "Accepted")];

impl Path {
    /// The parameters that all operations have: they are told once, with the path.
    pub(super) fn common(&self) -> Vec<&Parameter> {
        let Some((first, others)) = self.operations.split_first() else { return Vec::new() };
        first.parameters.iter().filter(|p| others.iter().all(|o| o.parameters.contains(p))).collect()
    }
}

/// The documents in which paths are told: `api/v1`, `apis/apps`… and the paths of each.
pub(super) fn documents(groups: &[Group]) -> Vec<(String, Vec<Path>)> {
    let meta = |kind: &str| Shown::Object(format!("{META}.{kind}"));
    let info = Shown::Json("io.k8s.apimachinery.pkg.version.Info".to_owned());
    let apart = [
        ("api", "getCoreAPIVersions", "core", "get available API versions", meta("APIVersions")),
        ("apis", "getAPIVersions", "apis", "get available API versions", meta("APIGroupList")),
        ("version", "getCodeVersion", "version", "get the version information for this server", info),
        (
            ".well-known/openid-configuration",
            "getServiceAccountIssuerOpenIDConfiguration",
            "WellKnown",
            "get who issues the tokens of ServiceAccounts",
            Shown::Raw,
        ),
        (
            "openid/v1/jwks",
            "getServiceAccountIssuerOpenIDKeyset",
            "openid",
            "get the keys that check the tokens of ServiceAccounts",
            Shown::Raw,
        ),
    ];
    let mut all: Vec<_> = apart
        .into_iter()
        .map(|(at, id, tag, words, shown)| (at.to_owned(), vec![about(&format!("/{at}/"), id, tag, words, shown)]))
        .collect();
    for group in groups {
        if !group.name.is_empty() {
            let at = format!("apis/{}", group.name);
            let id = format!("get{}APIGroup", camel(group.name));
            let words = "get information of a group";
            all.push((
                at.clone(),
                vec![about(&format!("/{at}/"), &id, &lower(&camel(group.name)), words, meta("APIGroup"))],
            ));
        }
        for (version, rows) in &group.versions {
            let names = Names::of(group.name, version);
            let id = format!("get{}APIResources", names.prefix);
            let words = "get available resources";
            let mut paths = vec![about(&format!("{}/", names.base), &id, &names.tag, words, meta("APIResourceList"))];
            paths.extend(rows.iter().flat_map(|row| names.of_row(row)));
            all.push((names.base.trim_start_matches('/').to_owned(), paths));
        }
    }
    all
}

fn about(at: &str, id: &str, tag: &str, description: &str, shown: Shown) -> Path {
    let operation = Operation {
        method: "get",
        id: id.to_owned(),
        tag: tag.to_owned(),
        description: description.to_owned(),
        action: None,
        kind: None,
        parameters: Vec::new(),
        body: Body::None,
        shown,
        codes: OK,
    };
    Path { at: at.to_owned(), operations: vec![operation] }
}

/// `rbac.authorization.k8s.io` is `RbacAuthorization`, the core group `Core`.
fn camel(group: &str) -> String {
    let parts = if group.is_empty() { "core" } else { group.strip_suffix(".k8s.io").unwrap_or(group) };
    parts.split(['.', '-']).map(title).collect()
}

fn title(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn lower(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

fn article(kind: &str) -> &'static str {
    if kind.starts_with(['A', 'E', 'I', 'O', 'U']) { "an" } else { "a" }
}

/// How the operations of a group and version are named.
struct Names {
    /// `/apis/apps/v1`.
    base: String,
    /// `AppsV1`.
    prefix: String,
    /// `apps_v1`.
    tag: String,
}

/// A place for operations: the collection, the object or what is below it.
struct Place<'a> {
    names: &'a Names,
    row: &'a Row,
    /// What ids end with: `NamespacedPodStatus`.
    noun: String,
    /// The parameters of the path.
    parameters: Vec<Parameter>,
}

impl Names {
    fn of(group: &str, version: &str) -> Self {
        let camel = camel(group);
        Self {
            base: format!("/{}", crate::discovery::base(group, version)),
            prefix: format!("{camel}{}", title(version)),
            tag: format!("{}_{version}", lower(&camel)),
        }
    }

    fn of_row(&self, row: &Row) -> Vec<Path> {
        let namespaced = row.scope == Scope::Namespaced;
        let noun = if namespaced { format!("Namespaced{}", row.kind) } else { row.kind.to_owned() };
        let scope = if namespaced { vec![NAMESPACE, PRETTY] } else { vec![PRETTY] };
        let below = if namespaced { "/namespaces/{namespace}" } else { "" };
        let (collection, one) = (format!("{below}/{}", row.plural), format!("{below}/{}/{{name}}", row.plural));
        let place = |noun: String, mut parameters: Vec<Parameter>, named: bool| {
            parameters.extend(named.then(|| name(row.kind)));
            Place { names: self, row, noun, parameters }
        };
        let everywhere = || place(format!("{}ForAllNamespaces", row.kind), vec![PRETTY], false);
        let mut paths = Vec::new();
        let mut add = |at: String, operations: Vec<Option<Operation>>| {
            let operations: Vec<Operation> = operations.into_iter().flatten().collect();
            if !operations.is_empty() {
                paths.push(Path { at: format!("{}{at}", self.base), operations });
            }
        };
        if namespaced {
            add(format!("/{}", row.plural), vec![everywhere().list()]);
        }
        let all = place(noun.clone(), scope.clone(), false);
        add(collection.clone(), vec![all.list(), all.create(), all.delete_collection()]);
        let this = place(noun.clone(), scope.clone(), true);
        add(one.clone(), vec![this.read(), this.replace(), this.patch(), this.delete()]);
        for subresource in row.subresources {
            let noun = format!("{noun}{}", title(subresource.name()));
            let at = format!("{one}/{}", subresource.name());
            let below = place(noun.clone(), scope.clone(), true);
            add(at.clone(), below.subresource(*subresource));
            if subresource.name() == "proxy" {
                let mut below = place(format!("{noun}WithPath"), scope.clone(), true);
                below.parameters.push(PROXIED);
                add(format!("{at}/{{path}}"), below.subresource(*subresource));
            }
        }
        if row.verbs.contains(&"watch") {
            if namespaced {
                let mut everywhere = everywhere();
                everywhere.noun = format!("{}ListForAllNamespaces", row.kind);
                add(format!("/watch/{}", row.plural), vec![Some(everywhere.watch("watchlist"))]);
            }
            let all = place(format!("{noun}List"), scope.clone(), false);
            add(format!("/watch{collection}"), vec![Some(all.watch("watchlist"))]);
            add(format!("/watch{one}"), vec![Some(this.watch("watch"))]);
        }
        if row.has(Subresource::Binding) {
            add(format!("{below}/bindings"), vec![Some(place(noun, scope, false).bind())]);
        }
        paths
    }
}

impl Place<'_> {
    fn can(&self, verb: &str) -> bool {
        self.row.verbs.contains(&verb)
    }

    fn row_kind(&self) -> GroupVersionKind {
        (self.row.group, self.row.version, self.row.kind)
    }

    fn operation(&self, method: &'static str, verb: &str, action: &'static str, query: &[Parameter]) -> Operation {
        let mut parameters: Vec<Parameter> = query.iter().chain(&self.parameters).cloned().collect();
        parameters.sort_by_key(|parameter| parameter.name);
        Operation {
            method,
            id: format!("{verb}{}{}", self.names.prefix, self.noun),
            tag: self.names.tag.clone(),
            description: String::new(),
            action: Some(action),
            kind: Some(self.row_kind()),
            parameters,
            body: Body::None,
            shown: Shown::Object(self.row.schema.to_owned()),
            codes: OK,
        }
    }

    fn list(&self) -> Option<Operation> {
        let description = format!("list or watch objects of kind {}", self.row.kind);
        let shown = Shown::Stream(format!("{}List", self.row.schema));
        let listed = Operation { description, shown, ..self.operation("get", "list", "list", &parameters::LIST) };
        self.can("list").then_some(listed)
    }

    fn create(&self) -> Option<Operation> {
        let description = format!("create {} {}", article(self.row.kind), self.row.kind);
        let body = Body::Object(self.row.schema.to_owned());
        let operation = self.operation("post", "create", "post", &parameters::WRITE);
        self.can("create").then_some(Operation { description, body, codes: CREATED, ..operation })
    }

    fn delete_collection(&self) -> Option<Operation> {
        let operation = self.operation("delete", "delete", "deletecollection", &parameters::DELETE_COLLECTION);
        self.can("deletecollection").then_some(Operation {
            id: format!("delete{}Collection{}", self.names.prefix, self.noun),
            description: format!("delete collection of {}", self.row.kind),
            body: Body::Options,
            shown: Shown::Object(format!("{META}.Status")),
            ..operation
        })
    }

    fn read(&self) -> Option<Operation> {
        let description = format!("read the specified {}", self.row.kind);
        self.can("get").then_some(Operation { description, ..self.operation("get", "read", "get", &[]) })
    }

    fn replace(&self) -> Option<Operation> {
        let description = format!("replace the specified {}", self.row.kind);
        let body = Body::Object(self.row.schema.to_owned());
        let operation = self.operation("put", "replace", "put", &parameters::WRITE);
        self.can("update").then_some(Operation { description, body, codes: WRITTEN, ..operation })
    }

    fn patch(&self) -> Option<Operation> {
        let description = format!("partially update the specified {}", self.row.kind);
        let operation = self.operation("patch", "patch", "patch", &parameters::PATCH);
        self.can("patch").then_some(Operation { description, body: Body::Patch, codes: WRITTEN, ..operation })
    }

    fn delete(&self) -> Option<Operation> {
        let policy = Policy::of(self.row);
        // What is emptied first is not gone yet: the document speaks of what is.
        let shown = match (policy.farewell, policy.deletion) {
            (Farewell::Object, Deletion::AtOnce | Deletion::Graceful) => Shown::Object(self.row.schema.to_owned()),
            (Farewell::Object, Deletion::Emptied) | (Farewell::Status, _) => Shown::Object(format!("{META}.Status")),
        };
        let operation = self.operation("delete", "delete", "delete", &parameters::DELETE);
        self.can("delete").then_some(Operation {
            description: format!("delete {} {}", article(self.row.kind), self.row.kind),
            body: Body::Options,
            shown,
            codes: DELETED,
            ..operation
        })
    }

    fn watch(&self, action: &'static str) -> Operation {
        let what = if action == "watch" {
            format!("changes to an object of kind {}", self.row.kind)
        } else {
            format!("individual changes to a list of {}", self.row.kind)
        };
        Operation {
            description: format!("watch {what}. deprecated: use the 'watch' parameter with a list operation instead."),
            shown: Shown::Stream(format!("{META}.WatchEvent")),
            ..self.operation("get", "watch", action, &parameters::LIST)
        }
    }

    /// The old way to bind a pod.
    fn bind(&self) -> Operation {
        let kind = ("", "v1", "Binding");
        let schema = schema::name_of(kind).unwrap_or_default().to_owned();
        Operation {
            id: format!("create{}NamespacedBinding", self.names.prefix),
            description: "create a Binding".to_owned(),
            kind: Some(kind),
            body: Body::Object(schema.clone()),
            shown: Shown::Object(schema),
            codes: CREATED,
            ..self.operation("post", "create", "post", &parameters::WRITE)
        }
    }

    fn subresource(&self, subresource: Subresource) -> Vec<Option<Operation>> {
        let kind = subresource.own_kind(self.row.kind).unwrap_or_else(|| self.row_kind());
        let schema = schema::name_of(kind).unwrap_or(self.row.schema).to_owned();
        // What takes options instead of an object is a way to somewhere else.
        let connects = kind.2.ends_with("Options");
        let of = |verb: &&str| {
            let (method, id, action, query, words): (_, _, _, &[Parameter], _) = match *verb {
                "create" => ("post", "create", "post", &parameters::WRITE, "create"),
                "update" => ("put", "replace", "put", &parameters::WRITE, "replace"),
                "patch" => ("patch", "patch", "patch", &parameters::PATCH, "partially update"),
                "delete" => ("delete", "delete", "delete", &parameters::DELETE, "delete"),
                _ => ("get", "read", "get", parameters::of_subresource(subresource.name()), "read"),
            };
            let (name, row) = (subresource.name(), self.row.kind);
            if connects {
                let query = parameters::of_subresource(name);
                let verb = format!("connect{}{}", self.names.prefix, title(method));
                let described = format!("connect {} requests to {name} of {row}", method.to_uppercase());
                let operation = self.operation(method, "connect", "connect", query);
                let (id, kind) = (format!("{verb}{}", self.noun), Some(kind));
                return Some(Operation { id, kind, description: described, shown: Shown::Raw, ..operation });
            }
            let description = match *verb {
                "create" => format!("create {name} of {} {row}", article(row)),
                _ => format!("{words} {name} of the specified {row}"),
            };
            let body = match *verb {
                "create" | "update" => Body::Object(schema.clone()),
                "patch" => Body::Patch,
                _ => Body::None,
            };
            let codes = match *verb {
                "create" => CREATED,
                "update" | "patch" => WRITTEN,
                _ => OK,
            };
            let shown = if name == "log" { Shown::Log } else { Shown::Object(schema.clone()) };
            Some(Operation {
                description,
                kind: Some(kind),
                body,
                shown,
                codes,
                ..self.operation(method, id, action, query)
            })
        };
        subresource.verbs().iter().map(of).collect()
    }
}
