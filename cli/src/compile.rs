//! `coracle compile-image`: the other side of a server that compiles in a process of its own (`coracle_wasm::Compiler`).

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use coracle_wasm::{CompileError, Compiler};

use crate::output;

/// This program as long as it runs, also if its file has been replaced by a newer one since.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Compiles what comes in, and says by the exit code whose fault it is if it cannot.
pub(crate) fn run(to: &Path) -> ExitCode {
    match coracle_wasm::compile_stdin(to) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error.to_string());
            match error {
                CompileError::Invalid(_) => ExitCode::from(coracle_wasm::INVALID),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// The program that a server has its images compiled by: itself. Nothing where the system does not tell where that is.
pub(crate) fn compiler() -> Option<Compiler> {
    let own = PathBuf::from(OWN_PROGRAM);
    let program = if own.exists() { own } else { std::env::current_exe().ok()? };
    Some(Compiler { program, args: vec!["compile-image".into()] })
}
