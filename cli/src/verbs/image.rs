//! `coracle image`: images in the server's store, by the OCI distribution API that it speaks at `/v2/`.
//!
//! The connection and its credentials are those of the kubeconfig in force, so it works from anywhere.

mod choose;
mod export;
mod import;
mod inspect;
mod layout;
mod list;
mod pull;
pub(crate) mod push;
pub(crate) mod registry;
mod remove;

use clap::Subcommand;

use crate::connect;
use registry::Registry;

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Put a WebAssembly file into the store under a name
    Push(push::Push),
    /// Have the server's store pull an image from its registry
    Pull(pull::Pull),
    /// Show the images in the store
    #[command(visible_alias = "ls")]
    List(list::List),
    /// Show what images are made of, and the world of their components as WIT
    Inspect(inspect::Inspect),
    /// Take images out of the store
    #[command(name = "rm", visible_alias = "remove")]
    Remove(remove::Remove),
    /// Take out images that no pod uses and that can be pulled again
    Prune(remove::Prune),
    /// Write images into a tar archive in the OCI image layout
    #[command(visible_alias = "save")]
    Export(export::Export),
    /// Put the images of an OCI image layout, as a tar archive or a directory, into the store
    #[command(visible_alias = "load")]
    Import(import::Import),
}

/// Runs one of the image verbs.
pub(crate) async fn run(command: ImageCommand) -> anyhow::Result<()> {
    let registry = Registry::new(connect::client().await?);
    match command {
        ImageCommand::Push(push) => push::run(&registry, &push).await,
        ImageCommand::Pull(pull) => pull::run(&pull).await,
        ImageCommand::List(list) => list::run(&registry, &list).await,
        ImageCommand::Inspect(inspect) => inspect::run(&registry, &inspect).await,
        ImageCommand::Remove(remove) => remove::remove(&registry, &remove).await,
        ImageCommand::Prune(prune) => remove::prune(&registry, &prune).await,
        ImageCommand::Export(export) => export::run(&registry, &export).await,
        ImageCommand::Import(import) => import::run(&registry, import).await,
    }
}

/// Bytes for people: `14.2MB`.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes}B"),
        1_000..1_000_000 => format!("{}.{}kB", bytes / 1_000, bytes % 1_000 / 100),
        1_000_000..1_000_000_000 => format!("{}.{}MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000),
        _ => format!("{}.{}GB", bytes / 1_000_000_000, bytes % 1_000_000_000 / 100_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        let sizes = [size(5), size(1_500), size(14_250_000), size(2_100_000_000)];
        assert_eq!(sizes, ["5B", "1.5kB", "14.2MB", "2.1GB"]);
    }
}
