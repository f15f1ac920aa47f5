//! Hooks: what a container is to do right after its start and right before its stop.
//!
//! Why a hook failed is logged and not said in an event: an answer may hold what not everybody who reads events may
//! see, as the kubelet has it.

use std::time::Duration;

use coracle_wasm::{ExecError, Sandbox};
use k8s_openapi::api::core::v1::{HTTPGetAction, LifecycleHandler};

use super::launch::Order;
use super::probe::{self, Came, Refusal};

/// Why a hook could not be done.
#[derive(Debug, thiserror::Error)]
pub(super) enum HookError {
    /// The command ended otherwise than with 0.
    #[error("command {command:?} exited with {code}: {output}")]
    Exited {
        /// The command.
        command: String,
        /// How it ended.
        code: i32,
        /// What it wrote.
        output: String,
    },
    /// The command could not be run.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// Nobody answered.
    #[error("{0}")]
    Http(String),
    /// It asks for nothing that a hook can do: what remains of tcpSocket fails when it is run, as upstream.
    #[error("invalid handler")]
    Invalid,
}

/// Does what the hook says, to its end.
///
/// # Errors
/// [`HookError`]; any answer to an HTTP request is success.
pub(super) async fn run(order: &Order, sandbox: &Sandbox, hook: &LifecycleHandler) -> Result<(), HookError> {
    if let Some(action) = &hook.exec {
        match probe::run_command(order, sandbox, action).await {
            Came::Ended { code: 0, .. } => Ok(()),
            Came::Ended { code, output } => {
                let command = action.command.as_deref().unwrap_or_default().join(" ");
                Err(HookError::Exited { command, code, output })
            }
            Came::Not(error) => Err(error.into()),
        }
    } else if let Some(action) = &hook.http_get {
        fetch(order, action).await
    } else if let Some(action) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(action.seconds).unwrap_or(0))).await;
        Ok(())
    } else {
        Err(HookError::Invalid)
    }
}

/// Fetches by HTTPS if the hook says so, and by HTTP if that is all the container speaks.
async fn fetch(order: &Order, action: &HTTPGetAction) -> Result<(), HookError> {
    let mut target = probe::target(order, action).map_err(HookError::Http)?;
    loop {
        match probe::get(order, target.clone(), action, "kube-lifecycle/1.37").await {
            Ok(_) => return Ok(()),
            Err(Refusal::Other(why)) if target.is_plain_after_all(&why) => target.https = false,
            Err(Refusal::Other(why) | Refusal::NobodyListens(why)) => return Err(HookError::Http(why)),
        }
    }
}
