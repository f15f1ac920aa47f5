//! `coracle`: the one binary. It reads flags, environment and files, and wires the components; it decides nothing else.

mod call;
mod compile;
mod connect;
mod options;
mod output;
mod resources;
mod server;
mod table;
mod target;
mod verbs;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// Kubernetes for WebAssembly in one binary.
#[derive(Debug, Parser)]
#[command(name = "coracle", version, about, propagate_version = true)]
struct Arguments {
    /// What is logged: error, warn, info, debug, or a filter such as `info,coracle_runtime=debug`
    #[arg(long, global = true, env = "CORACLE_LOG", default_value = "info,hickory_server=warn", value_name = "FILTER")]
    log: String,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a whole cluster in the foreground: API, controllers, scheduler, network, DNS and one node
    Server(Box<options::ServerOptions>),
    /// Push, list and remove images in the server's store
    #[command(subcommand)]
    Image(verbs::image::ImageCommand),
    /// Run a WebAssembly file as a Deployment and a Service at once
    Run(Box<verbs::run::Arguments>),
    /// Create or change the objects in files
    Apply(verbs::apply::Arguments),
    /// Show objects in a table, or as YAML or JSON
    Get(verbs::get::Arguments),
    /// Show an object in detail, with its events
    Describe(verbs::describe::Arguments),
    /// Print what a pod's container wrote
    Logs(verbs::logs::Arguments),
    /// Delete objects by file, by name or by label
    Delete(verbs::delete::Arguments),
    /// Set the number of replicas
    Scale(verbs::scale::Arguments),
    /// Print the client's and the server's version
    Version(verbs::version::Arguments),
    /// Compile the image on standard input into a file: what a server starts itself for
    #[command(hide = true)]
    CompileImage {
        /// The file to write
        to: std::path::PathBuf,
    },
    /// Print a completion script for a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Server(options) => output::log_to_stderr(&arguments.log).and_then(|()| server::run(*options)),
        Command::CompileImage { to } => return compile::run(&to),
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "coracle", &mut std::io::stdout());
            Ok(())
        }
        Command::Image(command) => verbs::block_on(verbs::image::run(command)),
        Command::Run(command) => verbs::block_on(verbs::run::run(*command)),
        Command::Apply(command) => verbs::block_on(verbs::apply::run(command)),
        Command::Get(command) => verbs::block_on(verbs::get::run(command)),
        Command::Describe(command) => verbs::block_on(verbs::describe::run(command)),
        Command::Logs(command) => verbs::block_on(verbs::logs::run(command)),
        Command::Delete(command) => verbs::block_on(verbs::delete::run(command)),
        Command::Scale(command) => verbs::block_on(verbs::scale::run(command)),
        Command::Version(command) => verbs::block_on(verbs::version::run(command)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The server's refusals bring their own head, as in kubectl.
            let head = if error.is::<call::ServerError>() { "" } else { "error: " };
            output::error(&format!("{head}{error:#}"));
            ExitCode::FAILURE
        }
    }
}
