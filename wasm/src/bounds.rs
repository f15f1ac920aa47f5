//! What a guest may have the host do and keep on its behalf, beside its own memory.
//!
//! A guest's memory has its limit; these bound what its calls cost the host, which no memory limit sees. Most are
//! far beyond what programs do, and near enough that a program which does nothing else cannot harm the process.

use rustix::process::{Resource, getrlimit};
use wasmtime::Store;
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi_http::WasiHttpCtx;

use super::state::State;

/// Handles a command may have open at once (files, sockets, streams, timers, requests), where the process may open
/// enough files: a server of some three thousand connections needs as many.
const HANDLES_MAX: usize = 16 * 1024;

/// Handles an instance of an HTTP program may have open at once. It answers few requests at a time, but has many like
/// it: together they may have as many as a command.
const HANDLES_OF_HTTP_MAX: usize = 1024;

/// The least that either may have: what a runtime library opens, and a little.
const HANDLES_MIN: usize = 256;

/// The part of the process' open files that a container may have, at worst: one of so many.
const CONTAINERS_AT_WORST: usize = 4;

/// Instances among which an HTTP program's part is divided.
const INSTANCES_AT_WORST: usize = 64;

/// Sockets of a container, where the process may open enough files. Each costs the kernel some kilobytes.
const SOCKETS_MAX: usize = 4096;

/// Bytes that may go from a guest to the host in one call: any single write of a library, and far from what the host
/// would miss. Wasmtime's own bound is eight times this.
const CALL_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Random bytes in one call: a host function cannot be interrupted, and these take it a few milliseconds.
const RANDOM_BYTES_MAX: u64 = 1024 * 1024;

/// The size of one set of HTTP fields in memory: beyond what servers accept as headers.
const FIELDS_BYTES_MAX: usize = 64 * 1024;

/// What is kept of a body's writes until the other side takes them, in each of two pieces.
pub(super) const BODY_CHUNK_BYTES_MAX: usize = 64 * 1024;

/// Calls, streams and futures of WASI 0.3 that an instance may have under way: each costs the host some hundred bytes.
const UNDER_WAY_MAX: usize = 64 * 1024;

/// How many files, sockets and other handles the instances of a container may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Handles {
    /// Of each instance.
    pub(super) of_instance: usize,
    /// Sockets of all its instances together.
    pub(super) sockets: usize,
}

impl Handles {
    /// Those of a command, in a process that may open so many files.
    pub(super) fn of_command(files_max: usize) -> Self {
        Self {
            of_instance: (files_max / CONTAINERS_AT_WORST).clamp(HANDLES_MIN, HANDLES_MAX),
            sockets: sockets(files_max),
        }
    }

    /// Those of an HTTP program, in a process that may open so many files.
    pub(super) fn of_http(files_max: usize) -> Self {
        let part = files_max / CONTAINERS_AT_WORST / INSTANCES_AT_WORST;
        Self { of_instance: part.clamp(HANDLES_MIN, HANDLES_OF_HTTP_MAX), sockets: sockets(files_max) }
    }
}

/// A socket may be half of a connection within the process, so half of a container's part.
fn sockets(files_max: usize) -> usize {
    (files_max / CONTAINERS_AT_WORST / 2).clamp(1, SOCKETS_MAX)
}

/// How many files this process may open.
pub(super) fn files_max() -> usize {
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX))
}

/// Bounds the calls of a store's guest.
pub(super) fn hold(store: &mut Store<State>) {
    store.set_hostcall_fuel(CALL_BYTES_MAX);
    if let Some(under_way) = store.concurrent_resource_table() {
        under_way.set_max_capacity(UNDER_WAY_MAX);
    }
}

/// Bounds what the host makes at a guest's word.
pub(super) fn hold_wasi(wasi: &mut WasiCtxBuilder) {
    wasi.max_random_size(RANDOM_BYTES_MAX);
}

/// The HTTP side of an instance.
pub(super) fn http() -> WasiHttpCtx {
    let mut http = WasiHttpCtx::new();
    http.set_field_size_limit(FIELDS_BYTES_MAX);
    http
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_divided_so_that_one_container_never_has_them_all() {
        let given = |files| {
            let (command, http) = (Handles::of_command(files), Handles::of_http(files));
            (command.of_instance, http.of_instance, command.sockets)
        };
        assert_eq!(given(1024), (256, 256, 128));
        assert_eq!(given(20_000), (5000, 256, 2500));
        assert_eq!(given(1 << 20), (16_384, 1024, 4096));
    }
}
