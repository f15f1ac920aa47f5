//! A command in Rust for WASI 0.3: it reports what it was given, as the README lists it.
//!
//! Output, clock, randomness, files and input are those of 0.3; arguments and environment the standard library reads.

use wasip3::cli::{exit, stderr, stdin, stdout};
use wasip3::clocks::{monotonic_clock, system_clock};
use wasip3::filesystem::preopens;
use wasip3::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};
use wasip3::random::random;
use wasip3::{wit_bindgen, wit_stream};

/// The component's face: `wasi:cli/run`.
struct Command;

wasip3::cli::command::export!(Command);

/// Nanoseconds of a pause that can be seen: 50 ms.
const PAUSE: u64 = 50_000_000;

/// The second at which 2024 began.
const YEAR_2024: i64 = 1_704_067_200;

impl wasip3::exports::cli::run::Guest for Command {
    async fn run() -> Result<(), ()> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let (mut out, theirs) = wit_stream::new();
        let written = stdout::write_via_stream(theirs);
        for (i, argument) in arguments.iter().enumerate() {
            line(&mut out, &format!("arg {}: {argument}", i + 1)).await;
        }
        line(&mut out, &format!("GREETING={}", variable("GREETING"))).await;
        let motd = read(&format!("{}/motd", variable("CONFIG_DIR"))).await.map_err(|_| ())?;
        line(&mut out, &format!("config: {}", motd.trim())).await;
        write("/note.txt", "kept by rust 0.3").await.map_err(|_| ())?;
        line(&mut out, &format!("note: {}", read("/note.txt").await.map_err(|_| ())?)).await;

        if matches!(read("/nowhere").await, Err(ErrorCode::NoEntry)) {
            line(&mut out, "a missing file is missing").await;
        }
        if stdin::read_via_stream().0.collect().await.is_empty() {
            line(&mut out, "stdin is empty").await;
        }
        if random::get_random_bytes(16) != random::get_random_bytes(16) {
            line(&mut out, "random differs").await;
        }
        if system_clock::now().seconds >= YEAR_2024 {
            line(&mut out, "the clock is set").await;
        }
        let began = monotonic_clock::now();
        monotonic_clock::wait_for(PAUSE).await;
        if monotonic_clock::now() - began >= PAUSE {
            line(&mut out, "slept").await;
        }
        // The last word is waited for: what the host has not taken when `run` returns is lost.
        drop(out);
        written.await.map_err(|_| ())?;
        let (mut err, theirs) = wit_stream::new();
        let written = stderr::write_via_stream(theirs);
        line(&mut err, "a word on stderr").await;
        drop(err);
        written.await.map_err(|_| ())?;

        match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["exit", code] => exit::exit_with_code(code.parse().expect("a number")),
            ["panic"] => panic!("asked to"),
            _ => {}
        }
        Ok(())
    }
}

async fn line(to: &mut wit_bindgen::StreamWriter<u8>, text: &str) {
    to.write_all(format!("{text}\n").into_bytes()).await;
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// The preopened directory with the longest path that `path` is in, and the rest of the path.
fn place(path: &str) -> Result<(Descriptor, String), ErrorCode> {
    let rest = |root: &str| path.strip_prefix(root).map(|rest| rest.trim_start_matches('/').to_owned());
    let found = preopens::get_directories().into_iter().filter_map(|(dir, root)| Some((root.len(), dir, rest(&root)?)));
    found.max_by_key(|(length, ..)| *length).map(|(_, dir, rest)| (dir, rest)).ok_or(ErrorCode::NoEntry)
}

async fn read(path: &str) -> Result<String, ErrorCode> {
    let (dir, rest) = place(path)?;
    let file = dir.open_at(PathFlags::SYMLINK_FOLLOW, rest, OpenFlags::empty(), DescriptorFlags::READ).await?;
    let (bytes, end) = file.read_via_stream(0);
    let bytes = bytes.collect().await;
    end.await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn write(path: &str, text: &str) -> Result<(), ErrorCode> {
    let (dir, rest) = place(path)?;
    let file = dir.open_at(PathFlags::empty(), rest, OpenFlags::CREATE, DescriptorFlags::WRITE).await?;
    let (mut bytes, theirs) = wit_stream::new();
    let written = file.write_via_stream(theirs, 0);
    bytes.write_all(text.as_bytes().to_vec()).await;
    drop(bytes);
    written.await
}
