//! One run of a container: from its image to its end.
//!
//! It reports what happens, and is told to stop or to be killed at any moment, also while it is still starting.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock;
use coracle_api::event::Kind;
use coracle_api::meet::{Attachment, PodNames};
use coracle_api::quantity;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::imports::Imports;
use super::last_words::LastWords;
use super::late::Late;
use super::live::{self, Live};
use super::request_timeout::request_timeout;
use super::{hooks, probe};
use crate::console::{Carrier, Console, Opened, Signal, Streams, TERM};
use crate::downward::Facts;
use crate::env::{self, Given};
use crate::images::{Image, Reference};
use crate::lifecycle::{End, Event, Problem, Run, Slot};
use crate::logs::{ContainerLog, Place};
use crate::names::{self, Etc};
use crate::volumes::{MountError, Places, PodDir, prepare_root};
use coracle_wasm::{
    Control, Directory, Files, Launch, LoadError, Outcome, Program, Running, Sandbox, Shape, StartError, Tty,
};

/// A compilation that takes longer than this is worth an event.
const COMPILING_IS_SAID: Duration = Duration::from_millis(200);

/// The port on which an HTTP program is served whose container names none.
const HTTP_PORT: u16 = 80;

/// How long a container may take to stop when its preStop hook left it no time: the kubelet's minimum.
const STOP_PATIENCE_MIN: Duration = Duration::from_secs(2);

/// How long a pod that is being deleted goes on as before while Services still lead to it: they learn of it within
/// milliseconds, unless it is the last that they have.
const WITHDRAWAL_PATIENCE: Duration = Duration::from_secs(1);

/// How long a terminal may take to show what its program wrote last: somebody may have stopped it by ^S.
const LAST_SHOWN: Duration = Duration::from_secs(1);

/// The annotation by which a pod keeps the node's own tools out: `false`.
const NODE_TOOLS: &str = "coracle.dev/node-tools";

/// The exit code of a container that could not be run (Docker's).
const CANNOT_RUN: i32 = 128;

/// What to run.
pub(super) struct Order {
    pub(super) shared: Arc<Shared>,
    pub(super) pod: Arc<Pod>,
    /// The container as events refer to it.
    pub(super) field: Option<String>,
    pub(super) container: Container,
    pub(super) attachment: Arc<dyn Attachment>,
    pub(super) imports: Arc<Imports>,
    pub(super) dir: PodDir,
    pub(super) places: Arc<Places>,
    pub(super) late: Arc<Late>,
    pub(super) slot: Slot,
    pub(super) run: Run,
    pub(super) restarts: u32,
    pub(super) stop: CancellationToken,
    /// Cancelled before `stop` where the pod is being deleted.
    pub(super) leaving: CancellationToken,
    pub(super) kill: CancellationToken,
    pub(super) reports: mpsc::Sender<Box<Event>>,
}

/// Why a container did not start.
enum Failure {
    /// It may be tried again.
    Problem(Problem),
    /// It counts as a run that ended.
    End(End),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// A container that has started.
struct Started {
    running: Running,
    shape: Shape,
    log: Arc<ContainerLog>,
    words: LastWords,
    console: Arc<Console>,
    carrier: Option<Carrier>,
    /// Others find it as long as it runs.
    known: live::Guard,
}

/// Runs the container to its end, reporting what happens.
pub(super) async fn run(order: Order) {
    let (slot, run) = (order.slot, order.run);
    let started = tokio::select! {
        () = order.kill.cancelled() => return,
        // On the heap, since a container starts once and then waits for long.
        started = Box::pin(order.start()) => started,
    };
    let last = match started {
        Err(Failure::Problem(problem)) => Event::StartFailed { slot, run, problem },
        Err(Failure::End(end)) => Event::Ended { slot, run, end },
        Ok(started) => Event::Ended { slot, run, end: order.attend(started).await },
    };
    order.report(last).await;
}

impl Order {
    pub(super) async fn report(&self, event: Event) {
        // Nobody listens when the worker has ended, and then nobody needs to know.
        let _ = self.reports.send(Box::new(event)).await;
    }

    pub(super) fn say(&self, kind: Kind, reason: &str, message: String) {
        self.shared.speaker.pod(&self.pod, self.field.clone(), kind, reason, message);
    }

    async fn start(&self) -> Result<Started, Failure> {
        let name = self.container.image.as_deref().unwrap_or_default();
        let reference: Reference =
            name.parse().map_err(|e: crate::images::InvalidReference| Problem::InvalidImageName(e.to_string()))?;
        let image = self.image(name, &reference).await?;
        let (given, program) = tokio::join!(self.given(reference.base_name()), self.load(name, &image));
        let (given, program) = (given?, program?);
        self.imports.note(&self.container.name, program.imports());
        self.make_late(&program).await?;
        let log = self.begin_log()?;
        let opened = Console::open(&self.container, &log);
        let Opened { console, streams, carrier } = opened.map_err(|error| {
            Problem::CreateContainerError(format!("the node has no terminal for a container with tty: {error}"))
        })?;
        match self.launch(given, program, streams).await {
            Ok((running, shape, words)) => {
                let id = uuid::Uuid::new_v4().simple().to_string();
                let known = self.make_known(&id, &running, &console);
                let event = Event::Started { slot: self.slot, run: self.run, id, image_id: image.id };
                self.report(event).await;
                self.say(Kind::Normal, "Started", format!("Started container {}", self.container.name));
                Ok(Started { running, shape, log, words, console, carrier, known })
            }
            Err(failure) => {
                self.shared.logs.end(&self.place(), &log);
                Err(failure)
            }
        }
    }

    async fn given(&self, program: &str) -> Result<Given, Problem> {
        let config = |message| Problem::CreateContainerConfigError(message);
        let namespace = self.pod.metadata.namespace.as_deref().unwrap_or_default();
        let wanted = env::references(&self.container);
        let fetched =
            self.shared.sources.fetch(namespace, &wanted).await.map_err(|e| config(crate::with_causes(&e)))?;
        let facts = Facts {
            pod: &self.pod,
            pod_ip: self.attachment.ip(),
            host_ip: self.shared.host_ip,
            allocatable: self.shared.allocatable,
        };
        let api = self.shared.api().await;
        env::given(&self.container, program, &facts, &fetched, api).map_err(|e| config(e.to_string()))
    }

    async fn load(&self, name: &str, image: &Image) -> Result<Arc<Program>, Problem> {
        let path = image.path.clone();
        let mut load = std::pin::pin!(self.shared.wasm.load(&image.layer, move || std::fs::read(path)));
        let loaded = match tokio::time::timeout(COMPILING_IS_SAID, &mut load).await {
            Ok(loaded) => loaded,
            Err(_) => {
                let message = format!("Compiling image {name:?} ({} bytes); the result is kept", image.size);
                self.say(Kind::Normal, "Compiling", message);
                load.await
            }
        };
        loaded.map_err(|error| match error {
            LoadError::InvalidImage { message } => Problem::InvalidImage(message),
            other => Problem::CreateContainerError(crate::with_causes(&other)),
        })
    }

    /// What is made late, if the container mounts it.
    pub(super) fn late(&self) -> Option<&Arc<Late>> {
        Some(&self.late).filter(|late| late.is_mounted_by(&self.container))
    }

    /// Makes what is made late, if the program can see it.
    async fn make_late(&self, program: &Program) -> Result<(), Problem> {
        let Some(late) = self.late().filter(|_| program.files() == Files::Seen) else { return Ok(()) };
        late.make(&self.shared).await.map_err(|message| {
            self.say(Kind::Warning, "FailedMount", message.clone());
            Problem::CreateContainerConfigError(message)
        })
    }

    fn place(&self) -> Place {
        let meta = &self.pod.metadata;
        let text = |s: &Option<String>| s.clone().unwrap_or_default();
        Place {
            namespace: text(&meta.namespace),
            pod: text(&meta.name),
            uid: text(&meta.uid),
            container: self.container.name.clone(),
        }
    }

    fn begin_log(&self) -> Result<Arc<ContainerLog>, Problem> {
        let cannot = |e| Problem::CreateContainerError(format!("cannot begin the container's log: {e}"));
        self.shared.logs.begin(&self.place(), self.restarts).map_err(cannot)
    }

    /// Whether commands may mean the node's tools.
    pub(super) fn has_tools(&self) -> bool {
        let annotations = self.pod.metadata.annotations.as_ref();
        annotations.and_then(|a| a.get(NODE_TOOLS)).is_none_or(|wish| wish != "false")
    }

    fn make_known(&self, id: &str, running: &Running, console: &Arc<Console>) -> live::Guard {
        let (has_tools, late) = (self.has_tools(), self.late().cloned());
        let (id, sandbox, console) = (id.to_owned(), running.sandbox(), Arc::clone(console));
        let Place { namespace, pod, container, .. } = self.place();
        self.shared.lives.begin(&namespace, &pod, &container, Live { id, sandbox, console, has_tools, late })
    }

    async fn launch(
        &self,
        mut given: Given,
        program: Arc<Program>,
        streams: Streams,
    ) -> Result<(Running, Shape, LastWords), Failure> {
        let (names, etc) = self.names();
        let directories = self.directories(&given, (program.files() == Files::Seen).then_some(etc)).await?;
        let words = LastWords::prepare(&self.container, &directories);
        let resources = self.container.resources.clone().unwrap_or_default();
        let (limits, requests) = (resources.limits.unwrap_or_default(), resources.requests.unwrap_or_default());
        // A limit of zero is none, as for the kernel.
        let millicores = |q: &Quantity| u32::try_from(quantity::millis(&q.0).ok()?).ok().filter(|m| *m > 0);
        let bytes = |q: &Quantity| u64::try_from(quantity::units(&q.0).ok()?).ok().filter(|b| *b > 0);
        let shape = program.shape();
        if streams.tty == Tty::Yes && !given.env.iter().any(|(name, _)| name == "TERM") {
            given.env.push(("TERM".to_owned(), TERM.to_owned()));
        }
        let launch = Launch {
            args: given.args,
            env: given.env,
            directories,
            working_dir: self.container.working_dir.clone().filter(|d| !d.is_empty()),
            stdin: streams.stdin,
            tty: streams.tty,
            stdout: streams.stdout,
            stderr: streams.stderr,
            memory_limit: limits.get("memory").and_then(bytes),
            cpu_limit: limits.get("cpu").and_then(millicores),
            cpu_request: requests.get("cpu").and_then(millicores),
            attachment: Arc::clone(&self.attachment),
            resolver: Arc::clone(&self.shared.resolver),
            authority: self.shared.authority().await,
            names: Arc::new(names),
            http_port: http_port(&self.container),
            request_timeout: request_timeout(&self.pod)?,
        };
        self.say(Kind::Normal, "Created", format!("Created container: {}", self.container.name));
        let running = self.shared.wasm.start(program, launch).await.map_err(|error| self.cannot_start(&error))?;
        Ok((running, shape, words))
    }

    /// What names mean in the pod, and the files that say so.
    pub(super) fn names(&self) -> (PodNames, Etc) {
        let facts = &self.shared.names;
        let (mut names, etc) = names::names(&self.pod, self.attachment.ip(), facts, facts.host());
        names.outside = self.attachment.outside();
        (names, etc)
    }

    /// Makes what the container sees, where waiting for the disk keeps nobody waiting.
    async fn directories(&self, given: &Given, etc: Option<Etc>) -> Result<Vec<Directory>, Problem> {
        let (dir, places) = (self.dir.clone(), Arc::clone(&self.places));
        let (container, env) = (self.container.clone(), given.env.clone());
        let make = move || prepare_root(&dir, &places, &container, &env, etc.as_ref());
        let made = tokio::task::spawn_blocking(make).await;
        let failed = |e: MountError| {
            let message = crate::with_causes(&e);
            match e {
                MountError::Write(_) => Problem::CreateContainerError(message),
                _ => Problem::CreateContainerConfigError(message),
            }
        };
        made.map_err(|e| Problem::CreateContainerError(e.to_string()))?.map_err(failed)
    }

    fn cannot_start(&self, error: &StartError) -> Failure {
        let message = crate::with_causes(error);
        match error {
            StartError::Port { .. } | StartError::Full => {
                self.say(Kind::Warning, "Failed", format!("Error: {message}"));
                let reason = "ContainerCannotRun".to_owned();
                Failure::End(End { code: CANNOT_RUN, reason, message: Some(message) })
            }
            StartError::Directory { .. } | StartError::ShuttingDown => {
                Failure::Problem(Problem::CreateContainerError(message))
            }
        }
    }

    /// Attends a running container: runs its hooks and probes, writes its log, stops it when told to. Returns how it
    /// ended.
    async fn attend(&self, started: Started) -> End {
        let Started { mut running, shape, log, words, console, carrier, known } = started;
        let (control, sandbox) = (running.control(), running.sandbox());
        let uid = self.pod.metadata.uid.as_deref().unwrap_or_default();
        let _meter = self.shared.stats.meters.begin(uid, &self.container.name, control.clone(), clock::now());
        let (mut killed, mut signal, mut carries) = (false, None, carrier.is_some());
        let mut carried = std::pin::pin!(carry(carrier));
        let outcome = {
            let mut outcome = std::pin::pin!(running.outcome());
            let mut aside = std::pin::pin!(async { tokio::join!(log.write_behind(), self.look_after(&sandbox)) });
            let mut end = std::pin::pin!(self.end(&control, &sandbox));
            let mut pressed = std::pin::pin!(console.signalled());
            let mut done = false;
            loop {
                tokio::select! {
                    outcome = &mut outcome => break outcome,
                    () = &mut end, if !killed => killed = true,
                    _ = &mut aside, if !done => done = true,
                    () = &mut carried, if carries => carries = false,
                    pressed = &mut pressed, if signal.is_none() => {
                        signal = Some(pressed);
                        control.kill();
                    }
                }
            }
        };
        drop(known);
        console.program_ended();
        if carries && tokio::time::timeout(LAST_SHOWN, carried).await.is_err() {
            tracing::info!(container = self.container.name, "a stopped terminal kept what the container wrote last");
        }
        console.close();
        let place = self.place();
        self.shared.logs.end(&place, &log);
        let mut end = end_of(outcome, shape, killed, signal);
        words.add_to(&mut end, &self.shared.logs.dir(&place), self.restarts).await;
        end
    }

    /// The postStart hook, then the probes.
    async fn look_after(&self, sandbox: &Sandbox) {
        let since = Instant::now();
        if let Some(hook) = self.container.lifecycle.as_ref().and_then(|l| l.post_start.as_ref()) {
            let done = Box::pin(hooks::run(self, sandbox, hook)).await;
            let succeeded = done.is_ok();
            if let Err(error) = done {
                tracing::info!(%error, container = self.container.name, "a postStart hook failed");
                self.say(Kind::Warning, "FailedPostStartHook", "PostStartHook failed".to_owned());
            }
            self.report(Event::Hooked { slot: self.slot, run: self.run, succeeded }).await;
            if !succeeded {
                return;
            }
        }
        if probe::has_any(&self.container) {
            Box::pin(probe::probe(self, sandbox, since)).await;
        }
    }

    /// Ends the container when told to, the preStop hook before all else. Returns when it has been killed.
    async fn end(&self, control: &Control, sandbox: &Sandbox) {
        tokio::select! {
            biased;
            () = self.kill.cancelled() => return control.kill(),
            () = self.stop.cancelled() => {}
        }
        if let Some(hook) = self.container.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref()) {
            tokio::select! {
                done = Box::pin(hooks::run(self, sandbox, hook)) => if let Err(error) = done {
                    tracing::info!(%error, container = self.container.name, "a preStop hook failed");
                    self.say(Kind::Warning, "FailedPreStopHook", "PreStopHook failed".to_owned());
                },
                // The hook has used up the time; the container has a little of its own all the same.
                () = self.kill.cancelled() => {
                    control.stop();
                    tokio::time::sleep(STOP_PATIENCE_MIN).await;
                    return control.kill();
                }
            }
        }
        if self.leaving.is_cancelled() {
            let withdrawn = tokio::time::timeout(WITHDRAWAL_PATIENCE, self.attachment.withdrawn());
            self.kill.run_until_cancelled(Box::pin(withdrawn)).await;
        }
        control.stop();
        self.kill.cancelled().await;
        control.kill();
    }
}

/// Carries between the program and its terminal, if it has one, until both are at their end.
async fn carry(carrier: Option<Carrier>) {
    if let Some(carrier) = carrier {
        Box::pin(carrier.run()).await;
    }
}

/// How an outcome shows in the container's status.
fn end_of(outcome: Outcome, shape: Shape, killed: bool, signal: Option<Signal>) -> End {
    let code = outcome.exit_code();
    let error = |code, message| End { code, reason: "Error".to_owned(), message };
    match outcome {
        Outcome::Exited(code) => End::exited(code),
        Outcome::Trapped { message } => error(code, Some(message)),
        Outcome::OutOfMemory => End { code, reason: "OOMKilled".to_owned(), message: None },
        Outcome::Stopped if signal.is_some() => error(signal.map_or(code, Signal::exit_code), None),
        Outcome::Stopped if killed => error(137, None),
        // A server that was drained has done all it had to do.
        Outcome::Stopped => match shape {
            Shape::Http => End::exited(0),
            Shape::Command => error(code, None),
        },
    }
}

/// The first port that the container names.
pub(super) fn http_port(container: &Container) -> u16 {
    let first = container.ports.iter().flatten().next();
    first.and_then(|p| u16::try_from(p.container_port).ok()).unwrap_or(HTTP_PORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<F: Future>(_: impl Fn(Order) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_container_that_only_waits_takes_little_memory() {
        assert!(size(run) <= 8192, "{} bytes for each container of a node", size(run));
    }
}
