//! What of a pod's spec decides about its life, parsed once.

mod restart;

use std::time::Duration;

use coracle_api::limits::POD_GRACE_PERIOD;
use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod, PodSpec, Probe};

pub use restart::{RestartPolicy, Restarts, Rule};

/// What a container is to its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Runs to its end before the pod's own containers begin.
    Init,
    /// An init container that goes on beside the pod's own, and stops after them.
    Sidecar,
    /// One of the pod's own: the pod lives as long as these do.
    Main,
    /// Added later by a person who looks into the pod: runs once, and counts for nothing.
    Ephemeral,
}

impl Role {
    /// Whether it is among the init containers of the spec.
    #[must_use]
    pub const fn is_init(self) -> bool {
        matches!(self, Self::Init | Self::Sidecar)
    }
}

/// Which probes a container has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Probes {
    /// It counts as started only once this has succeeded.
    pub startup: bool,
    /// It is ready only while this succeeds.
    pub readiness: bool,
    /// How long the container may take to stop when its startup probe failed, if that probe says so.
    pub startup_grace: Option<Duration>,
    /// The same for the liveness probe.
    pub liveness_grace: Option<Duration>,
}

/// A container, as far as its life goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerPlan {
    /// Its name.
    pub name: String,
    /// Its image, as the spec names it.
    pub image: String,
    /// What it is to its pod.
    pub role: Role,
    /// When it is started again.
    pub restarts: Restarts,
    /// Its probes.
    pub probes: Probes,
    /// Whether something is to be done right after its start, before it counts as running.
    pub post_start: bool,
}

/// Why a pod cannot be run on this node at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// One word, as in `status.reason`.
    pub reason: &'static str,
    /// A sentence.
    pub message: &'static str,
}

/// A pod, as far as its life goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// When its containers are started again, unless they say otherwise.
    pub restart: RestartPolicy,
    /// Its containers: init containers first, then its own, then the ephemeral ones, as they came.
    pub containers: Vec<ContainerPlan>,
    /// How long a container may take to stop.
    pub grace: Duration,
    /// How long it may be active.
    pub deadline: Option<Duration>,
    /// Why it never starts here.
    pub rejection: Option<Rejection>,
}

impl Plan {
    /// The plan of a pod.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        let spec = pod.spec.as_ref();
        let seconds = |s: i64| Duration::from_secs(u64::try_from(s).unwrap_or(0));
        let text = |s: &Option<String>| s.clone().unwrap_or_default();
        Self {
            namespace: text(&pod.metadata.namespace),
            name: text(&pod.metadata.name),
            uid: text(&pod.metadata.uid),
            restart: RestartPolicy::read(spec.and_then(|s| s.restart_policy.as_deref())).unwrap_or_default(),
            containers: spec.map(containers).unwrap_or_default(),
            grace: spec.and_then(|s| s.termination_grace_period_seconds).map_or(POD_GRACE_PERIOD, seconds),
            deadline: spec.and_then(|s| s.active_deadline_seconds).map(seconds),
            rejection: spec.and_then(rejection),
        }
    }

    /// `name_namespace(uid)`, as the kubelet's messages name a pod.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}_{}({})", self.name, self.namespace, self.uid)
    }

    /// Whether it has init containers of either sort.
    pub(super) fn has_inits(&self) -> bool {
        self.containers.first().is_some_and(|c| c.role.is_init())
    }
}

fn containers(spec: &PodSpec) -> Vec<ContainerPlan> {
    let inits = spec.init_containers.iter().flatten().map(|c| {
        let sidecar = c.restart_policy.as_deref() == Some("Always");
        container(c, if sidecar { Role::Sidecar } else { Role::Init })
    });
    let main = spec.containers.iter().map(|c| container(c, Role::Main));
    inits.chain(main).chain(spec.ephemeral_containers.iter().flatten().map(ephemeral)).collect()
}

fn container(c: &Container, role: Role) -> ContainerPlan {
    ContainerPlan {
        name: c.name.clone(),
        image: c.image.clone().unwrap_or_default(),
        role,
        restarts: Restarts::of(c),
        probes: Probes {
            startup: c.startup_probe.is_some(),
            readiness: c.readiness_probe.is_some(),
            startup_grace: c.startup_probe.as_ref().and_then(grace),
            liveness_grace: c.liveness_probe.as_ref().and_then(grace),
        },
        post_start: c.lifecycle.as_ref().is_some_and(|l| l.post_start.is_some()),
    }
}

fn ephemeral(c: &EphemeralContainer) -> ContainerPlan {
    ContainerPlan {
        name: c.name.clone(),
        image: c.image.clone().unwrap_or_default(),
        role: Role::Ephemeral,
        restarts: Restarts::default(),
        probes: Probes::default(),
        post_start: false,
    }
}

fn grace(probe: &Probe) -> Option<Duration> {
    probe.termination_grace_period_seconds.and_then(|s| u64::try_from(s).ok()).map(Duration::from_secs)
}

/// Only pods for another sort of machine are turned away, as the kubelet does.
fn rejection(spec: &PodSpec) -> Option<Rejection> {
    let elsewhere = spec.os.as_ref().is_some_and(|os| os.name != "linux");
    elsewhere.then_some(Rejection {
        reason: "PodOSNotSupported",
        message: "Failed to admit pod as the OS field doesn't match node OS",
    })
}
