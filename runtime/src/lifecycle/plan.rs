//! What of a pod's spec decides about its life, parsed once.

use std::time::Duration;

use coracle_api::limits::POD_GRACE_PERIOD;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Probe};

use super::container::Slot;

/// When ended containers are started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    /// However they ended.
    Always,
    /// If they failed.
    OnFailure,
    /// Not at all.
    Never,
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
    /// Its probes.
    pub probes: Probes,
    /// Whether something is to be done right after its start, before it counts as running.
    pub post_start: bool,
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
    /// When its containers are started again.
    pub restart: RestartPolicy,
    /// Its containers, init containers first.
    pub containers: Vec<ContainerPlan>,
    /// How many of them are init containers.
    pub inits: usize,
    /// How long a container may take to stop.
    pub grace: Duration,
    /// How long it may be active.
    pub deadline: Option<Duration>,
    /// What it asks that this node cannot give, so that it never starts.
    pub refusal: Option<String>,
}

impl Plan {
    /// The plan of a pod.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        let spec = pod.spec.as_ref();
        let inits = spec.and_then(|s| s.init_containers.as_deref()).unwrap_or_default();
        let main = spec.map(|s| s.containers.as_slice()).unwrap_or_default();
        let seconds = |s: i64| Duration::from_secs(u64::try_from(s).unwrap_or(0));
        let text = |s: &Option<String>| s.clone().unwrap_or_default();
        Self {
            namespace: text(&pod.metadata.namespace),
            name: text(&pod.metadata.name),
            uid: text(&pod.metadata.uid),
            restart: match spec.and_then(|s| s.restart_policy.as_deref()) {
                Some("Never") => RestartPolicy::Never,
                Some("OnFailure") => RestartPolicy::OnFailure,
                Some(_) | None => RestartPolicy::Always,
            },
            containers: inits.iter().chain(main).map(container).collect(),
            inits: inits.len(),
            grace: spec.and_then(|s| s.termination_grace_period_seconds).map_or(POD_GRACE_PERIOD, seconds),
            deadline: spec.and_then(|s| s.active_deadline_seconds).map(seconds),
            refusal: spec.and_then(refusal),
        }
    }

    /// `name_namespace(uid)`, as the kubelet's messages name a pod.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}_{}({})", self.name, self.namespace, self.uid)
    }

    /// Whether the container is to be started again after ending with `code`.
    pub(super) fn restarts(&self, slot: Slot, code: i32) -> bool {
        match self.restart {
            RestartPolicy::Always => code != 0 || slot.0 >= self.inits,
            RestartPolicy::OnFailure => code != 0,
            RestartPolicy::Never => false,
        }
    }
}

fn container(c: &Container) -> ContainerPlan {
    ContainerPlan {
        name: c.name.clone(),
        image: c.image.clone().unwrap_or_default(),
        probes: Probes {
            startup: c.startup_probe.is_some(),
            readiness: c.readiness_probe.is_some(),
            startup_grace: c.startup_probe.as_ref().and_then(grace),
            liveness_grace: c.liveness_probe.as_ref().and_then(grace),
        },
        post_start: c.lifecycle.as_ref().is_some_and(|l| l.post_start.is_some()),
    }
}

fn grace(probe: &Probe) -> Option<Duration> {
    probe.termination_grace_period_seconds.and_then(|s| u64::try_from(s).ok()).map(Duration::from_secs)
}

/// What would change a pod's meaning if it were left out.
fn refusal(spec: &PodSpec) -> Option<String> {
    let sidecar = spec.init_containers.iter().flatten().find(|c| c.restart_policy.as_deref() == Some("Always"))?;
    Some(format!(
        "init container {:?} has restartPolicy Always (a sidecar), which this node cannot run; make it a container of the pod",
        sidecar.name
    ))
}
