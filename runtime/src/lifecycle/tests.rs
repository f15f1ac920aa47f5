//! The machine by tables: what happens, and what it makes of it.

mod adopted;
mod ephemeral;
mod promises;
mod sidecars;

use std::net::Ipv4Addr;

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1::PodStatus;

use std::time::Duration;

use super::*;

const IP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 42, 0, 7));

fn plan(restart: RestartPolicy, inits: usize, main: usize) -> Plan {
    let container = |i| ContainerPlan {
        name: format!("c{i}"),
        image: "hello:1".to_owned(),
        role: if i < inits { Role::Init } else { Role::Main },
        restarts: Restarts::default(),
        probes: Probes::default(),
        post_start: false,
    };
    Plan {
        namespace: "default".to_owned(),
        name: "p".to_owned(),
        uid: "u".to_owned(),
        restart,
        containers: (0..inits + main).map(container).collect(),
        grace: Duration::from_secs(30),
        deadline: None,
        rejection: None,
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

fn started(slot: usize, run: u32) -> Event {
    Event::Started { slot: Slot(slot), run: Run(run), id: format!("id{run}"), image_id: "img".to_owned() }
}

fn ended(slot: usize, run: u32, code: i32) -> Event {
    Event::Ended { slot: Slot(slot), run: Run(run), end: End::exited(code) }
}

fn shown(life: &Lifecycle) -> PodStatus {
    let before = PodStatus::default();
    let around = Surroundings {
        before: &before,
        host: IpAddr::V4(Ipv4Addr::LOCALHOST),
        generation: None,
        qos_class: "BestEffort",
        gates: &[],
    };
    status(life, around, at(0))
}

/// The phase and, for each container, its state, readiness and restarts.
fn summary(life: &Lifecycle) -> String {
    let status = shown(life);
    let state = |c: &k8s_openapi::api::core::v1::ContainerStatus| {
        let state = c.state.clone().unwrap_or_default();
        let word = match (state.waiting, state.running, state.terminated) {
            (Some(w), _, _) => w.reason.unwrap_or_default(),
            (_, Some(_), _) => "running".to_owned(),
            (_, _, Some(t)) => format!("{}/{}", t.reason.unwrap_or_default(), t.exit_code),
            _ => "?".to_owned(),
        };
        format!("{word}{}×{}", if c.ready { "+" } else { "" }, c.restart_count)
    };
    let lists = [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
    let all = lists.into_iter().flatten().flatten();
    format!("{} [{}]", status.phase.clone().unwrap_or_default(), all.map(state).collect::<Vec<_>>().join(" "))
}

fn effect(e: &Effect) -> String {
    match e {
        Effect::Prepare => "prepare".to_owned(),
        Effect::Start { slot, run } => format!("start {}.{}", slot.0, run.0),
        Effect::Stop { slot, run } => format!("stop {}.{}", slot.0, run.0),
        Effect::Kill { slot, run } => format!("kill {}.{}", slot.0, run.0),
        Effect::Say { reason, .. } => format!("say {reason}"),
        Effect::Remove => "remove".to_owned(),
    }
}

fn check(plan: Plan, events: Vec<(i64, Event)>, expected: &Expect) {
    let mut life = Lifecycle::new(plan, at(0));
    let mut lines = String::new();
    for (second, event) in events {
        let (next, effects) = life.step(event, at(second));
        life = next;
        let effects: Vec<String> = effects.iter().map(effect).collect();
        lines += &format!("{second}s {} → {}\n", summary(&life), effects.join(", "));
    }
    expected.assert_eq(&lines);
}

#[test]
fn a_server_starts_runs_and_is_deleted() {
    check(
        plan(RestartPolicy::Always, 0, 1),
        vec![
            (0, Event::Tick),
            (0, Event::Prepared { ip: IP }),
            (0, started(0, 1)),
            (50, Event::Delete { grace: Duration::from_secs(30) }),
            (51, ended(0, 1, 0)),
        ],
        &expect![[r#"
            0s Pending [ContainerCreating×0] → prepare
            0s Pending [ContainerCreating×0] → start 0.1
            0s Running [running+×0] → 
            50s Running [running+×0] → say Killing, stop 0.1
            51s Succeeded [Completed/0×0] → remove
        "#]],
    );
}

#[test]
fn a_crashing_container_backs_off_longer_and_longer() {
    check(
        plan(RestartPolicy::Always, 0, 1),
        vec![
            (0, Event::Tick),
            (0, Event::Prepared { ip: IP }),
            (0, started(0, 1)),
            (1, ended(0, 1, 1)),
            (1, started(0, 2)),
            (2, ended(0, 2, 1)),
            (11, Event::Tick),
            (12, Event::Tick),
            (12, started(0, 3)),
            (13, ended(0, 3, 1)),
            (33, Event::Tick),
            (33, started(0, 4)),
            (700, ended(0, 4, 1)),
        ],
        &expect![[r#"
            0s Pending [ContainerCreating×0] → prepare
            0s Pending [ContainerCreating×0] → start 0.1
            0s Running [running+×0] → 
            1s Running [ContainerCreating×1] → start 0.2
            1s Running [running+×1] → 
            2s Running [CrashLoopBackOff×1] → say BackOff
            11s Running [CrashLoopBackOff×1] → 
            12s Running [ContainerCreating×2] → start 0.3
            12s Running [running+×2] → 
            13s Running [CrashLoopBackOff×2] → say BackOff
            33s Running [ContainerCreating×3] → start 0.4
            33s Running [running+×3] → 
            700s Running [ContainerCreating×4] → start 0.5
        "#]],
    );
}

#[test]
fn the_crash_loop_message_is_upstreams() {
    let mut life = Lifecycle::new(plan(RestartPolicy::Always, 0, 1), at(0));
    let events =
        [Event::Tick, Event::Prepared { ip: IP }, started(0, 1), ended(0, 1, 1), started(0, 2), ended(0, 2, 3)];
    for event in events {
        life = life.step(event, at(0)).0;
    }
    let state = shown(&life).container_statuses.unwrap()[0].clone();
    let message = state.state.unwrap().waiting.unwrap().message.unwrap();
    assert_eq!(message, "back-off 10s restarting failed container=c0 pod=p_default(u)");
    assert_eq!(state.last_state.unwrap().terminated.unwrap().exit_code, 3);
}

#[test]
fn init_containers_run_in_order_and_a_failure_ends_a_pod_that_never_restarts() {
    check(
        plan(RestartPolicy::Never, 2, 1),
        vec![
            (0, Event::Tick),
            (0, Event::Prepared { ip: IP }),
            (0, started(0, 1)),
            (1, ended(0, 1, 0)),
            (1, started(1, 1)),
            (2, ended(1, 1, 7)),
            (3, Event::Delete { grace: Duration::ZERO }),
        ],
        &expect![[r#"
            0s Pending [PodInitializing×0 PodInitializing×0 PodInitializing×0] → prepare
            0s Pending [PodInitializing×0 PodInitializing×0 PodInitializing×0] → start 0.1
            0s Pending [running×0 PodInitializing×0 PodInitializing×0] → 
            1s Pending [Completed/0+×0 PodInitializing×0 PodInitializing×0] → start 1.1
            1s Pending [Completed/0+×0 running×0 PodInitializing×0] → 
            2s Failed [Completed/0+×0 Error/7×0 PodInitializing×0] → 
            3s Failed [Completed/0+×0 Error/7×0 PodInitializing×0] → remove
        "#]],
    );
}

#[test]
fn a_missing_image_waits_and_is_retried_at_once_when_it_arrives() {
    let problem = || Problem::ErrImagePull("not here".to_owned());
    let failed = |run| Event::StartFailed { slot: Slot(0), run: Run(run), problem: problem() };
    check(
        plan(RestartPolicy::Always, 0, 1),
        vec![
            (0, Event::Tick),
            (0, Event::Prepared { ip: IP }),
            (0, failed(1)),
            (5, Event::Tick),
            (10, Event::Tick),
            (10, failed(2)),
            (12, Event::Retry { slot: Slot(0) }),
            (12, started(0, 3)),
        ],
        &expect![[r#"
            0s Pending [ContainerCreating×0] → prepare
            0s Pending [ContainerCreating×0] → start 0.1
            0s Pending [ErrImagePull×0] → say Failed, say Failed
            5s Pending [ImagePullBackOff×0] → say BackOff, say Failed
            10s Pending [ContainerCreating×0] → start 0.2
            10s Pending [ErrImagePull×0] → say Failed, say Failed
            12s Pending [ContainerCreating×0] → start 0.3
            12s Running [running+×0] → 
        "#]],
    );
}

#[test]
fn another_image_restarts_what_runs_and_retries_what_could_not_start() {
    let changed = |image: &str| {
        let mut plan = plan(RestartPolicy::Always, 0, 1);
        plan.containers[0].image = image.to_owned();
        Event::SpecChanged { plan: Box::new(plan) }
    };
    let problem = Problem::InvalidImageName("bad".to_owned());
    check(
        plan(RestartPolicy::Always, 0, 1),
        vec![
            (0, Event::Tick),
            (0, Event::Prepared { ip: IP }),
            (0, Event::StartFailed { slot: Slot(0), run: Run(1), problem }),
            (1, changed("hello:2")),
            (1, started(0, 2)),
            (2, changed("hello:2")),
            (3, changed("hello:3")),
            (4, ended(0, 2, 0)),
        ],
        &expect![[r#"
            0s Pending [ContainerCreating×0] → prepare
            0s Pending [ContainerCreating×0] → start 0.1
            0s Pending [InvalidImageName×0] → say InspectFailed, say Failed
            1s Pending [ContainerCreating×0] → start 0.2
            1s Running [running+×0] → 
            2s Running [running+×0] → 
            3s Running [running+×0] → say Killing, stop 0.2
            4s Running [ContainerCreating×1] → start 0.3
        "#]],
    );
}

/// One container whose probes or postStart hook matter.
fn probed_plan(restart: RestartPolicy, change: impl FnOnce(&mut ContainerPlan)) -> Plan {
    let mut plan = plan(restart, 0, 1);
    change(&mut plan.containers[0]);
    plan
}

fn probed(probe: Probe, healthy: bool) -> Event {
    Event::Probed { slot: Slot(0), run: Run(1), probe, healthy }
}

#[test]
fn a_failed_liveness_probe_restarts_the_container_however_it_ends() {
    let patience = Duration::from_secs(3);
    check(
        probed_plan(RestartPolicy::OnFailure, |c| c.probes.liveness_grace = Some(patience)),
        vec![
            (0, Event::Tick),
            (0, Event::Prepared { ip: IP }),
            (0, started(0, 1)),
            (10, probed(Probe::Liveness, false)),
            (12, Event::Tick),
            (13, Event::Tick),
            (13, ended(0, 1, 0)),
        ],
        &expect![[r#"
            0s Pending [ContainerCreating×0] → prepare
            0s Pending [ContainerCreating×0] → start 0.1
            0s Running [running+×0] → 
            10s Running [running+×0] → say Killing, stop 0.1
            12s Running [running+×0] → 
            13s Running [running+×0] → kill 0.1
            13s Running [ContainerCreating×1] → start 0.2
        "#]],
    );
    check(
        probed_plan(RestartPolicy::Never, |_| {}),
        vec![
            (0, Event::Tick),
            (0, Event::Prepared { ip: IP }),
            (0, started(0, 1)),
            (10, probed(Probe::Liveness, false)),
            (10, ended(0, 1, 143)),
        ],
        &expect![[r#"
            0s Pending [ContainerCreating×0] → prepare
            0s Pending [ContainerCreating×0] → start 0.1
            0s Running [running+×0] → 
            10s Running [running+×0] → say Killing, stop 0.1
            10s Failed [Error/143×0] → 
        "#]],
    );
}

#[test]
fn a_container_that_drains_may_become_unready_but_is_not_killed_for_its_health() {
    check(
        probed_plan(RestartPolicy::Always, |c| c.probes.readiness = true),
        vec![
            (0, Event::Tick),
            (0, Event::Prepared { ip: IP }),
            (0, started(0, 1)),
            (1, probed(Probe::Readiness, true)),
            (5, Event::Delete { grace: Duration::from_secs(30) }),
            (6, probed(Probe::Readiness, false)),
            (7, probed(Probe::Liveness, false)),
        ],
        &expect![[r#"
            0s Pending [ContainerCreating×0] → prepare
            0s Pending [ContainerCreating×0] → start 0.1
            0s Running [running×0] → 
            1s Running [running+×0] → 
            5s Running [running+×0] → say Killing, stop 0.1
            6s Running [running×0] → 
            7s Running [running×0] → 
        "#]],
    );
}

#[test]
fn a_container_counts_as_running_when_its_post_start_hook_is_done() {
    let hooked = |run, succeeded| Event::Hooked { slot: Slot(0), run: Run(run), succeeded };
    check(
        probed_plan(RestartPolicy::Always, |c| c.post_start = true),
        vec![
            (0, Event::Tick),
            (0, Event::Prepared { ip: IP }),
            (0, started(0, 1)),
            (4, hooked(1, false)),
            (5, ended(0, 1, 0)),
            (5, started(0, 2)),
            (9, hooked(2, true)),
            (9, hooked(1, false)),
        ],
        &expect![[r#"
            0s Pending [ContainerCreating×0] → prepare
            0s Pending [ContainerCreating×0] → start 0.1
            0s Pending [ContainerCreating×0] → 
            4s Pending [ContainerCreating×0] → say Killing, stop 0.1
            5s Running [ContainerCreating×1] → start 0.2
            5s Running [ContainerCreating×1] → 
            9s Running [running+×1] → 
            9s Running [running+×1] → 
        "#]],
    );
}

#[test]
fn what_does_not_stop_is_killed_after_the_grace_period() {
    check(
        plan(RestartPolicy::Always, 0, 1),
        vec![
            (0, Event::Tick),
            (0, Event::Prepared { ip: IP }),
            (0, started(0, 1)),
            (5, Event::Delete { grace: Duration::from_secs(30) }),
            (34, Event::Tick),
            (35, Event::Tick),
            (35, ended(0, 1, 137)),
            (36, started(0, 9)),
        ],
        &expect![[r#"
            0s Pending [ContainerCreating×0] → prepare
            0s Pending [ContainerCreating×0] → start 0.1
            0s Running [running+×0] → 
            5s Running [running+×0] → say Killing, stop 0.1
            34s Running [running+×0] → 
            35s Running [running+×0] → kill 0.1
            35s Failed [Error/137×0] → remove
            36s Failed [Error/137×0] → kill 0.9
        "#]],
    );
}

#[test]
fn an_evicted_pod_stops_fails_and_says_why() {
    let evict = |grace| Event::Evict { reason: "Evicted", message: "too much".to_owned(), grace };
    check(
        plan(RestartPolicy::Always, 0, 1),
        vec![
            (0, Event::Tick),
            (0, Event::Prepared { ip: IP }),
            (0, started(0, 1)),
            (5, evict(Duration::from_secs(9))),
            (6, evict(Duration::from_secs(1))),
            (7, Event::Tick),
            (7, ended(0, 1, 137)),
            (8, evict(Duration::ZERO)),
            (9, Event::Delete { grace: Duration::from_secs(30) }),
        ],
        &expect![[r#"
            0s Pending [ContainerCreating×0] → prepare
            0s Pending [ContainerCreating×0] → start 0.1
            0s Running [running+×0] → 
            5s Running [running+×0] → say Evicted, say Killing, stop 0.1
            6s Running [running+×0] → 
            7s Running [running+×0] → kill 0.1
            7s Failed [Error/137×0] → 
            8s Failed [Error/137×0] → 
            9s Failed [Error/137×0] → remove
        "#]],
    );
    let life = Lifecycle::new(plan(RestartPolicy::Always, 0, 1), at(0));
    let life = life.step(evict(Duration::ZERO), at(1)).0;
    let status = shown(&life);
    assert_eq!((status.reason.as_deref(), status.message.as_deref()), (Some("Evicted"), Some("too much")));
    let target = status.conditions.unwrap().into_iter().find(|c| c.type_ == "DisruptionTarget").unwrap();
    assert_eq!((target.status.as_str(), target.reason.as_deref()), ("True", Some("TerminationByKubelet")));
}

#[test]
fn a_pod_that_is_turned_away_has_failed_before_anything_began() {
    let rejection = Rejection { reason: "PodOSNotSupported", message: "not here" };
    let plan = Plan { rejection: Some(rejection), ..plan(RestartPolicy::Always, 0, 1) };
    let (life, effects) = Lifecycle::new(plan, at(0)).step(Event::Tick, at(0));
    assert_eq!(effects, []);
    let status = shown(&life);
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("PodOSNotSupported")));
    assert_eq!(status.message.as_deref(), Some("Pod was rejected: not here"));
    assert_eq!(status.container_statuses, None);
    assert_eq!(life.step(Event::Delete { grace: Duration::ZERO }, at(1)).1, [Effect::Remove]);
}

#[test]
fn a_deadline_may_come_later_and_an_own_container_that_never_began_is_said_to_have_ended() {
    let mut late = plan(RestartPolicy::Always, 0, 2);
    late.deadline = Some(Duration::from_secs(5));
    check(
        plan(RestartPolicy::Always, 0, 2),
        vec![
            (0, Event::Tick),
            (0, Event::Prepared { ip: IP }),
            (0, started(0, 1)),
            (3, Event::SpecChanged { plan: Box::new(late) }),
            (5, Event::Tick),
            (6, ended(0, 1, 143)),
        ],
        &expect![[r#"
            0s Pending [ContainerCreating×0 ContainerCreating×0] → prepare
            0s Pending [ContainerCreating×0 ContainerCreating×0] → start 0.1, start 1.1
            0s Pending [running+×0 ContainerCreating×0] → 
            3s Pending [running+×0 ContainerCreating×0] → 
            5s Pending [running+×0 ContainerCreating×0] → say DeadlineExceeded, say Killing, stop 0.1, kill 1.1
            6s Failed [Error/143×0 ContainerStatusUnknown/137×0] → 
        "#]],
    );
}
