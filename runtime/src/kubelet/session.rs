//! What somebody at a terminal does in a container: a command beside its own, or its own streams.
//!
//! It knows streams and no protocol: whoever speaks one gives the [`Streams`], and tells the [`Exit`].
//! Invariant: nothing of a session outlives its client or its container.

mod attach;
mod carry;
mod exec;
mod terminal;

use std::sync::{Arc, Weak};

pub(crate) use coracle_wasm::Input;
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;

pub(crate) use crate::console::Size;
use crate::pods::{Live, Shared};

/// Bytes to the client. It takes no more than the client reads, and an error when there is no client any more.
pub(crate) type Output = Box<dyn AsyncWrite + Send + Sync + Unpin>;

/// The streams of a session, as far as the client asked for them. With a terminal there is no `stderr`.
pub(crate) struct Streams {
    /// Bytes from the client. Their end is the end of the input.
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

impl Exit {
    fn of(code: i32) -> Self {
        if code == 0 { Self::Success } else { Self::Code(code) }
    }
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
    pub(crate) fn check(&self, place: &Place) -> Result<(), String> {
        self.find(place).map(drop)
    }

    /// Runs a command in the container to its end. Dropping the future ends it: whoever speaks the protocol drops it
    /// when the client's connection is gone. The outputs are flushed, and not shut down, before it returns.
    pub(crate) async fn exec(&self, place: Place, command: Command, streams: Streams) -> Exit {
        match self.find(&place) {
            Ok((node, live)) => Box::pin(exec::exec(node, live, command, streams)).await,
            Err(why) => Exit::Failed(why),
        }
    }

    /// Joins the streams with those of the container, until it ends or the client leaves: see [`Self::exec`].
    pub(crate) async fn attach(&self, place: Place, tty: bool, streams: Streams) -> Exit {
        match self.find(&place) {
            Ok((_, live)) => Box::pin(attach::attach(live, tty, streams)).await,
            Err(why) => Exit::Failed(why),
        }
    }

    /// The container, with its node.
    fn find(&self, place: &Place) -> Result<(Arc<Shared>, Arc<Live>), String> {
        let node = self.node.upgrade().ok_or_else(|| "the node is shutting down".to_owned())?;
        let Place { namespace, pod, container } = place;
        if let Some(live) = node.lives.get(namespace, pod, container) {
            return Ok((node, live));
        }
        let record = node.records.get(namespace, pod).ok_or_else(|| "pod does not exist".to_owned())?;
        let status = &record.status;
        let all = [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
        let state = all.into_iter().flatten().flatten().find(|c| c.name == *container).and_then(|c| c.state.as_ref());
        Err(match state {
            // As a container runtime says it.
            Some(state) if state.terminated.is_some() => "container is in CONTAINER_EXITED state".to_owned(),
            _ => format!("container not found ({container:?})"),
        })
    }
}
