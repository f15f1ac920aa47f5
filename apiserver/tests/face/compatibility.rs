//! `docs/compatibility.md` is made of what the registry serves and of the tables beside this file, so it cannot rot.
//! `UPDATE_EXPECT=1` renews it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use coracle_apiserver::admit;
use coracle_apiserver::registry::{Registry, Row};

/// What Kubernetes serves in released versions: group, version, resource, kind, verbs, subresources.
const UPSTREAM: &str = include_str!("../compatibility/upstream.tsv");

/// What is to be said of a kind: group, kind, words.
const KINDS: &str = include_str!("../compatibility/kinds.tsv");

/// What the machinery can do: area, feature, state, words.
const MACHINERY: &str = include_str!("../compatibility/machinery.tsv");

/// Recorded conversations of an older server that Kubernetes answers otherwise today: which, why.
const NEWER: &str = include_str!("../compatibility/newer.tsv");

const ALL_VERBS: usize = 8;

/// The lines of a table, in their fields.
fn lines<const N: usize>(table: &str) -> Vec<[&str; N]> {
    table
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            std::array::from_fn(|at| fields.get(at).copied().unwrap_or(""))
        })
        .collect()
}

/// A resource as it is there, or should be: its kind, verbs, subresources.
struct Resource {
    kind: String,
    verbs: BTreeSet<String>,
    subresources: BTreeSet<String>,
}

/// By group, version, resource.
type Resources = BTreeMap<(String, String, String), Resource>;

fn upstream() -> Resources {
    let words = |text: &str| text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    let all = "create delete deletecollection get list patch update watch";
    lines(UPSTREAM)
        .into_iter()
        .map(|[group, version, plural, kind, verbs, subresources]| {
            let verbs = words(if verbs == "*" { all } else { verbs });
            let resource = Resource { kind: kind.to_owned(), verbs, subresources: words(subresources) };
            ((group.to_owned(), version.to_owned(), plural.to_owned()), resource)
        })
        .collect()
}

fn served(rows: &[Arc<Row>]) -> Resources {
    let resource = |row: &Arc<Row>| {
        let subresources = row.subresources.iter().map(|s| s.name().to_owned()).collect();
        let verbs = row.verbs.iter().map(|verb| (*verb).to_owned()).collect();
        let resource = Resource { kind: row.kind.to_owned(), verbs, subresources };
        ((row.group.to_owned(), row.version.to_owned(), row.plural.to_owned()), resource)
    };
    let bindings = Resource {
        kind: "Binding".to_owned(),
        verbs: BTreeSet::from(["create".to_owned()]),
        subresources: BTreeSet::new(),
    };
    let bindings = (("".to_owned(), "v1".to_owned(), "bindings".to_owned()), bindings);
    rows.iter().map(resource).chain([bindings]).collect()
}

fn joined<'a>(words: impl IntoIterator<Item = &'a String>) -> String {
    words.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn verbs(resource: &Resource) -> String {
    if resource.verbs.len() == ALL_VERBS { "all".to_owned() } else { joined(&resource.verbs) }
}

/// The table of kinds: what is served, and what of upstream's is missing there.
fn kinds(rows: &[Arc<Row>]) -> String {
    let (served, upstream) = (served(rows), upstream());
    let said: BTreeMap<(&str, &str), &str> =
        lines(KINDS).into_iter().map(|[group, kind, words]| ((group, kind), words)).collect();
    let mut out = String::from("| group/version | kind | verbs | subresources | notes |\n|---|---|---|---|---|\n");
    for ((group, version, plural), resource) in &served {
        let mut notes = Vec::new();
        if let Some(wanted) = upstream.get(&(group.clone(), version.clone(), plural.clone())) {
            let missing: Vec<&String> = wanted.verbs.difference(&resource.verbs).collect();
            let below: Vec<&String> = wanted.subresources.difference(&resource.subresources).collect();
            notes.extend((!missing.is_empty()).then(|| format!("without the verbs {}", joined(missing))));
            notes.extend((!below.is_empty()).then(|| format!("without {}", joined(below))));
        } else {
            notes.push("not a resource of Kubernetes".to_owned());
        }
        notes.extend(said.get(&(group.as_str(), resource.kind.as_str())).map(|words| (*words).to_owned()));
        let at = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
        let (verbs, below) = (verbs(resource), joined(&resource.subresources));
        let _ = writeln!(out, "| {at} | {} | {verbs} | {below} | {} |", resource.kind, notes.join("; "));
    }
    let mut missing: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for ((group, version, plural), resource) in &upstream {
        if !served.contains_key(&(group.clone(), version.clone(), plural.clone())) {
            let at = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
            missing.entry(at).or_default().push(&resource.kind);
        }
    }
    out += "\nNot served; a client is told so by discovery and by 404:\n\n";
    for (at, kinds) in missing {
        let _ = writeln!(out, "- {at}: {}", kinds.join(", "));
    }
    out
}

fn machinery() -> String {
    let mut out = String::new();
    let mut last = "";
    let plugins = admit::without_effect().collect::<Vec<_>>().join(", ");
    for [area, feature, state, words] in lines(MACHINERY) {
        assert!(["works", "differs", "absent"].contains(&state), "{feature}: {state:?} is no state");
        assert!(state == "works" || !words.is_empty(), "{feature} {state}, and nobody says why");
        if area != last {
            let _ = writeln!(out, "\n### {area}\n\n| feature | | notes |\n|---|---|---|");
            last = area;
        }
        let _ = writeln!(out, "| {feature} | {state} | {} |", words.replace("{plugins}", &plugins));
    }
    out
}

fn newer() -> String {
    let mut out = String::from("| conversation | why |\n|---|---|\n");
    let mut seen = BTreeSet::new();
    for [id, why] in lines(NEWER) {
        assert!(!why.is_empty(), "{id}: nobody says why");
        assert!(seen.insert(id), "{id} is there twice");
        let _ = writeln!(out, "| {id} | {why} |");
    }
    out
}

#[test]
fn the_compatibility_table_tells_what_is_served() {
    let rows = Registry::builtin().rows();
    let told = format!(
        "# Compatibility\n\
         What a client of Kubernetes finds here, and what it does not. This page is made by a test \
         (`apiserver/tests/face/compatibility.rs`) out of what the server serves; \
         `UPDATE_EXPECT=1 cargo nextest run -p coracle-apiserver compatibility` renews it.\n\n\
         The API is that of Kubernetes 1.37, without alpha and beta versions.\n\n\
         ## Kinds\n{}\n## Machinery\n{}\n\
         ## What a newer Kubernetes answers otherwise\n\
         The server is compared with recorded conversations of Kubernetes 1.32. These differ because Kubernetes itself \
         has changed since; the newer answer is given.\n\n{}",
        kinds(&rows),
        machinery(),
        newer()
    );
    expect_test::expect_file!["../../../docs/compatibility.md"].assert_eq(&told);
}

#[test]
fn every_note_is_about_a_kind_of_kubernetes() {
    let kinds = upstream();
    for [group, kind, words] in lines(KINDS) {
        let known = kinds.iter().any(|((of, ..), resource)| of == group && resource.kind == kind);
        assert!(known, "{group} {kind} is no kind of Kubernetes");
        assert!(!words.is_empty(), "{kind}: no words");
    }
}
