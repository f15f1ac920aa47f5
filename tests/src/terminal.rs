//! A terminal with a program in it, as a person has them: what it shows, and what is typed.
//!
//! Invariant: the program is gone when the terminal is dropped.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Instant;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::said::shown;
use crate::wait::{DEADLINE, eventually};

/// How large it is, in characters.
const SIZE: Winsize = Winsize { ws_row: 33, ws_col: 111, ws_xpixel: 0, ws_ypixel: 0 };

/// Pieces that may wait to be looked at; a program that shows more waits itself.
const PIECES_MAX: usize = 10_000;

/// A terminal and the program in it.
pub struct Terminal {
    line: String,
    child: Child,
    near: File,
    pieces: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    /// Starts the program, with the terminal as all its streams.
    pub fn start(command: &mut Command) -> Self {
        let line = shown(command);
        let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&near).expect("granted");
        unlockpt(&near).expect("unlocked");
        tcsetwinsize(&near, SIZE).expect("sized");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let name = ptsname(&near, Vec::new()).expect("named");
        let far = File::from(rustix::fs::open(name, flags, Mode::empty()).expect("opened"));
        command.stdin(far.try_clone().expect("copied")).stdout(far.try_clone().expect("copied")).stderr(far);
        let child = command.spawn().unwrap_or_else(|e| panic!("{line}: {e}"));
        // The command keeps its side open, which must end with the program.
        command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
        command.stderr(std::process::Stdio::null());
        let near = File::from(near);
        let pieces = pieces(near.try_clone().expect("copied"));
        Self { line, child, near, pieces, seen: String::new() }
    }

    /// Types `text`.
    pub fn types(&mut self, text: &str) {
        self.near.write_all(text.as_bytes()).unwrap_or_else(|e| panic!("{}: {e}", self.line));
    }

    /// Makes it this large, in characters, and tells its program.
    pub fn resizes(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.near, size).expect("sized");
        // The kernel would tell who has it as a controlling terminal; a test's program has it as its streams alone.
        kill_process(Pid::from_child(&self.child), Signal::WINCH).expect("the program is there to be told");
    }

    /// Waits until it has shown `wanted`, and forgets all up to there. Returns what it forgets.
    #[track_caller]
    pub fn until(&mut self, wanted: &str) -> String {
        let start = Instant::now();
        loop {
            if let Some(at) = self.seen.find(wanted) {
                let rest = self.seen.split_off(at + wanted.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            match self.pieces.recv_timeout(DEADLINE.saturating_sub(start.elapsed())) {
                Ok(piece) => self.seen.push_str(&String::from_utf8_lossy(&piece)),
                Err(end) => {
                    let why = if end == RecvTimeoutError::Timeout { "showed no more in time" } else { "ended" };
                    panic!("$ {}\n{}\n--- {why}; never came: {wanted:?}", self.line, self.seen);
                }
            }
        }
    }

    /// Waits for the program's own end. Returns what it had shown still, and its exit code.
    #[track_caller]
    pub fn ended(mut self) -> (String, i32) {
        let (line, child) = (&self.line, &mut self.child);
        let status = eventually(&format!("the end of {line}"), || match child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err("it runs".to_owned()),
            Err(error) => Err(error.to_string()),
        });
        while let Ok(piece) = self.pieces.recv_timeout(DEADLINE) {
            self.seen.push_str(&String::from_utf8_lossy(&piece));
        }
        (std::mem::take(&mut self.seen), status.code().unwrap_or(-1))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads on a thread of its own, which ends with the program: then nobody has the far side any more.
fn pieces(mut near: File) -> Receiver<Vec<u8>> {
    let (sender, receiver) = sync_channel(PIECES_MAX);
    thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(read @ 1..) = near.read(&mut piece) {
            if sender.send(piece[..read].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}
