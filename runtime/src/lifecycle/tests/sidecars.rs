//! Init containers that go on beside the pod's own.

use super::*;

/// A pod whose init containers are told by letters: `s` a sidecar, `i` one that runs to its end.
pub(super) fn plan(restart: RestartPolicy, inits: &str, main: usize) -> Plan {
    let mut plan = super::plan(restart, inits.len(), main);
    for (container, letter) in plan.containers.iter_mut().zip(inits.chars()) {
        container.role = if letter == 's' { Role::Sidecar } else { Role::Init };
    }
    plan
}

fn delete(seconds: u64) -> Event {
    Event::Delete { grace: Duration::from_secs(seconds) }
}

#[test]
fn sidecars_start_in_order_and_stop_after_the_pods_own_in_reverse() {
    check(
        plan(RestartPolicy::Always, "sis", 1),
        vec![
            (0, Event::Tick),
            (0, Event::Prepared { ip: IP }),
            (0, started(0, 1)),
            (1, started(1, 1)),
            (2, ended(1, 1, 0)),
            (3, started(2, 1)),
            (4, started(3, 1)),
            (10, delete(30)),
            (12, ended(3, 1, 0)),
            (13, ended(2, 1, 143)),
            (14, ended(0, 1, 1)),
        ],
        &expect![[r#"
            0s Pending [PodInitializing×0 PodInitializing×0 PodInitializing×0 PodInitializing×0] → prepare
            0s Pending [PodInitializing×0 PodInitializing×0 PodInitializing×0 PodInitializing×0] → start 0.1
            0s Pending [running+×0 PodInitializing×0 PodInitializing×0 PodInitializing×0] → start 1.1
            1s Pending [running+×0 running×0 PodInitializing×0 PodInitializing×0] → 
            2s Pending [running+×0 Completed/0+×0 PodInitializing×0 PodInitializing×0] → start 2.1
            3s Pending [running+×0 Completed/0+×0 running+×0 PodInitializing×0] → start 3.1
            4s Running [running+×0 Completed/0+×0 running+×0 running+×0] → 
            10s Running [running+×0 Completed/0+×0 running+×0 running+×0] → say Killing, stop 3.1
            12s Running [running+×0 Completed/0+×0 running+×0 Completed/0×0] → say Killing, stop 2.1
            13s Running [running+×0 Completed/0+×0 Error/143×0 Completed/0×0] → say Killing, stop 0.1
            14s Succeeded [Error/1×0 Completed/0+×0 Error/143×0 Completed/0×0] → remove
        "#]],
    );
}

#[test]
fn the_next_container_waits_until_a_sidecars_startup_probe_has_passed() {
    let mut plan = plan(RestartPolicy::Always, "s", 1);
    plan.containers[0].probes = Probes { startup: true, readiness: true, ..Probes::default() };
    let probed = |probe, healthy| Event::Probed { slot: Slot(0), run: Run(1), probe, healthy };
    check(
        plan,
        vec![
            (0, Event::Tick),
            (0, Event::Prepared { ip: IP }),
            (0, started(0, 1)),
            (1, probed(Probe::Startup, true)),
            (1, started(1, 1)),
            (2, probed(Probe::Readiness, true)),
            (3, probed(Probe::Liveness, false)),
            (4, ended(0, 1, 0)),
        ],
        &expect![[r#"
            0s Pending [PodInitializing×0 PodInitializing×0] → prepare
            0s Pending [PodInitializing×0 PodInitializing×0] → start 0.1
            0s Pending [running×0 PodInitializing×0] → 
            1s Pending [running×0 PodInitializing×0] → start 1.1
            1s Running [running×0 running+×0] → 
            2s Running [running+×0 running+×0] → 
            3s Running [running+×0 running+×0] → say Killing, stop 0.1
            4s Running [PodInitializing×1 running+×0] → start 0.2
        "#]],
    );
}

#[test]
fn a_sidecar_is_started_again_whatever_the_pods_policy_and_stage() {
    check(
        plan(RestartPolicy::Never, "si", 1),
        vec![
            (0, Event::Tick),
            (0, Event::Prepared { ip: IP }),
            (0, started(0, 1)),
            (1, started(1, 1)),
            (2, ended(0, 1, 0)),
            (2, started(0, 2)),
            (3, ended(0, 2, 1)),
            (4, ended(1, 1, 0)),
            (4, started(2, 1)),
            (13, Event::Tick),
        ],
        &expect![[r#"
            0s Pending [PodInitializing×0 PodInitializing×0 PodInitializing×0] → prepare
            0s Pending [PodInitializing×0 PodInitializing×0 PodInitializing×0] → start 0.1
            0s Pending [running+×0 PodInitializing×0 PodInitializing×0] → start 1.1
            1s Pending [running+×0 running×0 PodInitializing×0] → 
            2s Pending [PodInitializing×1 running×0 PodInitializing×0] → start 0.2
            2s Pending [running+×1 running×0 PodInitializing×0] → 
            3s Pending [CrashLoopBackOff×1 running×0 PodInitializing×0] → say BackOff
            4s Pending [CrashLoopBackOff×1 Completed/0+×0 PodInitializing×0] → start 2.1
            4s Running [CrashLoopBackOff×1 Completed/0+×0 running+×0] → 
            13s Running [PodInitializing×2 Completed/0+×0 running+×0] → start 0.3
        "#]],
    );
}

#[test]
fn a_pod_is_done_when_its_own_containers_are_and_its_sidecars_then_stop() {
    check(
        plan(RestartPolicy::OnFailure, "ss", 1),
        vec![
            (0, Event::Tick),
            (0, Event::Prepared { ip: IP }),
            (0, started(0, 1)),
            (0, started(1, 1)),
            (0, started(2, 1)),
            (5, ended(2, 1, 0)),
            (6, ended(1, 1, 1)),
            (7, ended(0, 1, 143)),
        ],
        &expect![[r#"
            0s Pending [PodInitializing×0 PodInitializing×0 PodInitializing×0] → prepare
            0s Pending [PodInitializing×0 PodInitializing×0 PodInitializing×0] → start 0.1
            0s Pending [running+×0 PodInitializing×0 PodInitializing×0] → start 1.1
            0s Pending [running+×0 running+×0 PodInitializing×0] → start 2.1
            0s Running [running+×0 running+×0 running+×0] → 
            5s Running [running+×0 running+×0 Completed/0×0] → say Killing, stop 1.1
            6s Running [running+×0 Error/1×0 Completed/0×0] → say Killing, stop 0.1
            7s Succeeded [Error/143×0 Error/1×0 Completed/0×0] → 
        "#]],
    );
}

#[test]
fn an_init_container_that_fails_for_good_ends_the_pod_and_its_sidecars() {
    check(
        plan(RestartPolicy::Never, "si", 1),
        vec![
            (0, Event::Tick),
            (0, Event::Prepared { ip: IP }),
            (0, started(0, 1)),
            (0, started(1, 1)),
            (5, ended(1, 1, 1)),
            (6, ended(0, 1, 0)),
        ],
        &expect![[r#"
            0s Pending [PodInitializing×0 PodInitializing×0 PodInitializing×0] → prepare
            0s Pending [PodInitializing×0 PodInitializing×0 PodInitializing×0] → start 0.1
            0s Pending [running+×0 PodInitializing×0 PodInitializing×0] → start 1.1
            0s Pending [running+×0 running×0 PodInitializing×0] → 
            5s Pending [running+×0 Error/1×0 PodInitializing×0] → say Killing, stop 0.1
            6s Failed [Completed/0×0 Error/1×0 PodInitializing×0] → 
        "#]],
    );
}

#[test]
fn sidecars_have_a_moment_left_when_the_others_took_all_the_time() {
    check(
        plan(RestartPolicy::Always, "ss", 1),
        vec![
            (0, Event::Tick),
            (0, Event::Prepared { ip: IP }),
            (0, started(0, 1)),
            (0, started(1, 1)),
            (0, started(2, 1)),
            (5, delete(10)),
            (15, Event::Tick),
            (15, ended(2, 1, 137)),
            (17, Event::Tick),
            (17, ended(0, 1, 137)),
            (17, ended(1, 1, 137)),
        ],
        &expect![[r#"
            0s Pending [PodInitializing×0 PodInitializing×0 PodInitializing×0] → prepare
            0s Pending [PodInitializing×0 PodInitializing×0 PodInitializing×0] → start 0.1
            0s Pending [running+×0 PodInitializing×0 PodInitializing×0] → start 1.1
            0s Pending [running+×0 running+×0 PodInitializing×0] → start 2.1
            0s Running [running+×0 running+×0 running+×0] → 
            5s Running [running+×0 running+×0 running+×0] → say Killing, stop 2.1
            15s Running [running+×0 running+×0 running+×0] → say Killing, stop 1.1, say Killing, stop 0.1, kill 2.1
            15s Running [running+×0 running+×0 Error/137×0] → 
            17s Running [running+×0 running+×0 Error/137×0] → kill 0.1, kill 1.1
            17s Running [Error/137×0 running+×0 Error/137×0] → 
            17s Failed [Error/137×0 Error/137×0 Error/137×0] → remove
        "#]],
    );
}

#[test]
fn a_second_deletion_only_hurries() {
    check(
        plan(RestartPolicy::Always, "s", 1),
        vec![
            (0, Event::Tick),
            (0, Event::Prepared { ip: IP }),
            (0, started(0, 1)),
            (0, started(1, 1)),
            (5, delete(30)),
            (6, delete(60)),
            (7, delete(0)),
            (8, ended(1, 1, 137)),
            (8, ended(0, 1, 137)),
        ],
        &expect![[r#"
            0s Pending [PodInitializing×0 PodInitializing×0] → prepare
            0s Pending [PodInitializing×0 PodInitializing×0] → start 0.1
            0s Pending [running+×0 PodInitializing×0] → start 1.1
            0s Running [running+×0 running+×0] → 
            5s Running [running+×0 running+×0] → say Killing, stop 1.1
            6s Running [running+×0 running+×0] → 
            7s Running [running+×0 running+×0] → say Killing, kill 0.1, kill 1.1
            8s Running [running+×0 Error/137×0] → 
            8s Failed [Error/137×0 Error/137×0] → remove
        "#]],
    );
}

#[test]
fn a_hook_that_fails_while_the_pod_stops_stops_no_sidecar_before_its_turn() {
    let mut plan = plan(RestartPolicy::Always, "s", 1);
    plan.containers[0].post_start = true;
    check(
        plan,
        vec![
            (0, Event::Tick),
            (0, Event::Prepared { ip: IP }),
            (0, started(0, 1)),
            (0, Event::Hooked { slot: Slot(0), run: Run(1), succeeded: true }),
            (1, started(1, 1)),
            (2, delete(30)),
            (3, Event::Hooked { slot: Slot(0), run: Run(1), succeeded: false }),
            (4, ended(1, 1, 0)),
            (5, ended(0, 1, 0)),
        ],
        &expect![[r#"
            0s Pending [PodInitializing×0 PodInitializing×0] → prepare
            0s Pending [PodInitializing×0 PodInitializing×0] → start 0.1
            0s Pending [PodInitializing×0 PodInitializing×0] → 
            0s Pending [running+×0 PodInitializing×0] → start 1.1
            1s Running [running+×0 running+×0] → 
            2s Running [running+×0 running+×0] → say Killing, stop 1.1
            3s Running [running+×0 running+×0] → 
            4s Running [running+×0 Completed/0×0] → say Killing, stop 0.1
            5s Succeeded [Completed/0×0 Completed/0×0] → remove
        "#]],
    );
}
