//! A running container: what starts it, what watches over it, what its owner holds.
//!
//! Invariant: a container has exactly one outcome. Its limits, its owner and its own end race for it, in that order;
//! whatever loses is dropped, and with it every instance, socket and connection of the container.

use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::bounds::{self, Handles};
use super::exec::{Inside, Sandbox};
use super::host::Host;
use super::launch::Launch;
use super::memory::Memory;
use super::meter::Cpu;
use super::outcome::Outcome;
use super::program::{Pre, Program, Shape};
use super::serve::{Front, Parts, Server};
use super::sockets::Pod;
use super::state::Template;
use super::traffic::{Counters, Traffic};
use super::{HttpBounds, command};

/// Why a container cannot start. The guest has not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A directory that it was to have cannot be opened.
    #[error("cannot open the directory for {guest_path}: {source}")]
    Directory {
        /// Where the guest was to find it.
        guest_path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The port on which it was to be served is taken.
    #[error("cannot serve port {port}: {source}")]
    Port {
        /// The port.
        port: u16,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// There are as many instances as this machine allows.
    #[error("this node runs as many WebAssembly instances as the kernel allows; raise vm.max_map_count")]
    Full,
    /// Guests are being ended.
    #[error("the node is shutting down")]
    ShuttingDown,
}

/// What a container has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// CPU time since it started.
    pub cpu: Duration,
    /// Bytes of linear memory now.
    pub memory_bytes: u64,
    /// What went in and out.
    pub traffic: Traffic,
}

/// The reins of a container: for those who end or measure it while its owner waits for the outcome.
/// Holding them keeps nothing alive.
#[derive(Clone)]
pub struct Control {
    stop: CancellationToken,
    kill: CancellationToken,
    cpu: Arc<Cpu>,
    memory: Arc<Memory>,
    counters: Arc<Counters>,
}

impl Control {
    /// Asks it to end: no new connections, those in flight are finished. A command with nothing in flight is
    /// interrupted at once, since WASI has no signal by which it could be asked.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Ends it now. A guest on a thread is interrupted within a few milliseconds.
    pub fn kill(&self) {
        self.kill.cancel();
    }

    /// The account on which its instances run.
    pub(super) fn cpu(&self) -> Arc<Cpu> {
        self.cpu.clone()
    }

    /// What it has used so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage { cpu: self.cpu.used(), memory_bytes: self.memory.used(), traffic: self.counters.traffic() }
    }
}

/// A container that was started. Dropping it kills the container.
pub struct Running {
    control: Control,
    outcome: watch::Receiver<Option<Outcome>>,
    inside: Arc<Inside>,
}

impl Running {
    /// How it ended, when it has. May be asked again: the answer stays.
    pub async fn outcome(&mut self) -> Outcome {
        match self.outcome.wait_for(Option::is_some).await.map(|outcome| outcome.clone()) {
            Ok(Some(outcome)) => outcome,
            // The threads of guests are gone, and all containers with them.
            Ok(None) | Err(_) => Outcome::Stopped,
        }
    }

    /// See [`Control::stop`].
    pub fn stop(&self) {
        self.control.stop();
    }

    /// See [`Control::kill`].
    pub fn kill(&self) {
        self.control.kill();
    }

    /// See [`Control::usage`].
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.control.usage()
    }

    /// The reins, for others to hold.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Its inside, where more commands can be run: see [`super::Wasm::exec`].
    #[must_use]
    pub fn sandbox(&self) -> Sandbox {
        Sandbox::new(&self.inside, self.control(), self.outcome.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.control.kill();
    }
}

/// Starts a container on the guests' threads. See [`super::Wasm::start`].
pub(super) async fn start(
    host: Arc<Host>,
    threads: &Handle,
    program: Arc<Program>,
    launch: Launch,
    http: &HttpBounds,
) -> Result<Running, StartError> {
    let control = Control {
        stop: CancellationToken::new(),
        kill: host.ended().child_token(),
        cpu: Arc::new(Cpu::new(launch.cpu_limit, launch.cpu_request)),
        memory: Arc::new(Memory::new(launch.memory_limit)),
        counters: Arc::default(),
    };
    if control.kill.is_cancelled() {
        return Err(StartError::ShuttingDown);
    }
    let (port, request_timeout) = (launch.http_port, launch.request_timeout);
    let (attachment, once) = (launch.attachment.clone(), program.answers_once());
    let handles = match program.shape() {
        Shape::Command => Handles::of_command(bounds::files_max()),
        Shape::Http => Handles::of_http(bounds::files_max()),
    };
    let pod = Arc::new(Pod::new(&launch, control.stop.clone(), control.counters.clone(), handles.sockets));
    let template = Arc::new(Template::new(launch, control.memory.clone(), pod, handles.of_instance, program.files()));
    template.check_directories().map_err(|(guest_path, source)| StartError::Directory { guest_path, source })?;

    let inside = Arc::new(Inside { program: program.clone(), template: template.clone() });
    let (tell, outcome) = watch::channel(None);
    match program.pre() {
        Pre::Http(pre) => {
            let server = Server::new(Parts {
                host,
                program: pre.clone(),
                template: template.clone(),
                cpu: control.cpu.clone(),
                bounds: if once { HttpBounds { requests_per_instance: 1, ..http.clone() } } else { http.clone() },
                request_timeout,
                threads: threads.clone(),
            });
            let bound = attachment.serve(port, Arc::new(Front::new(server.clone()))).await;
            let bound = bound.map_err(|source| StartError::Port { port, source })?;
            let guest = server.clone().run(bound, control.stop.clone());
            let watched = watch_over(guest, control.clone(), template);
            threads.spawn(async move {
                // Shared as long as it is in use: who loads it next finds it, and maps it no second time.
                let _program = program;
                let outcome = watched.await;
                server.end().await;
                tell.send_replace(Some(outcome));
            });
        }
        Pre::Run01(_) | Pre::Run02(_) | Pre::Run03(_) => {
            let room = host.room().ok_or(StartError::Full)?;
            let guest = command::run(host, program, template.clone(), room, control.cpu.clone());
            let watched = watch_over(guest, control.clone(), template);
            threads.spawn(async move { tell.send_replace(Some(watched.await)) });
        }
    }
    Ok(Running { control, outcome, inside })
}

/// Waits for what ends the container first, and says so among its errors if it was a trap.
pub(super) async fn watch_over(
    guest: impl Future<Output = Outcome>,
    control: Control,
    template: Arc<Template>,
) -> Outcome {
    // A panic of a host function is a fault of ours; it ends this container and no other.
    let guest = AssertUnwindSafe(guest).catch_unwind();
    let outcome = tokio::select! {
        biased;
        () = control.memory.exceeded().cancelled() => Outcome::OutOfMemory,
        () = control.kill.cancelled() => Outcome::Stopped,
        outcome = guest => outcome.unwrap_or_else(|_| {
            error!("a host function panicked; its container is ended");
            Outcome::Trapped { message: "the host failed while it served the guest; see the node's log".into() }
        }),
    };
    match outcome {
        // The growth that was refused arrives here as a trap.
        Outcome::Trapped { .. } if control.memory.exceeded().is_cancelled() => Outcome::OutOfMemory,
        Outcome::Trapped { message } => {
            template.complain(&message);
            Outcome::Trapped { message }
        }
        Outcome::Exited(_) | Outcome::OutOfMemory | Outcome::Stopped => outcome,
    }
}
