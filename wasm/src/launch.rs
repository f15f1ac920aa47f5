//! What a container is given: arguments, environment, directories, output, limits, network.
//!
//! A guest has what is listed here and nothing else.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::meet::{Attachment, Resolver};

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
    /// Where it is.
    pub host_path: PathBuf,
    /// What the guest may do there.
    pub access: Access,
}

/// All that a container is given.
#[derive(Clone)]
pub struct Launch {
    /// The argument vector, the program's own name first.
    pub args: Vec<String>,
    /// The environment.
    pub env: Vec<(String, String)>,
    /// The directories it finds open.
    pub directories: Vec<Directory>,
    /// Its initial directory, if the pod names one.
    pub working_dir: Option<String>,
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
    /// Its pod's namespace, whose search path applies to names.
    pub namespace: String,
    /// The port on which an HTTP program is served; a command does not use it.
    pub http_port: u16,
    /// How long an HTTP program may take for the head of its answer, and for each further piece of its body;
    /// where none is given, what the host's bounds say.
    pub request_timeout: Option<Duration>,
}
