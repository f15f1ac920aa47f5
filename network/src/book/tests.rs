//! What changes of objects mean for routes: no less than all that differs, and little more.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::*;

fn service(name: &str, born: i64, spec: Value) -> Service {
    let metadata = json!({ "name": name, "namespace": "default", "uid": name });
    let mut service: Service = serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap();
    service.metadata.creation_timestamp = Some(Time(jiff::Timestamp::from_second(born).unwrap()));
    service
}

fn balancer(name: &str, born: i64, ip: &str) -> Service {
    service(name, born, json!({ "type": "LoadBalancer", "clusterIP": ip, "ports": [{ "port": 80 }] }))
}

fn slice(name: &str, of: &str, ips: &[&str]) -> EndpointSlice {
    let labels = json!({ "kubernetes.io/service-name": of });
    let endpoints: Vec<Value> = ips.iter().map(|ip| json!({ "addresses": [ip] })).collect();
    serde_json::from_value(json!({
        "metadata": { "name": name, "namespace": "default", "labels": labels },
        "addressType": "IPv4", "ports": [{ "port": 80 }], "endpoints": endpoints,
    }))
    .unwrap()
}

/// What changed, as text: `service@front=endpoints`, or `-front`.
fn changed(book: &mut Book) -> Vec<String> {
    let front = |front: Front| match front {
        Front::ClusterIp(_, at) => at.ip().to_string(),
        Front::LoadBalancer(_, port) => format!("balancer:{port}"),
        other => format!("{other:?}"),
    };
    let line = |(at, route): (Front, Option<Arc<Route>>)| match route {
        Some(route) => {
            let ips: Vec<_> = route.endpoints.iter().map(|to| to.ip().to_string()).collect();
            format!("{}@{}={}", route.service.name, front(at), ips.join(","))
        }
        None => format!("-{}", front(at)),
    };
    book.changes().into_iter().map(line).collect()
}

#[test]
fn a_change_of_one_service_is_told_of_that_alone() {
    let mut book = Book::new("here");
    let spec = |ip: &str| json!({ "clusterIP": ip, "ports": [{ "port": 80 }] });
    for number in 1..4 {
        let name = format!("s{number}");
        book.note_service(Event::Apply(service(&name, 0, spec(&format!("10.0.0.{number}")))));
        book.note_slice(Event::Apply(slice(&format!("{name}-x"), &name, &["10.1.0.2"])));
    }
    assert_eq!(changed(&mut book).len(), 3);
    assert!(!book.is_stale());
    book.note_slice(Event::Apply(slice("s2-x", "s2", &["10.1.0.2"])));
    assert!(!book.is_stale(), "it says what is known");
    book.note_slice(Event::Apply(slice("s2-y", "s2", &["10.1.0.3"])));
    assert_eq!(changed(&mut book), ["s2@10.0.0.2=10.1.0.2,10.1.0.3"]);
    book.note_slice(Event::Delete(slice("s2-x", "s2", &[])));
    assert_eq!(changed(&mut book), ["s2@10.0.0.2=10.1.0.3"]);
    book.note_service(Event::Delete(service("s2", 0, spec("10.0.0.2"))));
    assert_eq!(changed(&mut book), ["-10.0.0.2"]);
}

#[test]
fn a_slice_may_come_first_and_may_change_its_service() {
    let mut book = Book::new("here");
    book.note_slice(Event::Apply(slice("x", "a", &["10.1.0.2"])));
    assert!(changed(&mut book).is_empty());
    for (name, ip) in [("a", "10.0.0.1"), ("b", "10.0.0.2")] {
        book.note_service(Event::Apply(service(name, 0, json!({ "clusterIP": ip, "ports": [{ "port": 80 }] }))));
    }
    assert_eq!(changed(&mut book), ["a@10.0.0.1=10.1.0.2", "b@10.0.0.2="]);
    book.note_slice(Event::Apply(slice("x", "b", &["10.1.0.2"])));
    assert_eq!(changed(&mut book), ["a@10.0.0.1=", "b@10.0.0.2=10.1.0.2"]);
}

#[test]
fn the_oldest_has_the_port_and_the_next_one_inherits_it() {
    let mut book = Book::new("here");
    book.note_service(Event::Apply(balancer("late", 9, "10.0.0.1")));
    assert_eq!(changed(&mut book), ["late@10.0.0.1=", "late@balancer:80="]);
    book.note_service(Event::Apply(balancer("first", 5, "10.0.0.2")));
    assert_eq!(changed(&mut book), ["first@10.0.0.2=", "first@balancer:80="]);
    book.note_service(Event::Delete(balancer("first", 5, "10.0.0.2")));
    assert_eq!(changed(&mut book), ["-10.0.0.2", "late@balancer:80="]);
}

#[test]
fn what_a_new_list_lacks_is_gone() {
    let mut book = Book::new("here");
    let all = |book: &mut Book, names: &[(&str, &str)]| {
        book.note_service(Event::Init);
        for (name, ip) in names {
            let spec = json!({ "clusterIP": ip, "ports": [{ "port": 80 }] });
            book.note_service(Event::InitApply(service(name, 0, spec)));
        }
        book.note_service(Event::InitDone);
        book.note_slice(Event::Init);
        for (name, _) in names {
            book.note_slice(Event::InitApply(slice(&format!("{name}-x"), name, &["10.1.0.2"])));
        }
        book.note_slice(Event::InitDone);
    };
    assert!(!book.is_whole());
    all(&mut book, &[("a", "10.0.0.1"), ("b", "10.0.0.2")]);
    assert!(book.is_whole());
    assert_eq!(changed(&mut book), ["a@10.0.0.1=10.1.0.2", "b@10.0.0.2=10.1.0.2"]);
    all(&mut book, &[("b", "10.0.0.2")]);
    assert_eq!(changed(&mut book), ["-10.0.0.1", "b@10.0.0.2=10.1.0.2"]);
    assert!(book.slices.len() == 1 && book.held.len() == 1 && book.wanted.len() == 1, "nothing stays behind");
}

#[test]
fn who_wants_a_port_that_an_older_one_has_is_told_once() {
    let mut book = Book::new("here");
    let mut told = |event: Event<Service>| -> Vec<String> {
        book.note_service(event);
        let fronts: Vec<Front> = book.changes().into_iter().map(|(front, _)| front).collect();
        book.conflicts(&fronts).into_iter().map(|refusal| format!("{}: {}", refusal.service, refusal.message)).collect()
    };
    assert_eq!(told(Event::Apply(balancer("old", 1, "10.0.0.1"))), [""; 0]);
    let said =
        "port 80/TCP of the load balancer is Service default/old's, which is older: delete that, or choose another";
    assert_eq!(told(Event::Apply(balancer("young", 2, "10.0.0.2"))), [format!("default/young: {said}")]);
    assert_eq!(told(Event::Apply(balancer("young", 2, "10.0.0.2"))), [""; 0]);
    assert_eq!(told(Event::Delete(balancer("old", 1, "10.0.0.1"))), [""; 0], "it has it now");
    let said = said.replace("old's", "young's");
    assert_eq!(told(Event::Apply(balancer("late", 3, "10.0.0.1"))), [format!("default/late: {said}")]);
}
