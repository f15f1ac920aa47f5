//! Programs: images compiled, checked and linked, ready to be instantiated in microseconds.
//!
//! Invariant: an image is compiled at most once at a time however many containers wait for it, never on an async
//! thread, and a program in use is shared. A [`Program`] can be instantiated: everything that it imports is there.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use coracle_api::names::Digest;
use tokio::sync::{OnceCell, Semaphore};
use tracing::{debug, warn};
use wasmtime::Module;
use wasmtime::component::{Component, InstancePre};
use wasmtime_wasi::{p2, p3};
use wasmtime_wasi_http::handler::ProxyPre;

use super::cache::{Cache, Compiled};
use super::code::{ANSWERS_ONCE, Code};
use super::compile::{self, CompileError, Compiler};
use super::host::Host;
use super::inspect::{self, Entry};
use super::preview1;
use super::state::State;

/// How a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Once, to its end.
    Command,
    /// It answers HTTP requests, served by the host.
    Http,
}

/// Whether a program can see the directories of its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// It can ask for them.
    Seen,
    /// It imports nothing by which it could.
    Unseen,
}

/// Why an image is not a program.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It holds nothing that can run here; the message says what was found and what is missing.
    #[error("{message}")]
    InvalidImage {
        /// For the person who made the image.
        message: String,
    },
    /// Its bytes cannot be read.
    #[error("cannot read the image: {0}")]
    Read(#[source] io::Error),
    /// The compiler failed, and not for a fault of the image.
    #[error("the image cannot be compiled: {0}")]
    Compile(#[source] CompileError),
    /// The compilation was broken off: the process is ending.
    #[error("the compilation of the image was broken off")]
    Interrupted,
}

/// A program, ready to be instantiated.
pub struct Program {
    pre: Pre,
    imports: Vec<String>,
    exports: Vec<String>,
    answers_once: bool,
}

/// The linked component, by the way it is entered.
pub(super) enum Pre {
    /// A command of WASI preview 1.
    Run01(wasmtime::InstancePre<State>),
    /// A command of WASI 0.2.
    Run02(p2::bindings::CommandPre<State>),
    /// A command of WASI 0.3.
    Run03(p3::bindings::CommandPre<State>),
    /// An HTTP handler of either.
    Http(Arc<ProxyPre<State>>),
}

impl Program {
    /// How it runs, read from its exports.
    #[must_use]
    pub fn shape(&self) -> Shape {
        match self.pre {
            Pre::Run01(_) | Pre::Run02(_) | Pre::Run03(_) => Shape::Command,
            Pre::Http(_) => Shape::Http,
        }
    }

    /// The names it imports, as `wasi:cli/stdout@0.2.0`.
    #[must_use]
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// The names it exports.
    #[must_use]
    pub fn exports(&self) -> &[String] {
        &self.exports
    }

    /// Whether it can see the directories of its container: read from its imports.
    #[must_use]
    pub fn files(&self) -> Files {
        match self.pre {
            // Its directories are open from its first instruction on.
            Pre::Run01(_) => Files::Seen,
            Pre::Run02(_) | Pre::Run03(_) | Pre::Http(_) => inspect::files(&self.imports),
        }
    }

    /// Whether each of its instances can answer one request only.
    pub(super) fn answers_once(&self) -> bool {
        self.answers_once
    }

    pub(super) fn pre(&self) -> &Pre {
        &self.pre
    }
}

/// The programs in use, and the way to get more.
pub(super) struct Programs {
    maker: Arc<Maker>,
    compilers: Arc<Semaphore>,
    live: Mutex<HashMap<Digest, Arc<Slot>>>,
}

/// A program that is being made or is in use somewhere.
#[derive(Default)]
struct Slot(OnceCell<Weak<Program>>);

struct Maker {
    host: Arc<Host>,
    cache: Arc<Cache>,
    compiler: Option<Compiler>,
}

impl Programs {
    /// Nothing loaded yet.
    pub(super) fn new(host: Arc<Host>, cache: Cache, compiler: Option<Compiler>, compilers: usize) -> Self {
        Self {
            maker: Arc::new(Maker { host, cache: Arc::new(cache), compiler }),
            compilers: Arc::new(Semaphore::new(compilers.max(1))),
            live: Mutex::default(),
        }
    }

    /// See [`super::Wasm::compiled`].
    pub(super) fn compiled(&self) -> Compiled {
        Compiled(Arc::clone(&self.maker.cache))
    }

    /// See [`super::Wasm::load`].
    pub(super) async fn load<F>(&self, digest: &Digest, bytes: F) -> Result<Arc<Program>, LoadError>
    where
        F: FnOnce() -> io::Result<Vec<u8>> + Send + 'static,
    {
        let mut bytes = Some(bytes);
        loop {
            let slot = self.slot(digest);
            let mut made = None;
            let weak = slot.0.get_or_try_init(async || {
                let bytes = bytes.take().ok_or(LoadError::Interrupted)?;
                let program = self.make(digest.clone(), bytes).await?;
                let weak = Arc::downgrade(&program);
                made = Some(program);
                Ok::<_, LoadError>(weak)
            });
            let weak = weak.await?.clone();
            if let Some(program) = made.or_else(|| weak.upgrade()) {
                return Ok(program);
            }
            self.forget(digest, &slot);
        }
    }

    async fn make<F>(&self, digest: Digest, bytes: F) -> Result<Arc<Program>, LoadError>
    where
        F: FnOnce() -> io::Result<Vec<u8>> + Send + 'static,
    {
        let permit = self.compilers.clone().acquire_owned().await.map_err(|_| LoadError::Interrupted)?;
        let maker = self.maker.clone();
        let made = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            maker.make(&digest, bytes)
        });
        made.await.map_err(|_| LoadError::Interrupted)?.map(Arc::new)
    }

    /// The slot of `digest`. Slots of programs that are gone, and that nobody waits for, are dropped on the way.
    fn slot(&self, digest: &Digest) -> Arc<Slot> {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.0.get().is_some_and(|weak| weak.strong_count() > 0));
        live.entry(digest.clone()).or_default().clone()
    }

    fn forget(&self, digest: &Digest, slot: &Arc<Slot>) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if live.get(digest).is_some_and(|held| Arc::ptr_eq(held, slot)) {
            live.remove(digest);
        }
    }
}

impl Maker {
    fn make(&self, digest: &Digest, bytes: impl FnOnce() -> io::Result<Vec<u8>>) -> Result<Program, LoadError> {
        if let Some(program) = self.kept(digest)? {
            return Ok(program);
        }
        let image = bytes().map_err(LoadError::Read)?;
        match &self.compiler {
            Some(compiler) => self.have_compiled(compiler, digest, &image),
            None => self.compile(digest, &image),
        }
    }

    /// The program, if it was compiled before.
    fn kept(&self, digest: &Digest) -> Result<Option<Program>, LoadError> {
        self.cache.get(self.host.engine(), digest).map(|code| self.link(&code)).transpose()
    }

    /// Has another process compile the image.
    fn have_compiled(&self, compiler: &Compiler, digest: &Digest, image: &[u8]) -> Result<Program, LoadError> {
        let aside = self.cache.aside(digest);
        if let Err(error) = compiler.compile(image, &aside) {
            let _ = std::fs::remove_file(&aside);
            return Err(error.into());
        }
        debug!(%digest, "image compiled");
        self.cache.keep(digest, &aside).map_err(|error| LoadError::Compile(error.into()))?;
        self.kept(digest)?.ok_or(LoadError::Interrupted)
    }

    /// Compiles the image in this process.
    fn compile(&self, digest: &Digest, image: &[u8]) -> Result<Program, LoadError> {
        let code = compile::compile(self.host.engine(), image)?;
        debug!(%digest, "image compiled");
        let kept = code.serialize().map_err(io::Error::other).and_then(|bytes| self.cache.put(digest, &bytes));
        match kept {
            Ok(()) => self.kept(digest)?.ok_or(LoadError::Interrupted),
            Err(error) => {
                warn!(%error, %digest, "a compiled program cannot be kept: it will be compiled again at the next start");
                self.link(&code)
            }
        }
    }

    fn link(&self, code: &Code) -> Result<Program, LoadError> {
        match code {
            Code::Module(module) => self.link_module(module),
            Code::Component(component) => self.link_component(component),
        }
    }

    fn link_module(&self, module: &Module) -> Result<Program, LoadError> {
        let pre = preview1::link(self.host.linker01(), module).map_err(invalid)?;
        let imports = module.imports().map(|import| format!("{}#{}", import.module(), import.name())).collect();
        let exports = module.exports().map(|export| export.name().to_owned()).collect();
        Ok(Program { pre: Pre::Run01(pre), imports, exports, answers_once: false })
    }

    fn link_component(&self, component: &Component) -> Result<Program, LoadError> {
        let engine = self.host.engine();
        let ty = component.component_type();
        let mut imports: Vec<String> = ty.imports(engine).map(|(name, _)| name.to_owned()).collect();
        let exports: Vec<String> = ty.exports(engine).map(|(name, _)| name.to_owned()).collect();
        let answers_once = imports.iter().any(|name| name == ANSWERS_ONCE);
        imports.retain(|name| name != ANSWERS_ONCE);
        let entry = inspect::entry(&exports).map_err(invalid)?;
        if let Some(message) = inspect::missing(&imports) {
            return Err(invalid(message));
        }
        let unlinked =
            |error: wasmtime::Error| invalid(format!("the component imports what Coracle does not give: {error:#}"));
        let instance = self.host.linker().instantiate_pre(component).map_err(unlinked)?;
        let pre = Pre::new(entry, instance)
            .map_err(|error| invalid(format!("the component's export is not of the expected type: {error:#}")))?;
        Ok(Program { pre, imports, exports, answers_once })
    }
}

impl Pre {
    fn new(entry: Entry, instance: InstancePre<State>) -> wasmtime::Result<Self> {
        use wasmtime_wasi_http::{p2 as http02, p3 as http03};
        Ok(match entry {
            Entry::Run02 => Self::Run02(p2::bindings::CommandPre::new(instance)?),
            Entry::Run03 => Self::Run03(p3::bindings::CommandPre::new(instance)?),
            Entry::Http02 => Self::Http(Arc::new(ProxyPre::P2(http02::bindings::ProxyPre::new(instance)?))),
            Entry::Http03 => Self::Http(Arc::new(ProxyPre::P3(http03::bindings::ServicePre::new(instance)?))),
        })
    }
}

impl From<CompileError> for LoadError {
    fn from(error: CompileError) -> Self {
        match error {
            CompileError::Invalid(message) => Self::InvalidImage { message },
            other => Self::Compile(other),
        }
    }
}

fn invalid(message: String) -> LoadError {
    LoadError::InvalidImage { message }
}
