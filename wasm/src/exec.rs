//! One more command inside a container that runs: an instance of its own in the same sandbox.
//!
//! It has the container's directories, environment, network and accounts, and its own arguments and streams.
//! Invariant: it never outlives the container, nor whoever waits for it. The container itself never notices it,
//! unless its memory takes the container beyond its limit.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Weak};

use cap_primitives::fs::OpenOptions;
use coracle_api::names::Digest;
use sha2::Digest as _;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::command;
use super::container::{Control, watch_over};
use super::host::Host;
use super::launch::{Directory, Input, Launch, Sink, Tty};
use super::outcome::Outcome;
use super::program::{LoadError, Program, Programs, Shape};
use super::state::{Streams, Template};

/// The largest program that is run out of a container's directories: more than a CPython with its libraries.
const PROGRAM_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The shell's exit code for a command that is there and cannot be run.
const CANNOT_RUN: i32 = 126;

/// The shell's exit code for a command that is not there.
const NOT_FOUND: i32 = 127;

/// What to run inside a container.
pub struct Exec {
    /// The argument vector. A first one that ends in `.wasm` names a program in the container's directories;
    /// with any other, the container's own program runs.
    pub args: Vec<String>,
    /// What its environment has beside, or instead of, what the container's has.
    pub env: Vec<(String, String)>,
    /// What it reads as its standard input; nothing, if there is none.
    pub stdin: Option<Input>,
    /// Whether its streams are a terminal.
    pub tty: Tty,
    /// Takes its standard output.
    pub stdout: Arc<dyn Sink>,
    /// Takes its standard error, and the backtrace of a trap.
    pub stderr: Arc<dyn Sink>,
}

/// Why a command cannot be run inside a container. Nothing has run.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// There is no such file among the container's directories.
    #[error("exec: {name:?}: no such file or directory")]
    NotFound {
        /// The command.
        name: String,
    },
    /// There is something of this name that is no command.
    #[error("exec: {name:?}: {why}")]
    CannotRun {
        /// The command.
        name: String,
        /// What is there instead.
        why: String,
    },
    /// The file cannot be read.
    #[error("exec: {name:?}: {source}")]
    Read {
        /// The command.
        name: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The container does not run any more.
    #[error("exec: the container is not running")]
    Ended,
    /// There are as many instances as this machine allows.
    #[error("exec: this node runs as many WebAssembly instances as the kernel allows; raise vm.max_map_count")]
    Full,
}

impl ExecError {
    /// The exit code that stands for it, by the shell's convention.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::NotFound { .. } => NOT_FOUND,
            Self::CannotRun { .. } | Self::Read { .. } | Self::Ended | Self::Full => CANNOT_RUN,
        }
    }
}

/// What a container was made of.
pub(super) struct Inside {
    pub(super) program: Arc<Program>,
    pub(super) template: Arc<Template>,
}

/// A running container's inside, in which more commands can be run. Holding it keeps nothing alive.
#[derive(Clone)]
pub struct Sandbox {
    inside: Weak<Inside>,
    control: Control,
    outcome: watch::Receiver<Option<Outcome>>,
}

impl Sandbox {
    /// The inside of a container with these reins and this outcome.
    pub(super) fn new(inside: &Arc<Inside>, control: Control, outcome: watch::Receiver<Option<Outcome>>) -> Self {
        Self { inside: Arc::downgrade(inside), control, outcome }
    }

    /// What the container was given, as long as it runs.
    #[must_use]
    pub fn launch(&self) -> Option<Launch> {
        let inside = self.inside.upgrade().filter(|_| self.outcome.borrow().is_none())?;
        Some(inside.template.launch().clone())
    }

    /// How its own program runs, as long as it does.
    #[must_use]
    pub fn shape(&self) -> Option<Shape> {
        Some(self.inside.upgrade()?.program.shape())
    }

    /// Waits until the container has ended.
    pub async fn ended(mut self) -> Outcome {
        // An error says that the threads of guests are gone, and all containers with them.
        let _ = self.outcome.wait_for(Option::is_some).await;
        Outcome::Stopped
    }
}

/// Runs a command to its end. See [`super::Wasm::exec`].
pub(super) async fn exec(
    host: &Arc<Host>,
    threads: &Handle,
    programs: &Programs,
    sandbox: &Sandbox,
    exec: Exec,
) -> Result<Outcome, ExecError> {
    let inside = sandbox.inside.upgrade().ok_or(ExecError::Ended)?;
    if sandbox.outcome.borrow().is_some() {
        return Err(ExecError::Ended);
    }
    let program = program(&inside, programs, exec.args.first().map(String::as_str).unwrap_or_default()).await?;
    let room = host.room().ok_or(ExecError::Full)?;
    let Exec { args, env, stdin, tty, stdout, stderr } = exec;
    let template = Arc::new(inside.template.beside(args, env, Streams { stdin, tty, stdout, stderr }, program.files()));
    drop(inside);

    let guest = command::call_metered(host.clone(), program, template.clone(), room, sandbox.control.cpu());
    let watched = watch_over(guest, sandbox.control.clone(), template);
    let ended = sandbox.clone().ended();
    let command = async move {
        tokio::select! {
            biased;
            outcome = ended => outcome,
            outcome = watched => outcome,
        }
    };
    // Whoever waits may go: then nobody is left for whom it would run.
    let abandoned = CancellationToken::new();
    let _guard = abandoned.clone().drop_guard();
    let task = threads.spawn(abandoned.run_until_cancelled_owned(command));
    Ok(task.await.ok().flatten().unwrap_or(Outcome::Stopped))
}

/// The program that a command's name stands for.
async fn program(inside: &Inside, programs: &Programs, name: &str) -> Result<Arc<Program>, ExecError> {
    let cannot_run = |why: String| ExecError::CannotRun { name: name.to_owned(), why };
    let program = if is_program(name) {
        let (launch, path) = (inside.template.launch(), Path::new(name));
        let (directory, rest) = place(launch, path).ok_or_else(|| ExecError::NotFound { name: name.to_owned() })?;
        let directory = directory.clone();
        let read = tokio::task::spawn_blocking(move || read(&directory.open()?, &rest)).await;
        let bytes = read.unwrap_or_else(|_| Err(io::Error::other("reading was broken off")));
        let (digest, bytes) = bytes.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ExecError::NotFound { name: name.to_owned() },
            _ => ExecError::Read { name: name.to_owned(), source },
        })?;
        programs.load(&digest, move || Ok(bytes)).await.map_err(|error| match error {
            LoadError::InvalidImage { message } => cannot_run(format!("exec format error: {message}")),
            other => cannot_run(other.to_string()),
        })?
    } else {
        inside.program.clone()
    };
    match program.shape() {
        Shape::Command => Ok(program),
        Shape::Http => Err(cannot_run("the program answers HTTP requests and has no command to run".to_owned())),
    }
}

/// Whether the name of a command is that of a file with a program.
fn is_program(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("wasm"))
}

/// The directory that a guest's path leads into, the innermost if they are nested, and the path from there.
fn place<'a>(launch: &'a Launch, path: &Path) -> Option<(&'a Directory, PathBuf)> {
    let start = launch.working_dir.as_deref().unwrap_or("/");
    let path = normal(&Path::new("/").join(start).join(path));
    let places = launch.directories.iter().filter_map(|directory| {
        let guest_path = normal(&Path::new("/").join(&directory.guest_path));
        let rest = path.strip_prefix(&guest_path).ok()?.to_owned();
        Some((guest_path.components().count(), directory, rest))
    });
    let (_, directory, rest) = places.max_by_key(|(depth, ..)| *depth)?;
    Some((directory, rest))
}

/// The path without `.` and `..`; nothing is above `/`.
fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::from("/"), |mut normal, component| {
        match component {
            Component::Normal(part) => normal.push(part),
            Component::ParentDir => drop(normal.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
        normal
    })
}

/// The file at `path` in `directory`, with its digest. No link of a guest's making leads out of the directory.
fn read(directory: &File, path: &Path) -> io::Result<(Digest, Vec<u8>)> {
    let mut options = OpenOptions::new();
    options.read(true);
    let file = cap_primitives::fs::open(directory, path, &options)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(PROGRAM_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > PROGRAM_BYTES_MAX {
        return Err(io::Error::other(format!("it is larger than {PROGRAM_BYTES_MAX} bytes")));
    }
    let digest = format!("sha256:{:x}", sha2::Sha256::digest(&bytes));
    Ok((Digest::new(digest).map_err(io::Error::other)?, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_wasm_file_stands_for_another_program() {
        assert!(is_program("/tools/check.wasm"));
        assert!(is_program("check.WASM"));
        assert!(!is_program("check"));
        assert!(!is_program(".wasm"));
        assert!(!is_program(""));
    }

    #[test]
    fn a_path_has_no_way_above_the_root() {
        assert_eq!(normal(Path::new("/a/./b/../../../../c")), Path::new("/c"));
        assert_eq!(normal(Path::new("/../..")), Path::new("/"));
    }

    #[test]
    fn a_link_does_not_lead_out_of_a_directory() {
        let (outer, inner) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outer.path().join("secret.wasm"), "secret").unwrap();
        std::fs::write(inner.path().join("own.wasm"), "own").unwrap();
        let link = |to: &Path, name: &str| std::os::unix::fs::symlink(to, inner.path().join(name)).unwrap();
        link(&outer.path().join("secret.wasm"), "out.wasm");
        link(Path::new("own.wasm"), "in.wasm");
        let dir = File::open(inner.path()).unwrap();
        assert_eq!(read(&dir, Path::new("in.wasm")).unwrap().1, b"own");
        assert!(read(&dir, Path::new("out.wasm")).is_err());
        assert!(read(&dir, Path::new("")).is_err());
    }
}
