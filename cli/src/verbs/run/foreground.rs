//! `coracle run --rm`: prints what the program writes, run after run, and takes everything away on Ctrl-C.

use std::time::Duration;

use anyhow::bail;
use kube::Client;
use serde_json::Value;

use super::objects::Wanted;
use super::wait::pods;
use crate::output;
use crate::target::Scope;
use crate::verbs::{delete, logs};

/// How often it looks whether the program runs again.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Waits for `ready`, follows the log, and deletes the objects whatever happened.
pub(super) async fn run(
    client: &Client,
    namespace: &str,
    wanted: &Wanted,
    ready: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let work = async {
        ready.await?;
        follow(client, namespace, wanted).await
    };
    let result = tokio::select! {
        result = work => result,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    output::progress_done();
    let scope = Scope { namespace: Some(namespace.to_owned()) };
    delete::run(delete::Arguments::named(wanted.shown(), scope)).await?;
    result
}

/// Prints one run of the container after another.
async fn follow(client: &Client, namespace: &str, wanted: &Wanted) -> anyhow::Result<()> {
    let mut followed = None;
    loop {
        let Some(run) = pods(client, namespace, wanted).await?.iter().find_map(|pod| run_of(pod, &wanted.image)) else {
            bail!("{} is gone", wanted.name);
        };
        if followed.as_ref() != Some(&run) && run.started {
            logs::print(client, namespace, &run.pod, "follow=true").await?;
            followed = Some(run);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// One run of a container.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    pod: String,
    restarts: u64,
    started: bool,
}

fn run_of(pod: &Value, image: &str) -> Option<Run> {
    let container = pod.pointer("/status/containerStatuses/0")?;
    if pod.pointer("/spec/containers/0/image").and_then(Value::as_str) != Some(image) {
        return None;
    }
    Some(Run {
        pod: pod.pointer("/metadata/name").and_then(Value::as_str)?.to_owned(),
        restarts: container.get("restartCount").and_then(Value::as_u64).unwrap_or(0),
        started: container.pointer("/state/waiting").is_none(),
    })
}
