//! How a container ended.
//!
//! What a guest does wrong is data: every way of ending is a value here, and none is an `Err`.

use wasmtime::Error;
use wasmtime_wasi::I32Exit;

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It returned, or called `exit`.
    Exited(i32),
    /// It did what WebAssembly forbids; the message has the guest's backtrace.
    Trapped {
        /// The trap and where it happened.
        message: String,
    },
    /// Its memories wanted to grow beyond the container's limit.
    OutOfMemory,
    /// It was told to end, and did not end by itself.
    Stopped,
}

impl Outcome {
    /// The exit code that a Kubernetes status shows: by the shell's convention 128 and the signal's number.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Exited(code) => *code,
            Self::Trapped { .. } => 134, // SIGABRT, as the wasmtime command line has it
            Self::OutOfMemory => 137,    // SIGKILL, as the kernel's out-of-memory killer has it
            Self::Stopped => 143,        // SIGTERM
        }
    }

    /// What the end of a guest's call means. `Err(())` of `run` is how WASI 0.2 says "failed".
    pub(super) fn of_run(result: Result<Result<(), ()>, Error>) -> Self {
        match result {
            Ok(Ok(())) => Self::Exited(0),
            Ok(Err(())) => Self::Exited(1),
            Err(error) => Self::of_error(&error),
        }
    }

    /// What an error out of a guest's call means: `exit` arrives as one.
    pub(super) fn of_error(error: &Error) -> Self {
        match error.downcast_ref::<I32Exit>() {
            Some(I32Exit(code)) => Self::Exited(*code),
            None => Self::Trapped { message: format!("{error:?}") },
        }
    }
}
