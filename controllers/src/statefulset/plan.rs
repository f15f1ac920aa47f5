//! What a StatefulSet does next, from how its pods stand.
//!
//! Invariant: under `OrderedReady` a plan makes or deletes one pod at most for the set's size, and none while
//! a pod before it is not available; an update takes no more pods away than `maxUnavailable` leaves. A pod that
//! never becomes available therefore holds up everything behind it, its own update included, as documented.
//! Source: `updateStatefulSet` in upstream's `stateful_set_control.go`.

use std::collections::BTreeSet;

/// How the pods of a set may come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// One after the other, each when all before it are available.
    OrderedReady,
    /// All at once.
    Parallel,
}

/// Who replaces pods of another revision than the one wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Update {
    /// Whoever deletes them.
    OnDelete,
    /// The controller, from the highest ordinal down.
    Rolling {
        /// How many of the lowest pods keep the current revision.
        partition: usize,
        /// The most pods that may be away because of it.
        max_unavailable: usize,
    },
}

/// How far a pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It has ended, well or not.
    Ended,
    /// It does not run yet.
    Pending,
    /// It runs, but is not ready, or not long enough.
    Started,
    /// It is ready, and has been for `minReadySeconds`.
    Available,
}

/// A pod of the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) ordinal: i32,
    pub(super) stage: Stage,
    /// Made from the revision that is wanted now.
    pub(super) is_updated: bool,
    pub(super) is_terminating: bool,
    /// Its labels, volumes or claims' owners are not as they should be.
    pub(super) needs_mending: bool,
}

impl Member {
    fn is_available(self) -> bool {
        self.stage == Stage::Available && !self.is_terminating
    }
}

/// The place of a pod that the set wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// There is no pod.
    Empty {
        ordinal: i32,
        /// A claim of this name still goes with a former pod.
        is_blocked: bool,
    },
    /// There is one.
    Held(Member),
}

/// A set as far as a plan goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    pub(super) order: Order,
    pub(super) update: Update,
    /// The wanted pods, by ordinal.
    pub(super) slots: Vec<Slot>,
    /// The pods that are no longer wanted, highest ordinal first.
    pub(super) condemned: Vec<Member>,
}

/// Which revision a new pod is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Current,
    Update,
}

/// One thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Create the claims and the pod of this ordinal.
    Create(i32, Source),
    /// Create the claims that the pending pod of this ordinal lacks.
    Claims(i32),
    /// Set right the labels, volumes and claims of the pod of this ordinal.
    Mend(i32),
    /// Set right the owners of the claims of the unwanted pod of this ordinal.
    MendClaims(i32),
    /// Delete the pod of this ordinal.
    Delete(i32),
}

/// What to do now; a part only if all before it went well.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Plan {
    /// For the pods that are wanted.
    pub(super) keep: Vec<Step>,
    /// For the claims of those that are not.
    pub(super) release: Vec<Step>,
    /// To be rid of those that are not.
    pub(super) shrink: Vec<Step>,
    /// To replace those of another revision.
    pub(super) update: Vec<Step>,
}

/// Decides.
pub(super) fn plan(view: &View) -> Plan {
    let mut plan = Plan::default();
    let mut blocked = false;
    for (index, slot) in view.slots.iter().enumerate() {
        let pass = keep(view, index, *slot, &mut plan.keep);
        blocked |= pass == Pass::Wait && view.order == Order::OrderedReady;
        if blocked {
            return plan;
        }
    }
    plan.release = view.condemned.iter().filter(|m| m.needs_mending).map(|m| Step::MendClaims(m.ordinal)).collect();
    plan.shrink = shrink(view);
    if view.order == Order::OrderedReady && !view.condemned.is_empty() {
        return plan;
    }
    if let Update::Rolling { partition, max_unavailable } = view.update {
        let deleted: BTreeSet<i32> = plan.keep.iter().filter_map(|step| deletes(*step)).collect();
        plan.update = update(view, partition, max_unavailable);
        plan.update.retain(|step| deletes(*step).is_none_or(|ordinal| !deleted.contains(&ordinal)));
    }
    plan
}

/// Whether the pods behind this one may be looked at, where there is an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    Next,
    Wait,
}

fn keep(view: &View, index: usize, slot: Slot, steps: &mut Vec<Step>) -> Pass {
    let member = match slot {
        Slot::Empty { is_blocked: true, .. } => return Pass::Wait,
        Slot::Empty { ordinal, is_blocked: false } => {
            let source = match view.update {
                Update::Rolling { partition, .. } if index < partition => Source::Current,
                Update::Rolling { .. } | Update::OnDelete => Source::Update,
            };
            steps.push(Step::Create(ordinal, source));
            return Pass::Wait;
        }
        Slot::Held(member) => member,
    };
    match member.stage {
        Stage::Ended => {
            if !member.is_terminating {
                steps.push(Step::Delete(member.ordinal));
            }
            return Pass::Wait;
        }
        Stage::Pending => steps.push(Step::Claims(member.ordinal)),
        Stage::Started | Stage::Available => {}
    }
    if !member.is_available() && view.order == Order::OrderedReady {
        return Pass::Wait;
    }
    if member.needs_mending {
        steps.push(Step::Mend(member.ordinal));
    }
    Pass::Next
}

/// The deletions that bring the set to its size. Where there is an order all wanted pods are available by now.
fn shrink(view: &View) -> Vec<Step> {
    match view.order {
        Order::Parallel => {
            let live = view.condemned.iter().filter(|member| !member.is_terminating);
            live.map(|member| Step::Delete(member.ordinal)).collect()
        }
        Order::OrderedReady => {
            let Some(highest) = view.condemned.first() else { return Vec::new() };
            let lowest_away = view.condemned.iter().rev().find(|member| !member.is_available());
            // Of pods that are away the lowest goes first; upstream waits for one that has ended, too, for ever.
            let may_go = highest.is_available() || highest.stage == Stage::Ended || lowest_away == Some(highest);
            (may_go && !highest.is_terminating).then_some(Step::Delete(highest.ordinal)).into_iter().collect()
        }
    }
}

/// The deletions that make room for pods of the wanted revision.
fn update(view: &View, partition: usize, max_unavailable: usize) -> Vec<Step> {
    let away = view.slots.iter().filter(|slot| !matches!(slot, Slot::Held(m) if m.is_available())).count();
    let budget = max_unavailable.saturating_sub(away);
    let outdated = view.slots.iter().skip(partition).rev().filter_map(|slot| match slot {
        Slot::Held(member) if !member.is_updated && !member.is_terminating => Some(*member),
        Slot::Held(_) | Slot::Empty { .. } => None,
    });
    let (up, down): (Vec<_>, Vec<_>) = outdated.partition(|member| member.is_available());
    // Who is away already costs nothing; where there is an order nobody is.
    let chosen = down.into_iter().chain(up.into_iter().take(budget));
    chosen.map(|member| Step::Delete(member.ordinal)).collect()
}

fn deletes(step: Step) -> Option<i32> {
    match step {
        Step::Delete(ordinal) => Some(ordinal),
        Step::Create(..) | Step::Claims(_) | Step::Mend(_) | Step::MendClaims(_) => None,
    }
}

#[cfg(test)]
mod tests;
