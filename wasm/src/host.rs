//! What all guests of the process share: the engine, the host functions, the ticker, and the room for instances.
//!
//! Invariant: there are never more live instances than the kernel's map count allows; beyond that count the whole
//! process would be aborted, so a start or a request is refused instead.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::{fs, io, thread};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};
use wasmtime::component::{Linker, ResourceType};
use wasmtime::{Config, Engine, WasmBacktraceDetails};

use super::aside::Aside;
use super::state::State;
use super::ticker::Ticker;
use super::turns::Turns;
use super::{WasmError, code, preview1, sockets};

/// Where Linux says how many memory maps a process may have.
const MAP_COUNT: &str = "/proc/sys/vm/max_map_count";

/// The memory maps that a process should be allowed: what systemd and several distributions set.
const MAPS_WANTED: usize = 1_048_576;

/// Memory maps that an instance takes: code, stack, memory and their guards (measured: six to seven).
const MAPS_PER_INSTANCE: usize = 7;

/// Memory maps kept for everything else: libraries, threads, compiled code, the store.
const MAPS_RESERVED: usize = 5_000;

/// Instances where the system does not tell its map count: more than any one machine is asked to run.
const INSTANCES_DEFAULT: usize = 10_000;

/// The native stack of a guest's calls. Reserved, not used: only touched pages count.
const STACK_BYTES: usize = 1024 * 1024;

/// The fiber on which a guest runs has room for the host functions that it calls above its own stack.
const FIBER_BYTES: usize = STACK_BYTES + 1024 * 1024;

/// Threads for the file operations of all guests; they come with use and go again.
const BLOCKING_THREADS_MAX: usize = 64;

/// What all guests share.
pub(super) struct Host {
    engine: Engine,
    linker: Linker<State>,
    linker01: wasmtime::Linker<State>,
    ticker: Ticker,
    turns: Arc<Turns>,
    aside: Aside,
    room: Arc<Semaphore>,
    instances_max: usize,
    ended: CancellationToken,
}

impl Host {
    /// Sets up the engine and every host function.
    ///
    /// `slots` guests run at the same time.
    pub(super) fn new(slots: usize) -> Result<Arc<Self>, WasmError> {
        let engine = engine()?;
        let linker = linker(&engine).map_err(engine_error)?;
        let linker01 = preview1::linker(&engine).map_err(engine_error)?;
        let turns = Arc::new(Turns::new(slots));
        let aside = Aside::new(turns.at_once()).map_err(WasmError::Threads)?;
        let ticker = Ticker::start(&engine, turns.clone()).map_err(WasmError::Threads)?;
        let instances_max = instances_max(map_count().as_deref());
        let room = Arc::new(Semaphore::new(instances_max));
        Ok(Arc::new(Self {
            engine,
            linker,
            linker01,
            ticker,
            turns,
            aside,
            room,
            instances_max,
            ended: CancellationToken::new(),
        }))
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) fn linker(&self) -> &Linker<State> {
        &self.linker
    }

    /// The host functions of preview 1, for core modules.
    pub(super) fn linker01(&self) -> &wasmtime::Linker<State> {
        &self.linker01
    }

    pub(super) fn ticker(&self) -> &Ticker {
        &self.ticker
    }

    /// Who runs when more want to than may.
    pub(super) fn turns(&self) -> &Arc<Turns> {
        &self.turns
    }

    /// Where long turns are taken.
    pub(super) fn aside(&self) -> &Aside {
        &self.aside
    }

    /// Room for one more instance, as long as the permit lives; nothing when the process is full.
    pub(super) fn room(&self) -> Option<OwnedSemaphorePermit> {
        self.room.clone().try_acquire_owned().ok()
    }

    pub(super) fn instances_max(&self) -> usize {
        self.instances_max
    }

    /// Cancelled when every guest has to end.
    pub(super) fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    pub(super) fn shutdown(&self) {
        self.ended.cancel();
    }
}

/// How many guests run at the same time: as many as are asked for, or one per core.
pub(super) fn slots(workers: usize) -> usize {
    if workers == 0 { thread::available_parallelism().map_or(1, NonZeroUsize::get) } else { workers }
}

/// The threads on which guests run, apart from those of the API and of DNS, which stay prompt whatever guests do.
pub(super) fn guest_runtime(slots: usize) -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(slots)
        .thread_name("guest")
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build()
}

/// An engine with our settings: what one compiles, every other can run.
pub(super) fn engine() -> Result<Engine, WasmError> {
    Engine::new(&engine_config()).map_err(engine_error)
}

fn engine_config() -> Config {
    let mut config = Config::new();
    config.wasm_component_model_async(true);
    config.epoch_interruption(true);
    config.max_wasm_stack(STACK_BYTES);
    config.async_stack_size(FIBER_BYTES);
    // A trap names file and line where the program was built with them; nothing is read before one happens.
    config.wasm_backtrace_details(WasmBacktraceDetails::Enable);
    config
}

fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    linker.root().resource(code::ANSWERS_ONCE, ResourceType::host::<AnswersOnce>(), |_, _| Ok(()))?;
    // The guest's sockets are ours: these take the place of the system's.
    linker.allow_shadowing(true);
    sockets::add_to_linker(&mut linker)?;
    Ok(linker)
}

/// The type behind a mark; there is no value of it.
enum AnswersOnce {}

fn engine_error(error: wasmtime::Error) -> WasmError {
    WasmError::Engine { message: format!("{error:#}") }
}

/// The kernel's limit of memory maps, raised before where that helps and we may.
fn map_count() -> Option<String> {
    let before = fs::read_to_string(MAP_COUNT).ok()?;
    if before.trim().parse::<usize>().is_ok_and(|maps| maps < MAPS_WANTED) {
        match fs::write(MAP_COUNT, MAPS_WANTED.to_string()) {
            Ok(()) => info!(from = before.trim(), to = MAPS_WANTED, "vm.max_map_count raised, for more instances"),
            // Only root may, and who is not has room for thousands all the same.
            Err(error) => debug!(%error, "vm.max_map_count stays as it is"),
        }
    }
    fs::read_to_string(MAP_COUNT).ok()
}

/// How many instances the kernel's limit of memory maps has room for.
fn instances_max(map_count: Option<&str>) -> usize {
    let Some(maps) = map_count.and_then(|text| text.trim().parse::<usize>().ok()) else { return INSTANCES_DEFAULT };
    (maps.saturating_sub(MAPS_RESERVED) / MAPS_PER_INSTANCE).clamp(1, Semaphore::MAX_PERMITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_bounded_by_the_kernels_map_count() {
        assert_eq!(instances_max(Some("65530\n")), 8647);
        assert_eq!(instances_max(Some("100")), 1);
        assert_eq!(instances_max(None), INSTANCES_DEFAULT);
        assert_eq!(instances_max(Some("plenty")), INSTANCES_DEFAULT);
    }
}
