//! Who is behind an address, and when.

use coracle_api::names::{NamespacedName, Uid};

use super::*;
use crate::policy::members::Told;

fn slot(name: &str, uid: &str, app: &str) -> PodSlot {
    PodSlot {
        pod: NamespacedName::new("default", name),
        uid: Uid::new(uid).unwrap(),
        labels: labels(&[("app", app)]).as_ref().clone(),
        ports: Vec::new(),
        outside: None,
    }
}

#[test]
fn a_pod_is_known_from_its_first_moment_and_forgotten_with_its_last() {
    let world = world(&from(json!([{ "podSelector": { "matchLabels": { "app": "new" } } }])));
    let at = "10.1.0.9".parse().unwrap();
    let reaches = || world.allow(at, Protocol::Tcp, SocketAddr::new(ip("db"), 80));
    assert!(!reaches(), "nobody has the address");
    let first = slot("new", "1", "new");
    world.attached(&first, at);
    assert!(reaches());
    world.detached(&first, at);
    assert!(!reaches());
    world.attached(&slot("other", "2", "other"), at);
    assert!(!reaches(), "the address has another pod now");
}

#[test]
fn what_the_api_says_of_a_pod_counts_at_its_address_here() {
    let world = world(&from(json!([{ "podSelector": { "matchLabels": { "app": "new" } } }])));
    let at = "10.1.0.9".parse().unwrap();
    let reaches = |from: IpAddr| world.allow(from, Protocol::Tcp, SocketAddr::new(ip("db"), 80));
    // The label was changed before the pod was attached by whoever had read it earlier.
    world.members.told(&pod("late", "10.1.0.77", "default", "new"));
    world.attached(&slot("late", "late", "old"), at);
    assert!(reaches(at));
    assert!(!reaches("10.1.0.77".parse().unwrap()), "a status does not give an address of this node");
    world.members.told(&pod("late", "10.1.0.9", "default", "old"));
    assert!(!reaches(at));
}

#[test]
fn pods_of_other_nodes_are_known_by_their_status_until_they_end() {
    let world = world(&from(json!([{ "podSelector": { "matchLabels": { "app": "new" } } }])));
    let reaches = |from: &str| world.allow(ip(from), Protocol::Tcp, SocketAddr::new(ip("db"), 80));
    let mut far = pod("far", "10.1.7.1", "default", "new");
    world.members.told(&far);
    assert!(reaches("10.1.7.1"));
    far.status.as_mut().unwrap().pod_ip = Some("10.1.7.2".to_owned());
    world.members.told(&far);
    assert_eq!((reaches("10.1.7.1"), reaches("10.1.7.2")), (false, true));
    far.status.as_mut().unwrap().phase = Some("Succeeded".to_owned());
    world.members.told(&far);
    assert!(!reaches("10.1.7.2"));
    let again = pod("again", "10.1.7.2", "default", "new");
    world.members.listed([Told::by(&again).unwrap()].into());
    assert!(reaches("10.1.7.2"));
    world.members.gone(&again);
    assert!(!reaches("10.1.7.2"));
}
