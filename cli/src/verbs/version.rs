//! `coracle version`: the client's version, and the server's where one answers.

use clap::Args;

use crate::{connect, output};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only the client's version; asks no server
    #[arg(long)]
    client: bool,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    output::line(&format!("Client Version: v{}", env!("CARGO_PKG_VERSION")));
    if !arguments.client {
        let info = connect::client().await?.apiserver_version().await?;
        output::line(&format!("Server Version: {}", info.git_version));
    }
    Ok(())
}
