//! kube-rs: port-forward over the channels of a WebSocket.

use coracle_tests::Cluster;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[test]
fn kube_rs_forwards_ports_over_channels() {
    let cluster = Cluster::start();
    cluster.push("echo");
    cluster.coracle("apply -f samples/echo/echo.yaml").ok();
    let pod = cluster.ready_pods("app=echo", 1).remove(0);
    let api = cluster.api();
    api.wait_for(async {
        let pods: Api<Pod> = Api::namespaced(api.client(), "default");
        let mut forwarder = pods.portforward(&pod, &[7777, 9]).await.unwrap();
        let refused = forwarder.take_error(9).unwrap().await.unwrap();
        assert!(refused.starts_with("error forwarding port 9 to pod "), "{refused}");
        assert!(refused.ends_with("dial tcp4 127.0.0.1:9: connect: connection refused"), "{refused}");

        // The other port works all the same, with more than any buffer between holds.
        let (mut read, mut write) = tokio::io::split(forwarder.take_stream(7777).unwrap());
        let much = "coracle ".repeat(500_000);
        let mut back = vec![0; much.len()];
        let (written, came) = tokio::join!(write.write_all(much.as_bytes()), read.read_exact(&mut back));
        written.unwrap();
        came.unwrap();
        assert!(back == much.as_bytes(), "it came back otherwise");
        drop((read, write));
        forwarder.join().await.unwrap();
    });
}
