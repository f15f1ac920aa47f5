//! Power cuts, full disks and orderly stops: what was acknowledged is there afterwards.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

use ::http::Method;
use coracle_tests::cluster::name;
use coracle_tests::server::BeforeServer;
use coracle_tests::{Api, Cluster, eventually, http};
use rustix::process::Signal;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

/// UIDs by kind and name of everything that a person can see in `default`.
fn uids(cluster: &Cluster) -> BTreeMap<String, String> {
    let mut uids = BTreeMap::new();
    for path in [
        "/api/v1/namespaces/default/pods",
        "/api/v1/namespaces/default/services",
        MAPS,
        "/apis/apps/v1/namespaces/default/deployments",
        "/apis/apps/v1/namespaces/default/replicasets",
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
        "/api/v1/namespaces",
        "/api/v1/nodes",
    ] {
        for object in cluster.get(path)["items"].as_array().unwrap() {
            let uid = object["metadata"]["uid"].as_str().unwrap().to_owned();
            uids.insert(format!("{path}/{}", name(object)), uid);
        }
    }
    uids
}

#[test]
fn after_a_power_cut_the_same_pods_run_and_answer_again() {
    let mut cluster = Cluster::start();
    cluster.push("hello");
    cluster.push("counter");
    cluster.coracle("apply -f samples/hello/hello.yaml").ok();
    cluster.coracle("apply -f samples/counter/counter.yaml").ok();
    cluster.ready_pods("app=counter", 1);
    let pods = cluster.ready_pods("app=hello", 3);
    eventually("an answer", || http::get(cluster.node_port(30080), "/"));
    let before = uids(&cluster);
    let newest = revision(&cluster.get(MAPS));

    cluster.kill_hard();
    cluster.restart();
    assert_eq!(uids(&cluster), before);
    assert!(revision(&cluster.get(MAPS)) >= newest, "revisions never go back");
    assert_eq!(cluster.ready_pods("app=hello", 3), pods);
    cluster.ready_pods("app=counter", 1);
    eventually("an answer again", || http::get(cluster.node_port(30080), "/"));
    // And the controllers go on.
    cluster.coracle("scale deploy/hello --replicas=4").ok();
    cluster.ready_pods("app=hello", 4);
}

#[test]
fn an_orderly_stop_and_start_keeps_everything_too() {
    let mut cluster = Cluster::start();
    cluster.push("hello");
    cluster.coracle("apply -f samples/hello/hello.yaml").ok();
    let pods = cluster.ready_pods("app=hello", 3);
    let before = uids(&cluster);
    let kubeconfig = std::fs::read_to_string(&cluster.server().kubeconfig).unwrap();
    let old_port = format!(":{}", cluster.server().api.port());
    // What Ctrl-C sends; elsewhere it is SIGTERM.
    cluster.server().signal(Signal::INT);
    cluster.ended();
    cluster.restart();
    assert_eq!(uids(&cluster), before);
    assert_eq!(cluster.ready_pods("app=hello", 3), pods);
    let new_port = format!(":{}", cluster.server().api.port());
    let now = std::fs::read_to_string(&cluster.server().kubeconfig).unwrap();
    assert!(now == kubeconfig.replace(&old_port, &new_port), "the same authority and the same credentials");
}

#[test]
fn a_rollout_goes_on_after_every_power_cut_and_comes_to_its_end() {
    const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/default/deployments/hello";
    let mut cluster = Cluster::start();
    cluster.push("hello");
    cluster.push_as("hello", "hello:2");
    cluster.coracle("apply -f samples/hello/hello.yaml").ok();
    cluster.coracle("scale deploy/hello --replicas=12").ok();
    cluster.ready_pods("app=hello", 12);
    let path = "/spec/template/spec/containers/0/image";
    let mut deployment = cluster.get(DEPLOYMENT);
    *deployment.pointer_mut(path).unwrap() = "hello:2".into();
    deployment["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    let (status, answer) = cluster.api().call(&Method::PUT, DEPLOYMENT, &deployment);
    assert_eq!(status, 200, "{answer}");

    let of_the_second = |cluster: &Cluster| {
        let pods = cluster.pods("app=hello");
        pods.iter().filter(|p| p["spec"]["containers"][0]["image"] == "hello:2").count()
    };
    // Cut it off when it has just begun, in the middle, and before the end.
    for reached in [1, 5, 9] {
        eventually(&format!("{reached} pods of the second image"), || {
            let count = of_the_second(&cluster);
            if count >= reached { Ok(()) } else { Err(format!("{count}")) }
        });
        cluster.kill_hard();
        cluster.restart();
    }
    eventually("twelve pods of the second image, and no other", || {
        let status = cluster.get(DEPLOYMENT)["status"].clone();
        let (all, second) = (cluster.pods("app=hello").len(), of_the_second(&cluster));
        let done = (all, second) == (12, 12) && status["availableReplicas"] == 12;
        if done { Ok(()) } else { Err(format!("{second} of {all}; {status}")) }
    });
    cluster.ready_pods("app=hello", 12);
    eventually("an answer", || http::get(cluster.node_port(30080), "/"));
}

/// Creates ConfigMaps until the server is gone; what it was told yes for, with the revision.
fn write_until_the_end(api: &Api, writer: usize, acknowledged: &Mutex<Vec<(String, u64)>>) {
    for number in 0.. {
        let name = format!("map-{writer}-{number}");
        let map = json!({"metadata": {"name": name}, "data": {"text": "x".repeat(300)}});
        match api.try_call(&Method::POST, MAPS, &map) {
            Ok((201, answer)) => acknowledged.lock().unwrap().push((name, revision(&answer))),
            Ok(other) => panic!("{other:?}"),
            Err(_) => return,
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_in_a_power_cut_and_no_revision_is_used_twice() {
    let mut cluster = Cluster::start();
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    for round in 1..=2_usize {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (api, acknowledged) = (cluster.connect(), Arc::clone(&acknowledged));
                std::thread::spawn(move || write_until_the_end(&api, 10 * round + writer, &acknowledged))
            })
            .collect();
        eventually("enough that is acknowledged", || {
            let count = acknowledged.lock().unwrap().len();
            if count >= 300 * round { Ok(()) } else { Err(format!("{count}")) }
        });
        cluster.kill_hard();
        for writer in writers {
            writer.join().unwrap();
        }
        cluster.restart();
        let list = cluster.get(MAPS);
        let there: BTreeMap<String, u64> =
            list["items"].as_array().unwrap().iter().map(|m| (name(m), revision(m))).collect();
        let acknowledged = acknowledged.lock().unwrap();
        for (name, revision) in acknowledged.iter() {
            assert_eq!(there.get(name), Some(revision), "{name} was acknowledged");
        }
        let newest = acknowledged.iter().map(|(_, revision)| *revision).max().unwrap();
        let next = cluster.api().create(MAPS, &json!({"metadata": {"name": format!("next-{round}")}}));
        assert!(revision(&next) > newest && revision(&list) >= newest, "revisions never go back");
        let mut all: Vec<u64> = there.values().copied().collect();
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "no revision belongs to two objects");
    }
}

#[test]
fn a_stop_lets_a_request_that_is_under_way_finish() {
    let mut cluster = Cluster::start();
    let server = cluster.server();
    let (pid, api) = (server.pid(), server.api);
    let mut connection = Api::raw(&server.kubeconfig, api);
    let body = r#"{"metadata":{"name":"slow"},"data":{"a":"b"}}"#;
    let (first, rest) = body.split_at(body.len() / 2);
    let head = "Content-Type: application/json\r\nExpect: 100-continue\r\nConnection: close\r\n";
    write!(connection, "POST {MAPS} HTTP/1.1\r\nHost: {api}\r\n{head}Content-Length: {}\r\n\r\n", body.len()).unwrap();
    // The server asks for the body: so the request is in its hands.
    let mut asked = [0; 25];
    connection.read_exact(&mut asked).unwrap();
    assert_eq!(String::from_utf8_lossy(&asked), "HTTP/1.1 100 Continue\r\n\r\n");
    connection.write_all(first.as_bytes()).unwrap();

    cluster.server().signal(Signal::TERM);
    eventually("an API that takes no new connections", || match std::net::TcpStream::connect(api) {
        Ok(_) => Err(format!("{pid} still listens")),
        Err(_) => Ok(()),
    });
    connection.write_all(rest.as_bytes()).unwrap();
    let mut answer = String::new();
    // Some servers end a connection without TLS's own goodbye; the answer tells whether it is whole.
    let _ = connection.read_to_string(&mut answer);
    let (status, body) = http::parse(&answer).unwrap_or_else(|| panic!("no whole answer: {answer:?}"));
    assert_eq!(status, 201, "{body}");
    cluster.ended();
    cluster.restart();
    assert_eq!(cluster.get(&format!("{MAPS}/slow"))["data"]["a"], "b");
}

#[test]
fn a_full_disk_refuses_writes_keeps_reading_and_loses_nothing() {
    let mut cluster = Cluster::builder().before_server(BeforeServer::with_files_of_at_most(8 << 20)).start();
    cluster.expect_log("data directory", "the disk is full, and somebody must look");
    let text = "x".repeat(400_000);
    let mut acknowledged = Vec::new();
    let refusal = eventually("a refusal for want of space", || {
        let name = format!("large-{}", acknowledged.len());
        let map = json!({"metadata": {"name": name}, "data": {"text": text}});
        match cluster.api().call(&Method::POST, MAPS, &map) {
            (201, _) => {
                acknowledged.push(name);
                Err(format!("{} were kept", acknowledged.len()))
            }
            refused => Ok(refused),
        }
    });
    let (status, answer) = refusal;
    assert!(matches!(status, 500..=599), "{status} {answer}");
    assert!(acknowledged.len() > 3, "{} fit into 8 MiB", acknowledged.len());

    let all_there = |cluster: &Cluster| {
        for name in &acknowledged {
            let map = cluster.get(&format!("{MAPS}/{name}"));
            assert_eq!(map["data"]["text"].as_str().map(str::len), Some(text.len()), "{name}");
        }
        let refused = format!("large-{}", acknowledged.len());
        let list = cluster.get(MAPS);
        assert!(!list["items"].as_array().unwrap().iter().any(|m| name(m) == refused), "what was refused is not there");
    };
    all_there(&cluster);
    // Full or not, it can be stopped and started, and reads go on.
    cluster.restart();
    all_there(&cluster);
    cluster.server().make_room();
    eventually("a write that goes on, once there is room", || {
        let map = json!({"metadata": {"name": "after"}, "data": {"text": text}});
        match cluster.api().call(&Method::POST, MAPS, &map) {
            (201, _) => Ok(()),
            refused => Err(format!("{refused:?}")),
        }
    });
    cluster.kill_hard();
    cluster.restart();
    all_there(&cluster);
    cluster.get(&format!("{MAPS}/after"));
    let message = answer["message"].as_str().unwrap();
    assert!(message.contains("data directory") && message.contains("free space"), "it says what to do: {message}");
}
