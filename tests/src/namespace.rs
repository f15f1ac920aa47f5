//! A network of this test's own: nothing in it but a loopback device, and what is made in it goes with it.
//!
//! Only the calling thread enters, with whatever it starts from then on: its threads, its sockets, its servers.

use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Makes a network and says so; it waits until its input ends.
const MAKE: &str = "ip link set lo up && echo up && exec cat";

/// Enters a fresh network, and stays there.
///
/// # Errors
/// Why this machine has none for us.
pub fn enter() -> Result<(), String> {
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", MAKE]);
    let made = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut maker = made.map_err(|error| format!("unshare of util-linux cannot be run: {error}"))?;
    let mut line = String::new();
    let said = maker.stdout.take().map(BufReader::new).and_then(|mut out| out.read_line(&mut line).ok());
    let network = std::fs::File::open(format!("/proc/{}/ns/net", maker.id()));
    let entered = match (said, network) {
        (Some(1..), Ok(network)) => move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|error| format!("a network cannot be entered: {error}")),
        _ => Err("a network cannot be made, which takes root, and ip of iproute2".to_owned()),
    };
    drop(maker.stdin.take());
    let _ = maker.wait();
    entered
}
