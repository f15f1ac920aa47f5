//! What somebody at a terminal does in a container: a command beside its own, or its own streams.
//!
//! It knows streams and no protocol: whoever speaks one gives the [`Streams`], and tells the [`Exit`].
//! Invariant: nothing of a session outlives its client or its container.

use std::sync::{Arc, Weak};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use crate::pods::Shared;

/// Bytes from the client. Their end is the end of the input.
pub(crate) type Input = Box<dyn AsyncRead + Send + Sync + Unpin>;

/// Bytes to the client. It takes no more than the client reads, and an error when there is no client any more.
pub(crate) type Output = Box<dyn AsyncWrite + Send + Sync + Unpin>;

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: u16,
    pub(crate) rows: u16,
}

/// The streams of a session, as far as the client asked for them. With a terminal there is no `stderr`.
pub(crate) struct Streams {
    pub(crate) stdin: Option<Input>,
    pub(crate) stdout: Option<Output>,
    pub(crate) stderr: Option<Output>,
    /// How large the client's terminal is, and becomes.
    pub(crate) sizes: mpsc::Receiver<Size>,
}

/// Which container, as the path of the request names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) container: String,
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Exit {
    /// With 0, or by the client's leaving.
    Success,
    /// With another code.
    Code(i32),
    /// It could not be had; in words for the client.
    Failed(String),
}

/// What to run, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) args: Vec<String>,
    /// Whether it has a terminal.
    pub(crate) tty: bool,
}

/// How sessions are had in the containers of a node. Holding it keeps nothing alive.
#[derive(Clone)]
pub(crate) struct Sessions {
    node: Weak<Shared>,
}

impl Sessions {
    pub(crate) fn new(node: &Arc<Shared>) -> Self {
        Self { node: Arc::downgrade(node) }
    }

    /// Whether a session can be had, asked before any protocol is spoken.
    ///
    /// # Errors
    /// The kubelet's words, for an answer of 404.
    pub(crate) fn check(&self, _place: &Place) -> Result<(), String> {
        self.node.upgrade().map(drop).ok_or_else(|| "the node is shutting down".to_owned())
    }

    /// Runs a command in the container to its end. Dropping the future ends it: whoever speaks the protocol drops it
    /// when the client's connection is gone. The outputs are flushed, and not shut down, before it returns.
    pub(crate) async fn exec(&self, _place: Place, _command: Command, _streams: Streams) -> Exit {
        Exit::Failed("this node does not offer exec".to_owned())
    }

    /// Joins the streams with those of the container, until it ends or the client leaves: see [`Self::exec`].
    pub(crate) async fn attach(&self, _place: Place, _tty: bool, _streams: Streams) -> Exit {
        Exit::Failed("this node does not offer attach".to_owned())
    }
}
