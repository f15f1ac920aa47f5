//! Containers that are added to a pod to look into it.

use super::*;

/// The same pod with a container added.
pub(super) fn with_debugger(plan: &Plan) -> Plan {
    let debugger = ContainerPlan {
        name: "debugger".to_owned(),
        image: "hello:1".to_owned(),
        role: Role::Ephemeral,
        restarts: Restarts::default(),
        probes: Probes::default(),
        post_start: false,
    };
    Plan { containers: plan.containers.iter().cloned().chain([debugger]).collect(), ..plan.clone() }
}

fn debug(plan: &Plan) -> Event {
    Event::SpecChanged { plan: Box::new(with_debugger(plan)) }
}

#[test]
fn an_ephemeral_container_runs_once_and_counts_for_nothing() {
    let plan = plan(RestartPolicy::Always, 0, 1);
    check(
        plan.clone(),
        vec![
            (0, Event::Tick),
            (0, Event::Prepared { ip: IP }),
            (0, started(0, 1)),
            (5, debug(&plan)),
            (6, debug(&plan)),
            (6, started(1, 1)),
            (7, ended(1, 1, 3)),
            (900, Event::Tick),
        ],
        &expect![[r#"
            0s Pending [ContainerCreating×0] → prepare
            0s Pending [ContainerCreating×0] → start 0.1
            0s Running [running+×0] → 
            5s Running [running+×0 ContainerCreating×0] → start 1.1
            6s Running [running+×0 ContainerCreating×0] → 
            6s Running [running+×0 running×0] → 
            7s Running [running+×0 Error/3×0] → 
            900s Running [running+×0 Error/3×0] → 
        "#]],
    );
}

#[test]
fn an_ephemeral_container_may_look_at_a_pod_that_does_not_come_up_and_ends_with_it() {
    let plan = plan(RestartPolicy::Never, 1, 1);
    check(
        plan.clone(),
        vec![
            (0, debug(&plan)),
            (0, Event::Prepared { ip: IP }),
            (0, started(2, 1)),
            (0, started(0, 1)),
            (5, ended(0, 1, 1)),
            (6, ended(2, 1, 143)),
        ],
        &expect![[r#"
            0s Pending [PodInitializing×0 PodInitializing×0 PodInitializing×0] → prepare
            0s Pending [PodInitializing×0 PodInitializing×0 PodInitializing×0] → start 0.1, start 2.1
            0s Pending [PodInitializing×0 PodInitializing×0 running×0] → 
            0s Pending [running×0 PodInitializing×0 running×0] → 
            5s Pending [Error/1×0 PodInitializing×0 running×0] → say Killing, stop 2.1
            6s Failed [Error/1×0 PodInitializing×0 Error/143×0] → 
        "#]],
    );
}
