//! What an image holds, read from its bytes and from the names it imports and exports.
//!
//! Pure. Its messages are for the person who made the image: they name what was found and what is missing.

use wasmparser::{KnownCustom, Parser, Payload};

use super::preview1::{PREVIEW1, START};
use super::program::Files;

/// The packages whose interfaces a guest may import.
const PACKAGES: [&str; 7] =
    ["wasi:cli", "wasi:clocks", "wasi:filesystem", "wasi:http", "wasi:io", "wasi:random", "wasi:sockets"];

/// The versions in which they are given.
const LINES: [&str; 2] = ["0.2", "0.3"];

/// The interface by which a component asks for its directories: there is no other way to them.
const DIRECTORIES: &str = "wasi:filesystem/preopens";

/// What a library exports to be set up, where a command has its start.
const REACTOR: &str = "_initialize";

/// The toolchain whose instances answer one request, by the name it leaves among a component's producers.
const ONE_REQUEST: &str = "ComponentizeJS";

/// The most names that a message lists.
const NAMES_MAX: usize = 12;

/// What a file of WebAssembly is, of the kinds that can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A core module, a command of WASI preview 1.
    Module,
    /// A component.
    Component,
}

/// Which export a program is entered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// `wasi:cli/run@0.2.x`
    Run02,
    /// `wasi:cli/run@0.3.x`
    Run03,
    /// `wasi:http/incoming-handler@0.2.x`
    Http02,
    /// `wasi:http/handler@0.3.x`
    Http03,
}

/// The entries in the order in which they are looked for, with the interface and the version line of each.
const ENTRIES: [(Entry, &str, &str); 4] = [
    (Entry::Run02, "wasi:cli/run", "0.2"),
    (Entry::Run03, "wasi:cli/run", "0.3"),
    (Entry::Http02, "wasi:http/incoming-handler", "0.2"),
    (Entry::Http03, "wasi:http/handler", "0.3"),
];

/// Which form the image has. A component may yet turn out not to be a program.
///
/// # Errors
/// A message that says what the image is instead.
pub(super) fn form(bytes: &[u8]) -> Result<Form, String> {
    match bytes.get(..8) {
        Some([0, b'a', b's', b'm', 0x0d, 0, 1, 0]) => Ok(Form::Component),
        Some([0, b'a', b's', b'm', 1, 0, 0, 0]) => command(bytes).map(|()| Form::Module),
        Some([0, b'a', b's', b'm', rest @ ..]) => Err(format!(
            "the WebAssembly binary has version {}, which is not known here; build it as a component (version 0d 00 01 00)",
            hex(rest)
        )),
        Some(_) | None => Err(format!("not WebAssembly: {}", appearance(bytes))),
    }
}

/// Whether an instance of the component can answer one request only, as its toolchain made it.
///
/// The engine of `ComponentizeJS` dispatches one `fetch` event in its life, and refuses every other. Nobody noticed
/// where an instance is made for each request.
pub(super) fn answers_once(component: &[u8]) -> bool {
    Parser::new(0).parse_all(component).map_while(Result::ok).any(|payload| match payload {
        Payload::CustomSection(section) => match section.as_known() {
            KnownCustom::Producers(fields) => fields.into_iter().flatten().any(|field| {
                field.name == "processed-by"
                    && field.values.into_iter().flatten().any(|value| value.name == ONE_REQUEST)
            }),
            _ => false,
        },
        _ => false,
    })
}

/// Why an image of this form could not be compiled.
pub(super) fn malformed(form: Form, error: &wasmtime::Error) -> String {
    let what = match form {
        Form::Module => "core module",
        Form::Component => "component",
    };
    format!("the {what} is malformed or uses what Coracle does not support: {error:#}")
}

/// How the program is entered.
///
/// # Errors
/// A message that lists what it exports instead.
pub(super) fn entry(exports: &[String]) -> Result<Entry, String> {
    let exported = |interface: &str, line: &str| exports.iter().any(|name| is_version(name, interface, line));
    let found = ENTRIES.iter().find(|(_, interface, line)| exported(interface, line));
    found.map(|(entry, ..)| *entry).ok_or_else(|| {
        let near = |name: &&String| ENTRIES.iter().any(|(_, interface, _)| version(name, interface).is_some());
        let found = match exports.iter().find(near) {
            Some(other) => format!("the component exports {other}, a version that Coracle does not run; it runs"),
            None => "the component exports nothing that can be run; Coracle runs".to_owned(),
        };
        format!(
            "{found} wasi:cli/run 0.2 and 0.3, wasi:http/incoming-handler 0.2 and wasi:http/handler 0.3; it exports: {}",
            listed(exports)
        )
    })
}

/// What the program imports and is not given, as a message.
pub(super) fn missing(imports: &[String]) -> Option<String> {
    let foreign: Vec<String> = imports.iter().filter(|name| !is_given(name)).cloned().collect();
    (!foreign.is_empty()).then(|| {
        format!(
            "the component imports {}, which Coracle does not give; it gives {}, each in 0.2 and 0.3",
            listed(&foreign),
            PACKAGES.join(", ")
        )
    })
}

/// Whether a component with these imports can see directories.
pub(super) fn files(imports: &[String]) -> Files {
    let sees = imports.iter().any(|name| version(name, DIRECTORIES).is_some());
    if sees { Files::Seen } else { Files::Unseen }
}

fn is_given(import: &str) -> bool {
    let rest = PACKAGES.iter().find_map(|package| import.strip_prefix(package)?.strip_prefix('/'));
    let version = rest.and_then(|rest| rest.split_once('@')).map(|(_, version)| version);
    version.is_some_and(|version| LINES.iter().any(|line| is_of(version, line)))
}

/// Whether `name` is `interface` at a version of the line `line`.
fn is_version(name: &str, interface: &str, line: &str) -> bool {
    version(name, interface).is_some_and(|version| is_of(version, line))
}

/// The version of an interface, if `name` is that one.
fn version<'a>(name: &'a str, interface: &str) -> Option<&'a str> {
    name.strip_prefix(interface)?.strip_prefix('@')
}

/// Whether a version is of a line: 0.2 stands for any 0.2.x. A draft, such as 0.3.0-rc-2025-09-16, is of none: drafts
/// differ from one another and from what was released.
fn is_of(version: &str, line: &str) -> bool {
    version.strip_prefix(line).is_some_and(|patch| patch.starts_with('.')) && !version.contains('-')
}

/// Checks that a core module is a command of WASI preview 1.
fn command(module: &[u8]) -> Result<(), String> {
    let (imports, exports) = module_names(module)?;
    if !exports.iter().any(|name| name == START) {
        let found = if exports.iter().any(|name| name == REACTOR) {
            "the core module is a reactor: it exports _initialize and no _start, so nothing would ever call it"
        } else {
            "the core module exports no _start, so it is no WASI command"
        };
        return Err(format!(
            "{found}; build it for wasm32-wasip1 or wasm32-wasip2 with a main function; it exports: {}",
            listed(&exports)
        ));
    }
    let mut foreign: Vec<String> =
        imports.iter().filter_map(|import| import.split_once('#')).map(|(module, _)| module.to_owned()).collect();
    foreign.retain(|module| module != PREVIEW1);
    foreign.dedup();
    if !foreign.is_empty() {
        return Err(format!(
            "the core module imports from {}, which Coracle does not give; it gives {PREVIEW1}",
            listed(&foreign)
        ));
    }
    Ok(())
}

/// What a core module imports, as `module#name`, and the names it exports.
///
/// # Errors
/// It is malformed.
pub(super) fn module_names(module: &[u8]) -> Result<(Vec<String>, Vec<String>), String> {
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let malformed = |error| format!("the core module is malformed: {error}");
    for payload in Parser::new(0).parse_all(module) {
        match payload.map_err(malformed)? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.map_err(malformed)?;
                    imports.push(format!("{}#{}", import.module, import.name));
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    exports.push(export.map_err(malformed)?.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}

/// What a file that is not WebAssembly looks like.
fn appearance(bytes: &[u8]) -> String {
    let guess = match bytes {
        [] => return "the file is empty".into(),
        [0x7f, b'E', b'L', b'F', ..] => "an ELF binary",
        [b'M', b'Z', ..] => "a Windows binary",
        [0xfe, 0xed, 0xfa, ..] | [0xce | 0xcf, 0xfa, 0xed, 0xfe, ..] | [0xca, 0xfe, 0xba, 0xbe, ..] => "a macOS binary",
        [0x1f, 0x8b, ..] => "a gzip archive",
        [b'P', b'K', ..] => "a zip archive",
        [b'#', b'!', ..] => "a script",
        [b'(', ..] => "WebAssembly text, to be compiled with `wasm-tools parse`",
        _ => return format!("the file starts with {}", hex(bytes)),
    };
    format!("the file starts with {} ({guess})", hex(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

fn listed(names: &[String]) -> String {
    match names.len() {
        0 => "nothing".into(),
        n if n <= NAMES_MAX => names.join(", "),
        n => format!(
            "{} and {} more",
            names.iter().take(NAMES_MAX).cloned().collect::<Vec<_>>().join(", "),
            n - NAMES_MAX
        ),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(image: &[u8], message: Expect) {
        message.assert_eq(&form(image).expect_err("an image that cannot run"));
    }

    #[test]
    fn what_is_not_webassembly_is_named() {
        check(b"\x7fELF\x02\x01\x01\x00", expect!["not WebAssembly: the file starts with 7f 45 4c 46 (an ELF binary)"]);
        check(b"", expect!["not WebAssembly: the file is empty"]);
        check(b"hi", expect!["not WebAssembly: the file starts with 68 69"]);
        check(
            b"(module)",
            expect![
                "not WebAssembly: the file starts with 28 6d 6f 64 (WebAssembly text, to be compiled with `wasm-tools parse`)"
            ],
        );
    }

    #[test]
    fn a_core_module_must_be_a_wasi_command() {
        check(
            &wat::parse_str(r#"(module (func (export "add")))"#).unwrap(),
            expect![
                "the core module exports no _start, so it is no WASI command; build it for wasm32-wasip1 or wasm32-wasip2 with a main function; it exports: add"
            ],
        );
        check(
            &wat::parse_str(r#"(module (func (export "_initialize")) (func (export "add")))"#).unwrap(),
            expect![
                "the core module is a reactor: it exports _initialize and no _start, so nothing would ever call it; build it for wasm32-wasip1 or wasm32-wasip2 with a main function; it exports: _initialize, add"
            ],
        );
        check(
            &wat::parse_str(r#"(module (import "env" "f" (func)) (func (export "_start")))"#).unwrap(),
            expect!["the core module imports from env, which Coracle does not give; it gives wasi_snapshot_preview1"],
        );
    }

    #[test]
    fn the_entry_is_read_from_the_exports() {
        let entry_of = |names: &[&str]| entry(&names.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(entry_of(&["wasi:cli/run@0.2.3"]), Ok(Entry::Run02));
        assert_eq!(entry_of(&["wasi:http/incoming-handler@0.2.0"]), Ok(Entry::Http02));
        assert_eq!(entry_of(&["wasi:http/handler@0.3.0"]), Ok(Entry::Http03));
        assert_eq!(entry_of(&["wasi:http/handler@0.3.0", "wasi:cli/run@0.3.0"]), Ok(Entry::Run03));
        assert!(entry_of(&["wasi:cli/run@0.20.0"]).is_err());
        expect![
            "the component exports wasi:http/handler@0.3.0-rc-2025-09-16, a version that Coracle does not run; it runs wasi:cli/run 0.2 and 0.3, wasi:http/incoming-handler 0.2 and wasi:http/handler 0.3; it exports: wasi:http/handler@0.3.0-rc-2025-09-16"
        ]
        .assert_eq(&entry_of(&["wasi:http/handler@0.3.0-rc-2025-09-16"]).unwrap_err());
        expect![
            "the component exports nothing that can be run; Coracle runs wasi:cli/run 0.2 and 0.3, wasi:http/incoming-handler 0.2 and wasi:http/handler 0.3; it exports: acme:greeter/greet@1.0.0"
        ]
        .assert_eq(&entry_of(&["acme:greeter/greet@1.0.0"]).unwrap_err());
    }

    #[test]
    fn who_cannot_ask_for_directories_sees_none() {
        let files_of = |names: &[&str]| files(&names.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(files_of(&["wasi:filesystem/preopens@0.2.6"]), Files::Seen);
        assert_eq!(files_of(&["wasi:cli/stdout@0.3.0", "wasi:filesystem/preopens@0.3.0"]), Files::Seen);
        assert_eq!(files_of(&["wasi:cli/stdout@0.2.0", "wasi:filesystem/types@0.2.0"]), Files::Unseen);
    }

    #[test]
    fn a_foreign_import_is_named() {
        let missing_of = |names: &[&str]| missing(&names.iter().map(ToString::to_string).collect::<Vec<_>>());
        expect!["the component imports acme:db/store@1.0.0, which Coracle does not give; it gives wasi:cli, wasi:clocks, wasi:filesystem, wasi:http, wasi:io, wasi:random, wasi:sockets, each in 0.2 and 0.3"]
            .assert_eq(&missing_of(&["wasi:cli/stdout@0.2.0", "acme:db/store@1.0.0"]).unwrap());
        expect!["the component imports wasi:cli/stdout@0.3.0-rc-2025-09-16, which Coracle does not give; it gives wasi:cli, wasi:clocks, wasi:filesystem, wasi:http, wasi:io, wasi:random, wasi:sockets, each in 0.2 and 0.3"]
            .assert_eq(&missing_of(&["wasi:cli/stdout@0.3.0-rc-2025-09-16"]).unwrap());
        assert_eq!(missing_of(&["wasi:cli/stdout@0.2.0", "wasi:http/types@0.3.2"]), None);
    }
}
