//! A program that goes on speaking (`get -w`, `logs -f`, a server): its lines, as they come.
//!
//! Invariant: the program is gone when the stream is dropped.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Instant;

use crate::said::shown;
use crate::wait::DEADLINE;

/// Lines that may wait to be read; a program that says more waits itself.
const LINES_MAX: usize = 10_000;

/// A running program and what it has said.
pub struct Stream {
    line: String,
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Stream {
    /// Starts the program.
    pub fn start(command: &mut Command) -> Self {
        let line = shown(command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{line}: {e}"));
        let lines = lines(child.stdout.take().expect("piped"));
        Self { line, child, lines, seen: Vec::new() }
    }

    /// The process's number, for /proc.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reads on to the first line that `wanted` says yes to, and returns it.
    #[track_caller]
    pub fn until(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            match self.lines.recv_timeout(DEADLINE.saturating_sub(start.elapsed())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if wanted(&line) {
                        return line;
                    }
                }
                Err(end) => {
                    let why = if end == RecvTimeoutError::Timeout { "said no more in time" } else { "ended" };
                    panic!("$ {}\n{}\n--- {why}; never came: {what}", self.line, self.seen.join("\n"));
                }
            }
        }
    }

    /// All lines to the program's own end, which must come.
    #[track_caller]
    pub fn to_the_end(mut self) -> Vec<String> {
        let start = Instant::now();
        loop {
            match self.lines.recv_timeout(DEADLINE.saturating_sub(start.elapsed())) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => return std::mem::take(&mut self.seen),
                Err(RecvTimeoutError::Timeout) => panic!("$ {}\n{}\n--- never ended", self.line, self.seen.join("\n")),
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads lines on a thread of its own, which ends with the source.
pub fn lines(source: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = sync_channel(LINES_MAX);
    thread::spawn(move || {
        for line in BufReader::new(source).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
