//! Services that sleep: who comes waits until there is an endpoint.

use super::*;
use crate::fake_api::DEPLOYMENTS;

/// A Service that may sleep, with one port of each protocol.
fn sleepy(running: &Running, cluster_ip: &str, node_port: u16) {
    let port = |protocol: &str| json!({ "name": protocol.to_lowercase(), "protocol": protocol, "port": 8000, "nodePort": node_port });
    let annotations = json!({ "coracle.dev/scale-to-zero": "true", "coracle.dev/idle-after": "1s" });
    let spec = json!({ "type": "NodePort", "clusterIP": cluster_ip, "selector": { "app": "web" },
        "ports": [port("TCP"), port("UDP")] });
    running.api.put(SERVICES, "web", json!({ "metadata": { "annotations": annotations }, "spec": spec }));
    running.endpoints("web", 7, &[]);
}

#[tokio::test]
async fn a_connection_waits_for_an_endpoint_and_is_handed_over_with_what_counts_it() {
    let running = running(config(240)).await;
    let node_port = free_port();
    sleepy(&running, "127.43.240.1", node_port);
    let client = connected(SocketAddr::from(([127, 0, 0, 1], node_port))).await;
    let pod = running.pod("web").await;
    let (sender, mut taken) = mpsc::channel(8);
    running.endpoints("web", 7, &[pod.ip()]);
    // In the endpoints before anybody listens: that is waited for as well.
    let _port = pod.serve(7, Arc::new(Sink(sender))).await.unwrap();
    let connection = taken.recv().await.unwrap();
    assert_eq!(connection.peer, client.local_addr().unwrap());
    assert_eq!(connection.local, SocketAddr::new(pod.ip(), 7));
    assert!(connection.held.is_some());
}

#[tokio::test]
async fn what_is_behind_it_is_woken_once_and_sleeps_when_nobody_is_there_any_more() {
    let api = FakeApi::new();
    let network = Network::build(api.client(), config(244)).await.unwrap();
    let (sleep, shutdown) = (ScaleToZero::build(api.client(), &network), CancellationToken::new());
    let mut tasks = JoinSet::new();
    let running = Running {
        api: api.clone(),
        pods: network.pods(),
        tasks: JoinSet::new(),
        shutdown: shutdown.clone().drop_guard(),
    };
    tasks.spawn(network.run(shutdown.clone()));
    tasks.spawn(sleep.run(shutdown));
    let deployment = |replicas: i32| {
        let template = json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [] } });
        api.put(DEPLOYMENTS, "web", json!({ "spec": { "replicas": replicas, "selector": {}, "template": template } }));
    };
    deployment(3);
    let node_port = free_port();
    sleepy(&running, "127.43.244.1", node_port);
    let scaled = async |replicas: i32| {
        let path = "/apis/apps/v1/namespaces/default/deployments/web/scale";
        let is_it = |object: &Value| object["patched"] == path && object["patch"]["spec"]["replicas"] == replicas;
        api.created(is_it).await
    };
    scaled(0).await;
    let remembered = api.created(|object| object["patched"] == "/api/v1/namespaces/default/services/web").await;
    assert_eq!(remembered["patch"]["metadata"]["annotations"]["coracle.dev/replicas"], "3");
    deployment(0);
    let client = connected(SocketAddr::from(([127, 0, 0, 1], node_port))).await;
    scaled(3).await;
    let woken = api.created(|object| object["reason"] == "Woken").await;
    assert_eq!(woken["message"], "Scaled up deployment web from 0 to 3: a client waits");
    drop((client, running));
    while tasks.join_next().await.is_some() {}
}

#[tokio::test]
async fn a_stopping_server_is_waited_past() {
    let running = running(config(241)).await;
    sleepy(&running, "127.43.241.1", free_port());
    let (stopping, next) = (running.pod("stopping").await, running.pod("next").await);
    let _refusing = stopping.serve(7, Arc::new(Stopping)).await.unwrap();
    running.endpoints("web", 7, &[stopping.ip()]);
    let _client = connected(address("127.43.241.1:8000")).await;
    let (sender, mut taken) = mpsc::channel(8);
    let _taking = next.serve(7, Arc::new(Sink(sender))).await.unwrap();
    running.endpoints("web", 7, &[next.ip()]);
    assert_eq!(taken.recv().await.unwrap().local, SocketAddr::new(next.ip(), 7));
}

#[tokio::test]
async fn a_pod_waits_at_a_door_and_is_known_by_its_address() {
    let running = running(config(242)).await;
    sleepy(&running, "127.43.242.1", free_port());
    let (asking, web) = (running.pod("asking").await, running.pod("web").await);
    drop(connected(address("127.43.242.1:8000")).await);
    let door = loop {
        if let Ok(door) = asking.connect(Protocol::Tcp, address("127.43.242.1:8000")) {
            break door;
        }
        tokio::task::yield_now().await;
    };
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(asking.ip(), 0)).unwrap();
    let client = socket.connect(door).await.unwrap();
    let (sender, mut taken) = mpsc::channel(8);
    let _port = web.serve(7, Arc::new(Sink(sender))).await.unwrap();
    running.endpoints("web", 7, &[web.ip()]);
    // The first is of the client that has gone.
    while taken.recv().await.unwrap().peer != client.local_addr().unwrap() {}
    assert_eq!(asking.connect(Protocol::Tcp, address("127.43.242.1:8000")), Ok(door), "awake as well: it is counted");
}

#[tokio::test]
async fn datagrams_wait_for_an_endpoint_too() {
    let running = running(config(243)).await;
    let node_port = free_port();
    sleepy(&running, "127.43.243.1", node_port);
    let at = SocketAddr::from(([127, 0, 0, 1], node_port));
    drop(connected(at).await);
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(at).await.unwrap();
    client.send(b"one").await.unwrap();
    client.send(b"two").await.unwrap();
    let pod = running.pod("web").await;
    let port = pod.listen(Protocol::Udp, SocketAddr::new(pod.ip(), 7)).unwrap();
    let guest = UdpSocket::bind(port.real()).await.unwrap();
    running.endpoints("web", 7, &[pod.ip()]);
    let mut buffer = [0; 16];
    for text in [b"one", b"two"] {
        let (length, from) = guest.recv_from(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], text);
        guest.send_to(&buffer[..length], from).await.unwrap();
        let length = client.recv(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], text);
    }
}
