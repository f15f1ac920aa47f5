//! One process of `coracle server`: started, waited for until it is ready, signalled, reaped.
//!
//! Invariant: it never outlives this process, not even if the test is killed.

use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Instant;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use crate::log;
use crate::stream::lines;
use crate::wait::{DEADLINE, within};

/// Of util-linux: makes the kernel kill the server when the test's thread is gone.
const SETPRIV: &str = "/usr/bin/setpriv";

/// A running server.
pub struct Server {
    child: Child,
    _lines: Receiver<String>,
    /// Where the API listens.
    pub api: SocketAddr,
    /// Where DNS listens; none if it was left out.
    pub dns: Option<SocketAddr>,
    /// The admin kubeconfig that it named.
    pub kubeconfig: PathBuf,
}

/// What stands before a program on its command line, each exec'ing the next.
#[derive(Debug, Clone, Default)]
pub struct BeforeServer {
    processors: Option<String>,
    file_bytes_max: Option<u64>,
    is_powerless: bool,
}

impl BeforeServer {
    /// Only on these processors, as `taskset` writes them: 0-2.
    pub fn on_processors(list: &str) -> Self {
        Self { processors: Some(list.to_owned()), ..Self::default() }
    }

    /// No file can grow beyond so many bytes: what a full disk is like.
    pub fn with_files_of_at_most(bytes: u64) -> Self {
        Self { file_bytes_max: Some(bytes), ..Self::default() }
    }

    /// Without any of root's capabilities, whoever runs it.
    pub fn without_capabilities() -> Self {
        Self { is_powerless: true, ..Self::default() }
    }

    /// The command line that runs the program.
    pub fn command(&self, binary: &Path) -> Command {
        let mut words: Vec<String> = Vec::new();
        if Path::new(SETPRIV).exists() {
            words.extend([SETPRIV, "--pdeathsig", "KILL", "--"].map(str::to_owned));
        }
        if self.is_powerless && rustix::process::geteuid().is_root() {
            words.extend([SETPRIV, "--inh-caps=-all", "--bounding-set=-all", "--"].map(str::to_owned));
        }
        if let Some(processors) = &self.processors {
            words.extend(["taskset", "--cpu-list", processors].map(str::to_owned));
        }
        if let Some(bytes) = self.file_bytes_max {
            // POSIX counts in blocks of 512 bytes; without the trap, the signal would end the process.
            // A soft limit, so that it can be lifted while the program runs.
            let script = format!("trap '' XFSZ; ulimit -S -f {}; exec \"$0\" \"$@\"", bytes / 512);
            words.extend(["sh".to_owned(), "-c".to_owned(), script]);
        }
        words.push(binary.display().to_string());
        let (program, rest) = words.split_first().expect("the binary is there");
        let mut command = Command::new(program);
        command.args(rest);
        command
    }
}

impl Server {
    /// Starts it and waits until it has printed where its kubeconfig is.
    #[track_caller]
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let stderr = OpenOptions::new().create(true).append(true).open(log).expect("the log can be written");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
        let mut child = command.spawn().expect("the server can be started");
        let lines = lines(child.stdout.take().expect("piped"));
        let start = Instant::now();
        let (mut api, mut dns) = (None, None);
        loop {
            let Ok(line) = lines.recv_timeout(DEADLINE.saturating_sub(start.elapsed())) else {
                let _ = child.kill();
                let end = child.wait();
                panic!("the server did not get ready ({end:?}):\n{}", log::tail(log));
            };
            api = api.or_else(|| line.split_once(" serves https://")?.1.parse().ok());
            dns = dns.or_else(|| line.split_once(" are answered at ")?.1.split(',').next()?.parse().ok());
            if let Some(path) = line.strip_prefix("export KUBECONFIG=") {
                let api = api.expect("it prints the API's address before the kubeconfig");
                return Self { child, _lines: lines, api, dns, kubeconfig: path.into() };
            }
        }
    }

    /// The process's number, for /proc.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the server is there to be signalled");
    }

    /// Lifts the limit on files: the disk has room again.
    pub fn make_room(&self) {
        let unlimited = Rlimit { current: None, maximum: None };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Fsize, unlimited).expect("a soft limit can be lifted");
    }

    /// Ends it as a power cut would.
    pub fn kill(mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Waits until it has ended.
    pub fn ended(&mut self) -> Result<ExitStatus, String> {
        within(DEADLINE, || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err("the server is still running".to_owned()),
            Err(error) => Err(error.to_string()),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
