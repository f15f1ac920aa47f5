//! Whole conversations, request by request, with the answers as a client gets them: in `tests/conversations`.
//!
//! A file holds its requests and what was answered; the test asks again and compares the whole text. What differs each
//! time (uids, revisions, times, allocated addresses) stands as `<uid>` and so on. `UPDATE_EXPECT=1` writes the answers
//! of today into the files: read them before you keep them, for they are what Coracle promises.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use http::Method;
use serde_json::Value;

use crate::server::Server;

/// What begins a request, an answer, and the next request.
const ASK: &str = "> ";
const ANSWER: &str = "< ";
const NEXT: &str = "\n\n";

/// One request of a file.
struct Request {
    /// Why it is asked, in lines that begin with `#`.
    why: Vec<String>,
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
}

/// Reads the requests of a file; answers in it are passed over.
fn requests(text: &str) -> Vec<Request> {
    let of = |block: &str| {
        let mut request = Request {
            why: Vec::new(),
            method: Method::GET,
            path: String::new(),
            headers: Vec::new(),
            body: String::new(),
        };
        for line in block.lines().take_while(|line| !line.starts_with(ANSWER)) {
            match line.strip_prefix(ASK) {
                None if line.starts_with('#') => request.why.push(line.to_owned()),
                None => request.body.push_str(line),
                Some(ask) if request.path.is_empty() => {
                    let (method, path) = ask.split_once(' ').unwrap();
                    (request.method, request.path) = (method.parse().unwrap(), path.to_owned());
                }
                Some(header) => {
                    let (name, value) = header.split_once(": ").unwrap();
                    request.headers.push((name.to_owned(), value.to_owned()));
                }
            }
        }
        request
    };
    text.split(NEXT).filter(|block| block.contains(ASK)).map(of).collect()
}

/// Asks everything again; gives the file as it should be.
async fn ask_again(text: &str) -> String {
    let server = Server::new().await;
    let mut written = String::new();
    for request in requests(text) {
        let Request { why, method, path, headers, body } = request;
        for line in &why {
            writeln!(written, "{line}").unwrap();
        }
        writeln!(written, "{ASK}{method} {path}").unwrap();
        for (name, value) in &headers {
            writeln!(written, "{ASK}{name}: {value}").unwrap();
        }
        if !body.is_empty() {
            writeln!(written, "{body}").unwrap();
        }
        let mut sent: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        if !body.is_empty() && !sent.iter().any(|(name, _)| *name == "content-type") {
            sent.push(("content-type", "application/json"));
        }
        let answer = server.send(method, &path, &sent, &body).await;
        writeln!(written, "{ANSWER}{}", answer.code).unwrap();
        for name in ["warning", "retry-after"] {
            for value in answer.headers.get_all(name) {
                writeln!(written, "{ANSWER}{name}: {}", value.to_str().unwrap()).unwrap();
            }
        }
        let mut told = answer.json;
        steady(&mut told, "");
        let told = told.as_str().map_or_else(|| shown(&told), str::to_owned);
        writeln!(written, "{}\n", told.trim_end()).unwrap();
    }
    written.trim_end().to_owned() + "\n"
}

/// JSON as people read it: a line a field, but short values on one.
fn shown(value: &Value) -> String {
    let mut text = String::new();
    write(&mut text, value, 0);
    text
}

const LINE_CHARS: usize = 100;

fn write(text: &mut String, value: &Value, indent: usize) {
    let short = value.to_string();
    let nested = matches!(value, Value::Object(_) | Value::Array(_));
    if !nested || short.len() + indent <= LINE_CHARS {
        text.push_str(&short);
        return;
    }
    let inner = " ".repeat(indent + 2);
    let outer = " ".repeat(indent);
    match value {
        Value::Object(map) => {
            text.push_str("{\n");
            for (at, (key, value)) in map.iter().enumerate() {
                write!(text, "{inner}{}: ", Value::from(key.as_str())).unwrap();
                write(text, value, indent + 2);
                text.push_str(if at + 1 < map.len() { ",\n" } else { "\n" });
            }
            write!(text, "{outer}}}").unwrap();
        }
        Value::Array(items) => {
            text.push_str("[\n");
            for (at, value) in items.iter().enumerate() {
                text.push_str(&inner);
                write(text, value, indent + 2);
                text.push_str(if at + 1 < items.len() { ",\n" } else { "\n" });
            }
            write!(text, "{outer}]").unwrap();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Puts a name in the place of what differs each time.
fn steady(value: &mut Value, key: &str) {
    match value {
        Value::Object(map) => {
            let generated = map.get("generateName").and_then(Value::as_str).map(str::to_owned);
            for (key, value) in map.iter_mut() {
                match (key.as_str(), &generated, value.as_str()) {
                    ("name", Some(prefix), Some(name)) if name.starts_with(prefix) => {
                        *value = format!("{prefix}<name>").into()
                    }
                    _ => steady(value, key),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| steady(item, key)),
        Value::String(text) => {
            let time = text.parse::<jiff::Timestamp>().is_ok();
            let address = text.parse::<std::net::IpAddr>().is_ok();
            let name = match key {
                "uid" => Some("<uid>"),
                "resourceVersion" if text != "0" => Some("<revision>"),
                "continue" => Some("<continue>"),
                "clusterIP" | "clusterIPs" if address => Some("<address>"),
                "token" => Some("<token>"),
                "cells" if is_age(text) => Some("<age>"),
                _ => time.then_some("<time>"),
            };
            if let Some(name) = name.filter(|_| !text.is_empty()) {
                *text = name.to_owned();
            } else if key == "message"
                && let (Some(from), Some(to)) = (text.find("\"{\\\""), text.rfind("}\""))
            {
                // A refusal that shows the whole object, with its times and revisions.
                text.replace_range(from..to + 2, "<object>");
            }
        }
        Value::Number(_) if matches!(key, "nodePort" | "healthCheckNodePort") => *value = "<port>".into(),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// An age in a Table: it grows while a slow machine answers.
fn is_age(text: &str) -> bool {
    text.strip_suffix('s').is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conversations");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the variable that renews all expectations")]
async fn every_conversation_goes_as_it_is_written() {
    let renew = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut differing = Vec::new();
    for file in files() {
        let text = std::fs::read_to_string(&file).unwrap();
        let answered = ask_again(&text).await;
        if renew {
            std::fs::write(&file, answered).unwrap();
        } else if answered != text {
            let first = text.lines().zip(answered.lines()).find(|(old, new)| old != new);
            let (old, new) = first.unwrap_or(("", "the one is longer than the other"));
            differing.push(format!("{}:\n  - {old}\n  + {new}", file.display()));
        }
    }
    assert!(differing.is_empty(), "answers differ; UPDATE_EXPECT=1 renews them:\n{}", differing.join("\n"));
}

#[test]
fn a_request_is_read_with_its_headers_and_without_its_answer() {
    let text = "# why\n> PATCH /x?y=1\n> content-type: a/b\n{\"a\":\n1}\n< 200\nold\n\n> GET /z\n< 404\n";
    let read = requests(text);
    assert_eq!((read.len(), read[0].path.as_str(), read[0].body.as_str()), (2, "/x?y=1", "{\"a\":1}"));
    assert_eq!(read[0].headers, [("content-type".to_owned(), "a/b".to_owned())]);
    assert_eq!(read[0].why, ["# why"]);
}
