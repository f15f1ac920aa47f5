//! How large each ReplicaSet of a Deployment should be next: numbers in, numbers out.
//!
//! Invariant: no step makes more than `replicas + max_surge` pods, and none takes away an available pod
//! when fewer than `replicas - max_unavailable` would be left. Source: upstream's `rolling.go` and `sync.go`.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// How a Deployment replaces pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strategy {
    /// Step by step.
    RollingUpdate,
    /// All old ones go before the first new one comes.
    Recreate,
}

/// The numbers that a Deployment's spec sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) strategy: Strategy,
    pub(super) replicas: i32,
    pub(super) max_surge: i32,
    pub(super) max_unavailable: i32,
}

impl Bounds {
    /// Reads them; percentages of surge round up, of unavailability down, and not both may be zero.
    pub(super) fn of(deployment: &Deployment) -> Self {
        let replicas = deployment.spec.replicas.unwrap_or(1);
        let strategy = deployment.spec.strategy.as_ref();
        if strategy.and_then(|s| s.type_.as_deref()) == Some("Recreate") {
            return Self { strategy: Strategy::Recreate, replicas, max_surge: 0, max_unavailable: 0 };
        }
        let rolling = strategy.and_then(|s| s.rolling_update.as_ref());
        let quarter = IntOrString::String("25%".to_owned());
        let part = |value: Option<&IntOrString>, up: bool| share(value.unwrap_or(&quarter), replicas, up);
        let max_surge = part(rolling.and_then(|r| r.max_surge.as_ref()), true);
        let max_unavailable = part(rolling.and_then(|r| r.max_unavailable.as_ref()), false);
        let max_unavailable = if max_surge == 0 && max_unavailable == 0 { 1 } else { max_unavailable };
        Self { strategy: Strategy::RollingUpdate, replicas, max_surge, max_unavailable: max_unavailable.min(replicas) }
    }

    /// The most pods there may be.
    pub(super) fn max_pods(self) -> i32 {
        self.replicas.saturating_add(self.max_surge)
    }

    /// The fewest available pods there may be.
    pub(super) fn min_available(self) -> i32 {
        self.replicas - self.max_unavailable
    }
}

fn share(value: &IntOrString, of: i32, round_up: bool) -> i32 {
    match value {
        IntOrString::Int(n) => (*n).max(0),
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let product = percent.max(0).saturating_mul(i64::from(of));
            let value = if round_up { (product + 99) / 100 } else { product / 100 };
            i32::try_from(value).unwrap_or(i32::MAX)
        }
    }
}

/// A ReplicaSet as far as its size goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) name: String,
    /// `spec.replicas`
    pub(super) wanted: i32,
    /// `status.availableReplicas`
    pub(super) available: i32,
    /// The Deployment's wish when it last scaled this one.
    pub(super) desired: Option<i32>,
    /// The Deployment's maximum when it last scaled this one.
    pub(super) max: Option<i32>,
}

/// A ReplicaSet's next size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scale {
    pub(super) name: String,
    pub(super) to: i32,
}

impl Scale {
    fn of(size: &Size, to: i32) -> Self {
        Self { name: size.name.clone(), to }
    }
}

/// How many pods the new ReplicaSet may have now, all ReplicaSets together having `total`.
pub(super) fn new_size(bounds: Bounds, new_wanted: i32, total: i32) -> i32 {
    match bounds.strategy {
        Strategy::Recreate => bounds.replicas,
        Strategy::RollingUpdate => {
            let room = bounds.max_pods() - total;
            if room <= 0 { new_wanted } else { new_wanted + room.min(bounds.replicas - new_wanted) }
        }
    }
}

/// The next step of a rolling update: the new one grows, or old ones shrink, or nothing. `old` is oldest first.
pub(super) fn plan_rollout(bounds: Bounds, new: &Size, old: &[Size]) -> Vec<Scale> {
    let total: i32 = new.wanted + old.iter().map(|s| s.wanted).sum::<i32>();
    let to = if new.wanted > bounds.replicas { bounds.replicas } else { new_size(bounds, new.wanted, total) };
    if to != new.wanted {
        return vec![Scale::of(new, to)];
    }
    let spare = total - bounds.min_available() - (new.wanted - new.available);
    if spare <= 0 || old.iter().all(|s| s.wanted == 0) {
        return Vec::new();
    }
    let mut next: Vec<i32> = old.iter().map(|s| s.wanted).collect();
    drop_unavailable(&mut next, old, spare);
    let available: i32 = new.available + old.iter().map(|s| s.available).sum::<i32>();
    drop_oldest(&mut next, available - bounds.min_available());
    old.iter().zip(next).filter(|(s, to)| s.wanted != *to).map(|(s, to)| Scale::of(s, to)).collect()
}

/// Old pods that are not available are no loss.
fn drop_unavailable(next: &mut [i32], old: &[Size], mut spare: i32) {
    for (wanted, size) in next.iter_mut().zip(old) {
        let dropped = spare.min(*wanted - size.available).max(0);
        *wanted -= dropped;
        spare -= dropped;
    }
}

fn drop_oldest(next: &mut [i32], mut spare: i32) {
    for wanted in next {
        let dropped = spare.min(*wanted).max(0);
        *wanted -= dropped;
        spare -= dropped;
    }
}

/// The sizes after the Deployment itself was scaled, or while it is paused: each ReplicaSet keeps its share.
///
/// `old` is oldest first; `actual` is how many pods the Deployment has by its status.
pub(super) fn plan_scale(bounds: Bounds, new: Option<&Size>, old: &[Size], actual: i32) -> Vec<Scale> {
    let mut active: Vec<&Size> = old.iter().chain(new).filter(|s| s.wanted > 0).collect();
    if active.len() < 2 {
        let only = active.first().copied().or(new).or(old.last());
        return only.map(|s| Scale::of(s, bounds.replicas)).into_iter().collect();
    }
    if new.is_some_and(|s| is_saturated(bounds, s)) {
        return old.iter().filter(|s| s.wanted > 0).map(|s| Scale::of(s, 0)).collect();
    }
    if bounds.strategy == Strategy::Recreate {
        return Vec::new();
    }
    let total: i32 = active.iter().map(|s| s.wanted).sum();
    let allowed = if bounds.replicas > 0 { bounds.max_pods() } else { 0 };
    let to_add = allowed - total;
    // The largest first; of equals the newer when growing, the older when shrinking.
    if to_add > 0 {
        active.reverse();
    }
    active.sort_by_key(|s| std::cmp::Reverse(s.wanted));
    let mut added = 0;
    let mut scales: Vec<Scale> = Vec::with_capacity(active.len());
    for size in active {
        let share = proportion(bounds, size, actual, to_add, added);
        added += share;
        scales.push(Scale::of(size, size.wanted + share));
    }
    if let Some(largest) = scales.first_mut() {
        largest.to = (largest.to + to_add - added).max(0);
    }
    scales
}

/// Whether the new ReplicaSet alone does all that is wanted.
fn is_saturated(bounds: Bounds, new: &Size) -> bool {
    new.wanted == bounds.replicas && new.desired == Some(bounds.replicas) && new.available == bounds.replicas
}

fn proportion(bounds: Bounds, size: &Size, actual: i32, to_add: i32, added: i32) -> i32 {
    if size.wanted == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let fraction = if bounds.replicas == 0 {
        -size.wanted
    } else {
        let before = size.max.filter(|m| *m > 0).unwrap_or(actual).max(1);
        let scaled = i64::from(size.wanted) * i64::from(bounds.max_pods());
        rounded(scaled, i64::from(before)) - size.wanted
    };
    // A maximum that somebody edited must not turn growing into shrinking or the other way round.
    let left = to_add - added;
    fraction.clamp(left.min(0), left.max(0))
}

/// `a / b` for natural numbers, halves rounded up.
fn rounded(a: i64, b: i64) -> i32 {
    i32::try_from((2 * a + b) / (2 * b)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
