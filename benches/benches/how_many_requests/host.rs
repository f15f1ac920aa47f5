//! The bare hosts that Coracle is compared with: hyper, wasmtime's own `ProxyHandler`, and nothing else; and hyper alone.
//!
//! They have the engine settings that Coracle's guests run under (epochs, on-demand allocation), and its bounds of reuse.
//! They refuse nothing, meter nothing and log nothing.

use std::future::Future;
use std::net::Ipv4Addr;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use wasmtime::component::{Component, GuestTaskId, Linker, ResourceTable};
use wasmtime::{Config, Engine, Store, StoreContextMut, StoreLimits, StoreLimitsBuilder};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::handler::{
    HandlerState, Instance, Proxy, ProxyHandler, ProxyPre, ShouldAccept, WorkerExpiration, WorkerState, WorkerStatus,
};
use wasmtime_wasi_http::p2::bindings::ProxyPre as Proxy02Pre;
use wasmtime_wasi_http::p3::bindings::ServicePre;
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// How many requests an instance answers under Coracle.
const REUSE: usize = 1000;
/// How many requests an instance of WASI 0.3 answers at once under Coracle.
const AT_ONCE: usize = 16;
/// How long an instance waits for its next request under Coracle.
const IDLE: Duration = Duration::from_secs(1);
/// The memory that `hello.yaml` allows.
const MEMORY_BYTES: usize = 64 << 20;
/// How often the epoch rises while guests run.
const TICK: Duration = Duration::from_millis(10);

/// How instances come and go.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mode {
    /// Reused within Coracle's bounds.
    Reused,
    /// One for each request.
    Fresh,
    /// There are none: hyper answers by itself.
    Plain,
}

impl Mode {
    /// In the order of the table.
    pub(crate) const ALL: [Self; 3] = [Self::Reused, Self::Fresh, Self::Plain];

    /// As it stands on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Reused => "reused",
            Self::Fresh => "fresh",
            Self::Plain => "plain",
        }
    }

    /// What the command line asks for: nothing, where this process is the bench itself.
    pub(crate) fn of(arguments: impl Iterator<Item = String>) -> Option<Self> {
        let after = arguments.skip_while(|word| word != "--host").nth(1);
        after.and_then(|name| Self::ALL.into_iter().find(|mode| mode.name() == name))
    }

    fn requests(self) -> usize {
        match self {
            Self::Reused => REUSE,
            Self::Fresh | Self::Plain => 1,
        }
    }
}

/// Serves the component that the last argument names, for ever.
#[expect(clippy::print_stdout, reason = "the bench reads from there where it listens")]
pub(crate) fn serve(mode: Mode) {
    let path = std::env::args().next_back().expect("a component");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime starts");
    let outcome: anyhow::Result<()> = runtime.block_on(async {
        let handler = match mode {
            Mode::Reused | Mode::Fresh => Some(ProxyHandler::new(Handler::new(Path::new(&path), mode)?)),
            Mode::Plain => None,
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        println!("listening on {}", listener.local_addr()?);
        let mut connections = JoinSet::new();
        loop {
            let (connection, _) = listener.accept().await?;
            connection.set_nodelay(true)?;
            let handler = handler.clone();
            connections.spawn(async move {
                match handler {
                    Some(handler) => converse(connection, handler).await,
                    None => converse_plainly(connection).await,
                }
            });
        }
    });
    outcome.expect("the bare host serves");
}

async fn converse(connection: TcpStream, handler: ProxyHandler<Handler>) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let handler = handler.clone();
        async move {
            let request = request.map(|body| body.map_err(wasmtime_wasi_http::Error::from).boxed_unsync());
            handler.handle((), request).await.map_err(|error| anyhow!("{error:?}"))
        }
    });
    // A client that leaves ends its connection; that is no failure.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
}

async fn converse_plainly(connection: TcpStream) {
    let service = service_fn(async |_: hyper::Request<Incoming>| {
        Ok::<_, std::convert::Infallible>(hyper::Response::new(Full::new(Bytes::from_static(b"ok\n"))))
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
}

struct State {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    limits: StoreLimits,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: Default::default() }
    }
}

struct Handler {
    engine: Engine,
    program: ProxyPre<State>,
    mode: Mode,
}

impl Handler {
    fn new(path: &Path, mode: Mode) -> anyhow::Result<Self> {
        let mut config = Config::new();
        config.wasm_component_model_async(true);
        config.epoch_interruption(true);
        let engine = Engine::new(&config)?;
        let ticking = engine.clone();
        std::thread::spawn(move || {
            loop {
                std::thread::park_timeout(TICK);
                ticking.increment_epoch();
            }
        });
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
        wasmtime_wasi::p3::add_to_linker(&mut linker)?;
        wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
        let component = Component::from_file(&engine, path)?;
        let program = linker.instantiate_pre(&component)?;
        let program = match ServicePre::new(program.clone()) {
            Ok(program) => ProxyPre::P3(program),
            Err(_) => ProxyPre::P2(Proxy02Pre::new(program)?),
        };
        Ok(Self { engine, program, mode })
    }
}

impl HandlerState for Handler {
    type StoreData = State;
    type WorkerExpiration = Expiration;
    type WorkerState = Bounds;

    async fn instantiate(&self) -> wasmtime::Result<Instance<State, Expiration, Bounds>> {
        let state = State {
            wasi: WasiCtx::builder().env("POD_NAME", "bare").build(),
            http: WasiHttpCtx::new(),
            table: ResourceTable::new(),
            limits: StoreLimitsBuilder::new().memory_size(MEMORY_BYTES).build(),
        };
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| &mut state.limits);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        let proxy = self.program.instantiate_async(&mut store).await?;
        let at_once = if matches!(proxy, Proxy::P3(_)) { AT_ONCE } else { 1 };
        let expiration = Expiration(Box::pin(tokio::time::sleep(IDLE)));
        Ok(Instance {
            store,
            proxy,
            view: |state| state.http(),
            expiration,
            state: Bounds { mode: self.mode, at_once },
        })
    }
}

/// Ends an instance that has waited long enough.
struct Expiration(Pin<Box<tokio::time::Sleep>>);

impl WorkerExpiration for Expiration {
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>, status: WorkerStatus, since: Instant) -> Poll<()> {
        match status {
            WorkerStatus::Requests | WorkerStatus::PostReturn => Poll::Pending,
            WorkerStatus::Idle => {
                let deadline = tokio::time::Instant::from_std(since + IDLE);
                if self.0.deadline() != deadline {
                    self.0.as_mut().reset(deadline);
                }
                self.0.as_mut().poll(context)
            }
        }
    }
}

/// So many requests at a time, and so many in all.
struct Bounds {
    mode: Mode,
    at_once: usize,
}

impl WorkerState for Bounds {
    type StoreData = State;
    type RequestData = ();

    fn should_accept_request(&self, at_once: usize, total: usize) -> ShouldAccept {
        match (at_once, total) {
            (_, total) if total >= self.mode.requests() => ShouldAccept::Never,
            (at_once, _) if at_once < self.at_once => ShouldAccept::Yes,
            _ => ShouldAccept::No,
        }
    }

    fn on_request_start(
        &self,
        _: StoreContextMut<'_, State>,
        (): (),
        _: GuestTaskId,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
        Box::pin(std::future::pending())
    }

    fn drop(&self, _: Store<State>, result: wasmtime::Result<()>) {
        result.expect("the sample does not fail");
    }
}
