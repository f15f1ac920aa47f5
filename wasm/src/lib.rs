//! WebAssembly: images become programs, programs run as containers.
//!
//! Invariant: `wasmtime` is named nowhere outside this crate, and a guest's failure is an [`Outcome`], never an `Err`.
//! It knows nothing of pods: who starts a container says where its directories, its output and its network are.
//!
//! Reading order: what is asked ([`Launch`]) and answered ([`Outcome`]); how an image becomes a [`Program`];
//! the host that all share; then how a container runs as a command or as an HTTP server.

mod launch;
mod outcome;

mod cache;
mod code;
mod compile;
mod describe;
mod inspect;
mod preview1;
mod program;

mod aside;
mod bounds;
mod host;
mod memory;
mod meter;
mod ticker;
mod traffic;
mod turns;

mod outbound;
mod sockets;
mod state;
mod stdio;

mod command;
mod container;
mod exec;
mod serve;

#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::names::Digest;

pub use cache::Compiled;
pub use compile::{CompileError, Compiler, INVALID, compile_stdin};
pub use container::{Control, Running, StartError, Usage};
pub use describe::{Description, Kind, describe};
pub use exec::{Exec, ExecError, Sandbox};
pub use launch::{Access, Directory, Input, Launch, Sink, Stdin, Tty};
pub use outbound::{Authority, AuthorityError};
pub use outcome::Outcome;
pub use program::{Files, LoadError, Program, Shape};
pub use traffic::{Requests, Traffic};

/// What the module needs to know of its surroundings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where compiled programs are kept. Made if it is missing; it must belong to this user alone.
    pub cache_dir: PathBuf,
    /// The program that compiles; without one it is done in this process, which never gets rid of the memory it took.
    pub compiler: Option<Compiler>,
    /// How many images may be compiled at the same time; each uses all cores for a moment.
    pub compilers: usize,
    /// How many guests run at the same time; 0 stands for one per core.
    pub workers: usize,
    /// How a container that serves HTTP is bounded.
    pub http: HttpBounds,
}

impl Config {
    /// The usual bounds, with the cache in `cache_dir`.
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        Self { cache_dir: cache_dir.into(), compiler: None, compilers: 2, workers: 0, http: HttpBounds::default() }
    }
}

/// The bounds of one container that serves HTTP.
#[derive(Debug, Clone)]
pub struct HttpBounds {
    /// Instances at once. One of WASI 0.2 answers one request at a time.
    pub instances: usize,
    /// Requests that one instance of WASI 0.3 answers at once, as far as it waits for something in between.
    pub requests_at_once: usize,
    /// Requests that may wait for an instance; beyond it the answer is 503.
    pub queue: usize,
    /// Requests after which an instance is replaced by a fresh one, so that what it leaked is given back.
    pub requests_per_instance: usize,
    /// How long an instance may wait for its next request before it is given up.
    pub idle: Duration,
    /// How long a client may take to send the head of its next request.
    pub header_read: Duration,
    /// How long a client may take for each piece of a body that it sends or takes.
    pub body_idle: Duration,
    /// How long the guest may take for the head of its answer, and for each further piece of its body, where its
    /// pod says nothing else.
    pub request_timeout: Duration,
    /// Connections that may be open at once; beyond it new ones are closed.
    pub connections: usize,
}

impl Default for HttpBounds {
    fn default() -> Self {
        Self {
            instances: 64,
            // What `wasmtime serve` allows.
            requests_at_once: 16,
            queue: 1024,
            requests_per_instance: 1000,
            idle: Duration::from_secs(1),
            header_read: Duration::from_secs(30),
            // What nginx allows between two pieces.
            body_idle: Duration::from_secs(60),
            // What Knative allows, so that programs made for it find what they know.
            request_timeout: Duration::from_secs(300),
            connections: 4096,
        }
    }
}

/// Why the host of guests cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum WasmError {
    /// The directory of compiled programs cannot be made, or is not ours alone.
    #[error("cannot use the compilation cache {path}: {source}")]
    Cache {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },
    /// The threads that run guests cannot be started.
    #[error("cannot start the threads that run guests: {0}")]
    Threads(#[source] io::Error),
    /// The engine refuses its configuration on this machine.
    #[error("cannot set up the WebAssembly engine: {message}")]
    Engine {
        /// What the engine says.
        message: String,
    },
}

/// The host of all guests of this process: one engine, one set of host functions, one runtime for guests.
///
/// Keep it in an `Arc`. Dropping it ends every guest.
pub struct Wasm {
    host: Arc<host::Host>,
    programs: program::Programs,
    http: HttpBounds,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Wasm {
    /// Sets up the engine, the host functions and the threads. Nothing runs yet.
    ///
    /// # Errors
    /// [`WasmError`], when this machine or the cache directory does not allow it.
    pub fn new(config: Config) -> Result<Self, WasmError> {
        let cache_dir = config.cache_dir.clone();
        let slots = host::slots(config.workers);
        let host = host::Host::new(slots)?;
        let cache = cache::Cache::open(&config.cache_dir, host.engine())
            .map_err(|source| WasmError::Cache { path: cache_dir, source })?;
        let runtime = host::guest_runtime(slots).map_err(WasmError::Threads)?;
        Ok(Self {
            programs: program::Programs::new(host.clone(), cache, config.compiler, config.compilers),
            host,
            http: config.http,
            runtime: Some(runtime),
        })
    }

    /// The program of an image: compiled once however many ask, and kept for the next start of the process.
    ///
    /// `bytes` is called on a blocking thread, and only if nothing compiled is at hand.
    ///
    /// # Errors
    /// [`LoadError`]; its text is for the person who made the image.
    pub async fn load<F>(&self, digest: &Digest, bytes: F) -> Result<Arc<Program>, LoadError>
    where
        F: FnOnce() -> io::Result<Vec<u8>> + Send + 'static,
    {
        self.programs.load(digest, bytes).await
    }

    /// Starts a container: a command begins to run, an HTTP program to be served on its port.
    ///
    /// # Errors
    /// [`StartError`], when a directory, the port or room for one more instance is missing.
    pub async fn start(&self, program: Arc<Program>, launch: Launch) -> Result<Running, StartError> {
        let Some(runtime) = &self.runtime else { return Err(StartError::ShuttingDown) };
        container::start(self.host.clone(), runtime.handle(), program, launch, &self.http).await
    }

    /// Runs a command inside a running container, to its end. Dropping the future ends the command.
    ///
    /// # Errors
    /// [`ExecError`], when there is no such command, or no container any more.
    pub async fn exec(&self, sandbox: &Sandbox, exec: Exec) -> Result<Outcome, ExecError> {
        let Some(runtime) = &self.runtime else { return Err(ExecError::Ended) };
        exec::exec(&self.host, runtime.handle(), &self.programs, sandbox, exec).await
    }

    /// The compiled programs that are kept on disk.
    #[must_use]
    pub fn compiled(&self) -> Compiled {
        self.programs.compiled()
    }

    /// How many instances this machine has room for, which bounds the pods of its node.
    #[must_use]
    pub fn instances_max(&self) -> usize {
        self.host.instances_max()
    }

    /// Ends every guest and refuses new ones. Does not wait for them.
    pub fn shutdown(&self) {
        self.host.shutdown();
    }
}

impl Drop for Wasm {
    fn drop(&mut self) {
        self.host.shutdown();
        if let Some(runtime) = self.runtime.take() {
            // Waiting is not allowed on an async thread, and nothing of a guest is worth waiting for.
            runtime.shutdown_background();
        }
    }
}
