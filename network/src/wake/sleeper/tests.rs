//! Who waits, for how long, and what is told of it.

use k8s_openapi::api::core::v1::Service;
use serde_json::json;
use tokio::time::timeout;

use super::*;

fn sleepers() -> (Sleepers, Arc<Sleeper>) {
    let sleepers = Sleepers::default();
    let sleepy = sleepy("1m");
    sleepers.set([&sleepy].into_iter());
    let sleeper = sleepers.get(&sleepy.service).unwrap();
    (sleepers, sleeper)
}

fn sleepy(wake_timeout: &str) -> Arc<Sleepy> {
    let annotations = json!({ "coracle.dev/scale-to-zero": "true", "coracle.dev/wake-timeout": wake_timeout });
    let metadata = json!({ "namespace": "default", "name": "web", "annotations": annotations });
    let spec = json!({ "clusterIP": "10.43.0.9", "selector": { "app": "web" } });
    let service: Service = serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap();
    Arc::new(Sleepy::of(&service).unwrap())
}

#[tokio::test(start_paused = true)]
async fn who_waits_looks_again_at_each_change_and_gives_up_after_a_while() {
    let (_sleepers, sleeper) = sleepers();
    let (routed, begin) = (watch::Sender::new(()), Instant::now());
    let using = sleeper.using();
    let mut wait = using.wait(routed.subscribe());
    routed.send_replace(());
    assert!(wait.again(Met::Nobody).await, "a change before the wait is not lost");
    let uses = sleeper.uses();
    assert_eq!((uses.borrow().in_use, uses.borrow().waiting), (1, 1));
    assert!(!wait.again(Met::Nobody).await);
    assert_eq!(begin.elapsed(), Duration::from_secs(60));
    drop(wait);
    drop(using);
    let left = *uses.borrow();
    assert_eq!(left, Uses { in_use: 0, waiting: 0, late: 1, since: Instant::now() });
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_by_an_endpoint_tries_again_soon_and_then_less_often() {
    let (_sleepers, sleeper) = sleepers();
    let (routed, using) = (watch::Sender::new(()), sleeper.using());
    let mut wait = using.wait(routed.subscribe());
    let mut tries = 0;
    while wait.again(Met::Unwilling).await {
        tries += 1;
    }
    assert!((600..620).contains(&tries), "{tries}");
}

#[tokio::test(start_paused = true)]
async fn no_more_wait_than_have_places() {
    let (_sleepers, sleeper) = sleepers();
    let _all = sleeper.places.try_acquire_many(u32::try_from(HELD_MAX).unwrap()).unwrap();
    let (routed, begin) = (watch::Sender::new(()), Instant::now());
    assert!(!sleeper.using().wait(routed.subscribe()).again(Met::Nobody).await);
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn one_more_use_among_others_is_no_news() {
    let (_sleepers, sleeper) = sleepers();
    let mut uses = sleeper.uses();
    let first = sleeper.using();
    uses.changed().await.unwrap();
    let second = sleeper.using();
    drop(first);
    let none = Duration::from_secs(1);
    assert!(timeout(none, uses.changed()).await.is_err());
    drop(second);
    uses.changed().await.unwrap();
    assert_eq!(uses.borrow().in_use, 0);
}

#[tokio::test]
async fn a_service_that_stays_keeps_its_uses() {
    let (sleepers, sleeper) = sleepers();
    let _using = sleeper.using();
    let changed = sleepy("2m");
    sleepers.set([&changed].into_iter());
    let same = sleepers.get(&changed.service).unwrap();
    assert!(Arc::ptr_eq(&same, &sleeper));
    assert_eq!(same.wish().unwrap().wake_timeout, Duration::from_secs(120));
    sleepers.set([].into_iter());
    assert!(sleepers.get(&changed.service).is_none());
}
