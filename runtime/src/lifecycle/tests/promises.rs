//! What holds whatever happens: a world that does what the machine wants, sooner or later, and reports it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum At {
    Starting,
    Live,
}

/// What the shell would have in its hands, checked at every step.
struct World {
    life: Lifecycle,
    now: i64,
    runs: BTreeMap<(Slot, Run), At>,
    /// The sidecars that have been started at some time.
    begun: Vec<Slot>,
    restarts: BTreeMap<Slot, u32>,
    over: bool,
}

/// What happens next.
#[derive(Debug, Clone)]
enum Act {
    Pass(i64),
    /// The nth run that is starting has started; or could not; or the nth that lives has ended.
    Begin(usize),
    Fail(usize),
    End(usize, i32),
    Tell(Event),
}

impl World {
    fn new(plan: Plan) -> Self {
        let life = Lifecycle::new(plan, at(0));
        Self { life, now: 0, runs: BTreeMap::new(), begun: Vec::new(), restarts: BTreeMap::new(), over: false }
    }

    fn role(&self, slot: Slot) -> Role {
        self.life.plan.containers[slot.0].role
    }

    fn nth(&self, wanted: At, n: usize) -> Option<(Slot, Run)> {
        let all: Vec<_> = self.runs.iter().filter(|(_, at)| **at == wanted).map(|(key, _)| *key).collect();
        (!all.is_empty()).then(|| all[n % all.len()])
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Pass(seconds) => {
                self.now += seconds;
                self.step(Event::Tick);
            }
            Act::Begin(n) => {
                if let Some(key) = self.nth(At::Starting, n) {
                    self.runs.insert(key, At::Live);
                    self.begun.push(key.0);
                    self.step(Event::Started {
                        slot: key.0,
                        run: key.1,
                        id: "id".to_owned(),
                        image_id: "i".to_owned(),
                    });
                }
            }
            Act::Fail(n) => {
                if let Some((slot, run)) = self.nth(At::Starting, n) {
                    self.runs.remove(&(slot, run));
                    self.step(Event::StartFailed { slot, run, problem: Problem::ErrImagePull("x".to_owned()) });
                }
            }
            Act::End(n, code) => {
                if let Some((slot, run)) = self.nth(At::Live, n) {
                    self.runs.remove(&(slot, run));
                    self.step(Event::Ended { slot, run, end: End::exited(code) });
                }
            }
            Act::Tell(event) => self.step(event),
        }
    }

    fn step(&mut self, event: Event) {
        let (next, effects) = self.life.clone().step(event, at(self.now));
        self.life = next;
        for effect in effects {
            self.perform(&effect);
        }
        for (i, c) in self.life.containers.iter().enumerate() {
            let before = self.restarts.entry(Slot(i)).or_default();
            assert!(c.restarts >= *before, "restartCount never decreases");
            *before = c.restarts;
        }
        if self.life.is_finished() {
            assert!(!self.runs.values().any(|at| *at == At::Live), "what has ended runs nothing: {:?}", self.runs);
            self.over = true;
        }
        assert!(!self.over || self.life.is_finished(), "an end is final");
        let _ = shown(&self.life);
    }

    fn perform(&mut self, effect: &Effect) {
        match effect {
            Effect::Start { slot, run } => {
                assert!(!self.over, "a pod that has ended starts nothing");
                assert!(self.runs.keys().all(|(s, _)| s != slot), "a container never runs twice at once");
                let role = self.role(*slot);
                let policy = self.life.plan.restart;
                let again = self.life.containers[slot.0].last.is_some();
                let once = role == Role::Ephemeral || (policy == RestartPolicy::Never && role != Role::Sidecar);
                assert!(!(again && once), "what runs once is not started again");
                for (i, before) in self.life.plan.containers.iter().enumerate().take(slot.0) {
                    let ready = before.role != Role::Sidecar || self.begun.contains(&Slot(i));
                    assert!(ready || role == Role::Ephemeral, "a sidecar starts before those that come after it");
                }
                self.runs.insert((*slot, *run), At::Starting);
            }
            Effect::Stop { slot, run } => {
                if self.role(*slot) == Role::Sidecar && !self.life.is_active() && !self.late() {
                    let others = self.runs.iter().filter(|((s, _), at)| **at == At::Live && s > slot);
                    let mut own = others.filter(|((s, _), _)| self.role(*s) != Role::Ephemeral);
                    assert_eq!(own.next(), None, "sidecars stop last, in reverse order");
                }
                assert!(self.runs.contains_key(&(*slot, *run)), "only what runs is stopped");
            }
            // What is killed while it starts is never heard of again.
            Effect::Kill { slot, run } => {
                self.runs.retain(|key, at| *key != (*slot, *run) || *at == At::Live);
            }
            Effect::Prepare | Effect::Say { .. } | Effect::Remove => {}
        }
    }

    /// Whether the time that the pod has to stop is over.
    fn late(&self) -> bool {
        matches!(self.life.stage, Stage::Stopping { kill_at, .. } if kill_at <= at(self.now))
    }
}

fn any_act() -> impl Strategy<Value = Act> {
    let n = || 0..4_usize;
    let slot = || (0..5_usize).prop_map(Slot);
    let run = || (0..5_u32).prop_map(Run);
    let grace = || (0..40_u64).prop_map(Duration::from_secs);
    let event = prop_oneof![
        2 => Just(Event::Prepared { ip: IP }),
        1 => Just(Event::PrepareFailed { message: "x".to_owned() }),
        1 => (slot(), run(), any::<bool>()).prop_map(|(slot, run, healthy)| Event::Probed { slot, run, probe: Probe::Liveness, healthy }),
        1 => (slot(), run(), any::<bool>()).prop_map(|(slot, run, healthy)| Event::Probed { slot, run, probe: Probe::Readiness, healthy }),
        1 => (slot(), run(), any::<bool>()).prop_map(|(slot, run, succeeded)| Event::Hooked { slot, run, succeeded }),
        1 => slot().prop_map(|slot| Event::Retry { slot }),
        1 => Just(Event::RetryPrepare),
    ];
    let last = prop_oneof![
        2 => grace().prop_map(|grace| Event::Delete { grace }),
        1 => grace().prop_map(|grace| Event::Evict { reason: "Evicted", message: String::new(), grace }),
        1 => Just(Event::Vanished),
    ];
    prop_oneof![
        6 => (0..40_i64).prop_map(Act::Pass),
        10 => n().prop_map(Act::Begin),
        1 => n().prop_map(Act::Fail),
        5 => (n(), 0..2_i32).prop_map(|(n, code)| Act::End(n, code)),
        6 => event.prop_map(Act::Tell),
        1 => last.prop_map(Act::Tell),
    ]
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let policy = prop_oneof![Just(RestartPolicy::Always), Just(RestartPolicy::OnFailure), Just(RestartPolicy::Never)];
    let deadline = proptest::option::of(1..400_u64);
    let debugged = any::<bool>();
    (policy, "[si]{0,3}", 1..3_usize, deadline, debugged).prop_map(|(policy, inits, main, deadline, debugged)| {
        let plan = Plan { deadline: deadline.map(Duration::from_secs), ..sidecars::plan(policy, &inits, main) };
        if debugged { ephemeral::with_debugger(&plan) } else { plan }
    })
}

/// A world in which the address and volumes are there.
fn began(plan: Plan) -> World {
    let mut world = World::new(plan);
    world.step(Event::Tick);
    world.step(Event::Prepared { ip: IP });
    world
}

proptest! {
    #[test]
    fn the_promises_hold_whatever_happens(
        plan in any_plan(),
        acts in proptest::collection::vec(any_act(), 0..80),
    ) {
        let mut world = began(plan);
        for act in acts {
            world.act(act);
        }
    }

    #[test]
    fn a_deleted_pod_is_gone_in_time_and_every_run_has_ended(
        plan in any_plan(),
        acts in proptest::collection::vec(any_act(), 0..60),
    ) {
        let mut world = began(plan);
        for act in acts {
            world.act(act);
        }
        world.step(Event::Delete { grace: Duration::from_secs(5) });
        // Nothing stops by itself: all is killed when the time is over, sidecars a moment later.
        let mut killed = 0;
        while !world.life.is_gone() {
            let (life, effects) = world.life.clone().step(Event::Tick, at(world.now));
            world.life = life;
            let dead: Vec<(Slot, Run)> = effects.iter().filter_map(|e| match e {
                Effect::Kill { slot, run } => Some((*slot, *run)),
                _ => None,
            }).collect();
            for (slot, run) in dead {
                killed += 1;
                world.runs.remove(&(slot, run));
                world.step(Event::Ended { slot, run, end: End::exited(137) });
            }
            prop_assert!(killed < 50, "nothing is killed again and again");
            if let Some(wake) = world.life.wake() {
                world.now = world.now.max(wake.as_second() - 1_000_000);
            } else if !world.life.is_gone() {
                // Killed before, and not yet reported.
                let left: Vec<(Slot, Run)> = world.runs.keys().copied().collect();
                prop_assert!(!left.is_empty(), "a pod that waits for nothing is gone");
                for (slot, run) in left {
                    world.runs.remove(&(slot, run));
                    world.step(Event::Ended { slot, run, end: End::exited(137) });
                }
            }
        }
        prop_assert_eq!(world.life.wake(), None);
    }

    #[test]
    fn late_and_impossible_news_is_taken_for_what_it_is(
        plan in any_plan(),
        news in proptest::collection::vec((0..6_usize, 0..5_u32, 0..4_u8), 0..40),
    ) {
        let mut life = Lifecycle::new(plan, at(0)).step(Event::Tick, at(0)).0;
        for (slot, run, what) in news {
            let event = match what {
                0 => started(slot, run),
                1 => ended(slot, run, 1),
                2 => Event::Prepared { ip: IP },
                _ => Event::Tick,
            };
            let over = life.is_finished();
            let (next, effects) = life.step(event, at(1));
            life = next;
            prop_assert!(!over || life.is_finished());
            let starts = effects.iter().any(|e| matches!(e, Effect::Start { .. }));
            prop_assert!(!over || !starts);
        }
    }
}
