//! Compilation: an image's bytes become machine code in a file, in a process of its own where there is one to be had.
//!
//! A compiler takes far more memory than what it makes, and much of it would stay with the process that called it. It
//! also reads what strangers wrote. So the server runs itself a second time for it, with bounds: what goes wrong there
//! ends there.
//!
//! The two sides speak little: the image on standard input, the file to write as the last argument, a message for the
//! person who made the image on standard error, and the exit code ([`INVALID`]).

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use coracle_api::limits::IMAGE_LAYER_BYTES_MAX;
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use wasmtime::Engine;

use super::code::Code;
use super::{cache, host};

/// The exit code that says: the image is at fault, and standard error says why (`EX_DATAERR` of sysexits.h).
pub const INVALID: u8 = 65;

/// How long a compilation may take. CPython takes ten seconds; what takes minutes is made to.
const TIME_MAX: Duration = Duration::from_secs(300);

/// What a compiler may have of memory of its own: several times what CPython takes.
const MEMORY_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// How much a compiler stands back for guests and the API.
const NICENESS: i32 = 10;

/// The most of a message that is kept.
const MESSAGE_BYTES_MAX: u64 = 16 * 1024;

/// A program that compiles: this one, told to. The path of the file to write is appended to its arguments.
#[derive(Debug, Clone)]
pub struct Compiler {
    /// The program.
    pub program: PathBuf,
    /// What makes it call [`compile_stdin`].
    pub args: Vec<OsString>,
}

/// Why there is no machine code.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The image cannot be compiled; the message is for the person who made it.
    #[error("{0}")]
    Invalid(String),
    /// The image cannot be read, or what was made of it not written.
    #[error("cannot read the image or write what was compiled: {0}")]
    Io(#[from] io::Error),
    /// The engine cannot be set up.
    #[error("{0}")]
    Engine(#[from] super::WasmError),
    /// The process that was to compile cannot be started.
    #[error("the compiler {program:?} cannot be started: {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The process that was to compile ended without having done so.
    #[error("the compiler ended with {status}: {said}")]
    Failed {
        /// How.
        status: ExitStatus,
        /// What it said last.
        said: String,
    },
    /// It took too long, and was ended.
    #[error("the image takes longer to compile than the {} s that it may", TIME_MAX.as_secs())]
    TooLong,
}

/// What a process does that was started as a [`Compiler`]: reads an image from standard input, and writes its machine
/// code to the file `to`, which must not exist.
///
/// It bounds the whole process first, and asks the kernel to end it with the one that started it.
///
/// # Errors
/// [`CompileError`]. For [`CompileError::Invalid`] the process is to write it to standard error and to exit with
/// [`INVALID`].
pub fn compile_stdin(to: &Path) -> Result<(), CompileError> {
    bound_this_process();
    let mut image = Vec::new();
    let limit = u64::try_from(IMAGE_LAYER_BYTES_MAX).unwrap_or(u64::MAX);
    io::stdin().lock().take(limit.saturating_add(1)).read_to_end(&mut image)?;
    if image.len() > IMAGE_LAYER_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the image is larger than an image may be").into());
    }
    let code = compile(&host::engine()?, &image)?;
    cache::write_durably(to, &code.serialize().map_err(io::Error::other)?)?;
    Ok(())
}

/// The machine code of an image.
///
/// # Errors
/// [`CompileError::Invalid`].
pub(super) fn compile(engine: &Engine, image: &[u8]) -> Result<Code, CompileError> {
    Code::compile(engine, image).map_err(CompileError::Invalid)
}

/// None of this is needed for a right result, so what the system refuses is done without.
fn bound_this_process() {
    // Who started us is gone, and nobody waits for the result.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let bound = Rlimit { current: Some(MEMORY_BYTES_MAX), maximum: Some(MEMORY_BYTES_MAX) };
    let _ = rustix::process::setrlimit(Resource::Data, bound);
    let _ = rustix::process::nice(NICENESS);
    // Should the machine run out of memory, the compilation is what can be missed most.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
}

impl Compiler {
    /// Compiles `image` into the file `to`, in a process of its own. Blocks until that is done.
    ///
    /// # Errors
    /// [`CompileError`].
    pub(super) fn compile(&self, image: &[u8], to: &Path) -> Result<(), CompileError> {
        self.compile_within(TIME_MAX, image, to)
    }

    fn compile_within(&self, time_max: Duration, image: &[u8], to: &Path) -> Result<(), CompileError> {
        let mut child = Command::new(&self.program)
            .args(&self.args)
            .arg(to)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| CompileError::Start { program: self.program.clone(), source })?;
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
        let (done, watch) = mpsc::sync_channel::<()>(0);
        let process = Pid::from_child(&child);
        thread::scope(|scope| {
            scope.spawn(move || {
                if let Some(mut stdin) = stdin {
                    // One that ends early has its reasons, which its exit code tells.
                    let _ = stdin.write_all(image);
                }
            });
            let too_long = scope.spawn(move || {
                let late = watch.recv_timeout(time_max) == Err(RecvTimeoutError::Timeout);
                if late {
                    // It has not been waited for, so this number is still its own.
                    let _ = kill_process(process, Signal::KILL);
                }
                late
            });
            let mut said = Vec::new();
            if let Some(stderr) = stderr {
                let _ = stderr.take(MESSAGE_BYTES_MAX).read_to_end(&mut said);
            }
            // Its end is awaited under watch, too, and not yet reaped: until then its number is its own.
            while let Err(Errno::INTR) = waitid(WaitId::Pid(process), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {}
            drop(done);
            let too_long = too_long.join().unwrap_or(false);
            let status = child.wait()?;
            let said = String::from_utf8_lossy(&said).trim().to_owned();
            match status.code() {
                _ if too_long => Err(CompileError::TooLong),
                Some(0) => Ok(()),
                Some(code) if code == i32::from(INVALID) => Err(CompileError::Invalid(said)),
                Some(_) | None => Err(CompileError::Failed { status, said }),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a compiler that is this line of shell; `$0` is the file to write.
    fn check(script: &str) -> Result<(), CompileError> {
        let compiler = Compiler { program: "/bin/sh".into(), args: vec!["-c".into(), script.into()] };
        compiler.compile(&vec![0; 1 << 20], Path::new("/nowhere/compiled"))
    }

    #[test]
    fn the_exit_code_says_whose_fault_it_was() {
        assert!(check("cat > /dev/null").is_ok());
        let invalid = check("cat > /dev/null; echo no magic >&2; exit 65");
        assert!(matches!(invalid, Err(CompileError::Invalid(said)) if said == "no magic"));
        let failed = check("echo $0 >&2; exit 1").unwrap_err();
        assert!(failed.to_string().contains("/nowhere/compiled"), "{failed}");
        let killed = check("kill -9 $$").unwrap_err();
        assert!(killed.to_string().contains("signal: 9"), "{killed}");
    }

    #[test]
    fn one_that_does_not_end_is_ended_though_it_has_nothing_more_to_say() {
        let compiler =
            Compiler { program: "/bin/sh".into(), args: vec!["-c".into(), "exec 2>&-; cat; exec sleep 1000".into()] };
        let outcome = compiler.compile_within(Duration::from_millis(200), &[], Path::new("x"));
        assert!(matches!(outcome, Err(CompileError::TooLong)), "{outcome:?}");
    }

    #[test]
    fn a_compiler_that_is_not_there_is_named() {
        let compiler = Compiler { program: "/nowhere/compiler".into(), args: Vec::new() };
        let error = compiler.compile(&[], Path::new("x")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/compiler"), "{error}");
    }
}
