//! Burn: the bad neighbour. It spins on the CPU for ever or, told how much, takes memory and keeps it.
//!
//! Invariant: it never yields, checks or gives back anything by itself; whatever holds it is the host.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;
use std::{env, thread};

const MIB: usize = 1024 * 1024;

fn main() -> ExitCode {
    match env::var("MEMORY_MIB") {
        Err(_) => burn_cpu(),
        Ok(text) => match text.parse() {
            Ok(mib) => hold_memory(mib),
            Err(error) => {
                eprintln!("MEMORY_MIB must be a number of MiB, not {text:?}: {error}");
                ExitCode::FAILURE
            }
        },
    }
}

fn burn_cpu() -> ! {
    println!("burning CPU");
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

/// Takes memory in steps of one MiB and writes to every byte, so that it is held and not only promised.
fn hold_memory(mib: usize) -> ! {
    let mut held = Vec::new();
    for step in 1..=mib {
        held.push(black_box(vec![1_u8; MIB]));
        println!("holding {step} MiB");
    }
    loop {
        thread::sleep(Duration::from_hours(1));
        black_box(&held);
    }
}
