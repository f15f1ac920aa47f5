//! How fair is the CPU?
//!
//! Goal: a limit is held within 5 % over any second, whatever the guest does; where guests want more than there is, it
//! divides by their requests within 5 %; beside bad neighbours a pod's p99 stays within twice of what it is alone, and
//! the API's within 50 ms.
//! Method: limits and requests by the host of guests alone, in this process: guests of the sample `burn` that spin, call
//! the host, or take short turns, seconds measured one by one by the container's own account, and what all threads of
//! the process took by the kernel's. Neighbours by a whole cluster: one pod of `hello` behind its NodePort is asked on
//! four connections, and the API for that pod on one, first alone, then beside each kind of bad neighbour.
//! Back of the envelope: a limited guest is looked at every 2 ms, so a second's quota errs by 2 ms at most: 2 % of 100m.
//! A request beside spinners waits until one of them comes to its next loop, and for the kernel to switch: below 1 ms.
//!
//! An argument chooses a part: `limits`, `requests` or `neighbours`.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a bench that cannot measure ends with a message; it sleeps while it measures"
)]

mod engine;
mod load;
mod neighbours;

fn main() {
    let parts: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|name| name == part);
    if wanted("limits") {
        engine::limits();
    }
    if wanted("requests") {
        engine::requests();
    }
    if wanted("neighbours") {
        neighbours::compare();
    }
}
