//! What holds for whatever is applied.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::config::{Force, apply};
use super::super::fields::FieldSet;
use super::super::{Reset, Typed, Writer, entries, update};
use super::DEPLOYMENT;

fn typed() -> Typed<'static> {
    Typed::new(DEPLOYMENT, Reset::These(&["status"], &[]))
}

fn writer(manager: &str) -> Writer {
    let (manager, api_version) = (manager.to_owned(), "apps/v1".to_owned());
    Writer { manager, api_version, subresource: String::new(), now: jiff::Timestamp::UNIX_EPOCH }
}

/// Any JSON.
fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..3).prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let name =
            prop_oneof!["[a-c]{1,2}", Just("name".to_owned()), Just("spec".to_owned()), Just("metadata".to_owned())];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name, inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn containers() -> impl Strategy<Value = Value> {
    let port = (80_i64..83, prop::bool::ANY).prop_map(|(port, udp)| {
        if udp { json!({"containerPort": port, "protocol": "UDP"}) } else { json!({"containerPort": port}) }
    });
    let ports = prop::collection::btree_map(80_i64..83, port, 0..3);
    let container = ("[ab]", ports, prop::collection::vec("[xy]", 0..3)).prop_map(|(image, ports, args)| {
        let mut container = json!({"image": image});
        if !ports.is_empty() {
            let ports = ports.into_iter().map(|(number, mut port)| {
                port["containerPort"] = number.into();
                port
            });
            container["ports"] = ports.collect();
        }
        if !args.is_empty() {
            container["args"] = args.into();
        }
        container
    });
    prop::collection::btree_map("[cd]", container, 1..3).prop_map(|containers| {
        let named = containers.into_iter().map(|(name, mut container)| {
            container["name"] = name.into();
            container
        });
        named.collect()
    })
}

/// A Deployment as somebody may apply it.
fn config() -> impl Strategy<Value = Value> {
    let labels = prop::collection::btree_map("[kl]", "[vw]", 0..3);
    (labels, prop::option::of(0_i64..3), prop::option::of(containers())).prop_map(|(labels, replicas, containers)| {
        let mut spec = Map::new();
        if let Some(replicas) = replicas {
            spec.insert("replicas".to_owned(), replicas.into());
        }
        if let Some(containers) = containers {
            spec.insert("template".to_owned(), json!({"spec": {"containers": containers}}));
        }
        let mut config =
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec});
        if !labels.is_empty() {
            config["metadata"]["labels"] = json!(labels);
        }
        config
    })
}

fn without_owners(object: &Value) -> Value {
    let mut object = object.clone();
    entries::take(&mut object);
    prune_nothing(&mut object);
    object
}

/// Takes away what is empty: an object that has passed its strategy holds none of it.
fn prune_nothing(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(prune_nothing);
            map.retain(|_, v| !(v.is_null() || v == &json!({}) || v == &json!([])));
        }
        Value::Array(items) => items.iter_mut().for_each(prune_nothing),
        _ => {}
    }
}

proptest! {
    #[test]
    fn applying_twice_is_applying_once(first in config(), second in config()) {
        let (typed, writer) = (typed(), writer("one"));
        let live = apply(&typed, None, &first, &writer, Force::No).unwrap();
        let once = apply(&typed, Some(&live), &second, &writer, Force::No).unwrap();
        let twice = apply(&typed, Some(&once), &second, &writer, Force::No).unwrap();
        prop_assert_eq!(entries::stored(&once), entries::stored(&twice));
        prop_assert_eq!(without_owners(&once), without_owners(&twice));
    }

    #[test]
    fn applying_nothing_takes_away_what_only_this_manager_owned(theirs in config(), mine in config()) {
        let typed = typed();
        let nothing = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}});
        let before = apply(&typed, None, &theirs, &writer("they"), Force::No).unwrap();
        if let Ok(both) = apply(&typed, Some(&before), &mine, &writer("me"), Force::No) {
            let after = apply(&typed, Some(&both), &nothing, &writer("me"), Force::No).unwrap();
            prop_assert_eq!(without_owners(&after), without_owners(&before));
        }
    }

    #[test]
    fn the_applier_gets_what_it_forces(theirs in config(), mine in config()) {
        let typed = typed();
        let before = apply(&typed, None, &theirs, &writer("they"), Force::No).unwrap();
        let after = apply(&typed, Some(&before), &mine, &writer("me"), Force::Yes).unwrap();
        let again = apply(&typed, Some(&after), &mine, &writer("me"), Force::No);
        prop_assert_eq!(again.as_ref().map(without_owners), Ok(without_owners(&after)));
    }

    #[test]
    fn what_is_stored_is_in_its_canonical_form(configs in prop::collection::vec(config(), 1..4)) {
        let typed = typed();
        let mut live = None;
        for (at, config) in configs.iter().enumerate() {
            let writer = writer(&format!("m{at}"));
            live = Some(apply(&typed, live.as_ref(), config, &writer, Force::Yes).unwrap());
        }
        let live = live.unwrap();
        for entry in entries::read_stored(&live) {
            let read = FieldSet::read(entry.fields.clone().into_value());
            prop_assert_eq!(read, Ok(entry.fields));
        }
    }

    #[test]
    fn nothing_makes_it_panic(live in json_value(), config in json_value(), new in json_value(), sent in json_value()) {
        let (typed, writer) = (typed(), writer("one"));
        let _ = apply(&typed, Some(&live), &config, &writer, Force::Yes);
        let mut new = json!({"metadata": new, "spec": config});
        update::track(&typed, Some(&live), &mut new, Some(sent), &writer);
        prop_assert!(new.is_object());
    }

    #[test]
    fn sets_are_sets(a in config(), b in config()) {
        let set = |config: &Value| {
            let object = apply(&typed(), None, config, &writer("one"), Force::No).unwrap();
            entries::read_stored(&object).into_iter().map(|entry| entry.fields).next().unwrap_or_default()
        };
        let (a, b) = (set(&a), set(&b));
        let mut union = a.clone();
        union.add(b.clone());
        let (mut only_a, mut only_b) = (a.clone(), b.clone());
        only_a.subtract(&b);
        only_b.subtract(&a);
        let both = a.intersection(&b);
        let mut whole = only_a.clone();
        whole.add(both.clone());
        prop_assert_eq!(&whole, &a);
        whole.add(only_b);
        prop_assert_eq!(whole, union);
        prop_assert!(only_a.intersection(&both).is_empty());
        prop_assert_eq!(FieldSet::read(a.clone().into_value()), Ok(a));
    }
}
