//! The node's own tools: what everybody tries first in a container, for images that hold one program and no shell.
//!
//! They are no programs of the guest's and run nothing. Invariant: they see a container's directories as its guest
//! does: no link, no name and no archive leads out of them, and what the guest may not write they do not write.

mod look;
mod shell;
mod streams;
mod tar;
mod test;
mod tree;

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use coracle_wasm::{Input, Launch, Sandbox, Shape};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::console::Pipe;
use streams::{Reader, Writer};
use tree::Tree;

/// How many tools may work at once: each takes a thread, also while it waits for its client.
const AT_ONCE_MAX: usize = 64;

/// Where programs are found elsewhere; a tool may be named by any of them.
const PLACES: [&str; 4] = ["/bin", "/usr/bin", "/usr/local/bin", "/sbin"];

/// The shell's exit code for a command that is not there.
pub(crate) const NOT_FOUND: i32 = 127;

/// One of the tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    Cat,
    Echo,
    Env,
    False,
    Ls,
    Printenv,
    Pwd,
    Shell,
    Sleep,
    Tar,
    Test,
    True,
}

impl Tool {
    /// The tool that a command's name stands for. The name of the container's own program stands for that program.
    pub(crate) fn named(command: &str, own: &str) -> Option<Self> {
        let base = |path: &str| Path::new(path).file_name().map(|name| name.to_string_lossy().into_owned());
        let name = base(command)?;
        let directory = command.strip_suffix(&name)?.trim_end_matches('/');
        let is_own = base(own).is_some_and(|own| own == name || own.strip_suffix(".wasm") == Some(&name));
        if is_own || !(directory.is_empty() || PLACES.contains(&directory)) {
            return None;
        }
        Some(match name.as_str() {
            "cat" => Self::Cat,
            "echo" => Self::Echo,
            "env" => Self::Env,
            "false" => Self::False,
            "ls" => Self::Ls,
            "printenv" => Self::Printenv,
            "pwd" => Self::Pwd,
            "sh" | "bash" | "ash" | "dash" | "zsh" => Self::Shell,
            "sleep" => Self::Sleep,
            "tar" => Self::Tar,
            "test" | "[" => Self::Test,
            "true" => Self::True,
            _ => return None,
        })
    }
}

/// The tool that a command names in a container, and what it is to work in; none if the command is the container's own.
pub(crate) fn meant(sandbox: &Sandbox, command: &[String]) -> Option<(Tool, Launch)> {
    let launch = sandbox.launch()?;
    // What answers HTTP requests has no command that could be meant.
    let own = match sandbox.shape()? {
        Shape::Command => launch.args.first().map_or("", String::as_str),
        Shape::Http => "",
    };
    let tool = Tool::named(command.first()?, own)?;
    Some((tool, launch))
}

/// The threads that tools may take.
#[derive(Debug, Clone)]
pub(crate) struct Workshop(Arc<Semaphore>);

impl Default for Workshop {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE_MAX)))
    }
}

/// What a tool works with.
struct Bench {
    args: Vec<String>,
    env: Vec<(String, String)>,
    tree: Tree,
    stdin: Reader,
    stdout: Writer,
    stderr: Writer,
}

impl Workshop {
    /// Runs a tool in the container that `launch` describes, to its end, and returns its exit code. Dropping the
    /// future ends it at its next read or write.
    pub(crate) async fn run(
        &self,
        tool: Tool,
        args: Vec<String>,
        launch: &Launch,
        stdin: Option<Input>,
        outputs: (Arc<Pipe>, Arc<Pipe>),
    ) -> i32 {
        // The permit is never refused: nobody closes the semaphore.
        let _permit = self.0.clone().acquire_owned().await;
        let (stdout, stderr) = outputs;
        if tool == Tool::Sleep {
            return sleep(&args, &stderr).await;
        }
        let tree = match Tree::open(&launch.directories, launch.working_dir.as_deref()) {
            Ok(tree) => tree,
            Err(error) => {
                complain(&stderr, &format!("{}: cannot open the container's directories: {error}\n", tool_name(&args)));
                return 1;
            }
        };
        let (handle, given_up) = (Handle::current(), CancellationToken::new());
        let _guard = given_up.clone().drop_guard();
        let env = launch.env.clone();
        let work = move || {
            let writer = |pipe| Writer::new(pipe, handle.clone(), given_up.clone());
            let stdin = Reader::new(stdin, handle.clone(), given_up.clone());
            Bench { args, env, tree, stdin, stdout: writer(stdout), stderr: writer(stderr) }.work(tool)
        };
        // A panic is a fault of ours; it is logged where it happened.
        tokio::task::spawn_blocking(work).await.unwrap_or(1)
    }
}

impl Bench {
    fn work(mut self, tool: Tool) -> i32 {
        let code = match tool {
            Tool::Cat => look::cat(&mut self),
            Tool::Echo => look::echo(&mut self),
            Tool::Env => look::env(&mut self),
            Tool::Printenv => look::printenv(&mut self),
            Tool::Ls => look::ls(&mut self),
            Tool::Pwd => look::pwd(&mut self),
            Tool::Shell => shell::shell(&mut self),
            Tool::Tar => tar::tar(&mut self),
            Tool::Test => test::test(&mut self),
            Tool::True | Tool::Sleep => Ok(0),
            Tool::False => Ok(1),
        };
        // An error of its outputs says that there is no client any more, and nobody to tell a code.
        code.and_then(|code| self.stdout.flush().map(|()| code)).unwrap_or(1)
    }

    /// Says what is wrong, after the tool's name.
    fn complain(&mut self, what: &str) -> io::Result<()> {
        let name = tool_name(&self.args);
        writeln!(self.stderr, "{name}: {what}")?;
        self.stderr.flush()
    }
}

/// As it was called.
fn tool_name(args: &[String]) -> &str {
    let called = args.first().map(String::as_str).unwrap_or_default();
    called.rsplit('/').next().unwrap_or(called)
}

/// What the system says of an error, without its number.
fn said(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or_else(|| text.clone(), |(said, _)| said.to_owned())
}

fn complain(stderr: &Pipe, text: &str) {
    coracle_wasm::Sink::write(stderr, text.as_bytes());
}

/// Waits as long as it is told; it needs no thread for that.
async fn sleep(args: &[String], stderr: &Pipe) -> i32 {
    let times = args.get(1..).unwrap_or_default();
    if times.is_empty() {
        complain(stderr, "sleep: missing operand\n");
        return 1;
    }
    let mut all = Duration::ZERO;
    for time in times {
        match seconds(time) {
            Some(time) => all = all.saturating_add(time),
            None => {
                complain(stderr, &format!("sleep: invalid time interval '{time}'\n"));
                return 1;
            }
        }
    }
    tokio::time::sleep(all).await;
    0
}

/// `1.5`, `10s`, `2m`, `1h`, `1d` or `infinity`.
fn seconds(text: &str) -> Option<Duration> {
    if matches!(text, "infinity" | "inf") {
        return Some(Duration::MAX);
    }
    let (number, factor) = match text.char_indices().last()? {
        (at, 's') => (text.get(..at)?, 1.0),
        (at, 'm') => (text.get(..at)?, 60.0),
        (at, 'h') => (text.get(..at)?, 3600.0),
        (at, 'd') => (text.get(..at)?, 86_400.0),
        _ => (text, 1.0),
    };
    if !number.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let number: f64 = number.parse().ok()?;
    Some(Duration::try_from_secs_f64(number * factor).unwrap_or(Duration::MAX))
}

#[cfg(test)]
mod tests;
