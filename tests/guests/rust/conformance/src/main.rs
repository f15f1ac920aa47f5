//! Checks many interfaces of WASI 0.2 from inside, through the standard library where it reaches them.
//!
//! Invariant: every check is one line, `ok` or `FAILED` with what was found instead, and none hinders the next.
//! Its pod gives it a writable `/` and `/data`, a read-only `/config` with the file `motd`, and a server named `hello`.

mod files;
mod http;
mod network;
mod places;
mod sockets;
mod time;

use std::fmt::Debug;
use std::process::ExitCode;

/// Why a check did not hold.
type Failure = String;

/// A check: what it is called, and what it does.
type Check = (&'static str, fn() -> Result<(), Failure>);

fn main() -> ExitCode {
    let checks = [files::CHECKS, places::CHECKS, time::CHECKS, sockets::CHECKS, network::CHECKS, http::CHECKS].concat();
    let mut failed = 0;
    for (name, check) in &checks {
        match check() {
            Ok(()) => println!("ok {name}"),
            Err(found) => {
                println!("FAILED {name}: {found}");
                failed += 1;
            }
        }
    }
    println!("{} checks, {failed} failed", checks.len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Holds if the two are the same.
fn same<T: PartialEq + Debug>(found: T, wanted: T) -> Result<(), Failure> {
    if found == wanted { Ok(()) } else { Err(format!("{found:?} is not {wanted:?}")) }
}

/// Holds if it is so.
fn holds(so: bool, what: &str) -> Result<(), Failure> {
    if so { Ok(()) } else { Err(format!("not so: {what}")) }
}

/// Says what went wrong.
fn text(error: impl Debug) -> Failure {
    format!("{error:?}")
}
