//! Exec: a command beside the container's own, with the client's streams or on a terminal.

use std::sync::Arc;

use coracle_wasm::{Exec, ExecError, Input, Launch, Outcome, Tty};

use super::carry::to_client;
use super::{Command, Exit, Streams, terminal};
use crate::console::{Pipe, ROOM_BYTES, pipe};
use crate::pods::{Live, Shared};
use crate::tools::{self, Tool};

/// The exit code of a command that ended because its container did: as if the kernel had killed it.
const KILLED: i32 = 137;

/// What runs a command, and where.
pub(super) struct Runner {
    pub(super) node: Arc<Shared>,
    pub(super) live: Arc<Live>,
    pub(super) args: Vec<String>,
}

/// A command's own ends of its streams.
pub(super) struct Ends {
    pub(super) env: Vec<(String, String)>,
    pub(super) stdin: Option<Input>,
    pub(super) stdout: Arc<Pipe>,
    pub(super) stderr: Arc<Pipe>,
    pub(super) tty: Tty,
}

/// Runs a command to its end, or until the client is gone.
pub(super) async fn exec(node: Arc<Shared>, live: Arc<Live>, command: Command, streams: Streams) -> Exit {
    let runner = Runner { node, live, args: command.args };
    let ended = if command.tty { terminal::run(&runner, streams).await } else { plain(&runner, streams).await };
    ended.map_or_else(Exit::Failed, Exit::of)
}

/// Runs a command on the client's own streams.
async fn plain(runner: &Runner, streams: Streams) -> Result<i32, String> {
    let Streams { stdin, mut stdout, mut stderr, sizes: _ } = streams;
    let ((out_writer, out_reader), (err_writer, err_reader)) = (pipe(ROOM_BYTES), pipe(ROOM_BYTES));
    let ends =
        Ends { env: Vec::new(), stdin, stdout: Arc::clone(&out_writer), stderr: Arc::clone(&err_writer), tty: Tty::No };
    let command = async {
        let ended = runner.run(ends).await;
        out_writer.close();
        err_writer.close();
        ended
    };
    let mut shown = std::pin::pin!(async {
        tokio::try_join!(to_client(out_reader, stdout.as_mut()), to_client(err_reader, stderr.as_mut()))
    });
    tokio::select! {
        ended = command => {
            // What it wrote last is worth waiting for, unless the client is gone.
            let _ = shown.await;
            ended
        }
        // The outputs do not end before the command: there is no client any more.
        _no_client = &mut shown => Ok(0),
    }
}

impl Runner {
    /// Runs the command. Its outputs are not closed.
    ///
    /// # Errors
    /// Words for the client, if it cannot be run.
    pub(super) async fn run(&self, ends: Ends) -> Result<i32, String> {
        self.live.show(&self.node).await;
        let tool = self.live.has_tools.then(|| tools::meant(&self.live.sandbox, &self.args)).flatten();
        if let Some((tool, launch)) = tool {
            return Ok(self.use_tool(tool, launch, ends).await);
        }
        let Ends { env, stdin, stdout, stderr, tty } = ends;
        let exec = Exec { args: self.args.clone(), env, stdin, tty, stdout, stderr };
        match self.node.wasm.exec(&self.live.sandbox, exec).await {
            // Nobody asks a command to stop: it ended with its container.
            Ok(Outcome::Stopped) => Ok(KILLED),
            Ok(outcome) => Ok(outcome.exit_code()),
            Err(error) => Err(self.words(&error)),
        }
    }

    async fn use_tool(&self, tool: Tool, mut launch: Launch, ends: Ends) -> i32 {
        launch.env.retain(|(name, _)| !ends.env.iter().any(|(ours, _)| ours == name));
        launch.env.extend(ends.env);
        let work = self.node.workshop.run(tool, self.args.clone(), &launch, ends.stdin, (ends.stdout, ends.stderr));
        tokio::select! {
            code = work => code,
            _ = self.live.sandbox.clone().ended() => KILLED,
        }
    }

    /// What a client of a container runtime is told.
    fn words(&self, error: &ExecError) -> String {
        let why = match error {
            ExecError::NotFound { name } if name.contains('/') => {
                format!("exec: {name:?}: stat {name}: no such file or directory")
            }
            ExecError::NotFound { name } => format!("exec: {name:?}: executable file not found in $PATH"),
            ExecError::Ended => return "container is in CONTAINER_EXITED state".to_owned(),
            ExecError::CannotRun { .. } | ExecError::Read { .. } | ExecError::Full => crate::with_causes(error),
        };
        format!(
            "failed to exec in container: failed to start exec {:?}: OCI runtime exec failed: exec failed: \
             unable to start container process: {why}: unknown",
            self.live.id
        )
    }
}
