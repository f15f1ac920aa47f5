//! `exec` in both protocols of kubectl's and in kube-rs's: input to its end, outputs, and the exit code.

use coracle_tests::Cluster;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::AttachParams;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn echo() -> (Cluster, String) {
    let cluster = Cluster::start();
    cluster.push("echo");
    cluster.coracle("apply -f samples/echo/echo.yaml").ok();
    let pod = cluster.ready_pods("app=echo", 1).remove(0);
    (cluster, pod)
}

#[test]
fn input_comes_back_and_failures_are_told_over_both_protocols() {
    let (cluster, pod) = echo();
    // Less than the pipes on the way hold: this harness writes all before it reads.
    let much = "coracle ".repeat(5_000);
    for websockets in ["true", "false"] {
        let variables = [("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets)];
        let kubectl = |line: &str, input: &str| cluster.kubectl_within(line, &variables, input);
        let back = kubectl(&format!("exec -i {pod} -- cat"), &much).ok();
        assert!(back == much, "{} of {} bytes came back over {websockets}", back.len(), much.len());
        assert_eq!(kubectl(&format!("exec {pod} -- printenv PORT"), "").ok(), "7777\n");
        let failed = kubectl(&format!("exec {pod} -- false"), "").refused();
        assert!(failed.contains("command terminated with exit code 1"), "{failed}");
    }
}

#[test]
fn kube_rs_runs_commands() {
    let (cluster, pod) = echo();
    let api = cluster.api();
    api.wait_for(async {
        let pods: Api<Pod> = Api::namespaced(api.client(), "default");
        let streams = AttachParams::default().stdin(true).stdout(true).stderr(false);
        let mut running = pods.exec(&pod, ["cat"], &streams).await.unwrap();
        let (mut stdin, mut stdout) = (running.stdin().unwrap(), running.stdout().unwrap());
        stdin.write_all(b"ahoy").await.unwrap();
        let mut back = [0; 4];
        stdout.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"ahoy");
        let status = running.take_status().unwrap();
        // The end of its input is told, and so it ends.
        stdin.shutdown().await.unwrap();
        drop(stdin);
        let status = status.await.unwrap();
        assert_eq!(status.status.as_deref(), Some("Success"), "{status:?}");
        running.join().await.unwrap();

        let mut failing = pods.exec(&pod, ["false"], &AttachParams::default()).await.unwrap();
        let status = failing.take_status().unwrap().await.unwrap();
        assert_eq!(status.reason.as_deref(), Some("NonZeroExitCode"), "{status:?}");
        failing.join().await.unwrap();
    });
}
