//! Sessions in containers: exec and attach, with streams in memory where a client would be.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;

use super::*;
use crate::kubelet::{Command, Exit, Place, Size, Streams};

/// What a client has of a session.
struct Client {
    stdin: DuplexStream,
    stdout: DuplexStream,
    stderr: DuplexStream,
    sizes: mpsc::Sender<Size>,
}

/// The two sides of a session, of which a client reads no more than `room` ahead.
fn client(room: usize) -> (Client, Streams) {
    let ((stdin, input), (stdout, output), (stderr, errors)) = (duplex(room), duplex(room), duplex(room));
    let (sizes, received) = mpsc::channel(4);
    let client = Client { stdin, stdout, stderr, sizes };
    let streams = Streams {
        stdin: Some(Box::new(input)),
        stdout: Some(Box::new(output)),
        stderr: Some(Box::new(errors)),
        sizes: received,
    };
    (client, streams)
}

impl Client {
    /// Closes the input and reads the output to its end.
    async fn finish(self) -> String {
        let Self { stdin, mut stdout, stderr: _stderr, sizes: _sizes } = self;
        drop(stdin);
        let mut all = String::new();
        stdout.read_to_string(&mut all).await.unwrap();
        all
    }

    /// Reads until the output ends with `wanted`.
    async fn until(&mut self, wanted: &str) -> String {
        let mut all = Vec::new();
        while !all.ends_with(wanted.as_bytes()) {
            all.push(self.stdout.read_u8().await.unwrap());
        }
        String::from_utf8(all).unwrap()
    }
}

fn place(pod: &str) -> Place {
    Place { namespace: "default".to_owned(), pod: pod.to_owned(), container: "c".to_owned() }
}

fn command(args: &[&str], tty: bool) -> Command {
    Command { args: args.iter().map(ToString::to_string).collect(), tty }
}

async fn running(rig: &Rig, pod: &str, more: Value) {
    rig.push("copies", "1", &guests::copies_its_input()).await;
    let mut container = json!({ "image": "copies:1" });
    container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    rig.pod(pod, "Never", &container);
    rig.api.until("pods", pod, |p| p["status"]["phase"] == "Running").await;
}

async fn ended(rig: &Rig, pod: &str) -> Value {
    let pod = rig.api.until("pods", pod, |p| waiting_for_end(p).is_some()).await;
    waiting_for_end(&pod).unwrap().clone()
}

fn waiting_for_end(pod: &Value) -> Option<&Value> {
    pod["status"]["containerStatuses"][0]["state"].get("terminated")
}

#[tokio::test]
async fn a_command_gets_its_input_and_gives_its_output_and_code() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), Api::new()).await;
    running(&rig, "p", json!({ "args": ["wait"] })).await;

    let (mut client, streams) = client(64);
    let text = "moin ".repeat(1000);
    let exec = rig.sessions.exec(place("p"), command(&["guest"], false), streams);
    let typed = async {
        let (mut stdin, mut all) = (client.stdin, String::new());
        let write = async {
            stdin.write_all(text.as_bytes()).await.unwrap();
            drop(stdin);
        };
        tokio::join!(write, async { client.stdout.read_to_string(&mut all).await.unwrap() });
        all
    };
    let (exit, read) = tokio::join!(exec, typed);
    assert_eq!(exit, Exit::Code(5));
    assert_eq!(read, text);
    rig.stop().await;
}

#[tokio::test]
async fn a_session_in_what_is_not_there_says_what_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), Api::new()).await;
    assert_eq!(rig.sessions.check(&place("none")), Err("pod does not exist".to_owned()));
    running(&rig, "p", json!({ "args": ["wait"] })).await;
    assert_eq!(rig.sessions.check(&place("p")), Ok(()));
    let other = Place { container: "other".to_owned(), ..place("p") };
    assert_eq!(rig.sessions.check(&other), Err("container not found (\"other\")".to_owned()));
    let exec = rig.sessions.exec(place("p"), command(&["/none.wasm"], false), client(64).1);
    let Exit::Failed(why) = exec.await else { panic!("it runs") };
    assert!(why.contains(r#"exec: "/none.wasm": stat /none.wasm: no such file or directory"#), "{why}");

    rig.pod("q", "Never", &json!({ "image": "copies:1" }));
    ended(&rig, "q").await;
    assert_eq!(rig.sessions.check(&place("q")), Err("container is in CONTAINER_EXITED state".to_owned()));
    rig.stop().await;
}

#[tokio::test]
async fn a_command_ends_with_its_container() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), Api::new()).await;
    running(&rig, "p", json!({ "stdin": true, "stdinOnce": true })).await;
    let (_client, streams) = client(64);
    let exec = rig.sessions.exec(place("p"), command(&["guest", "wait"], false), streams);
    let end = async {
        // Its input ends when the only one who types leaves.
        let (attached, streams) = client(64);
        tokio::join!(rig.sessions.attach(place("p"), false, streams), attached.finish())
    };
    let (exit, (attach, _)) = tokio::join!(exec, end);
    assert_eq!((exit, attach), (Exit::Code(137), Exit::Success));
    assert_eq!(ended(&rig, "p").await["exitCode"], 5);
    rig.stop().await;
}

#[tokio::test]
async fn those_who_attach_type_and_all_of_them_and_the_log_see_it() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), Api::new()).await;
    running(&rig, "p", json!({ "stdin": true })).await;
    let ((mut one, ones), (mut two, twos)) = (client(1024), client(1024));
    let both = async {
        tokio::join!(rig.sessions.attach(place("p"), false, ones), rig.sessions.attach(place("p"), false, twos))
    };
    let talk = async {
        one.stdin.write_all(b"one\n").await.unwrap();
        one.until("one\n").await;
        two.stdin.write_all(b"two\n").await.unwrap();
        one.until("two\n").await;
        assert!(two.until("two\n").await.ends_with("two\n"));
        // Without stdinOnce the input goes on when somebody leaves.
        drop(one);
        two.stdin.write_all(b"three\n").await.unwrap();
        two.until("three\n").await;
        let deleted =
            json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 1 } });
        rig.api.patch("pods", "default", "p", &deleted);
        two.finish().await
    };
    let (exits, _) = tokio::join!(both, talk);
    assert_eq!(exits, (Exit::Success, Exit::Success));
    rig.stop().await;
}

#[tokio::test]
async fn a_command_on_a_terminal_has_its_line_edited_and_is_ended_by_control_c() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), Api::new()).await;
    running(&rig, "p", json!({ "args": ["wait"] })).await;
    for (last, code) in [("\x03", 130), ("\x1c", 131), ("\x04", 5)] {
        let (mut client, streams) = client(1024);
        client.sizes.send(Size { columns: 100, rows: 30 }).await.unwrap();
        let exec = rig.sessions.exec(place("p"), command(&["guest"], true), streams);
        let talk = async {
            client.stdin.write_all(b"ab\x7fc\r").await.unwrap();
            assert_eq!(client.until("\r\nac\r\n").await, "ab\u{8} \u{8}c\r\nac\r\n");
            client.stdin.write_all(last.as_bytes()).await.unwrap();
            client
        };
        let (exit, _) = tokio::join!(exec, talk);
        assert_eq!(exit, Exit::Code(code));
    }
    rig.stop().await;
}

#[tokio::test]
async fn control_c_at_a_containers_own_terminal_ends_its_program() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), Api::new()).await;
    running(&rig, "p", json!({ "stdin": true, "tty": true })).await;
    let (mut client, streams) = client(1024);
    let attach = rig.sessions.attach(place("p"), true, streams);
    let talk = async {
        client.stdin.write_all(b"moin\r").await.unwrap();
        client.until("moin\r\nmoin\r\n").await;
        client.stdin.write_all(b"\x03").await.unwrap();
        // The echo of the key may come too late for a terminal whose program it has ended.
        let mut rest = String::new();
        client.stdout.read_to_string(&mut rest).await.unwrap();
        client
    };
    let (exit, _) = tokio::join!(attach, talk);
    assert_eq!(exit, Exit::Success);
    let end = ended(&rig, "p").await;
    assert_eq!((&end["exitCode"], &end["reason"]), (&json!(130), &json!("Error")));
    let log = rig.log("p", "").await.1;
    assert!(log.starts_with("moin\r\nmoin\r\n"), "{log:?}");
    rig.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_command_along() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), Api::new()).await;
    running(&rig, "p", json!({ "args": ["wait"] })).await;
    let (mut client, streams) = client(64);
    let exec = rig.sessions.exec(place("p"), command(&["guest"], false), streams);
    let leave = async {
        client.stdin.write_all(b"first").await.unwrap();
        client.until("first").await;
        drop(client.stdout);
        client.stdin.write_all(b"second").await.unwrap();
        client.stdin
    };
    let (exit, _) = tokio::join!(exec, leave);
    assert_eq!(exit, Exit::Success, "its input is open still, and nobody reads its output");
    rig.stop().await;
}
