//! What this node and its pods use: read when somebody asks, and at no other time.
//!
//! Counters are read off what runs ([`meters`]) and off the system ([`machine`]). A rate needs two readings: the older
//! one is that of an earlier question, so that nothing has to be sampled while nobody asks. Only who asks after a
//! minute of silence waits, for the moment between two readings of its own.

pub(crate) mod directory;
pub(crate) mod disk;
pub(crate) mod figures;
mod history;
pub(crate) mod machine;
pub(crate) mod meters;
pub(crate) mod summary;
pub(crate) mod usage;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use coracle_api::clock;
use coracle_api::names::NodeName;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::pods::Records;

pub(crate) use disk::Places;
pub(crate) use figures::{ContainerFigures, Figures, PodFigures};
use history::{Before, History, Reading};
pub(crate) use machine::MachineReading;
pub(crate) use meters::Meters;

/// How far the two readings of who asks first are apart: some turns of every quota, and no long wait for a person.
const FIRST_WINDOW: Duration = Duration::from_secs(1);

/// Where the figures come from.
#[derive(Clone)]
pub(crate) struct Stats {
    pub(crate) node: NodeName,
    pub(crate) meters: Meters,
    pub(crate) records: Records,
    pub(crate) places: Places,
    pub(crate) started: Timestamp,
    history: Arc<Mutex<History>>,
}

impl Stats {
    pub(crate) fn new(node: NodeName, records: Records, places: Places) -> Self {
        Self { node, meters: Meters::default(), records, places, started: clock::now(), history: Arc::default() }
    }

    /// The counters as they are, without rates. Costs no wait.
    pub(crate) fn counters(&self) -> Figures {
        self.read(&Before::Nothing).1
    }

    /// What is used now, with rates.
    pub(crate) async fn figures(&self) -> Figures {
        let before = self.lock().before(Instant::now());
        let (reading, figures) = self.read(&before);
        self.lock().push(reading);
        if !matches!(before, Before::Nothing) {
            return figures;
        }
        tokio::time::sleep(FIRST_WINDOW).await;
        let before = self.lock().before(Instant::now());
        let (reading, figures) = self.read(&before);
        self.lock().push(reading);
        figures
    }

    fn read(&self, before: &Before) -> (Reading, Figures) {
        let (at, time) = (Instant::now(), clock::now());
        let machine = MachineReading::take();
        let all = self.meters.all();
        let mut containers = BTreeMap::new();
        for container in all.values().flat_map(|pod| &pod.containers) {
            containers.insert(container.id, container.usage.cpu);
        }
        let reading = Reading { at, node: machine.cpu, process: machine.process_cpu, containers };
        let figures = figures::figures(&reading, before, time, machine, &all, &self.records.all());
        (reading, figures)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
