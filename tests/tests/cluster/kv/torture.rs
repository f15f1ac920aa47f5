//! The torture of the kv sample: writers write numbers to every ordinal while everything is done to them
//! that is done to a stateful program. No acknowledged write may be lost, and each ordinal has its own data.
//!
//! What happens in which order follows from [`SEED`], which is printed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ::http::Method;
use coracle_tests::cluster::name;
use coracle_tests::{Cluster, eventually, http};
use serde_json::{Value, json};

const SEED: u64 = 0x00c0_2ac1;

/// No new blow after so long, so that the whole stays within a minute or so.
const STORM: Duration = Duration::from_secs(30);

/// The fewest blows, however slow the machine is: one of each sort.
const BLOWS_MIN: usize = 6;

const ORDINALS: u16 = 3;

/// Keys of each writer; each is written again and again.
const KEYS: u64 = 50;

const SET: &str = "/apis/apps/v1/namespaces/default/statefulsets/kv";

/// What a key must hold: at least what was acknowledged last, at most what was sent last.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    acknowledged: u64,
    sent: u64,
}

/// A writer of one ordinal.
struct Writer {
    at: SocketAddr,
    ordinal: u16,
    keys: Arc<Mutex<BTreeMap<u64, Window>>>,
    acknowledged: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    fn start(cluster: &Cluster, ordinal: u16, stop: &Arc<AtomicBool>) -> Self {
        let at = cluster.node_port(30090 + ordinal);
        let (keys, acknowledged) = (Arc::new(Mutex::new(BTreeMap::new())), Arc::new(AtomicU64::new(0)));
        let thread = std::thread::spawn({
            let (keys, acknowledged, stop) = (Arc::clone(&keys), Arc::clone(&acknowledged), Arc::clone(stop));
            move || {
                for number in 1_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let key = number % KEYS;
                    keys.lock().unwrap().entry(key).or_insert_with(Window::default).sent = number;
                    let sent = http::send(at, "PUT", &format!("/keys/k{key}"), &format!("kv-{ordinal} {number}"));
                    match sent {
                        Ok((204, _)) => {
                            keys.lock().unwrap().entry(key).or_insert_with(Window::default).acknowledged = number;
                            acknowledged.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(other) => panic!("kv-{ordinal} said {other:?}"),
                        // Nobody there, or gone in the middle: it may have been written or not. Then a rest.
                        Err(_) => std::thread::park_timeout(Duration::from_millis(5)),
                    }
                }
            }
        });
        Self { at, ordinal, keys, acknowledged, thread: Some(thread) }
    }

    /// Waits until more writes were acknowledged, so that the store is up.
    fn goes_on(&self) {
        let before = self.acknowledged.load(Ordering::Relaxed);
        eventually(&format!("new writes of kv-{}", self.ordinal), || {
            let now = self.acknowledged.load(Ordering::Relaxed);
            if now >= before + 5 { Ok(()) } else { Err(format!("{now}, {before} before")) }
        });
    }

    /// Reads everything back.
    fn check(&self) {
        let whoami = eventually("an answer", || http::get(self.at, "/whoami")).1;
        assert!(whoami.contains(&format!("\"ordinal\":{}", self.ordinal)), "{whoami}");
        let keys = self.keys.lock().unwrap().clone();
        for (key, window) in keys {
            let (status, value) = eventually("an answer", || http::get(self.at, &format!("/keys/k{key}")));
            if status == 404 {
                assert_eq!(window.acknowledged, 0, "kv-{} lost k{key}: {window:?}", self.ordinal);
                continue;
            }
            let (owner, number) = value.split_once(' ').unwrap_or_else(|| panic!("{status} {value}"));
            assert_eq!(owner, format!("kv-{}", self.ordinal), "k{key} is another's");
            let number: u64 = number.parse().unwrap();
            let fits = (window.acknowledged..=window.sent).contains(&number);
            assert!(fits, "kv-{}: k{key} holds {number}, not {window:?}", self.ordinal);
        }
    }
}

/// A small generator of numbers that look random (xorshift64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// One thing that is done to the set.
#[derive(Debug, Clone, Copy)]
enum Blow {
    DeletePod,
    DeletePodAtOnce,
    ChangeTemplate,
    ChangeImage,
    ScaleDownAndUp,
    KillServer,
}

const BLOWS: [Blow; 6] = [
    Blow::DeletePod,
    Blow::ChangeTemplate,
    Blow::KillServer,
    Blow::ScaleDownAndUp,
    Blow::ChangeImage,
    Blow::DeletePodAtOnce,
];

fn whole(cluster: &Cluster) {
    eventually("three pods of one revision, all available", || {
        let set = cluster.get(SET);
        let status = set["status"].clone();
        let seen = status["observedGeneration"] == set["metadata"]["generation"];
        let count = |field: &str| status[field].as_u64().unwrap_or(0);
        let all = count("availableReplicas") == u64::from(ORDINALS) && count("updatedReplicas") == u64::from(ORDINALS);
        if seen && all { Ok(()) } else { Err(status.to_string()) }
    });
    cluster.ready_pods("app=kv", ORDINALS.into());
}

/// Deletes a pod, which may be away already after the last blow.
fn delete(cluster: &Cluster, pod: &str) {
    let path = format!("/api/v1/namespaces/default/pods/{pod}");
    let (status, answer) = cluster.api().call(&Method::DELETE, &path, &Value::Null);
    assert!([200, 202, 404].contains(&status), "{status} {answer}");
}

fn strike(cluster: &mut Cluster, blow: Blow, round: usize, dice: &mut Dice) {
    let pod = format!("kv-{}", dice.roll(ORDINALS.into()));
    let patch = |cluster: &Cluster, spec: Value| cluster.api().patch(SET, &json!({"spec": spec}));
    match blow {
        Blow::DeletePod => delete(cluster, &pod),
        Blow::DeletePodAtOnce => delete(cluster, &format!("{pod}?gracePeriodSeconds=0")),
        Blow::ChangeTemplate => {
            let annotations = json!({"round": round.to_string()});
            patch(cluster, json!({"template": {"metadata": {"annotations": annotations}}}));
        }
        Blow::ChangeImage => {
            let image = if cluster.get(SET)["spec"]["template"]["spec"]["containers"][0]["image"] == "kv:1" {
                "kv:2"
            } else {
                "kv:1"
            };
            let path = "/spec/template/spec/containers/0/image";
            let mut set = cluster.get(SET);
            *set.pointer_mut(path).unwrap() = image.into();
            patch(cluster, json!({"template": set["spec"]["template"]}));
        }
        Blow::ScaleDownAndUp => {
            let left = dice.roll(ORDINALS.into());
            patch(cluster, json!({"replicas": left}));
            cluster.ready_pods("app=kv", usize::try_from(left).unwrap());
            patch(cluster, json!({"replicas": ORDINALS}));
        }
        Blow::KillServer => {
            cluster.kill_hard();
            cluster.restart();
        }
    }
}

#[test]
fn no_acknowledged_write_is_lost_whatever_happens_to_pods_and_server() {
    println!("seed {SEED:#x}");
    let mut cluster = Cluster::start();
    cluster.push("kv");
    cluster.push_as("kv", "kv:2");
    cluster.coracle("apply -f samples/kv/kv.yaml").ok();
    for ordinal in 1..ORDINALS {
        let selector = json!({"statefulset.kubernetes.io/pod-name": format!("kv-{ordinal}")});
        let ports = json!([{"port": 8080, "nodePort": 30090 + ordinal}]);
        let spec = json!({"type": "NodePort", "selector": selector, "ports": ports});
        let service = json!({"metadata": {"name": format!("kv-{ordinal}")}, "spec": spec});
        cluster.api().create("/api/v1/namespaces/default/services", &service);
    }
    whole(&cluster);
    let volumes = |cluster: &Cluster| -> BTreeSet<String> {
        let claims = cluster.get("/api/v1/namespaces/default/persistentvolumeclaims");
        let pair = |c: &Value| format!("{} {}", name(c), c["spec"]["volumeName"]);
        claims["items"].as_array().unwrap().iter().map(pair).collect()
    };
    let bound = volumes(&cluster);
    assert_eq!(bound.len(), usize::from(ORDINALS), "{bound:?}");

    let stop = Arc::new(AtomicBool::new(false));
    let mut writers: Vec<_> = (0..ORDINALS).map(|ordinal| Writer::start(&cluster, ordinal, &stop)).collect();
    writers.iter().for_each(Writer::goes_on);
    let (mut dice, start) = (Dice(SEED), Instant::now());
    for (round, blow) in BLOWS.into_iter().cycle().enumerate() {
        if round >= BLOWS_MIN && start.elapsed() > STORM {
            break;
        }
        println!("{:>6.1?} {blow:?}", start.elapsed());
        strike(&mut cluster, blow, round, &mut dice);
        // Sometimes the next blow falls before the set has recovered.
        if dice.roll(3) > 0 {
            whole(&cluster);
            writers.iter().for_each(Writer::goes_on);
        }
    }
    whole(&cluster);
    writers.iter().for_each(Writer::goes_on);
    stop.store(true, Ordering::Relaxed);
    for writer in &mut writers {
        writer.thread.take().unwrap().join().unwrap();
        println!("kv-{}: {} writes acknowledged", writer.ordinal, writer.acknowledged.load(Ordering::Relaxed));
    }
    writers.iter().for_each(Writer::check);
    assert_eq!(volumes(&cluster), bound, "each ordinal has the volume that it had");
    // And once more from what is on the disk alone.
    cluster.kill_hard();
    cluster.restart();
    whole(&cluster);
    writers.iter().for_each(Writer::check);
}
