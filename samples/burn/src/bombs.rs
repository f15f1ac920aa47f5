//! What harms a host that takes its guests' word: each asks for more than anybody needs, and says how far it came.

use std::fs;
use std::hint::black_box;
use std::io::{self, Write as _};
use std::net::TcpListener;
use std::process::ExitCode;

use wasip2::clocks::monotonic_clock;
use wasip2::http::types::Fields;
use wasip2::random::random;

use crate::{MIB, sleep_on};

/// More sockets than a host has ports.
const SOCKETS: usize = 100_000;

/// More timers than anybody waits for.
const TIMERS: usize = 1_000_000;

/// What is asked for at once where the host has to make it: 4 GiB.
const ASKED_BYTES: u64 = 4 << 30;

/// What is filled over and over, by an instruction that does not end before it is done.
const FILLED_BYTES: usize = 256 * MIB;

/// How much is kept in sets of HTTP fields, which lie in the host's memory.
const FIELDS: usize = 1_000_000;

pub(crate) fn fill_memory() -> ! {
    println!("filling memory");
    let mut memory = vec![0_u8; FILLED_BYTES];
    for value in (0..=u8::MAX).cycle() {
        memory.fill(value);
        black_box(&mut memory);
    }
    sleep_on(memory)
}

pub(crate) fn recurse() -> ExitCode {
    #[expect(unconditional_recursion, reason = "that is the point")]
    fn deeper(depth: u64) -> u64 {
        black_box(deeper(black_box(depth + 1))) + 1
    }
    println!("recursing");
    println!("came back from {}", deeper(0));
    ExitCode::SUCCESS
}

pub(crate) fn flood_log() -> ! {
    let line = [b"all work and no play makes a log a long one ".repeat(23), b"\n".to_vec()].concat();
    let mut stdout = io::stdout().lock();
    loop {
        // Whether it was taken is the host's to know.
        let _ = stdout.write_all(&line);
    }
}

pub(crate) fn flood_files() -> ExitCode {
    let content = vec![1_u8; MIB];
    for number in 0_u64.. {
        if let Err(error) = fs::write(format!("file-{number}"), &content) {
            println!("{number} MiB of files, and then: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

pub(crate) fn hold_sockets() -> ! {
    let mut held = Vec::new();
    while held.len() < SOCKETS {
        match TcpListener::bind("0.0.0.0:0") {
            Ok(socket) => held.push(socket),
            Err(error) => {
                println!("{} sockets, and then: {error}", held.len());
                break;
            }
        }
    }
    sleep_on(held)
}

pub(crate) fn hold_timers() -> ! {
    let mut held = Vec::new();
    while held.len() < TIMERS {
        held.push(monotonic_clock::subscribe_duration(ASKED_BYTES));
        if held.len().is_multiple_of(1000) {
            println!("{} timers", held.len());
        }
    }
    sleep_on(held)
}

pub(crate) fn ask_for_random() -> ExitCode {
    println!("asking for {ASKED_BYTES} random bytes");
    println!("got {}", random::get_random_bytes(ASKED_BYTES).len());
    ExitCode::SUCCESS
}

pub(crate) fn hold_fields() -> ! {
    let mut held = Vec::new();
    let value = vec![b'x'; MIB / 1024];
    while held.len() < FIELDS {
        let fields = Fields::new();
        while fields.append("bomb", &value).is_ok() {}
        held.push(fields);
        println!("{} sets of fields", held.len());
    }
    sleep_on(held)
}
