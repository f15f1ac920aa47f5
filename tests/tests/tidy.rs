//! What the style page promises, held: how files begin, how long they are, what they may be called, who imports whom.
//!
//! Invariant: each rule names every place that breaks it, so that one run is enough to mend them all.
//! It reads the sources as text and `cargo metadata`; it needs no server, and builds nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "all of this is test code: a broken assumption ends the test, with a message"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use coracle_tests::paths::root;
use serde_json::Value;

/// A file of this many lines is two files.
const LINES_MAX: usize = 500;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 5] = ["utils", "helpers", "common", "misc", "types"];

/// Dependencies that have one home (and, after it, crates that may have them too, with a reason in the text below).
const SOLE_OWNERS: &[(&str, &[&str])] = &[
    ("redb", &["coracle-apiserver"]),
    ("axum", &["coracle-apiserver"]),
    // Ingresses have certificates of their own, which are nothing of the cluster's; tests make some for them.
    ("rcgen", &["coracle-apiserver", "coracle-network", "coracle-tests"]),
    // The last are clients only: the HTTPS of guests that call out, of probes, and of benches that load the API.
    ("tokio-rustls", &["coracle-apiserver", "coracle-network", "coracle-wasm", "coracle-runtime", "coracle-benches"]),
    // The benches compare with a bare wasmtime host, which they hold themselves.
    ("wasmtime", &["coracle-wasm", "coracle-benches"]),
    ("wasmtime-wasi", &["coracle-wasm", "coracle-benches"]),
    ("wasmtime-wasi-http", &["coracle-wasm", "coracle-benches"]),
    ("wasmtime-wasi-io", &["coracle-wasm", "coracle-benches"]),
    ("hickory-server", &["coracle-dns"]),
    ("clap", &["coracle"]),
    ("tracing-subscriber", &["coracle"]),
    // A library has errors of its own.
    ("anyhow", &["coracle", "coracle-tests", "coracle-benches"]),
];

/// The crates that may import the vocabulary alone; the node agent has the host of its guests besides.
/// `coracle`, the binary, may import all.
const COMPONENTS: [&str; 7] = [
    "coracle-apiserver",
    "coracle-controllers",
    "coracle-scheduler",
    "coracle-runtime",
    "coracle-wasm",
    "coracle-network",
    "coracle-dns",
];

#[test]
fn every_source_file_says_at_its_top_what_it_is() {
    hold(sources().filter(|s| !s.text.starts_with("//! ")).map(|s| format!("{} does not open with //!", s.path)));
}

#[test]
fn no_file_is_longer_than_it_may_be() {
    let long = sources().map(|s| (s.text.lines().count(), s.path)).filter(|(lines, _)| *lines > LINES_MAX);
    hold(long.map(|(lines, path)| format!("{path} has {lines} lines; at {LINES_MAX} a file is two files")));
}

#[test]
fn a_module_stands_beside_its_folder() {
    hold(sources().filter(|s| s.path.ends_with("/mod.rs")).map(|s| format!("{}: make it foo.rs beside foo/", s.path)));
}

#[test]
fn names_of_modules_say_what_is_inside() {
    let is_empty = |path: &str| path.trim_end_matches(".rs").split('/').any(|part| EMPTY_NAMES.contains(&part));
    hold(sources().filter(|s| is_empty(&s.path)).map(|s| format!("{}: name the noun that has the job", s.path)));
}

#[test]
fn no_component_imports_another() {
    let ours: BTreeSet<String> = imports().into_iter().map(|(from, _)| from).collect();
    hold(imports().into_iter().filter_map(|(from, to)| {
        let may = match from.as_str() {
            "coracle" => true,
            "coracle-runtime" if to == "coracle-wasm" => true,
            from if COMPONENTS.contains(&from) => to == "coracle-api",
            _ => !ours.contains(&to),
        };
        (ours.contains(&to) && !may)
            .then(|| format!("{from} imports {to}; components meet in the API, or in a trait of coracle-api"))
    }));
}

#[test]
fn each_dependency_lives_in_its_home() {
    hold(imports().into_iter().filter_map(|(from, to)| {
        let (_, homes) = SOLE_OWNERS.iter().find(|(name, _)| *name == to)?;
        (!homes.contains(&from.as_str())).then(|| format!("{from} imports {to}, whose home is {}", homes[0]))
    }));
}

#[test]
fn the_one_unsafe_is_where_compiled_components_are_loaded() {
    let word = ["un", "safe"].concat();
    // The keyword stands before a block or an item; in a text, it may be part of a name.
    let uses = |line: &str| {
        let code = line.split("//").next().unwrap_or_default();
        code.split_whitespace().any(|token| token.trim_start_matches(['(', '{', '|', '=']) == word)
    };
    let outside = sources().filter(|s| !s.path.starts_with("wasm/src"));
    hold(outside.flat_map(|s| places(&s, uses, "only wasm/src may")));
}

#[test]
fn nothing_is_left_for_later() {
    // Written in halves, so that this file does not find itself.
    let marks =
        [["TO", "DO"], ["FIX", "ME"], ["XX", "X:"], ["to", "do!("], ["unimple", "mented!("]].map(|m| m.concat());
    hold(sources().flat_map(|s| {
        let has_mark = |line: &str| marks.iter().any(|mark| line.contains(mark.as_str()));
        places(&s, has_mark, "do it, or leave it out and say so in the text")
    }));
}

#[test]
fn tests_neither_sleep_nor_are_skipped() {
    let (sleep, thread_sleep, ignore) =
        ("sle".to_owned() + "ep(", "thread::sle".to_owned() + "ep(", "#[ig".to_owned() + "nore");
    hold(sources().flat_map(|s| {
        // Elsewhere a test may pause tokio's time, where sleeping is instant.
        let banned = if s.path.starts_with("tests/") { &sleep } else { &thread_sleep };
        let host = !s.path.starts_with("samples/");
        let bad = |line: &str| host && (line.contains(banned.as_str()) || line.contains(ignore.as_str()));
        places(&s, bad, "wait for a condition, and run every test")
    }));
}

#[test]
fn every_path_that_the_architecture_names_exists() {
    let text = read("ARCHITECTURE.md");
    let quoted = text.split('`').skip(1).step_by(2);
    let paths: BTreeSet<&str> = quoted.filter(|quote| looks_like_a_path(quote)).collect();
    assert!(!paths.is_empty(), "ARCHITECTURE.md names no path at all");
    hold(
        paths.into_iter().filter(|p| !root().join(p).exists()).map(|p| format!("ARCHITECTURE.md: {p} does not exist")),
    );
}

#[test]
fn every_sample_has_its_parts_and_is_run_by_a_test() {
    let stories: String = sources().filter(|s| s.path.starts_with("tests/tests/cluster/")).map(|s| s.text).collect();
    let list = read("samples/README.md");
    hold(samples().into_iter().flat_map(|name| {
        let there = |path: String| root().join(path).exists();
        let parts = [
            (there(format!("samples/{name}/{name}.yaml")), format!("samples/{name} lacks {name}.yaml")),
            (there(format!("samples/{name}/README.md")), format!("samples/{name} lacks README.md")),
            (list.contains(&format!("[{name}]({name}/)")), format!("samples/README.md does not list {name}")),
            (stories.contains(&format!("\"{name}\"")), format!("no cluster test names the sample \"{name}\"")),
        ];
        parts.into_iter().filter(|(holds, _)| !holds).map(|(_, complaint)| complaint)
    }));
}

#[test]
fn the_changelog_has_room_for_what_is_new() {
    assert!(read("CHANGELOG.md").contains("\n## Unreleased\n"), "CHANGELOG.md lacks the section ## Unreleased");
}

struct Source {
    path: String,
    text: String,
}

/// All Rust files of the repository, samples included.
fn sources() -> impl Iterator<Item = Source> {
    let mut files = Vec::new();
    collect(root(), &mut files);
    assert!(files.len() > 50, "the sources are not where they should be: found {}", files.len());
    files.sort();
    files.into_iter().map(|path| Source { text: read(&path), path })
}

fn collect(folder: &Path, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            // What is built, and what is hidden, is nobody's source.
            if name != "target" && !name.starts_with('.') {
                collect(&path, files);
            }
        } else if name.ends_with(".rs") {
            files.push(path.strip_prefix(root()).unwrap().to_string_lossy().into_owned());
        }
    }
}

fn samples() -> Vec<String> {
    let folders = std::fs::read_dir(root().join("samples")).unwrap().map(|e| e.unwrap().path());
    let names =
        folders.filter(|p| p.join("src").is_dir()).map(|p| p.file_name().unwrap().to_string_lossy().into_owned());
    names.collect()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Pairs of a crate of ours and what it depends on when it is built for use; tests may know more.
fn imports() -> Vec<(String, String)> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap().iter();
    let edges = packages.flat_map(|package| {
        let normal = package["dependencies"].as_array().unwrap().iter().filter(|d| d["kind"].is_null());
        normal.map(move |d| (text(&package["name"]), text(&d["name"])))
    });
    edges.collect()
}

/// Every line that breaks a rule, with its number.
fn places(source: &Source, breaks: impl Fn(&str) -> bool, rule: &str) -> Vec<String> {
    let lines = source.text.lines().enumerate().filter(|(_, line)| breaks(line));
    lines.map(|(number, line)| format!("{}:{}: {} ({rule})", source.path, number + 1, line.trim())).collect()
}

fn looks_like_a_path(quote: &str) -> bool {
    let first = quote.split('/').next().unwrap_or_default();
    let plain = quote.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    let in_a_folder = quote.contains('/') && !first.is_empty() && root().join(first).is_dir();
    let a_file = [".rs", ".toml", ".md", ".yaml"].iter().any(|end| quote.ends_with(end)) && quote.contains('/');
    plain && (in_a_folder || a_file)
}

#[track_caller]
fn hold(complaints: impl IntoIterator<Item = String>) {
    let complaints: Vec<String> = complaints.into_iter().collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}
