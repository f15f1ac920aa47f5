//! One container of a pod: its state, its runs and what it waits for.
//!
//! Every attempt to start is a run with a number of its own, so that news of an older one is never taken for
//! news of this one.

use std::time::Duration;

use coracle_api::event::Kind;
use jiff::Timestamp;

use super::backoff::{BACKOFF_MAX, BACKOFF_TOLD_AFTER, CRASH_LOOP_FIRST, CRASH_LOOP_FORGOTTEN, after};

/// A container's place in its pod: init containers first, then its own, in the order of the spec, then ephemeral ones
/// as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub usize);

/// Which attempt to run a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Run(pub u32);

/// The three probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Probe {
    /// Whether it has come up: the others wait for it.
    Startup,
    /// Whether it may be sent requests.
    Readiness,
    /// Whether it is still alive.
    Liveness,
}

impl Probe {
    /// As events name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Readiness => "readiness",
            Self::Liveness => "liveness",
        }
    }
}

/// Why a container cannot be started at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The image's name is malformed. The spec must change.
    InvalidImageName(String),
    /// The image is not here.
    ErrImagePull(String),
    /// The image is not here and may not be pulled.
    ErrImageNeverPull(String),
    /// The image is here and cannot be run.
    InvalidImage(String),
    /// The environment refers to something that is not there.
    CreateContainerConfigError(String),
    /// The node could not make what the container needs.
    CreateContainerError(String),
}

/// Whether a container that is held shows its problem, or that it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// It always shows its problem.
    Never,
    /// It will show that it waits from then on.
    From(Timestamp),
    /// It shows that it waits.
    Told,
}

/// A line of an event: its kind, reason and message.
type Words = (Kind, &'static str, String);

impl Problem {
    /// The reason that the container's state shows.
    pub(super) fn reason(&self, wait: Wait) -> &'static str {
        match self {
            Self::InvalidImageName(_) => "InvalidImageName",
            Self::ErrImagePull(_) if wait == Wait::Told => "ImagePullBackOff",
            Self::ErrImagePull(_) => "ErrImagePull",
            Self::ErrImageNeverPull(_) => "ErrImageNeverPull",
            Self::InvalidImage(_) => "InvalidImage",
            Self::CreateContainerConfigError(_) => "CreateContainerConfigError",
            Self::CreateContainerError(_) => "CreateContainerError",
        }
    }

    /// The message that the container's state shows.
    pub(super) fn message(&self, image: &str, wait: Wait) -> String {
        match self {
            Self::ErrImagePull(m) if wait == Wait::Told => {
                format!("Back-off pulling image {image:?}: ErrImagePull: {m}")
            }
            Self::InvalidImageName(m)
            | Self::ErrImagePull(m)
            | Self::ErrImageNeverPull(m)
            | Self::InvalidImage(m)
            | Self::CreateContainerConfigError(m)
            | Self::CreateContainerError(m) => m.clone(),
        }
    }

    /// What is said when it comes up.
    pub(super) fn words(&self, image: &str) -> Vec<Words> {
        let error = |reason: &str| (Kind::Warning, "Failed", format!("Error: {reason}"));
        match self {
            Self::InvalidImageName(m) => {
                let inspect = format!("Failed to apply default image tag {image:?}: {m}");
                vec![(Kind::Warning, "InspectFailed", inspect), error("InvalidImageName")]
            }
            Self::ErrImagePull(m) => {
                let failed = format!("Failed to pull image {image:?}: {m}");
                vec![(Kind::Warning, "Failed", failed), error("ErrImagePull")]
            }
            Self::ErrImageNeverPull(m) => {
                vec![(Kind::Warning, "ErrImageNeverPull", m.clone()), error("ErrImageNeverPull")]
            }
            Self::InvalidImage(m) | Self::CreateContainerConfigError(m) | Self::CreateContainerError(m) => {
                vec![error(m)]
            }
        }
    }

    /// What is said while it is waited for the next try.
    fn words_of_waiting(&self, image: &str) -> Vec<Words> {
        let waits = format!("Back-off pulling image {image:?}");
        let error = "Error: ImagePullBackOff".to_owned();
        vec![(Kind::Normal, "BackOff", waits), (Kind::Warning, "Failed", error)]
    }

    /// Whether, and when, it is told that the next try is waited for: the failure itself is shown first.
    pub(super) fn wait_from(&self, now: Timestamp) -> Wait {
        match self {
            Self::ErrImagePull(_) => Wait::From(after(now, BACKOFF_TOLD_AFTER)),
            Self::InvalidImageName(_)
            | Self::ErrImageNeverPull(_)
            | Self::InvalidImage(_)
            | Self::CreateContainerConfigError(_)
            | Self::CreateContainerError(_) => Wait::Never,
        }
    }

    /// Whether time may help: a malformed name stays malformed.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::InvalidImageName(_) => false,
            Self::ErrImagePull(_)
            | Self::ErrImageNeverPull(_)
            | Self::InvalidImage(_)
            | Self::CreateContainerConfigError(_)
            | Self::CreateContainerError(_) => true,
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The exit code.
    pub code: i32,
    /// `Completed`, `Error`, `OOMKilled`, …
    pub reason: String,
    /// More about it: a trap's backtrace.
    pub message: Option<String>,
}

impl End {
    /// The end of a program that exited.
    #[must_use]
    pub fn exited(code: i32) -> Self {
        let reason = if code == 0 { "Completed" } else { "Error" };
        Self { code, reason: reason.to_owned(), message: None }
    }
}

/// A run that ended, with its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Termination {
    pub(super) end: End,
    pub(super) started_at: Option<Timestamp>,
    pub(super) finished_at: Timestamp,
    pub(super) id: Option<String>,
}

impl Termination {
    /// The end of a container of which nothing is known any more when its pod is `done`, a participle.
    pub(super) fn lost(done: &str, now: Timestamp) -> Self {
        let end = End {
            code: 137,
            reason: "ContainerStatusUnknown".to_owned(),
            message: Some(format!("The container could not be located when the pod was {done}")),
        };
        Self { end, started_at: None, finished_at: now, id: None }
    }
}

/// Whether a running container is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Halt {
    No,
    Draining { kill_at: Timestamp },
    Killed,
}

/// The state of a container.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) enum State {
    #[default]
    Idle,
    Starting {
        run: Run,
        tries: u32,
    },
    Held {
        problem: Problem,
        until: Option<Timestamp>,
        wait: Wait,
        tries: u32,
    },
    Running {
        run: Run,
        since: Timestamp,
        /// Its postStart hook is done: until then it does not count as running.
        hooked: bool,
        /// A probe or its hook failed, so that it is restarted however it ends.
        failed: bool,
        started: bool,
        ready: bool,
        halt: Halt,
    },
    BackingOff {
        until: Timestamp,
    },
    Ended(Termination),
}

/// A container of a pod.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Container {
    pub(super) state: State,
    pub(super) last: Option<Termination>,
    pub(super) restarts: u32,
    pub(super) id: Option<String>,
    pub(super) image_id: Option<String>,
    /// The wait before the next restart; none before the first.
    pub(super) wait: Option<Duration>,
    pub(super) runs: u32,
}

impl Container {
    pub(super) fn is_starting(&self, wanted: Run) -> bool {
        matches!(self.state, State::Starting { run, .. } if run == wanted)
    }

    pub(super) fn is_running(&self, wanted: Run) -> bool {
        matches!(self.state, State::Running { run, .. } if run == wanted)
    }

    /// Whether it runs or has ever run.
    pub(super) fn has_run(&self) -> bool {
        matches!(self.state, State::Running { hooked: true, .. } | State::Ended(_) | State::BackingOff { .. })
            || self.last.is_some()
    }

    /// Whether it runs, but is to end because a probe or its hook failed.
    pub(super) fn has_failed(&self) -> bool {
        matches!(self.state, State::Running { failed: true, .. })
    }

    /// When something is due without anything happening.
    pub(super) fn timer(&self) -> Option<Timestamp> {
        match &self.state {
            State::Held { until, wait: Wait::From(from), .. } => Some(until.map_or(*from, |u| u.min(*from))),
            State::Held { until, .. } => *until,
            State::BackingOff { until } => Some(*until),
            State::Running { halt: Halt::Draining { kill_at }, .. } => Some(*kill_at),
            State::Running { .. } | State::Idle | State::Starting { .. } | State::Ended(_) => None,
        }
    }

    /// Begins a run, if it is time for one.
    pub(super) fn start_if_due(&mut self, now: Timestamp) -> Option<Run> {
        let tries = match &self.state {
            State::Idle => 0,
            State::Held { until: Some(until), tries, .. } if *until <= now => *tries,
            State::BackingOff { until } if *until <= now => {
                self.restarts = self.restarts.saturating_add(1);
                0
            }
            State::Held { .. }
            | State::BackingOff { .. }
            | State::Starting { .. }
            | State::Running { .. }
            | State::Ended(_) => return None,
        };
        self.runs = self.runs.saturating_add(1);
        let run = Run(self.runs);
        self.state = State::Starting { run, tries };
        Some(run)
    }

    /// What is said now that a failed pull has been shown for a while, and the next one is waited for.
    pub(super) fn words_of_waiting_if_due(&mut self, image: &str, now: Timestamp) -> Vec<Words> {
        match &mut self.state {
            State::Held { problem, wait, .. } => match *wait {
                Wait::From(from) if from <= now => {
                    *wait = Wait::Told;
                    problem.words_of_waiting(image)
                }
                Wait::From(_) | Wait::Never | Wait::Told => Vec::new(),
            },
            _ => Vec::new(),
        }
    }

    /// The run to kill, if its time to drain is over.
    pub(super) fn kill_if_due(&mut self, now: Timestamp) -> Option<Run> {
        match &mut self.state {
            State::Running { run, halt: halt @ Halt::Draining { .. }, .. } => match *halt {
                Halt::Draining { kill_at } if kill_at <= now => {
                    *halt = Halt::Killed;
                    Some(*run)
                }
                Halt::Draining { .. } | Halt::No | Halt::Killed => None,
            },
            _ => None,
        }
    }

    /// The run that just ended, with its times.
    pub(super) fn terminate(&self, end: End, now: Timestamp) -> Termination {
        let (started_at, id) = match self.state {
            State::Running { since, .. } => (Some(since), self.id.clone()),
            _ => (None, None),
        };
        Termination { end, started_at, finished_at: now, id }
    }

    /// When to start again after this end; the next wait is twice as long, unless this run was a long one.
    pub(super) fn crash_loop(&mut self, ended: &Termination, now: Timestamp) -> Timestamp {
        let ran = ended.started_at.and_then(|s| Duration::try_from(now.duration_since(s)).ok()).unwrap_or_default();
        if ran >= CRASH_LOOP_FORGOTTEN {
            self.wait = None;
        }
        let wait = self.wait.unwrap_or_default();
        self.wait = Some(self.wait.map_or(CRASH_LOOP_FIRST, |w| (w * 2).min(BACKOFF_MAX)));
        after(now, wait)
    }

    /// The wait that is under way while backing off, as the message names it.
    pub(super) fn present_wait(&self) -> Duration {
        match self.wait {
            Some(next) if next >= BACKOFF_MAX => BACKOFF_MAX,
            Some(next) => (next / 2).max(CRASH_LOOP_FIRST),
            None => CRASH_LOOP_FIRST,
        }
    }

    /// Whether it waits because it crashed, not because its turn has not come.
    pub(super) fn is_backing_off(&self) -> bool {
        matches!(self.state, State::BackingOff { until } if until > Timestamp::MIN)
    }

    /// It does not run and will not: it shows its last end, if it had one.
    pub(super) fn abandon(&mut self) {
        self.state = match self.last.take() {
            Some(last) => State::Ended(last),
            None => State::Idle,
        };
    }
}
