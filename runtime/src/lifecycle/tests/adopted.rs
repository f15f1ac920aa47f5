//! Pods that a former process of the node ran.

use super::*;

#[test]
fn a_pod_that_ran_before_the_process_died_counts_a_restart() {
    let mut life = Lifecycle::new(plan(RestartPolicy::Always, 0, 1), at(0));
    for event in [Event::Tick, Event::Prepared { ip: IP }, started(0, 1)] {
        life = life.step(event, at(0)).0;
    }
    let life = Lifecycle::adopt(plan(RestartPolicy::Always, 0, 1), &shown(&life), at(9));
    let (life, _) = life.step(Event::Tick, at(9));
    let (life, effects) = life.step(Event::Prepared { ip: IP }, at(9));
    assert_eq!(effects, [Effect::Start { slot: Slot(0), run: Run(1) }]);
    let (life, _) = life.step(started(0, 1), at(9));
    assert_eq!(summary(&life), "Running [running+×1]");
    let last = shown(&life).container_statuses.unwrap()[0].last_state.clone().unwrap().terminated.unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (137, Some("ContainerStatusUnknown")));
}

#[test]
fn a_pod_that_never_restarts_fails_if_the_process_died() {
    let mut life = Lifecycle::new(plan(RestartPolicy::Never, 0, 1), at(0));
    for event in [Event::Tick, Event::Prepared { ip: IP }, started(0, 1)] {
        life = life.step(event, at(0)).0;
    }
    let life = Lifecycle::adopt(plan(RestartPolicy::Never, 0, 1), &shown(&life), at(9));
    let life = life.step(Event::Tick, at(9)).0.step(Event::Prepared { ip: IP }, at(9)).0;
    assert_eq!(summary(&life), "Failed [ContainerStatusUnknown/137×0]");
}

/// A pod that was left in this state and is taken up again: with the address and volumes made anew.
fn taken_up(plan: &Plan, left: &Lifecycle) -> Lifecycle {
    let life = Lifecycle::adopt(plan.clone(), &shown(left), at(9));
    life.step(Event::Tick, at(9)).0.step(Event::Prepared { ip: IP }, at(9)).0
}

fn after_all(plan: &Plan, events: Vec<Event>) -> Lifecycle {
    events.into_iter().fold(Lifecycle::new(plan.clone(), at(0)), |life, event| life.step(event, at(0)).0)
}

#[test]
fn sidecars_and_init_containers_begin_again_before_the_others() {
    let plan = sidecars::plan(RestartPolicy::Never, "si", 1);
    let begin = vec![Event::Tick, Event::Prepared { ip: IP }, started(0, 1), started(1, 1), ended(1, 1, 0)];
    let life = taken_up(&plan, &after_all(&plan, begin));
    assert_eq!(summary(&life), "Pending [PodInitializing×1 PodInitializing×0 PodInitializing×0]");
    let (life, effects) = life.step(started(0, 1), at(10));
    assert_eq!(effects, [Effect::Start { slot: Slot(1), run: Run(1) }]);
    assert_eq!(summary(&life), "Pending [running+×1 PodInitializing×1 PodInitializing×0]");
}

#[test]
fn a_pod_that_had_done_its_work_is_finished_without_its_sidecars() {
    let plan = sidecars::plan(RestartPolicy::Never, "s", 1);
    let begin = vec![Event::Tick, Event::Prepared { ip: IP }, started(0, 1), started(1, 1), ended(1, 1, 0)];
    let left = after_all(&plan, begin);
    assert_eq!(summary(&left), "Running [running+×0 Completed/0×0]");
    let life = Lifecycle::adopt(plan, &shown(&left), at(9));
    assert_eq!(summary(&life), "Succeeded [ContainerStatusUnknown/137×0 Completed/0×0]");
}

#[test]
fn an_ephemeral_container_never_runs_again() {
    let plan = ephemeral::with_debugger(&plan(RestartPolicy::Always, 0, 1));
    let begin = vec![Event::Tick, Event::Prepared { ip: IP }, started(0, 1), started(1, 1)];
    let life = taken_up(&plan, &after_all(&plan, begin));
    assert_eq!(summary(&life), "Running [ContainerCreating×1 ContainerStatusUnknown/137×0]");
}
