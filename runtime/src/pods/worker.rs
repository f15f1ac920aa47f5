//! The worker of one pod: performs what its [`Lifecycle`] wants, and tells it what came of it.
//!
//! It decides nothing itself. It returns when the object is gone from the API, or when the node stops.

mod ending;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock;
use coracle_api::event::Kind;
use coracle_api::meet::Attachment;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::imports::Imports;
use super::late::Late;
use super::launch::{self, Order};
use super::prepare::{self, Prepared, prepare, references};
use super::publish::Publisher;
use super::records::Record;
use super::{News, Shared, containers, left_out};
use crate::images::Reference;
use crate::lifecycle::{
    Effect, Event, Lifecycle, Plan, Problem, Run, Slot, Surroundings, is_own_condition, qos_class, status,
};
use crate::sources::{Change, Source};
use crate::tokens::{RENEWAL_RETRY, Tokens};
use crate::volumes::{Places, PodDir, Which};

/// How many reports of containers may wait: they come one by one. They are boxed, since a channel always has room for
/// some dozens.
const REPORTS_MAX: usize = 64;

/// The longest sleep: a timer further off is looked at again then.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// How a container that runs or starts is told to end.
struct Reins {
    stop: CancellationToken,
    /// Its pod is being deleted, and nobody is to be led to it any more.
    leaving: CancellationToken,
    kill: CancellationToken,
}

/// What a task of the worker has to say when it is done.
enum Done {
    Prepared(Result<Prepared, String>),
    Refreshed(Result<(), String>),
    Ran(Slot, Run),
}

/// Whether volumes are being brought up to date.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refreshing {
    No,
    Once,
    /// They are, and what they are filled from has changed since.
    Again,
}

/// What woke the worker.
enum Signal {
    Happened(Event),
    Task(Done),
    News,
    Images,
    Changed(Option<Change>),
    Renew,
    Stop,
}

/// The worker of one pod.
pub(super) struct Worker {
    shared: Arc<Shared>,
    pod: Arc<Pod>,
    news: watch::Receiver<News>,
    reports: mpsc::Sender<Box<Event>>,
    inbox: mpsc::Receiver<Box<Event>>,
    images: watch::Receiver<u64>,
    changes: Option<broadcast::Receiver<Change>>,
    tasks: JoinSet<Done>,
    runs: BTreeMap<(Slot, Run), Reins>,
    attachment: Option<Arc<dyn Attachment>>,
    dir: PodDir,
    places: Arc<Places>,
    /// Whether the volumes are being brought up to date, and whether that is to be done once more.
    refreshing: Refreshing,
    /// Whether something changed while the volumes were made.
    stale: bool,
    tokens: Arc<Tokens>,
    /// What is made late, once it can be.
    late: Option<Arc<Late>>,
    /// When the next token is to be renewed.
    renew_at: Option<Timestamp>,
    current: Arc<PodStatus>,
    publisher: Publisher,
    imports: Arc<Imports>,
    vanished: bool,
    released: bool,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, pod: Arc<Pod>, news: watch::Receiver<News>) -> Self {
        let (reports, inbox) = mpsc::channel(REPORTS_MAX);
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        shared.inboxes.open(uid, reports.clone());
        let refers = !references(&pod).is_empty();
        let imports = Arc::<Imports>::default();
        Self {
            images: shared.images.arrivals(),
            changes: refers.then(|| shared.sources.changes()),
            dir: PodDir::new(&shared.pods_dir, uid),
            places: Arc::default(),
            refreshing: Refreshing::No,
            stale: false,
            tokens: Arc::default(),
            late: None,
            renew_at: None,
            current: Arc::new(pod.status.clone().unwrap_or_default()),
            publisher: Publisher::new(&shared.client, &pod, Arc::clone(&imports)),
            imports,
            tasks: JoinSet::new(),
            runs: BTreeMap::new(),
            attachment: None,
            vanished: false,
            released: false,
            shared,
            pod,
            news,
            reports,
            inbox,
        }
    }

    /// Runs the pod to its end.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let plan = Plan::of(&self.pod);
        self.say_what_is_left_out(None);
        self.say_why_rejected(&plan);
        let mut life = Lifecycle::adopt(plan, &self.current, clock::now());
        let mut pending: Vec<Event> = match self.deletion() {
            Some(delete) => vec![delete],
            None => vec![Event::Tick],
        };
        loop {
            for event in pending.drain(..) {
                let (next, effects) = life.step(event, clock::now());
                life = next;
                self.perform(&life, effects);
            }
            self.show(&life);
            if life.is_gone() {
                break;
            }
            if life.is_finished() {
                Box::pin(self.release()).await;
            }
            match self.signal(&life, &stop).await {
                Signal::Stop => return Box::pin(self.halt()).await,
                signal => pending = self.understand(&life, signal),
            }
        }
        Box::pin(self.remove()).await;
    }

    async fn signal(&mut self, life: &Lifecycle, stop: &CancellationToken) -> Signal {
        let held = life.held().next().is_some();
        tokio::select! {
            () = stop.cancelled() => Signal::Stop,
            Some(event) = self.inbox.recv() => Signal::Happened(*event),
            Some(done) = self.tasks.join_next() => match done {
                Ok(done) => Signal::Task(done),
                // What it was to say is never said: the worker begins anew, as after a restart of the node.
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => Signal::Happened(Event::Tick),
                },
            },
            Ok(()) = self.news.changed() => Signal::News,
            Ok(()) = self.images.changed(), if held => Signal::Images,
            change = next_change(&mut self.changes) => Signal::Changed(change),
            () = tokio::time::sleep(left(self.renew_at)), if self.renew_at.is_some() => Signal::Renew,
            () = tokio::time::sleep(left(life.wake())) => Signal::Happened(Event::Tick),
        }
    }

    /// What a signal means to the lifecycle.
    fn understand(&mut self, life: &Lifecycle, signal: Signal) -> Vec<Event> {
        match signal {
            Signal::Happened(event) => {
                // A container that started may have been the first to see a token.
                self.renew_at = self.renew_at.or_else(|| self.tokens.renew_at());
                vec![event]
            }
            Signal::Task(Done::Prepared(Ok(Prepared { attachment, places }))) => {
                let ip = attachment.ip();
                let uid = self.pod.metadata.uid.as_deref().unwrap_or_default();
                self.shared.attachments.set(uid, Arc::clone(&attachment));
                let (pod, dir, tokens) = (Arc::clone(&self.pod), self.dir.clone(), Arc::clone(&self.tokens));
                self.late = Some(Arc::new(Late::new(pod, dir, tokens, ip, self.reports.clone())));
                self.attachment = Some(attachment);
                self.places = Arc::new(places);
                self.renew_at = self.tokens.renew_at();
                if std::mem::take(&mut self.stale) {
                    self.refresh();
                }
                vec![Event::Prepared { ip }]
            }
            Signal::Task(Done::Prepared(Err(message))) => vec![Event::PrepareFailed { message }],
            Signal::Task(Done::Refreshed(outcome)) => {
                if std::mem::replace(&mut self.refreshing, Refreshing::No) == Refreshing::Again {
                    self.refresh();
                }
                self.renew_at = self.tokens.renew_at();
                if let Err(message) = outcome {
                    // Not at once, whatever was to be renewed.
                    let later = clock::now().checked_add(RENEWAL_RETRY).ok();
                    self.renew_at = self.renew_at.and(self.renew_at.max(later));
                    self.shared.speaker.pod(&self.pod, None, Kind::Warning, "FailedMount", message);
                }
                Vec::new()
            }
            Signal::Task(Done::Ran(slot, run)) => {
                self.runs.remove(&(slot, run));
                Vec::new()
            }
            Signal::News => self.hear(),
            Signal::Images => self.images_that_came(life),
            Signal::Changed(change) => self.sources_changed(life, change.as_ref()),
            Signal::Renew => {
                if self.renew_at.take_if(|at| *at <= clock::now()).is_some() {
                    self.refresh();
                }
                Vec::new()
            }
            Signal::Stop => Vec::new(),
        }
    }

    fn hear(&mut self) -> Vec<Event> {
        let news = self.news.borrow_and_update().clone();
        match news {
            News::Gone => {
                self.vanished = true;
                vec![Event::Vanished]
            }
            News::Is(pod) => {
                let before = std::mem::replace(&mut self.pod, pod);
                if before.metadata.labels != self.pod.metadata.labels
                    || before.metadata.annotations != self.pod.metadata.annotations
                {
                    self.refresh();
                }
                let mut events = Vec::new();
                if before.spec != self.pod.spec {
                    self.say_what_is_left_out(before.spec.as_ref());
                    events.push(Event::SpecChanged { plan: Box::new(Plan::of(&self.pod)) });
                }
                events.extend(self.deletion());
                events
            }
        }
    }

    fn deletion(&self) -> Option<Event> {
        let meta = &self.pod.metadata;
        meta.deletion_timestamp.as_ref()?;
        let seconds = meta.deletion_grace_period_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(0);
        Some(Event::Delete { grace: Duration::from_secs(seconds) })
    }

    fn images_that_came(&self, life: &Lifecycle) -> Vec<Event> {
        let here = |slot: &Slot| {
            let name = self.container(life, *slot).and_then(|c| c.image).unwrap_or_default();
            name.parse::<Reference>().is_ok_and(|r| self.shared.images.find(&r).is_ok())
        };
        let waits = |problem: &Problem| match problem {
            Problem::ErrImagePull(_) | Problem::ErrImageNeverPull(_) | Problem::InvalidImage(_) => true,
            Problem::InvalidImageName(_)
            | Problem::CreateContainerConfigError(_)
            | Problem::CreateContainerError(_) => false,
        };
        let held = life.held().filter(|(_, p)| waits(p)).map(|(slot, _)| slot);
        held.filter(here).map(|slot| Event::Retry { slot }).collect()
    }

    fn sources_changed(&mut self, life: &Lifecycle, change: Option<&Change>) -> Vec<Event> {
        let ours = |c: &Change| {
            self.pod.metadata.namespace.as_ref() == Some(&c.namespace) && references(&self.pod).contains(&c.source)
        };
        if !change.is_none_or(ours) {
            return Vec::new();
        }
        if life.waits_for_volumes() {
            return vec![Event::RetryPrepare];
        }
        if change.is_some_and(|c| matches!(c.source, Source::Claim(_))) {
            return Vec::new();
        }
        self.refresh();
        let config = life.held().filter(|(_, p)| matches!(p, Problem::CreateContainerConfigError(_)));
        config.map(|(slot, _)| Event::Retry { slot }).collect()
    }

    fn perform(&mut self, life: &Lifecycle, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Prepare => {
                    let (shared, pod, dir) = (Arc::clone(&self.shared), Arc::clone(&self.pod), self.dir.clone());
                    let tokens = Arc::clone(&self.tokens);
                    self.tasks.spawn(async move { Done::Prepared(prepare(&shared, &pod, &dir, &tokens).await) });
                }
                Effect::Start { slot, run } => self.start(life, slot, run),
                Effect::Stop { slot, run } => {
                    if let Some(reins) = self.runs.get(&(slot, run)) {
                        if self.pod.metadata.deletion_timestamp.is_some() {
                            reins.leaving.cancel();
                        }
                        reins.stop.cancel();
                    }
                }
                Effect::Kill { slot, run } => {
                    if let Some(reins) = self.runs.get(&(slot, run)) {
                        reins.kill.cancel();
                    }
                }
                Effect::Say { slot, kind, reason, message } => {
                    let field = slot.and_then(|slot| field(life, slot));
                    self.shared.speaker.pod(&self.pod, field, kind, reason, message);
                }
                // The loop sees that the life is over.
                Effect::Remove => {}
            }
        }
    }

    fn start(&mut self, life: &Lifecycle, slot: Slot, run: Run) {
        let (Some(attachment), Some(late)) = (self.attachment.clone(), self.late.clone()) else { return };
        let Some(container) = self.container(life, slot) else { return };
        let token = CancellationToken::new;
        let reins = Reins { stop: token(), leaving: token(), kill: token() };
        let order = Order {
            shared: Arc::clone(&self.shared),
            pod: Arc::clone(&self.pod),
            field: field(life, slot),
            container,
            attachment,
            imports: Arc::clone(&self.imports),
            dir: self.dir.clone(),
            places: Arc::clone(&self.places),
            late,
            slot,
            run,
            restarts: life.restarts(slot),
            stop: reins.stop.clone(),
            leaving: reins.leaving.clone(),
            kill: reins.kill.clone(),
            reports: self.reports.clone(),
        };
        self.runs.insert((slot, run), reins);
        self.tasks.spawn(async move {
            launch::run(order).await;
            Done::Ran(slot, run)
        });
    }

    fn refresh(&mut self) {
        let Some(attachment) = self.attachment.clone() else {
            self.stale = true;
            return;
        };
        // One at a time, so that what is older never comes last.
        if self.refreshing != Refreshing::No {
            self.refreshing = Refreshing::Again;
            return;
        }
        self.refreshing = Refreshing::Once;
        let (shared, pod, dir) = (Arc::clone(&self.shared), Arc::clone(&self.pod), self.dir.clone());
        let tokens = Arc::clone(&self.tokens);
        let which = if self.late.as_ref().is_some_and(|late| late.is_made()) { Which::All } else { Which::Early };
        self.tasks.spawn(async move {
            Done::Refreshed(prepare::refresh(&shared, &pod, &dir, &tokens, attachment.ip(), which).await)
        });
    }

    fn container(&self, life: &Lifecycle, slot: Slot) -> Option<Container> {
        containers::named(&self.pod, &life.plan_of(slot)?.name)
    }

    fn show(&mut self, life: &Lifecycle) {
        let meta = &self.pod.metadata;
        // What others wrote is theirs: it is taken from the object as it is now.
        let mut before = PodStatus::clone(&self.current);
        if let Some(status) = &self.pod.status {
            let foreign = |c: &&k8s_openapi::api::core::v1::PodCondition| !is_own_condition(&c.type_);
            let mut conditions: Vec<_> = before.conditions.unwrap_or_default();
            conditions.retain(|c| is_own_condition(&c.type_));
            conditions.extend(status.conditions.iter().flatten().filter(foreign).cloned());
            before.conditions = Some(conditions);
        }
        let spec = self.pod.spec.as_ref();
        let gates: Vec<String> =
            spec.iter().flat_map(|s| s.readiness_gates.iter().flatten()).map(|g| g.condition_type.clone()).collect();
        let around = Surroundings {
            before: &before,
            host: self.shared.host_ip,
            generation: meta.generation,
            qos_class: spec.map_or("BestEffort", qos_class),
            gates: &gates,
        };
        let status = status(life, around, clock::now());
        if status != *self.current {
            self.current = Arc::new(status);
            self.publisher.publish(Arc::clone(&self.current));
        }
        let (namespace, name) = self.names();
        let uid = meta.uid.clone().unwrap_or_default();
        self.shared.records.set(
            &namespace,
            &name,
            Record { uid, status: Arc::clone(&self.current), pod: Arc::clone(&self.pod) },
        );
    }

    fn names(&self) -> (String, String) {
        let meta = &self.pod.metadata;
        (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
    }

    /// Nothing of a spec is ignored in silence; what has been said of it before is not said again.
    fn say_what_is_left_out(&self, before: Option<&PodSpec>) {
        let said = before.map(left_out::left_out).unwrap_or_default();
        let mut left_out = self.pod.spec.as_ref().map(left_out::left_out).unwrap_or_default();
        left_out.retain(|what| !said.contains(what));
        if !left_out.is_empty() {
            let message = format!("these have no effect on this node: {}", left_out.join(", "));
            self.shared.speaker.pod(&self.pod, None, Kind::Warning, "Unsupported", message);
        }
    }

    /// A pod that cannot run here at all says why, once.
    fn say_why_rejected(&self, plan: &Plan) {
        if let Some(rejection) = plan.rejection.as_ref().filter(|_| self.current.phase.as_deref() != Some("Failed")) {
            let message = rejection.message.to_owned();
            self.shared.speaker.pod(&self.pod, None, Kind::Warning, rejection.reason, message);
        }
    }
}

/// How long it is until then; never longer than the longest sleep.
fn left(at: Option<Timestamp>) -> Duration {
    at.map_or(SLEEP_MAX, |at| Duration::try_from(at.duration_since(clock::now())).unwrap_or_default().min(SLEEP_MAX))
}

/// The next change of a source; nothing in it if some were missed. Never, for a pod that refers to none.
async fn next_change(changes: &mut Option<broadcast::Receiver<Change>>) -> Option<Change> {
    match changes {
        Some(changes) => match changes.recv().await {
            Ok(change) => Some(change),
            Err(broadcast::error::RecvError::Lagged(_)) => None,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

/// The container as events refer to it.
fn field(life: &Lifecycle, slot: Slot) -> Option<String> {
    let plan = life.plan_of(slot)?;
    Some(containers::field(plan.role, &plan.name))
}
