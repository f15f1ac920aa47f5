//! Plans as tables, and whole lives of sets as properties.

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

/// One pod per word: `+` available, `~` started, `.` pending, `!` ended, `-` empty, `=` blocked; then `x` if it
/// is terminating, `o` if it is outdated, `m` if it needs mending.
fn member(ordinal: i32, word: &str) -> Option<Member> {
    let stage = match word.chars().next().unwrap() {
        '+' => Stage::Available,
        '~' => Stage::Started,
        '.' => Stage::Pending,
        '!' => Stage::Ended,
        _ => return None,
    };
    let has = |flag| word.contains(flag);
    Some(Member { ordinal, stage, is_updated: !has('o'), is_terminating: has('x'), needs_mending: has('m') })
}

/// A set that wants as many pods as there are words before the bar; the words after it are unwanted pods.
fn view(order: Order, update: Update, pods: &str) -> View {
    let (wanted, rest) = pods.split_once('|').unwrap_or((pods, ""));
    let slots: Vec<_> = (0..)
        .zip(wanted.split_whitespace())
        .map(|(ordinal, word)| {
            member(ordinal, word).map_or(Slot::Empty { ordinal, is_blocked: word == "=" }, Slot::Held)
        })
        .collect();
    let first = i32::try_from(slots.len()).unwrap();
    let mut condemned: Vec<_> =
        (first..).zip(rest.split_whitespace()).filter_map(|(ordinal, word)| member(ordinal, word)).collect();
    condemned.reverse();
    View { order, update, slots, condemned }
}

const ROLLING: Update = Update::Rolling { partition: 0, max_unavailable: 1 };

fn check(order: Order, update: Update, cases: &[&str], expected: &Expect) {
    let mut text = String::new();
    for pods in cases {
        let plan = plan(&view(order, update, pods));
        let parts = [plan.keep, plan.release, plan.shrink, plan.update];
        let words: Vec<_> = parts.iter().flatten().map(|step| format!("{step:?}")).collect();
        text.push_str(format!("{pods:<20} {}", words.join(", ")).trim_end());
        text.push('\n');
    }
    expected.assert_eq(&text);
}

#[test]
fn pods_start_in_order() {
    let cases = ["- - -", "+ - -", "~ - -", ". - -", "+x - -", "! - -", "!x - -", "= - -", "+ + +", "+ - +", "+ ~ +m"];
    check(
        Order::OrderedReady,
        ROLLING,
        &cases,
        &expect![[r#"
        - - -                Create(0, Update)
        + - -                Create(1, Update)
        ~ - -
        . - -                Claims(0)
        +x - -
        ! - -                Delete(0)
        !x - -
        = - -
        + + +
        + - +                Create(1, Update)
        + ~ +m
    "#]],
    );
}

#[test]
fn pods_start_at_once() {
    let cases = ["- - -", "+ - ~", "! - !x", "= - .", "+x - ."];
    check(
        Order::Parallel,
        ROLLING,
        &cases,
        &expect![[r#"
        - - -                Create(0, Update), Create(1, Update), Create(2, Update)
        + - ~                Create(1, Update)
        ! - !x               Delete(0), Create(1, Update)
        = - .                Create(1, Update), Claims(2)
        +x - .               Create(1, Update), Claims(2)
    "#]],
    );
}

#[test]
fn pods_stop_from_the_highest() {
    let cases = ["+ + | + +", "+ ~ | + +", "+ + | + +x", "+ + | + ~", "+ + | ~ +", "+ + | ~ ~", "+o + | + +m", "| +"];
    check(
        Order::OrderedReady,
        ROLLING,
        &cases,
        &expect![[r#"
        + + | + +            Delete(3)
        + ~ | + +
        + + | + +x
        + + | + ~            Delete(3)
        + + | ~ +            Delete(3)
        + + | ~ ~
        +o + | + +m          MendClaims(3), Delete(3)
        | +                  Delete(0)
    "#]],
    );
    check(
        Order::Parallel,
        ROLLING,
        &["+ ~ | + +x ~", "+o + | +m"],
        &expect![[r#"
        + ~ | + +x ~         Delete(4), Delete(2)
        +o + | +m            MendClaims(2), Delete(2), Delete(0)
    "#]],
    );
}

#[test]
fn an_update_goes_from_the_highest_one_by_one() {
    let cases = ["+o +o +o", "+o +o +", "+o +o ~", "+o +ox +", "+o +o -", "~o +o +o", "+o + +"];
    check(
        Order::OrderedReady,
        ROLLING,
        &cases,
        &expect![[r#"
        +o +o +o             Delete(2)
        +o +o +              Delete(1)
        +o +o ~
        +o +ox +
        +o +o -              Create(2, Update)
        ~o +o +o
        +o + +               Delete(0)
    "#]],
    );
}

#[test]
fn a_partition_keeps_the_lowest_and_makes_them_anew_as_they_were() {
    let partition = Update::Rolling { partition: 2, max_unavailable: 1 };
    check(
        Order::OrderedReady,
        partition,
        &["+o +o +o", "+o +o +", "- +o +", "+o - +", "+o +o -"],
        &expect![[r#"
        +o +o +o             Delete(2)
        +o +o +
        - +o +               Create(0, Current)
        +o - +               Create(1, Current)
        +o +o -              Create(2, Update)
    "#]],
    );
    let beyond = Update::Rolling { partition: 9, max_unavailable: 1 };
    check(
        Order::OrderedReady,
        beyond,
        &["+o +o +o", "- - -"],
        &expect![[r#"
        +o +o +o
        - - -                Create(0, Current)
    "#]],
    );
}

#[test]
fn several_may_be_away_if_the_set_says_so() {
    let two = Update::Rolling { partition: 0, max_unavailable: 2 };
    check(
        Order::OrderedReady,
        two,
        &["+o +o +o", "+o +o +", "+o ~ +"],
        &expect![[r#"
        +o +o +o             Delete(2), Delete(1)
        +o +o +              Delete(1), Delete(0)
        +o ~ +
    "#]],
    );
    check(
        Order::Parallel,
        two,
        &["+o +o +o", "+o +o ~", "+o +o ~o", "+o ~o ~o", "~ ~ +o"],
        &expect![[r#"
        +o +o +o             Delete(2), Delete(1)
        +o +o ~              Delete(1)
        +o +o ~o             Delete(2), Delete(1)
        +o ~o ~o             Delete(2), Delete(1)
        ~ ~ +o
    "#]],
    );
}

#[test]
fn who_never_came_up_is_replaced_first_where_there_is_no_order() {
    check(
        Order::Parallel,
        ROLLING,
        &["~o +o +o", "~o ~o ~o", ".o + +", "!o + +"],
        &expect![[r#"
        ~o +o +o             Delete(0)
        ~o ~o ~o             Delete(2), Delete(1), Delete(0)
        .o + +               Claims(0), Delete(0)
        !o + +               Delete(0)
    "#]],
    );
    check(
        Order::OrderedReady,
        ROLLING,
        &["~o +o +o", ".o + +", "!o + +"],
        &expect![[r#"
        ~o +o +o
        .o + +               Claims(0)
        !o + +               Delete(0)
    "#]],
    );
}

#[test]
fn on_delete_only_others_delete() {
    check(
        Order::OrderedReady,
        Update::OnDelete,
        &["+o +o", "+o -", "+o + | +o"],
        &expect![[r#"
        +o +o
        +o -                 Create(1, Update)
        +o + | +o            Delete(2)
    "#]],
    );
}

/// A cluster of one set: what is there, and what the agent may do next.
struct World {
    view: View,
    wanted: usize,
}

impl World {
    fn new(order: Order, update: Update, pods: BTreeMap<i32, Member>, wanted: usize) -> Self {
        let mut world = Self { view: View { order, update, slots: Vec::new(), condemned: Vec::new() }, wanted };
        world.sort(pods);
        world
    }

    fn pods(&self) -> BTreeMap<i32, Member> {
        let held = self.view.slots.iter().filter_map(|slot| match slot {
            Slot::Held(member) => Some(*member),
            Slot::Empty { .. } => None,
        });
        held.chain(self.view.condemned.iter().copied()).map(|member| (member.ordinal, member)).collect()
    }

    fn sort(&mut self, mut pods: BTreeMap<i32, Member>) {
        let slot = |ordinal| pods.remove(&ordinal).map_or(Slot::Empty { ordinal, is_blocked: false }, Slot::Held);
        self.view.slots = (0..i32::try_from(self.wanted).unwrap()).map(slot).collect();
        self.view.condemned = pods.into_values().rev().collect();
    }

    fn apply(&mut self, plan: &Plan) {
        let mut pods = self.pods();
        for step in [&plan.keep, &plan.release, &plan.shrink, &plan.update].into_iter().flatten() {
            match *step {
                Step::Create(ordinal, source) => {
                    let stage = Stage::Pending;
                    let is_updated = source == Source::Update;
                    let new = Member { ordinal, stage, is_updated, is_terminating: false, needs_mending: false };
                    assert!(pods.insert(ordinal, new).is_none(), "{ordinal} was there");
                }
                Step::Claims(_) => {}
                Step::Mend(ordinal) | Step::MendClaims(ordinal) => {
                    pods.get_mut(&ordinal).unwrap().needs_mending = false;
                }
                Step::Delete(ordinal) => {
                    let pod = pods.get_mut(&ordinal).unwrap();
                    assert!(!pod.is_terminating, "{ordinal} goes already");
                    pod.is_terminating = true;
                }
            }
        }
        self.sort(pods);
    }

    /// The agent brings the pod that `choice` falls on a step further; says whether there was one.
    fn advance(&mut self, choice: usize) -> bool {
        let mut pods = self.pods();
        let can = |m: &Member| m.is_terminating || matches!(m.stage, Stage::Pending | Stage::Started);
        let moving: Vec<_> = pods.values().filter(|m| can(m)).map(|m| m.ordinal).collect();
        let Some(ordinal) = moving.get(choice % moving.len().max(1)) else { return false };
        let pod = pods.get_mut(ordinal).unwrap();
        if pod.is_terminating {
            pods.remove(ordinal);
        } else {
            pod.stage = if pod.stage == Stage::Pending { Stage::Started } else { Stage::Available };
        }
        self.sort(pods);
        true
    }

    fn away(&self) -> usize {
        self.view.slots.iter().filter(|slot| !matches!(slot, Slot::Held(m) if m.is_available())).count()
    }
}

fn members() -> impl Strategy<Value = Vec<Option<(u8, bool, bool, bool)>>> {
    proptest::collection::vec(proptest::option::of((0..4_u8, any::<bool>(), any::<bool>(), any::<bool>())), 0..8)
}

fn pods(states: &[Option<(u8, bool, bool, bool)>]) -> BTreeMap<i32, Member> {
    let stages = [Stage::Ended, Stage::Pending, Stage::Started, Stage::Available];
    let member = |(ordinal, state): (i32, &Option<(u8, bool, bool, bool)>)| {
        let (stage, is_updated, is_terminating, needs_mending) = (*state)?;
        Some((
            ordinal,
            Member { ordinal, stage: stages[usize::from(stage)], is_updated, is_terminating, needs_mending },
        ))
    };
    (0..).zip(states).filter_map(member).collect()
}

proptest! {
    #[test]
    fn from_any_state_a_set_comes_to_rest_as_it_is_wanted(
        states in members(), wanted in 0..8_usize, parallel in any::<bool>(), partition in 0..4_usize,
        max_unavailable in 1..4_usize, choices in proptest::collection::vec(any::<usize>(), 400),
    ) {
        let order = if parallel { Order::Parallel } else { Order::OrderedReady };
        let mut world = World::new(order, Update::Rolling { partition, max_unavailable }, pods(&states), wanted);
        let mut rested = false;
        for choice in choices {
            let plan = plan(&world.view);
            world.apply(&plan);
            rested = !world.advance(choice) && plan == Plan::default();
            if rested {
                break;
            }
        }
        prop_assert!(rested, "{:?}", world.view);
        prop_assert_eq!(world.away(), 0);
        prop_assert!(world.view.condemned.is_empty());
        for (index, slot) in world.view.slots.iter().enumerate() {
            let Slot::Held(member) = slot else { unreachable!("nobody is away") };
            prop_assert!(index < partition || member.is_updated, "{} is outdated", index);
            prop_assert!(!member.needs_mending);
        }
    }

    #[test]
    fn in_order_one_pod_moves_at_a_time_and_none_before_its_time(
        states in members(), wanted in 0..8_usize, choices in proptest::collection::vec(any::<usize>(), 60),
    ) {
        let mut world = World::new(Order::OrderedReady, ROLLING, pods(&states), wanted);
        for choice in choices {
            let plan = plan(&world.view);
            let moves: Vec<_> = [&plan.keep, &plan.shrink, &plan.update].into_iter().flatten()
                .filter(|step| matches!(step, Step::Create(..) | Step::Delete(_))).copied().collect();
            prop_assert!(moves.len() <= 1, "{:?}", moves);
            let before = |ordinal: i32| world.view.slots.iter().take(usize::try_from(ordinal).unwrap())
                .all(|slot| matches!(slot, Slot::Held(m) if m.is_available()));
            for step in &moves {
                let (Step::Create(ordinal, _) | Step::Delete(ordinal)) = *step else { unreachable!() };
                prop_assert!(before(ordinal), "{:?} in {:?}", step, world.view);
            }
            if !plan.update.is_empty() {
                prop_assert_eq!(world.away(), 0);
            }
            if !plan.shrink.is_empty() {
                prop_assert!(world.view.condemned.iter().all(|m| !m.is_terminating || m.ordinal < world.view.condemned[0].ordinal));
            }
            world.apply(&plan);
            world.advance(choice);
        }
    }

    #[test]
    fn an_update_takes_no_more_pods_away_than_it_may(
        count in 1..8_usize, parallel in any::<bool>(), max_unavailable in 1..4_usize,
        choices in proptest::collection::vec(any::<usize>(), 100),
    ) {
        let all = vec![Some((3, false, false, false)); count];
        let order = if parallel { Order::Parallel } else { Order::OrderedReady };
        let mut world = World::new(order, Update::Rolling { partition: 0, max_unavailable }, pods(&all), count);
        for choice in choices {
            let plan = plan(&world.view);
            world.apply(&plan);
            prop_assert!(world.away() <= max_unavailable, "{:?}", world.view);
            world.advance(choice);
        }
    }
}
