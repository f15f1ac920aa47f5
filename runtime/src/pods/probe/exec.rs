//! An exec probe: healthy is whose command ends with 0.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use coracle_wasm::{Exec, ExecError, Launch, Outcome, Sandbox, Sink, Tty};
use k8s_openapi::api::core::v1::ExecAction;
use tokio::io::AsyncReadExt;

use super::Answer;
use crate::console::{PIECE_BYTES, ROOM_BYTES, pipe};
use crate::pods::launch::Order;
use crate::tools::{self, Tool};

/// So much of a command's output is kept for the event: as much as the kubelet keeps.
const OUTPUT_BYTES_MAX: usize = 10 * 1024;

/// What a command wrote to both its outputs, as far as it is kept.
#[derive(Default)]
struct Kept(Mutex<Vec<u8>>);

impl Sink for Kept {
    fn write(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = OUTPUT_BYTES_MAX.saturating_sub(kept.len());
        kept.extend(bytes.iter().take(room));
    }
}

impl Kept {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

/// What came of a command.
pub(in crate::pods) enum Came {
    /// It ended.
    Ended {
        /// Its exit code.
        code: i32,
        /// What it wrote.
        output: String,
    },
    /// It could not be run.
    Not(ExecError),
}

/// Runs a command in the container to its end.
pub(in crate::pods) async fn run(order: &Order, sandbox: &Sandbox, action: &ExecAction) -> Came {
    let args = action.command.clone().unwrap_or_default();
    if let (Some(late), Some(launch)) = (order.late(), sandbox.launch()) {
        late.show(&order.shared, launch.directories).await;
    }
    if let Some((tool, launch)) = order.has_tools().then(|| tools::meant(sandbox, &args)).flatten() {
        return use_tool(order, sandbox, tool, args, &launch).await;
    }
    let kept = Arc::<Kept>::default();
    let (stdout, stderr) = (kept.clone(), kept.clone());
    let exec = Exec { args, env: Vec::new(), stdin: None, tty: Tty::No, stdout, stderr };
    match order.shared.wasm.exec(sandbox, exec).await {
        // Nobody asks a command to stop: it ended with its container.
        Ok(Outcome::Stopped) => Came::Not(ExecError::Ended),
        Ok(outcome) => Came::Ended { code: outcome.exit_code(), output: kept.text() },
        Err(error) => Came::Not(error),
    }
}

/// Uses one of the node's tools in the container.
async fn use_tool(order: &Order, sandbox: &Sandbox, tool: Tool, args: Vec<String>, launch: &Launch) -> Came {
    let (kept, (output, mut written)) = (Kept::default(), pipe(ROOM_BYTES));
    let work = async {
        let outputs = (Arc::clone(&output), Arc::clone(&output));
        let code = order.shared.workshop.run(tool, args, launch, None, outputs).await;
        output.close();
        code
    };
    let keep = async {
        let mut piece = [0; PIECE_BYTES];
        while let Ok(read @ 1..) = written.read(&mut piece).await {
            kept.write(piece.get(..read).unwrap_or_default());
        }
    };
    tokio::select! {
        (code, ()) = async { tokio::join!(work, keep) } => Came::Ended { code, output: kept.text() },
        _ = sandbox.clone().ended() => Came::Not(ExecError::Ended),
    }
}

/// Runs the probe's command.
pub(super) async fn ask(order: &Order, sandbox: &Sandbox, action: &ExecAction, patience: Duration) -> Answer {
    match tokio::time::timeout(patience, run(order, sandbox, action)).await {
        Ok(Came::Ended { code: 0, .. }) => Answer::Healthy,
        Ok(Came::Ended { output, .. }) => Answer::Unhealthy(output),
        // The container has ended, and its end says all there is to say.
        Ok(Came::Not(ExecError::Ended)) => std::future::pending().await,
        Ok(Came::Not(error)) => Answer::Unknown(crate::with_causes(&error)),
        Err(_) => {
            let command = action.command.as_deref().unwrap_or_default().join(" ");
            Answer::Unhealthy(format!("command timed out: {command:?} timed out after {}s", patience.as_secs()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_beginning_of_a_long_output_is_kept() {
        let kept = Kept::default();
        for _ in 0..3 {
            kept.write(&[b'x'; 4096]);
        }
        assert_eq!(kept.text().len(), OUTPUT_BYTES_MAX);
    }
}
