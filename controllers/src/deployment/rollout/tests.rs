//! The arithmetic of rollouts, as tables and as properties.

use proptest::prelude::*;
use serde_json::json;

use super::{Strategy, *};

fn size(name: &str, wanted: i32, available: i32) -> Size {
    Size { name: name.to_owned(), wanted, available, desired: None, max: None }
}

fn rolling(replicas: i32, max_surge: i32, max_unavailable: i32) -> Bounds {
    Bounds { strategy: Strategy::RollingUpdate, replicas, max_surge, max_unavailable }
}

fn shown(scales: &[Scale]) -> String {
    scales.iter().map(|s| format!("{}={}", s.name, s.to)).collect::<Vec<_>>().join(" ")
}

#[test]
fn fenceposts_round_as_upstream() {
    for (replicas, surge, unavailable, expected) in [
        (3, json!("25%"), json!("25%"), (1, 0)),
        (10, json!("25%"), json!("25%"), (3, 2)),
        (4, json!(0), json!("10%"), (0, 1)),
        (2, json!(1), json!(5), (1, 2)),
        (0, json!("25%"), json!("25%"), (0, 0)),
    ] {
        let deployment: Deployment = serde_json::from_value(json!({"metadata": {}, "spec": {"replicas": replicas,
            "selector": {}, "template": {},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}}))
        .unwrap();
        let bounds = Bounds::of(&deployment);
        assert_eq!((bounds.max_surge, bounds.max_unavailable), expected, "{replicas} {surge} {unavailable}");
    }
}

#[test]
fn a_rolling_update_goes_step_by_step() {
    for (bounds, new, old, expected) in [
        (rolling(3, 1, 0), size("new", 0, 0), vec![size("old", 3, 3)], "new=1"),
        (rolling(3, 1, 0), size("new", 1, 0), vec![size("old", 3, 3)], ""),
        (rolling(3, 1, 0), size("new", 1, 1), vec![size("old", 3, 3)], "old=2"),
        (rolling(3, 1, 0), size("new", 3, 3), vec![size("old", 1, 1)], "old=0"),
        (rolling(10, 3, 2), size("new", 0, 0), vec![size("old", 10, 10)], "new=3"),
        (rolling(10, 3, 2), size("new", 3, 0), vec![size("old", 10, 10)], "old=8"),
        (rolling(10, 3, 2), size("new", 3, 0), vec![size("a", 2, 0), size("b", 8, 8)], "a=0"),
        (rolling(3, 1, 1), size("new", 5, 5), vec![], "new=3"),
    ] {
        assert_eq!(shown(&plan_rollout(bounds, &new, &old)), expected, "{bounds:?} {new:?} {old:?}");
    }
}

#[test]
fn scaling_in_the_middle_of_a_rollout_keeps_the_shares() {
    let with = |name: &str, wanted, max| Size { max: Some(max), ..size(name, wanted, wanted) };
    for (bounds, new, old, expected) in [
        (rolling(10, 0, 1), None, vec![size("only", 3, 3)], "only=10"),
        (rolling(4, 0, 1), Some(size("new", 0, 0)), vec![size("old", 0, 0)], "new=4"),
        (rolling(20, 0, 1), Some(with("new", 5, 10)), vec![with("old", 5, 10)], "new=10 old=10"),
        (rolling(5, 0, 1), Some(with("new", 5, 10)), vec![with("old", 5, 10)], "old=2 new=3"),
        (rolling(0, 0, 1), Some(with("new", 5, 10)), vec![with("old", 5, 10)], "old=0 new=0"),
    ] {
        let found = shown(&plan_scale(bounds, new.as_ref(), &old, 10));
        assert_eq!(found, expected, "{bounds:?} {new:?} {old:?}");
    }
    let done = Size { desired: Some(3), ..size("new", 3, 3) };
    assert_eq!(shown(&plan_scale(rolling(3, 1, 0), Some(&done), &[size("old", 2, 2)], 5)), "old=0");
}

/// What a step makes of a ReplicaSet: it deletes the pods first that are not available.
fn applied(sizes: &mut [Size], scales: &[Scale]) {
    for scale in scales {
        let size = sizes.iter_mut().find(|s| s.name == scale.name).unwrap();
        size.wanted = scale.to;
        size.available = size.available.min(scale.to);
    }
}

fn totals(sizes: &[Size]) -> (i32, i32) {
    (sizes.iter().map(|s| s.wanted).sum(), sizes.iter().map(|s| s.available).sum())
}

proptest! {
    #[test]
    fn a_rollout_stays_within_its_bounds_and_ends(
        replicas in 1..30_i32, surge in 0..8_i32, unavailable in 0..8_i32,
        broken in proptest::collection::vec(0..4_i32, 1..4), luck in proptest::collection::vec(any::<bool>(), 400),
    ) {
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable.min(replicas) };
        let bounds = rolling(replicas, surge, unavailable);
        let mut sizes = vec![size("new", 0, 0)];
        let mut left = replicas;
        for (i, broken) in broken.iter().enumerate() {
            let wanted = if i + 1 == 3 { left } else { left / 2 + 1 }.min(left);
            left -= wanted;
            sizes.push(size(&format!("old{i}"), wanted, (wanted - broken).max(0)));
        }
        for lucky in luck {
            let (_, before) = totals(&sizes);
            let scales = plan_rollout(bounds, &sizes[0], &sizes[1..]);
            applied(&mut sizes, &scales);
            let (pods, available) = totals(&sizes);
            prop_assert!(pods <= bounds.max_pods(), "{sizes:?}");
            prop_assert!(available >= before.min(bounds.min_available()), "{sizes:?}");
            if lucky && sizes[0].available < sizes[0].wanted {
                sizes[0].available += 1;
            }
        }
        for _ in 0..200 {
            sizes[0].available = sizes[0].wanted;
            let scales = plan_rollout(bounds, &sizes[0], &sizes[1..]);
            applied(&mut sizes, &scales);
        }
        prop_assert_eq!(totals(&sizes), (replicas, replicas));
    }

    #[test]
    fn scaling_never_exceeds_what_is_allowed(
        replicas in 0..40_i32, surge in 0..8_i32, sizes in proptest::collection::vec((0..20_i32, 1..40_i32), 1..5),
    ) {
        let bounds = rolling(replicas, surge, 1);
        let sizes: Vec<_> = sizes.iter().enumerate()
            .map(|(i, (wanted, max))| Size { max: Some(*max), ..size(&format!("s{i}"), *wanted, 0) }).collect();
        let mut after = sizes.clone();
        applied(&mut after, &plan_scale(bounds, sizes.first(), &sizes[1..], 10));
        prop_assert!(after.iter().all(|s| s.wanted >= 0));
        let active = sizes.iter().filter(|s| s.wanted > 0).count();
        if active > 1 {
            let total = totals(&after).0;
            prop_assert!(total <= bounds.max_pods().max(totals(&sizes).0), "{after:?}");
            if replicas == 0 { prop_assert_eq!(total, 0); }
        }
    }
}
