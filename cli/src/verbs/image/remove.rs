//! `coracle image rm` and `coracle image prune`: images leave the store.
//!
//! Invariant: nothing is removed until all that is named was found and may go.

use std::io::{BufRead, IsTerminal};

use anyhow::{Context, bail};
use clap::Args;

use super::choose::{By, choose};
use super::registry::{How, Listed, Reach, Registry};
use super::size;
use crate::output;

/// The most pods that a refusal names.
const PODS_MAX: usize = 3;

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Names of images, or the beginnings of their digests
    #[arg(required = true)]
    names: Vec<String>,
    /// Also what pods use, and all names of a digest
    #[arg(short, long)]
    force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Whatever no pod uses, also what was pushed and cannot be pulled again
    #[arg(short, long)]
    all: bool,
    /// Only tell what would go
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

pub(super) async fn remove(registry: &Registry, remove: &Remove) -> anyhow::Result<()> {
    let images = registry.list().await?;
    let mut going: Vec<&Listed> = Vec::new();
    for text in &remove.names {
        let (by, found) = choose(&images, text)?;
        if !remove.force {
            refuse(text, &by, &found)?;
        }
        going.extend(
            found.into_iter().filter(|image| !going.iter().any(|g| std::ptr::eq(*g, *image))).collect::<Vec<_>>(),
        );
    }
    for image in going {
        registry.remove(image).await.with_context(|| format!("image {}", image.title()))?;
        output::line(&format!("image \"{}\" deleted", image.title()));
    }
    Ok(())
}

fn refuse(text: &str, by: &By, found: &[&Listed]) -> anyhow::Result<()> {
    if *by == By::Digest && found.len() > 1 {
        let names: Vec<&str> = found.iter().map(|image| image.title()).collect();
        bail!("{text} has several names: {}; remove them by name, or say --force", names.join(", "));
    }
    let Some(image) = found.iter().find(|image| !image.pods.is_empty()) else { return Ok(()) };
    let more = image.pods.len().saturating_sub(PODS_MAX);
    let named = image.pods.iter().take(PODS_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    let named = if more > 0 { format!("{named} and {more} more") } else { named };
    let pods = if image.pods.len() == 1 { "pod" } else { "pods" };
    bail!("image {:?} is used by {pods} {named}; delete them first, or say --force", image.title());
}

pub(super) async fn prune(registry: &Registry, prune: &Prune) -> anyhow::Result<()> {
    let reach = if prune.all { Reach::All } else { Reach::Replaceable };
    if prune.all && !prune.dry_run && !prune.force && !confirmed()? {
        return Ok(());
    }
    let how = if prune.dry_run { How::DryRun } else { How::Done };
    let pruned = registry.prune(reach, how).await?;
    let (deleted, reclaimed) = match how {
        How::Done => ("Deleted images:", "Total reclaimed space"),
        How::DryRun => ("Images that would be deleted:", "Space that would be reclaimed"),
    };
    if !pruned.images.is_empty() {
        output::line(deleted);
        for image in &pruned.images {
            match &image.name {
                Some(name) => output::line(&format!("{name} ({})", image.digest)),
                None => output::line(&image.digest),
            }
        }
        output::line("");
    }
    output::line(&format!("{reclaimed}: {}", size(pruned.bytes)));
    Ok(())
}

/// Asks whether to go on; only a person at a terminal can be asked.
fn confirmed() -> anyhow::Result<bool> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        bail!("this removes also images that were pushed and cannot be pulled again; say --force to do so unasked");
    }
    output::ask("This will remove all images that no pod uses, also those that were pushed. Go on? [y/N] ");
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).context("standard input")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
