//! Scale to zero: a Service that is annotated for it has no pods while nobody uses it, and wakes when somebody does.
//!
//! Whoever comes for a sleeping Service is held (`Wait`) until a pod is ready: connections in `delivery`, datagrams in
//! `relay`, requests in `ingress`, and pods at a door of its own (`Doors`). All are counted at one place (`Sleeper`), by
//! which [`ScaleToZero`], a controller of its own, scales what is behind the Service. It keeps nothing but that count:
//! what has to outlive the process is in the objects.
//!
//! Reading order: the annotations (`wish`), who uses it (`sleeper`), what to do (`step`), what is scaled (`targets`,
//! `scaler`), `keeper`, then the doors.

mod wish;

mod sleeper;
mod step;

mod keeper;
mod say;
mod scaler;
mod targets;

mod doors;

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::event::Said;
use coracle_api::names::NamespacedName;
use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Network;
use crate::events::Events;
use crate::table::Table;
use keeper::{Keeper, View};
use say::Subject;
use scaler::Scaler;
use targets::Targets;
use wish::Target;

pub(crate) use doors::Doors;
pub(crate) use sleeper::{Met, Sleeper, Sleepers, Using};
pub(crate) use wish::Sleepy;

/// How many things wait to be said; more are not said.
const SAID_MAX: usize = 64;

/// How many times as long as a pass the rest after it is: at most a tenth of a processor goes into passes.
const REST_PER_PASS: u32 = 9;

/// The controller of Services that sleep.
pub struct ScaleToZero {
    client: Client,
    table: Arc<Table>,
    node: String,
}

/// What it follows and does.
struct Kept {
    client: Client,
    table: Arc<Table>,
    targets: Option<Targets>,
    keepers: BTreeMap<(String, Target), watch::Sender<View>>,
    tasks: JoinSet<()>,
    say: mpsc::Sender<Said>,
    /// What was last complained of each Service.
    complaints: BTreeMap<NamespacedName, Said>,
}

impl ScaleToZero {
    /// Makes a controller for what `network` carries.
    #[must_use]
    pub fn build(client: Client, network: &Network) -> Self {
        Self { client, table: Arc::clone(&network.table), node: network.config.node_name.clone() }
    }

    /// Scales until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.follow()).await;
    }

    async fn follow(self) {
        let mut events = Events::of(self.client.clone(), "scale-to-zero", &self.node);
        let (say, mut said) = mpsc::channel(SAID_MAX);
        let mut wishes = self.table.sleepers().wishes();
        let (targets, keepers, tasks) = (None, BTreeMap::new(), JoinSet::new());
        let mut kept =
            Kept { client: self.client, table: self.table, targets, keepers, tasks, say, complaints: BTreeMap::new() };
        let (mut stale, mut rested) = (true, Instant::now());
        loop {
            tokio::select! {
                changed = wishes.changed() => match changed {
                    Ok(()) => stale = true,
                    Err(_) => return,
                },
                () = changed(&mut kept.targets) => stale = true,
                Some(said) = said.recv() => events.say(&said),
                Some(_) = kept.tasks.join_next() => {}
                () = tokio::time::sleep_until(rested), if stale => {
                    stale = false;
                    let began = Instant::now();
                    let wishes = wishes.borrow_and_update().clone();
                    kept.pass(&wishes);
                    rested = Instant::now() + began.elapsed() * REST_PER_PASS;
                }
            }
        }
    }
}

async fn changed(targets: &mut Option<Targets>) {
    match targets {
        Some(targets) => targets.changed().await,
        None => std::future::pending().await,
    }
}

impl Kept {
    /// Makes who is kept equal to what is wished.
    fn pass(&mut self, wishes: &[Arc<Sleepy>]) {
        if wishes.is_empty() {
            self.targets = None;
            self.keepers.clear();
            self.complaints.clear();
            return;
        }
        let targets = self.targets.get_or_insert_with(|| Targets::new(&self.client));
        if !targets.are_listed() {
            return;
        }
        let all = targets.all();
        let mut views: BTreeMap<(String, Target), View> = BTreeMap::new();
        let mut complaints = BTreeMap::new();
        for sleepy in wishes {
            let complaint = match (&sleepy.wish, all.of(sleepy)) {
                (Err(invalid), _) => Some(say::invalid(invalid)),
                (Ok(_), None) => Some(say::nothing(None)),
                (Ok(_), Some(target)) => {
                    let namespace = sleepy.service.namespace.clone();
                    let known = targets.known(&namespace, &target);
                    let complaint = known.is_none().then(|| say::nothing(Some(&target)));
                    let view = views.entry((namespace, target)).or_insert_with(|| View { sleepers: Vec::new(), known });
                    view.sleepers.extend(self.table.sleepers().get(&sleepy.service));
                    complaint
                }
            };
            if let Some(what) = complaint {
                complaints.insert(sleepy.service.clone(), what.of(Subject::service(sleepy)));
            }
        }
        for (service, said) in &complaints {
            if self.complaints.get(service) != Some(said) {
                let _ = self.say.try_send(said.clone());
            }
        }
        self.complaints = complaints;
        self.keepers.retain(|key, _| views.contains_key(key));
        for (key, view) in views {
            match self.keepers.get(&key) {
                Some(keeper) => {
                    keeper.send_replace(view);
                }
                None => self.begin(key, view),
            }
        }
    }

    fn begin(&mut self, (namespace, target): (String, Target), view: View) {
        let (sender, view) = watch::channel(view);
        let scaler = Scaler::new(self.client.clone(), namespace.clone(), target.clone());
        self.tasks.spawn(Keeper { scaler, view, say: self.say.clone() }.run());
        self.keepers.insert((namespace, target), sender);
    }
}
