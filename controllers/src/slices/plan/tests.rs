//! Plans for slices: applied to what there was, they give what is wanted, and no more writes than needed.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::discovery::v1::EndpointPort;
use proptest::prelude::*;

use super::*;

fn base() -> Base {
    let owner = OwnerReference { name: "s".to_owned(), ..OwnerReference::default() };
    let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
    Base { name: "s".to_owned(), namespace: Some("a".to_owned()), labels, annotations: None, owner }
}

fn endpoint(number: u16, node: &str) -> Endpoint {
    Endpoint {
        addresses: vec![format!("10.0.{}.{}", number / 256, number % 256)],
        node_name: Some(node.to_owned()),
        target_ref: Some(ObjectReference { name: Some(format!("p{number}")), ..ObjectReference::default() }),
        ..Endpoint::default()
    }
}

fn group(port: i32, endpoints: Vec<Endpoint>) -> Group {
    let ports = if endpoints.is_empty() {
        Vec::new()
    } else {
        vec![EndpointPort { port: Some(port), ..EndpointPort::default() }]
    };
    Group { address_type: "IPv4".to_owned(), ports, endpoints }
}

/// What the API server holds after a plan.
fn applied(existing: &[Arc<EndpointSlice>], plan: &Plan, serial: &mut usize) -> Vec<Arc<EndpointSlice>> {
    let mut after: BTreeMap<String, Arc<EndpointSlice>> =
        existing.iter().map(|slice| (slice.name_any(), Arc::clone(slice))).collect();
    for slice in &plan.delete {
        after.remove(&slice.name_any());
    }
    for slice in &plan.update {
        assert!(after.insert(slice.name_any(), Arc::new(slice.clone())).is_some(), "updates what exists");
    }
    for slice in &plan.create {
        *serial += 1;
        let mut slice = slice.clone();
        slice.metadata.name = Some(format!("s-{serial}"));
        after.insert(slice.name_any(), Arc::new(slice));
    }
    after.into_values().collect()
}

fn names(slices: &[Arc<EndpointSlice>]) -> Vec<String> {
    slices.iter().flat_map(|s| s.endpoints.iter().flatten()).map(identity).collect()
}

fn writes(plan: &Plan) -> (usize, usize, usize) {
    (plan.create.len(), plan.update.len(), plan.delete.len())
}

#[test]
fn one_change_is_one_write() {
    let mut serial = 0;
    let all = |range: std::ops::Range<u16>| range.map(|n| endpoint(n, "n")).collect::<Vec<_>>();
    let first = plan(&base(), &[], vec![group(80, all(0..250))]);
    assert_eq!(writes(&first), (3, 0, 0));
    let stored = applied(&[], &first, &mut serial);
    assert_eq!(writes(&plan(&base(), &stored, vec![group(80, all(0..250))])), (0, 0, 0), "nothing changed");
    assert_eq!(writes(&plan(&base(), &stored, vec![group(80, all(0..251))])), (0, 1, 0), "one more");
    assert_eq!(writes(&plan(&base(), &stored, vec![group(80, all(1..250))])), (0, 1, 0), "one less");
    let mut moved = all(0..250);
    moved[7] = endpoint(7, "other");
    assert_eq!(writes(&plan(&base(), &stored, vec![group(80, moved)])), (0, 1, 0), "one otherwise");
}

#[test]
fn a_service_without_pods_keeps_one_empty_slice() {
    let mut serial = 0;
    let first = plan(&base(), &[], vec![group(80, vec![])]);
    let stored = applied(&[], &first, &mut serial);
    assert_eq!(stored[0].labels()["app"], "web");
    assert_eq!(writes(&plan(&base(), &stored, vec![group(80, vec![])])), (0, 0, 0));
    let one = plan(&base(), &stored, vec![group(80, vec![endpoint(1, "n")])]);
    assert_eq!(writes(&one), (0, 1, 0), "the empty one is filled");
    let stored = applied(&stored, &one, &mut serial);
    assert_eq!(writes(&plan(&base(), &stored, vec![group(80, vec![])])), (0, 1, 0), "and emptied again");
}

#[test]
fn endpoints_without_pods_are_told_apart_and_annotations_follow() {
    let mut serial = 0;
    let plain = |number: u16| Endpoint { target_ref: None, ..endpoint(number, "n") };
    let noted = |note: &str| {
        let annotations = BTreeMap::from([("note".to_owned(), note.to_owned())]);
        Base { annotations: Some(annotations), ..base() }
    };
    let first = plan(&noted("a"), &[], vec![group(80, vec![plain(1), plain(2)])]);
    let stored = applied(&[], &first, &mut serial);
    assert_eq!(names(&stored), ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(writes(&plan(&noted("a"), &stored, vec![group(80, vec![plain(2), plain(1)])])), (0, 0, 0));
    assert_eq!(writes(&plan(&noted("b"), &stored, vec![group(80, vec![plain(1), plain(2)])])), (0, 1, 0));
    assert_eq!(writes(&plan(&noted("a"), &stored, vec![])), (0, 0, 1));
}

proptest! {
    #[test]
    fn every_wanted_endpoint_is_in_one_slice(
        rounds in proptest::collection::vec((proptest::collection::btree_set(0..300_u16, 0..260), 80..82_i32), 1..6),
    ) {
        let mut stored = Vec::new();
        let mut serial = 0;
        for (wanted, port) in rounds {
            let endpoints: Vec<_> = wanted.iter().map(|n| endpoint(*n, "n")).collect();
            let expected: BTreeSet<_> = endpoints.iter().map(identity).collect();
            let plan = plan(&base(), &stored, vec![group(port, endpoints)]);
            stored = applied(&stored, &plan, &mut serial);
            let found = names(&stored);
            prop_assert_eq!(found.len(), expected.len(), "no endpoint twice");
            prop_assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
            prop_assert!(stored.iter().all(|s| s.endpoints.as_ref().map_or(0, Vec::len) <= ENDPOINTS_MAX));
            prop_assert!(!stored.is_empty());
        }
    }
}
