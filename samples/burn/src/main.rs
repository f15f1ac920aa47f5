//! Burn: the bad neighbour. It takes what it is told to take, CPU if nothing else, until it is stopped.
//!
//! Invariant: it never yields, checks or gives back anything by itself; whatever holds it is the host.

mod bombs;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, thread};

const MIB: usize = 1024 * 1024;

/// A turn that ends by itself long before the host would end it.
const SHORT_TURN: Duration = Duration::from_micros(200);

fn main() -> ExitCode {
    let memory = match env::var("MEMORY_MIB").map(|text| text.parse()) {
        Err(_) => None,
        Ok(Ok(mib)) => Some(mib),
        Ok(Err(error)) => return refuse(&format!("MEMORY_MIB must be a number of MiB: {error}")),
    };
    match (env::var("BURN").as_deref(), memory) {
        (Err(_), Some(mib)) => hold_memory(mib),
        (Err(_) | Ok("cpu"), _) => burn_cpu(),
        (Ok("calls"), _) => call_for_ever(),
        (Ok("turns"), _) => take_short_turns(),
        (Ok("fill"), _) => bombs::fill_memory(),
        (Ok("stack"), _) => bombs::recurse(),
        (Ok("log"), _) => bombs::flood_log(),
        (Ok("files"), _) => bombs::flood_files(),
        (Ok("sockets"), _) => bombs::hold_sockets(),
        (Ok("timers"), _) => bombs::hold_timers(),
        (Ok("random"), _) => bombs::ask_for_random(),
        (Ok("fields"), _) => bombs::hold_fields(),
        (Ok("panic"), _) => panic!("told to panic"),
        (Ok(other), _) => refuse(&format!("BURN says {other:?}, which is nothing that burns; see the README")),
    }
}

fn refuse(message: &str) -> ExitCode {
    eprintln!("{message}");
    ExitCode::FAILURE
}

fn burn_cpu() -> ! {
    println!("burning CPU");
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

/// Burns it in calls of the host.
fn call_for_ever() -> ! {
    println!("calling the host");
    loop {
        black_box(Instant::now());
    }
}

/// Burns it in many short turns, each ended by a wait that is over at once.
fn take_short_turns() -> ! {
    println!("taking short turns");
    loop {
        let start = Instant::now();
        while start.elapsed() < SHORT_TURN {
            black_box(());
        }
        thread::sleep(Duration::from_nanos(1));
    }
}

/// Takes memory in steps of one MiB and writes to every byte, so that it is held and not only promised.
fn hold_memory(mib: usize) -> ! {
    let mut held = Vec::new();
    for step in 1..=mib {
        held.push(black_box(vec![1_u8; MIB]));
        println!("holding {step} MiB");
    }
    sleep_on(held)
}

/// Keeps what was taken.
fn sleep_on<T>(held: T) -> ! {
    loop {
        thread::sleep(Duration::from_hours(1));
        black_box(&held);
    }
}
