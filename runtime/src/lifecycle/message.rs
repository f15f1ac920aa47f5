//! What goes in and out of the machine: events that happened, effects that are wanted.
//!
//! Every event names the run it is about, so that late news is known for what it is.

use std::net::IpAddr;
use std::time::Duration;

use coracle_api::event::Kind;

use super::container::{End, Probe, Problem, Run, Slot};
use super::plan::Plan;

/// What happened to a pod.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Its address and volumes are there.
    Prepared {
        /// The pod's address.
        ip: IpAddr,
    },
    /// They could not be made; the message is for people.
    PrepareFailed {
        /// Why.
        message: String,
    },
    /// A container runs, and serves if it is one that serves.
    Started {
        /// Which container.
        slot: Slot,
        /// Which of its runs.
        run: Run,
        /// The identity of this run, as in `containerID`.
        id: String,
        /// The image it runs, as in `imageID`.
        image_id: String,
    },
    /// What was to be done right after the start of a container is done.
    Hooked {
        /// Which container.
        slot: Slot,
        /// Which of its runs.
        run: Run,
        /// Whether it could be done.
        succeeded: bool,
    },
    /// A container could not be started.
    StartFailed {
        /// Which container.
        slot: Slot,
        /// Which of its runs.
        run: Run,
        /// Why.
        problem: Problem,
    },
    /// A container ended.
    Ended {
        /// Which container.
        slot: Slot,
        /// Which of its runs.
        run: Run,
        /// How.
        end: End,
    },
    /// A probe has come to a new opinion, thresholds counted.
    Probed {
        /// Which container.
        slot: Slot,
        /// Which of its runs.
        run: Run,
        /// Which probe.
        probe: Probe,
        /// Its opinion.
        healthy: bool,
    },
    /// The spec is another than it was.
    SpecChanged {
        /// What follows from it now.
        plan: Box<Plan>,
    },
    /// What a held container waits for may be there now.
    Retry {
        /// Which container.
        slot: Slot,
    },
    /// What the volumes wait for may be there now.
    RetryPrepare,
    /// Time has passed.
    Tick,
    /// Somebody deleted the pod.
    Delete {
        /// How long it may take to stop.
        grace: Duration,
    },
    /// The node needs what the pod takes, or the pod takes more than it may: it stops and has failed.
    Evict {
        /// One word, as in `status.reason`: `Evicted`.
        reason: &'static str,
        /// A sentence, as in `status.message`.
        message: String,
        /// How long it may take to stop.
        grace: Duration,
    },
    /// The object is gone from the API, whatever still runs.
    Vanished,
}

/// What the shell must do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Get an address and make the volumes.
    Prepare,
    /// Start a container.
    Start {
        /// Which container.
        slot: Slot,
        /// The run it will be.
        run: Run,
    },
    /// Ask a container to stop: drain what is in flight.
    Stop {
        /// Which container.
        slot: Slot,
        /// Which of its runs.
        run: Run,
    },
    /// End a container now, or give up starting it.
    Kill {
        /// Which container.
        slot: Slot,
        /// Which of its runs.
        run: Run,
    },
    /// Say something about the pod, or about one of its containers.
    Say {
        /// The container, if it is about one.
        slot: Option<Slot>,
        /// Normal or Warning.
        kind: Kind,
        /// One word.
        reason: &'static str,
        /// A sentence.
        message: String,
    },
    /// Everything has ended: write the last status, tear down, and delete the object if it is still there.
    Remove,
}
