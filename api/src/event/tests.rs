//! What is written for what is said.

use expect_test::{Expect, expect};

use super::*;

fn said(pod: &str, message: &str) -> Said {
    let about = ObjectReference {
        kind: Some("Pod".into()),
        namespace: Some("default".into()),
        name: Some(pod.into()),
        ..ObjectReference::default()
    };
    Said { about, kind: Kind::Normal, reason: "Started".into(), message: message.into() }
}

/// Says things so many seconds after the epoch and shows what is written of each.
fn check(things: impl IntoIterator<Item = (i64, Said)>, expected: Expect) {
    let mut log = EventLog::new("kubelet", None);
    let mut lines = Vec::new();
    for (second, said) in things {
        let shown = |verb: &str, event: &Event| {
            let (count, message) = (event.count.unwrap_or(0), event.message.clone().unwrap_or_default());
            format!("{second}: {verb} {count} {message}")
        };
        lines.push(match log.record(&said, Timestamp::new(second, 0).unwrap()) {
            None => format!("{second}: nothing"),
            Some(EventWrite::Create(event)) => shown("create", &event),
            Some(EventWrite::Repeat { event, patch, .. }) => {
                assert_eq!(patch["message"], event.message.clone().unwrap(), "a combined message changes");
                shown("repeat", &event)
            }
        });
    }
    lines.dedup_by(|b, a| a.ends_with("nothing") && b.ends_with("nothing"));
    expected.assert_eq(&lines.join("\n"));
}

#[test]
fn saying_the_same_again_counts() {
    check(
        [(0, said("p", "a")), (1, said("p", "b")), (2, said("p", "a")), (3, said("q", "a")), (4000, said("p", "a"))],
        expect![[r#"
            0: create 1 a
            1: create 1 b
            2: repeat 2 a
            3: create 1 a
            4000: repeat 3 a"#]],
    );
}

#[test]
fn ten_similar_events_within_ten_minutes_become_one() {
    let similar = (0..12).map(|n| (n, said("p", &format!("try {n}"))));
    let later = [(11 + 601, said("p", "much later"))];
    check(
        similar.chain(later),
        expect![[r#"
            0: create 1 try 0
            1: create 1 try 1
            2: create 1 try 2
            3: create 1 try 3
            4: create 1 try 4
            5: create 1 try 5
            6: create 1 try 6
            7: create 1 try 7
            8: create 1 try 8
            9: create 1 (combined from similar events): try 9
            10: repeat 2 (combined from similar events): try 10
            11: repeat 3 (combined from similar events): try 11
            612: create 1 much later"#]],
    );
}

#[test]
fn who_says_too_much_of_one_object_is_written_down_once_in_five_minutes() {
    let mut log = EventLog::new("kubelet", None);
    let mut written = |second: i64, pod: &str| {
        let write = log.record(&said(pod, "again"), Timestamp::new(second, 0).unwrap());
        write.map(|write| match write {
            EventWrite::Create(event) | EventWrite::Repeat { event, .. } => event.count.unwrap(),
        })
    };
    let burst: Vec<Option<i32>> = (0..30).map(|second| written(second, "loud")).collect();
    assert_eq!(burst.iter().flatten().count(), EVENTS_PER_OBJECT_BURST as usize);
    assert_eq!(written(30, "quiet"), Some(1), "other objects are not held to it");
    assert_eq!(written(299, "loud"), None);
    assert_eq!(written(300, "loud"), Some(32), "the count knows of those that were not written");
    assert_eq!(written(301, "loud"), None);
    assert_eq!(written(600, "loud"), Some(34));
}
