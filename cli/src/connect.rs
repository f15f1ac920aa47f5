//! Finds the cluster that a person means: `$KUBECONFIG`, then `~/.kube/config`, then the server of this machine.

use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::options::{default_data_dir, environment};

/// A client for the kubeconfig in force, and the namespace that it names.
pub(crate) async fn client() -> anyhow::Result<kube::Client> {
    kube::Client::try_from(config().await?).context("the kubeconfig does not make a client")
}

async fn config() -> anyhow::Result<kube::Config> {
    let options = KubeConfigOptions::default();
    if environment("KUBECONFIG").is_some() || home_kubeconfig_exists() {
        return kube::Config::from_kubeconfig(&options)
            .await
            .context("the kubeconfig cannot be used; see the variable KUBECONFIG, or ~/.kube/config");
    }
    let path = default_data_dir()?.join("admin.kubeconfig");
    let kubeconfig = Kubeconfig::read_from(&path).with_context(|| {
        format!(
            "no kubeconfig: KUBECONFIG is not set, and there is neither ~/.kube/config nor {}; \
             start `coracle server` and run the `export KUBECONFIG=…` line that it prints",
            path.display()
        )
    })?;
    Ok(kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?)
}

fn home_kubeconfig_exists() -> bool {
    environment("HOME").is_some_and(|home| std::path::Path::new(&home).join(".kube/config").exists())
}
