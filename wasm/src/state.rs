//! What the host keeps for each instance, and the template from which a container's instances are made.
//!
//! Invariant: every store has its limits and its epoch deadline before any of its guest's code runs.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedSemaphorePermit;
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::sockets::{SocketAddrUse, WasiSocketsCtxView};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::bounds;
use super::host::Host;
use super::launch::{Access, Directory, Input, Launch, Sink, Stdin, Tty};
use super::memory::{Limiter, Memory};
use super::outbound::Outbound;
use super::program::Files;
use super::sockets::{Pod, PodSockets, Sockets};
use super::stdio::{self, Output};

/// What the host keeps for an instance.
pub(super) struct State {
    /// With the table of handles, and beside it the file descriptors that a guest of preview 1 has.
    wasi: WasiP1Ctx,
    http: WasiHttpCtx,
    outbound: Outbound,
    limiter: Limiter,
    sockets: Sockets,
    _room: OwnedSemaphorePermit,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi.ctx()
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: self.wasi.ctx().table, hooks: &mut self.outbound }
    }
}

impl State {
    /// The bytes of linear memory that the instance has now.
    pub(super) fn memory_held(&self) -> u64 {
        self.limiter.held()
    }

    /// The instance's sockets, as the host functions see them.
    pub(super) fn pod_sockets(&mut self) -> PodSockets<'_> {
        let WasiCtxView { ctx, table } = self.wasi.ctx();
        PodSockets { inner: WasiSocketsCtxView { ctx: ctx.sockets(), table }, sockets: &mut self.sockets }
    }

    /// What the functions of preview 1 work on.
    pub(super) fn preview1(&mut self) -> &mut WasiP1Ctx {
        &mut self.wasi
    }
}

/// From what a container's instances are made.
pub(super) struct Template {
    launch: Launch,
    memory: Arc<Memory>,
    pod: Arc<Pod>,
    /// How many each instance may have open.
    handles: usize,
    /// Whether their program can see the directories: if not, none is opened.
    files: Files,
    /// What the first instance reads; others, and most containers, have nothing to read.
    stdin: Mutex<Option<stdio::Stdin>>,
}

/// The streams of a command that runs beside a container's own program.
pub(super) struct Streams {
    pub(super) stdin: Option<Input>,
    pub(super) tty: Tty,
    pub(super) stdout: Arc<dyn Sink>,
    pub(super) stderr: Arc<dyn Sink>,
}

impl Template {
    /// A template for the container that `launch` describes, whose program sees these files.
    pub(super) fn new(launch: Launch, memory: Arc<Memory>, pod: Arc<Pod>, handles: usize, files: Files) -> Self {
        let stdin = Mutex::new(launch.stdin.take().map(|input| stdio::Stdin::new(input, launch.tty)));
        Self { launch, memory, pod, handles, files, stdin }
    }

    /// A template for one more command in the same sandbox, on the same accounts.
    pub(super) fn beside(&self, args: Vec<String>, env: Vec<(String, String)>, streams: Streams, files: Files) -> Self {
        let Streams { stdin, tty, stdout, stderr } = streams;
        let mut all = self.launch.env.clone();
        all.retain(|(name, _)| !env.iter().any(|(ours, _)| ours == name));
        all.extend(env);
        Self {
            launch: Launch { args, env: all, stdin: Stdin::none(), tty, stdout, stderr, ..self.launch.clone() },
            memory: self.memory.clone(),
            pod: self.pod.clone(),
            handles: self.handles,
            files,
            stdin: Mutex::new(stdin.map(|input| stdio::Stdin::new(input, tty))),
        }
    }

    pub(super) fn launch(&self) -> &Launch {
        &self.launch
    }

    /// The memory account of the container.
    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(super) fn pod(&self) -> &Arc<Pod> {
        &self.pod
    }

    /// Writes what the host has to say of the guest among the guest's own errors.
    pub(super) fn complain(&self, message: &str) {
        self.launch.stderr.write(format!("{}\n", message.trim_end()).as_bytes());
    }

    /// Opens each directory once, so that a missing one is known at the start.
    ///
    /// # Errors
    /// The first directory that cannot be opened, and why.
    pub(super) fn check_directories(&self) -> Result<(), (String, io::Error)> {
        for directory in self.directories() {
            directory.open().map_err(|error| (directory.guest_path.clone(), error))?;
        }
        Ok(())
    }

    /// What an instance has open.
    fn directories(&self) -> &[Directory] {
        match self.files {
            Files::Seen => &self.launch.directories,
            Files::Unseen => &[],
        }
    }

    /// A store for one more instance.
    ///
    /// # Errors
    /// A directory that can no longer be opened.
    pub(super) fn store(&self, host: &Host, room: OwnedSemaphorePermit) -> wasmtime::Result<Store<State>> {
        let mut wasi = self.wasi()?;
        wasi.ctx().table.set_max_capacity(self.handles);
        let state = State {
            wasi,
            http: bounds::http(),
            outbound: Outbound::new(self.pod.clone()),
            limiter: Limiter::new(self.memory.clone()),
            sockets: Sockets::new(self.pod.clone()),
            _room: room,
        };
        let mut store = Store::new(host.engine(), state);
        store.limiter(|state| &mut state.limiter);
        bounds::hold(&mut store);
        store.set_epoch_deadline(1);
        let turns = host.turns().clone();
        store.epoch_deadline_callback(move |_| {
            Ok(if turns.must_yield() { UpdateDeadline::Yield(1) } else { UpdateDeadline::Continue(1) })
        });
        Ok(store)
    }

    fn wasi(&self) -> wasmtime::Result<WasiP1Ctx> {
        let launch = &self.launch;
        let mut wasi = WasiCtx::builder();
        bounds::hold_wasi(&mut wasi);
        wasi.args(&launch.args).envs(&launch.env);
        wasi.stdout(Output::new(launch.stdout.clone(), launch.tty));
        wasi.stderr(Output::new(launch.stderr.clone(), launch.tty));
        if let Some(stdin) = self.stdin.lock().unwrap_or_else(PoisonError::into_inner).take() {
            wasi.stdin(stdin);
        }
        if let Some(directory) = &launch.working_dir {
            wasi.initial_cwd(directory);
        }
        for directory in self.directories() {
            let perms = match directory.access {
                Access::ReadOnly => FsPerms::ReadOnly,
                Access::ReadWrite => FsPerms::ReadWrite,
            };
            directory.at(|path| wasi.preopened_dir(path, &directory.guest_path, perms).map(drop))?;
        }
        wasi.allow_ip_name_lookup(true).allow_tcp(true).allow_udp(true);
        // Policy is asked where addresses are rewritten, before this; here only what must never be is refused.
        wasi.socket_addr_check(|address, purpose| {
            let listens_everywhere = matches!(purpose, SocketAddrUse::TcpListen) && address.ip().is_unspecified();
            Box::pin(std::future::ready(!listens_everywhere))
        });
        Ok(wasi.build_p1())
    }
}
