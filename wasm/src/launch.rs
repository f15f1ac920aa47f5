//! What a container is given: arguments, environment, directories, output, limits, network.
//!
//! A guest has what is listed here and nothing else.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use coracle_api::meet::{Attachment, PodNames, Resolver};
use tokio::io::AsyncRead;

use super::outbound::Authority;

/// Takes what a guest writes to one of its outputs, in the order of its writing.
///
/// Pieces are not lines: whoever keeps them cuts them. It must not block for long, since a guest's thread waits.
pub trait Sink: Send + Sync + 'static {
    /// Takes the next piece.
    fn write(&self, bytes: &[u8]);

    /// How long a guest is to wait before its next piece, if it has written faster than may be kept.
    fn wait(&self) -> Option<Duration> {
        None
    }

    /// Ready when there is room for the next piece. Else whoever asked is woken when there is some: several may ask.
    fn poll_room(&self, _context: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

/// What a guest reads as its standard input.
pub type Input = Box<dyn AsyncRead + Send + Sync + Unpin>;

/// A container's standard input, until its first instance has taken it. Most containers have none.
#[derive(Clone, Default)]
pub struct Stdin(Option<Arc<Mutex<Option<Input>>>>);

impl Stdin {
    /// Nothing to read.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// All that `input` gives.
    #[must_use]
    pub fn new(input: Input) -> Self {
        Self(Some(Arc::new(Mutex::new(Some(input)))))
    }

    pub(super) fn take(&self) -> Option<Input> {
        self.0.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Whether a guest's streams are a terminal, as it is told when it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tty {
    /// They are pipes or files.
    #[default]
    No,
    /// All three are the same terminal.
    Yes,
}

/// May a guest change what is in a directory?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It may read.
    ReadOnly,
    /// It may read, write, make and remove.
    ReadWrite,
}

/// A directory of this machine as a guest sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// Where the guest finds it.
    pub guest_path: String,
    /// What the guest may do there.
    pub access: Access,
    /// Where it is, or the directory that it is in.
    host_path: PathBuf,
    /// The way from there, along which guests may have put links; empty if there is none.
    beneath: PathBuf,
}

impl Directory {
    /// The directory at `host_path`, on the way to which nobody puts links whom the node does not trust.
    pub fn new(guest_path: impl Into<String>, host_path: impl Into<PathBuf>, access: Access) -> Self {
        Self { guest_path: guest_path.into(), access, host_path: host_path.into(), beneath: PathBuf::new() }
    }

    /// The directory at the relative path `beneath` in this one. The way is gone anew at each opening, and links on it
    /// are followed as long as they stay inside: a guest that moves them meanwhile gains nothing.
    #[must_use]
    pub fn part(mut self, beneath: &Path) -> Self {
        self.beneath.push(beneath);
        self
    }

    /// Opens it. This is the one way to what is in it.
    ///
    /// # Errors
    /// An I/O error; also if the way leads out of what was given.
    pub fn open(&self) -> io::Result<File> {
        let directory = Dir::open_ambient_dir(&self.host_path, ambient_authority())?;
        let directory =
            if self.beneath.as_os_str().is_empty() { directory } else { directory.open_dir(&self.beneath)? };
        Ok(directory.into_std_file())
    }

    /// Calls `open` with a path at which the directory is found while the call lasts.
    pub(super) fn at<T, E: From<io::Error>>(&self, open: impl FnOnce(&Path) -> Result<T, E>) -> Result<T, E> {
        if self.beneath.as_os_str().is_empty() {
            return open(&self.host_path);
        }
        let held = self.open()?;
        open(Path::new(&format!("/proc/self/fd/{}", held.as_raw_fd())))
    }
}

/// All that a container is given.
#[derive(Clone)]
pub struct Launch {
    /// The argument vector, the program's own name first.
    pub args: Vec<String>,
    /// The environment.
    pub env: Vec<(String, String)>,
    /// The directories it finds open. None is opened for a program that cannot see any.
    pub directories: Vec<Directory>,
    /// Its initial directory, if the pod names one.
    pub working_dir: Option<String>,
    /// What it reads.
    pub stdin: Stdin,
    /// Whether its streams are a terminal.
    pub tty: Tty,
    /// Takes its standard output.
    pub stdout: Arc<dyn Sink>,
    /// Takes its standard error, and what the host says of its end.
    pub stderr: Arc<dyn Sink>,
    /// The most bytes its linear memories may have together, over all its instances.
    pub memory_limit: Option<u64>,
    /// The most CPU it may use, in thousandths of a core.
    pub cpu_limit: Option<u32>,
    /// The CPU it asked for, in thousandths of a core: its weight when more guests want to run than there are cores.
    pub cpu_request: Option<u32>,
    /// Its pod's place in the network.
    pub attachment: Arc<dyn Attachment>,
    /// Answers the names it looks up.
    pub resolver: Arc<dyn Resolver>,
    /// Who signs the certificates of the cluster's own hosts, as its outgoing HTTP needs to know.
    pub authority: Option<Arc<Authority>>,
    /// What names mean in its pod.
    pub names: Arc<PodNames>,
    /// The port on which an HTTP program is served; a command does not use it.
    pub http_port: u16,
    /// How long an HTTP program may take for the head of its answer, and for each further piece of its body;
    /// where none is given, what the host's bounds say.
    pub request_timeout: Option<Duration>,
}
