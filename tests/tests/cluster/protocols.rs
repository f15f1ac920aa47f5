//! Protocols that are not HTTP, through Services: connections that last, datagrams, and streams of much.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use coracle_tests::cluster::name;
use coracle_tests::{Cluster, eventually, paths};
use serde_json::{Value, json};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const SERVICES: &str = "/api/v1/namespaces/default/services";

/// How long an answer may take before it is none.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is sent in one go, and how often: 256 MB in all.
const PIECE: usize = 1 << 20;
const PIECES: usize = 256;

/// A Deployment of one container, and a Service of it; returns where that is reached.
fn serve(cluster: &Cluster, name: &str, replicas: usize, container: Value, port: Value) -> SocketAddr {
    let mut container = container;
    container["name"] = "main".into();
    let labels = json!({"app": name});
    // Whoever is told to stop does so only when its time is up: no guest here listens for that.
    let pod = json!({"terminationGracePeriodSeconds": 600, "containers": [container]});
    let template = json!({"metadata": {"labels": labels}, "spec": pod});
    let spec = json!({"replicas": replicas, "selector": {"matchLabels": labels}, "template": template});
    cluster.api().create(DEPLOYMENTS, &json!({"metadata": {"name": name}, "spec": spec}));
    let number = u16::try_from(port["port"].as_u64().unwrap()).unwrap();
    let spec = json!({"selector": labels, "ports": [port]});
    let service = cluster.api().create(SERVICES, &json!({"metadata": {"name": name}, "spec": spec}));
    cluster.ready_pods(&format!("app={name}"), replicas);
    SocketAddr::new(service["spec"]["clusterIP"].as_str().unwrap().parse().unwrap(), number)
}

fn echo(cluster: &Cluster, name: &str, replicas: usize) -> SocketAddr {
    let container = json!({"image": "echo:1", "env": [{"name": "PORT", "value": "7777"}]});
    let at = serve(cluster, name, replicas, container, json!({"port": 7777}));
    eventually("an echo", || said(&mut open(at)?, "ahoy"));
    at
}

fn open(at: SocketAddr) -> Result<TcpStream, String> {
    let open = || {
        let connection = TcpStream::connect_timeout(&at, PATIENCE)?;
        connection.set_nodelay(true)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        Ok(connection)
    };
    open().map_err(|error: std::io::Error| error.to_string())
}

/// Says a word to an echo and waits for it.
fn said(connection: &mut TcpStream, word: &str) -> Result<(), String> {
    let mut back = vec![0; word.len()];
    let exchanged = connection.write_all(word.as_bytes()).and_then(|()| connection.read_exact(&mut back));
    exchanged.map_err(|error| error.to_string())?;
    if back == word.as_bytes() { Ok(()) } else { Err(format!("{back:?} is not {word}")) }
}

fn is_stopping(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_string()
}

#[test]
fn connections_last_through_rollouts_until_their_own_pod_is_gone() {
    let cluster = Cluster::start();
    cluster.push("echo");
    let (at, other) = (echo(&cluster, "kept", 2), echo(&cluster, "other", 2));
    let mut kept: Vec<TcpStream> = (0..16).map(|_| open(at).unwrap()).collect();
    let all_answer = |kept: &mut Vec<TcpStream>, when: &str| {
        for connection in kept.iter_mut() {
            said(connection, when).unwrap_or_else(|error| panic!("{when}: {error}"));
        }
    };
    all_answer(&mut kept, "first");
    let old: Vec<String> = cluster.ready_pods("app=kept", 2);

    // Of another Service: nothing here changes.
    cluster.kubectl("rollout restart deploy/other").ok();
    cluster.kubectl("rollout status deploy/other --timeout=120s").ok();
    eventually("an echo of the other", || said(&mut open(other)?, "ahoy"));
    all_answer(&mut kept, "after another's rollout");

    // Of its own: who is new is led to the new pods, and the old ones serve whom they have.
    cluster.kubectl("rollout restart deploy/kept").ok();
    cluster.kubectl("rollout status deploy/kept --timeout=120s").ok();
    eventually("an echo of the new", || said(&mut open(at)?, "ahoy"));
    let stopping: Vec<String> = cluster.pods("app=kept").iter().filter(|pod| is_stopping(pod)).map(name).collect();
    assert_eq!(stopping.len(), old.len(), "they wait for their time to be up: {stopping:?}");
    all_answer(&mut kept, "after the rollout");
    let mut new: Vec<TcpStream> = (0..4).map(|_| open(at).unwrap()).collect();

    for pod in &old {
        cluster.kubectl(&format!("delete pod {pod} --grace-period=0 --force")).ok();
    }
    for connection in &mut kept {
        let ended = connection.read(&mut [0]);
        assert!(matches!(ended, Ok(0)) || ended.as_ref().is_err_and(is_reset), "{ended:?}");
    }
    all_answer(&mut new, "of the new");
}

fn is_reset(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::ConnectionReset
}

#[test]
fn a_stream_of_much_comes_back_as_it_was_and_ends() {
    let cluster = Cluster::start();
    cluster.push("echo");
    let at = echo(&cluster, "echo", 1);
    // Pieces that differ in every place, so that none can be lost, doubled or swapped unseen.
    let mut state = 1_u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    let much: Vec<u8> = (0..PIECE + PIECES).map(|_| random()).collect();
    let mut reader = open(at).unwrap();
    let mut writer = reader.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..PIECES {
                writer.write_all(&much[number..number + PIECE]).unwrap();
            }
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut piece = vec![0; PIECE];
        for number in 0..PIECES {
            reader.read_exact(&mut piece).unwrap();
            assert!(piece == much[number..number + PIECE], "piece {number} is another");
        }
        assert_eq!(reader.read(&mut piece).unwrap(), 0, "the end comes back, too");
    });
}

#[test]
fn datagrams_are_answered_by_every_endpoint_in_the_name_of_the_service() {
    let cluster = Cluster::start();
    cluster.coracle(&format!("image push {} caller:1", paths::guest("caller").display())).ok();
    let container = json!({"image": "caller:1", "args": ["datagrams", "7100"]});
    let at = serve(&cluster, "back", 3, container, json!({"port": 7100, "protocol": "UDP"}));
    let pods = cluster.ready_pods("app=back", 3);
    let client = || {
        let client = UdpSocket::bind((cluster.address(), 0)).unwrap();
        client.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        // From here on, it hears nobody but the Service.
        client.connect(at).unwrap();
        client
    };
    // A datagram may be lost, so whoever wants an answer asks again, and takes no late answer for another.
    let exchange = |client: &UdpSocket, word: &str| {
        let mut back = [0; 64];
        eventually(word, || {
            client.send(word.as_bytes()).map_err(|error| error.to_string())?;
            loop {
                let length = client.recv(&mut back).map_err(|error| error.to_string())?;
                if back[..length] == *word.as_bytes() {
                    return Ok(());
                }
            }
        });
    };
    let heard_by = |word: &str| {
        let heard = |pod: &&String| cluster.kubectl(&format!("logs {pod}")).ok().contains(word);
        pods.iter().filter(heard).count()
    };
    let mut clients = Vec::new();
    eventually("every pod has clients", || {
        clients.push(client());
        exchange(&clients[clients.len() - 1], "somebody");
        if heard_by("somebody") == pods.len() { Ok(()) } else { Err(format!("{} clients", clients.len())) }
    });
    for word in (0..5).map(|number| format!("question {number}")) {
        clients.iter().enumerate().for_each(|(who, client)| exchange(client, &format!("{word} of {who};")));
    }
    let is_kept = |who: usize| heard_by(&format!(" of {who};")) == 1;
    assert!((0..clients.len()).all(is_kept), "each client keeps to its pod");
    // Whose endpoint goes is answered by another one.
    cluster.kubectl(&format!("delete pod {} --grace-period=0 --force", pods[0])).ok();
    clients.iter().for_each(|client| exchange(client, "when one is gone"));
    cluster.coracle("scale deploy/back --replicas=1").ok();
    clients.iter().for_each(|client| exchange(client, "when one is left"));
}
