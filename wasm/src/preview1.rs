//! Core modules of WASI preview 1, wrapped as components.
//!
//! The adapter that does the wrapping knows only success and failure at the end. Preview 1 has exit codes, so
//! `proc_exit` is led past the adapter to the function of WASI 0.2 that has them too. Pure.

use std::borrow::Cow;
use std::path::Path;

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as PREVIEW1, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER as ADAPTER,
};
use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// How an import of `proc_exit` is written in a module: two names, each behind its length.
const PROC_EXIT: &[u8] = b"\x16wasi_snapshot_preview1\x09proc_exit";

/// What takes its place: it has the same parameter, and never returns either.
const EXIT_WITH_CODE: &[u8] = b"\x14wasi:cli/exit@0.2.12\x0eexit-with-code";

/// The interface of that function.
const WORLD: &str = "
    package coracle:preview1;
    world exit-codes { import wasi:cli/exit@0.2.12; }
    package wasi:cli@0.2.12 {
        interface exit {
            exit: func(status: result);
            exit-with-code: func(status-code: u8);
        }
    }
";

/// The header of a core module: magic and version.
const HEADER_BYTES: usize = 8;

/// The module as a component.
///
/// # Errors
/// A message of the encoder, when the module uses preview 1 in a way that the adapter does not know.
pub(super) fn wrap(module: &[u8]) -> Result<Vec<u8>, String> {
    let mut module = with_exit_codes(module).map_err(|error| error.to_string())?;
    let mut resolve = Resolve::default();
    let mut encode = || {
        let package = resolve.push_str(Path::new("exit.wit"), WORLD)?;
        let world = resolve.select_world(&[package], None)?;
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
        ComponentEncoder::default().module(&module)?.adapter(PREVIEW1, ADAPTER)?.encode()
    };
    encode().map_err(|error| format!("{error:#}"))
}

/// The module with its import of `proc_exit` replaced, if it has one.
fn with_exit_codes(module: &[u8]) -> Result<Vec<u8>, wasmparser::BinaryReaderError> {
    let mut rewritten = module.get(..HEADER_BYTES).unwrap_or_default().to_vec();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload?;
        let Some((id, range)) = payload.as_section() else { continue };
        let contents = module.get(range).unwrap_or_default();
        let contents = match payload {
            Payload::ImportSection(_) => Cow::Owned(replaced(contents)),
            _ => Cow::Borrowed(contents),
        };
        rewritten.push(id);
        write_length(&mut rewritten, contents.len());
        rewritten.extend_from_slice(&contents);
    }
    Ok(rewritten)
}

fn replaced(imports: &[u8]) -> Vec<u8> {
    let at = imports.windows(PROC_EXIT.len()).position(|window| window == PROC_EXIT);
    match at.and_then(|at| imports.split_at_checked(at)) {
        Some((before, rest)) => [before, EXIT_WITH_CODE, rest.get(PROC_EXIT.len()..).unwrap_or_default()].concat(),
        None => imports.to_vec(),
    }
}

/// Writes a number as WebAssembly does: seven bits at a time, the lowest first (LEB128).
fn write_length(out: &mut Vec<u8>, mut length: usize) {
    while length > 0x7f {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_as_leb128() {
        let written = |length| {
            let mut out = Vec::new();
            write_length(&mut out, length);
            out
        };
        assert_eq!((written(0), written(127), written(128)), (vec![0], vec![127], vec![0x80, 1]));
        assert_eq!(written(624_485), [0xe5, 0x8e, 0x26]);
    }

    #[test]
    fn only_proc_exit_is_replaced_and_the_rest_stays_valid() {
        let module = |name: &str| {
            wat::parse_str(format!(
                r#"(module (import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))
                    (import "{name}" (func (param i32))) (memory 1) (data (i32.const 0) "x"))"#
            ))
            .unwrap()
        };
        let rewritten = with_exit_codes(&module(r#"wasi_snapshot_preview1" "proc_exit"#)).unwrap();
        assert_eq!(rewritten, module(r#"wasi:cli/exit@0.2.12" "exit-with-code"#));
        let other = module(r#"wasi_snapshot_preview1" "fd_close"#);
        assert_eq!(with_exit_codes(&other).unwrap(), other);
    }
}
