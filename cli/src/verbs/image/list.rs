//! `coracle image list`: what is in the store, pushed and pulled, in Docker's columns.

use anyhow::bail;
use clap::{Args, ValueEnum};
use coracle_api::clock;
use coracle_runtime::images::Reference;
use jiff::Timestamp;

use super::registry::{Listed, Registry};
use super::size;
use crate::{output, table};

/// How many digits of a digest stand for it in a table (Docker's).
const DIGITS: usize = 12;

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only images of this repository, or of this name
    name: Option<String>,
    /// Only the images' IDs: their digests
    #[arg(short, long)]
    quiet: bool,
    /// Digests in a column of their own
    #[arg(long)]
    digests: bool,
    /// IDs in full
    #[arg(long)]
    no_trunc: bool,
    /// How to print
    #[arg(short, long, value_enum)]
    output: Option<Form>,
}

/// How a list is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// With how it came, when it was last used, and by which pods
    Wide,
    /// All that is known, as JSON
    Json,
}

pub(super) async fn run(registry: &Registry, list: &List) -> anyhow::Result<()> {
    let mut images = registry.list().await?;
    if let Some(name) = &list.name {
        let Ok(wanted) = name.parse::<Reference>() else {
            bail!(
                "{name:?} is no name of an image; write lower case letters, digits and - _ . /, as in hello or hello:1"
            );
        };
        images.retain(|image| is_meant(image, &wanted, name));
    }
    if list.output == Some(Form::Json) {
        output::line(&serde_json::to_string_pretty(&images)?);
    } else if list.quiet {
        let mut shown: Vec<String> = Vec::new();
        for image in &images {
            let id = id(image, list);
            if !shown.contains(&id) {
                output::line(&id);
                shown.push(id);
            }
        }
    } else {
        for line in table::set(&rows(&images, list, clock::now())) {
            output::line(&line);
        }
    }
    Ok(())
}

/// Without a tag, a name stands for its whole repository.
fn is_meant(image: &Listed, wanted: &Reference, written: &str) -> bool {
    let Some(own) = image.name.as_deref().and_then(|name| name.parse::<Reference>().ok()) else { return false };
    let whole_repository = wanted.written() == written;
    own.repository() == wanted.repository() && (whole_repository || own.pick() == wanted.pick())
}

fn rows(images: &[Listed], list: &List, now: Timestamp) -> Vec<Vec<String>> {
    let wide = list.output == Some(Form::Wide);
    let row = |cells: [&str; 5], digest: &str, more: [&str; 3]| {
        let [repository, tag, rest @ ..] = cells;
        let mut row = vec![repository.to_owned(), tag.to_owned()];
        row.extend(list.digests.then(|| digest.to_owned()));
        row.extend(rest.map(str::to_owned));
        row.extend(more.into_iter().filter(|_| wide).map(str::to_owned));
        row
    };
    let mut rows =
        vec![row(["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"], "DIGEST", ["ORIGIN", "LAST USED", "PODS"])];
    for image in images {
        let repository = image.repository.as_deref().unwrap_or("<none>");
        let tag = image.tag.as_deref().unwrap_or("<none>");
        let created = ago(image.created.unwrap_or(image.arrived), now);
        let pods = if image.pods.is_empty() { "<none>".to_owned() } else { image.pods.join(",") };
        rows.push(row(
            [repository, tag, &id(image, list), &created, &size(image.size)],
            &image.digest,
            [&image.origin, &last_used(image, now), &pods],
        ));
    }
    rows
}

fn id(image: &Listed, list: &List) -> String {
    if list.no_trunc {
        return image.digest.clone();
    }
    let digits = image.digest.trim_start_matches("sha256:");
    digits.get(..DIGITS).unwrap_or(digits).to_owned()
}

/// When a container last started from it or ended.
pub(super) fn last_used(image: &Listed, now: Timestamp) -> String {
    if image.pods.is_empty() { ago(image.last_used, now) } else { "now".to_owned() }
}

/// How long ago, in Docker's words.
pub(super) fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let long = match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if days < 14 => format!("{days} days"),
        () if days < 60 => format!("{} weeks", days / 7),
        () if days < 730 => format!("{} months", days / 30),
        () => format!("{} years", days / 365),
    };
    format!("{long} ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_past_read_as_dockers() {
        let now = Timestamp::from_second(100_000_000).unwrap();
        let ago = |seconds: i64| ago(now - jiff::SignedDuration::from_secs(seconds), now);
        for (seconds, expected) in [
            (0, "Less than a second ago"),
            (1, "1 second ago"),
            (59, "59 seconds ago"),
            (61, "About a minute ago"),
            (3599, "59 minutes ago"),
            (3600, "About an hour ago"),
            (7200, "2 hours ago"),
            (5 * 86_400, "5 days ago"),
            (21 * 86_400, "3 weeks ago"),
            (90 * 86_400, "3 months ago"),
            (800 * 86_400, "2 years ago"),
        ] {
            assert_eq!(ago(seconds), expected);
        }
    }
}
