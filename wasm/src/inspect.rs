//! What an image holds, read from its bytes and from the names it imports and exports.
//!
//! Pure. Its messages are for the person who made the image: they name what was found and what is missing.

use std::borrow::Cow;

use wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME;
use wasmparser::{Parser, Payload};

use super::preview1;

/// The packages whose interfaces a guest may import.
const PACKAGES: [&str; 7] =
    ["wasi:cli", "wasi:clocks", "wasi:filesystem", "wasi:http", "wasi:io", "wasi:random", "wasi:sockets"];

/// The most names that a message lists.
const NAMES_MAX: usize = 12;

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

/// The image as a component: as it is, or a core module wrapped by the preview-1 adapter.
///
/// # Errors
/// A message that says what the image is instead.
pub(super) fn component(bytes: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    match bytes.get(..8) {
        Some([0, b'a', b's', b'm', 0x0d, 0, 1, 0]) => Ok(Cow::Borrowed(bytes)),
        Some([0, b'a', b's', b'm', 1, 0, 0, 0]) => wrap(bytes).map(Cow::Owned),
        Some([0, b'a', b's', b'm', rest @ ..]) => Err(format!(
            "the WebAssembly binary has version {}, which is not known here; build it as a component (version 0d 00 01 00)",
            hex(rest)
        )),
        Some(_) | None => Err(format!("not WebAssembly: {}", appearance(bytes))),
    }
}

/// How the program is entered.
///
/// # Errors
/// A message that lists what it exports instead.
pub(super) fn entry(exports: &[String]) -> Result<Entry, String> {
    let exported = |interface: &str, line: &str| exports.iter().any(|name| is_version(name, interface, line));
    let found = ENTRIES.iter().find(|(_, interface, line)| exported(interface, line));
    found.map(|(entry, ..)| *entry).ok_or_else(|| {
        format!(
            "the component exports neither wasi:cli/run (0.2 or 0.3) nor a wasi:http handler (incoming-handler 0.2, handler 0.3); it exports: {}",
            listed(exports)
        )
    })
}

/// What the program imports and is not given, as a message.
pub(super) fn missing(imports: &[String]) -> Option<String> {
    let foreign: Vec<String> = imports.iter().filter(|name| !is_given(name)).cloned().collect();
    (!foreign.is_empty()).then(|| {
        format!(
            "the component imports {}, which Coracle does not give; it gives {}",
            listed(&foreign),
            PACKAGES.join(", ")
        )
    })
}

fn is_given(import: &str) -> bool {
    PACKAGES.iter().any(|package| import.strip_prefix(package).is_some_and(|rest| rest.starts_with('/')))
}

/// Whether `name` is `interface` at a version of the line `line`: 0.2 stands for any 0.2.x.
fn is_version(name: &str, interface: &str, line: &str) -> bool {
    let version = name.strip_prefix(interface).and_then(|rest| rest.strip_prefix('@'));
    version.and_then(|version| version.strip_prefix(line)).is_some_and(|patch| patch.starts_with('.'))
}

/// Wraps a core module of WASI preview 1.
fn wrap(module: &[u8]) -> Result<Vec<u8>, String> {
    let (imports, exports) =
        core_names(module).map_err(|error| format!("the WebAssembly module is malformed: {error}"))?;
    if !exports.iter().any(|name| name == "_start") {
        return Err(format!(
            "the core module exports no _start, so it is no WASI command; build it for wasm32-wasip1 or wasm32-wasip2; it exports: {}",
            listed(&exports)
        ));
    }
    let foreign: Vec<String> =
        imports.into_iter().filter(|module| module != WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME).collect();
    if !foreign.is_empty() {
        return Err(format!(
            "the core module imports from {}, which Coracle does not give; it gives {WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME}",
            listed(&foreign)
        ));
    }
    preview1::wrap(module).map_err(|error| format!("the core module cannot be wrapped as a component: {error}"))
}

/// The modules that a core module imports from, each once, and the names it exports.
fn core_names(module: &[u8]) -> Result<(Vec<String>, Vec<String>), wasmparser::BinaryReaderError> {
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    for payload in Parser::new(0).parse_all(module) {
        match payload? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let name = import?.module.to_owned();
                    if !imports.contains(&name) {
                        imports.push(name);
                    }
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    exports.push(export?.name.to_owned());
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
        message.assert_eq(&component(image).expect_err("an image that cannot run"));
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
                "the core module exports no _start, so it is no WASI command; build it for wasm32-wasip1 or wasm32-wasip2; it exports: add"
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
    }

    #[test]
    fn a_foreign_import_is_named() {
        let imports = ["wasi:cli/stdout@0.2.0".to_string(), "acme:db/store@1.0.0".to_string()];
        expect!["the component imports acme:db/store@1.0.0, which Coracle does not give; it gives wasi:cli, wasi:clocks, wasi:filesystem, wasi:http, wasi:io, wasi:random, wasi:sockets"]
            .assert_eq(&missing(&imports).unwrap());
        assert_eq!(missing(&imports[..1]), None);
    }
}
