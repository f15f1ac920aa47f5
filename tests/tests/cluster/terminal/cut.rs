//! Sessions that are cut: the server is gone without a word, or the terminal changes while they go on.

use std::os::unix::fs::OpenOptionsExt;

use coracle_tests::{Cluster, eventually};
use rustix::termios::tcgetwinsize;
use serde_json::json;

use super::{cluster, pod, pod_that};

#[test]
fn clients_of_a_server_that_is_killed_end_and_nothing_is_left_of_them() {
    let mut cluster = cluster();
    pod_that(&cluster, "Always", json!({"stdin": true, "tty": true}), json!([]));
    let mut typed = cluster.kubectl_terminal("attach -it p");
    typed.until("If you don't see a command prompt, try pressing enter.");
    typed.types("moin\r");
    typed.until("moin\r\nmoin\r\n");
    let mut command = cluster.kubectl_terminal("exec -it p -- talker");
    command.types("moin\r");
    command.until("moin\r\nmoin\r\n");
    let mut followed = cluster.kubectl_stream("logs -f p");
    followed.until("what was typed", |line| line.contains("moin"));

    cluster.kill_hard();
    assert_ne!(typed.ended().1, 0, "who was attached is told");
    assert_ne!(command.ended().1, 0, "whose command it was is told");
    followed.to_the_end();

    cluster.restart();
    cluster.kubectl("wait --for=condition=Ready pod/p --timeout=40s").ok();
    // It runs again, with a terminal of its own and nobody at it.
    assert_eq!(terminals(&cluster).len(), 1);
    let mut again = cluster.kubectl_terminal("attach -it p");
    again.until("If you don't see a command prompt, try pressing enter.");
    again.types("again\r");
    again.until("again\r\nagain\r\n");
}

#[test]
fn a_terminal_that_grows_grows_in_its_container_too() {
    let cluster = cluster();
    pod(&cluster, json!({"stdin": true, "tty": true}), json!([]));
    let mut terminal = cluster.kubectl_terminal("attach -it p");
    terminal.until("If you don't see a command prompt, try pressing enter.");
    let sized = |rows: u16, columns: u16| {
        eventually("a terminal of that size", || match terminals(&cluster).as_slice() {
            [size] if *size == (rows, columns) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    };
    sized(33, 111);
    terminal.resizes(50, 200);
    sized(50, 200);
    terminal.types("moin\r");
    terminal.until("moin\r\nmoin\r\n");
}

/// The sizes of the terminals that the server holds, in rows and columns: no guest can ask for its own.
fn terminals(cluster: &Cluster) -> Vec<(u16, u16)> {
    let files = format!("/proc/{}/fd", cluster.server().pid());
    let mut names: Vec<_> = std::fs::read_dir(files)
        .unwrap()
        .filter_map(|file| std::fs::read_link(file.ok()?.path()).ok())
        .filter(|name| name.starts_with("/dev/pts"))
        .collect();
    names.sort();
    names.dedup();
    let size = |name| {
        let terminal = std::fs::File::options().read(true).custom_flags(NOCTTY).open(name).ok()?;
        let size = tcgetwinsize(terminal).ok()?;
        Some((size.ws_row, size.ws_col))
    };
    names.into_iter().filter_map(size).collect()
}

/// Opening a terminal does not make it ours.
const NOCTTY: i32 = rustix::fs::OFlags::NOCTTY.bits().cast_signed();
