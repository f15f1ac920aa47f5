//! `coracle image import`: the images of an OCI image layout enter the store under their names.
//!
//! Invariant: nothing is sent before all of it was found whole and named; a name is given last. What breaks off leaves
//! blobs that nothing refers to, which the server sweeps away.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use coracle_api::names::Digest;
use coracle_runtime::images::{Pick, Reference};

use super::layout::{Descriptor, FULL_NAME, Layout, REF_NAME};
use super::registry::Registry;
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// A tar archive in the OCI image layout, also one of gzip, or a directory; - reads an archive from standard input
    file: PathBuf,
    /// The image's name, if it is the only one there
    name: Option<String>,
}

/// What is to be sent, in this order.
#[derive(Debug, Default)]
struct Plan {
    blobs: BTreeSet<Digest>,
    /// Manifests of indexes, by their digests.
    parts: Vec<Manifest>,
    images: Vec<(Reference, Manifest)>,
}

#[derive(Debug)]
struct Manifest {
    media_type: String,
    digest: Digest,
    bytes: Vec<u8>,
}

pub(super) async fn run(registry: &Registry, import: Import) -> anyhow::Result<()> {
    let shown = import.file.display().to_string();
    let name = import.name.as_deref().map(str::parse::<Reference>).transpose()?;
    let layout = Layout::open(&import.file)?;
    let plan = plan(&layout, name.as_ref()).with_context(|| shown.clone())?;
    for (reference, _) in &plan.images {
        output::progress(&format!("importing {}", reference.familiar()));
    }
    let sent = send(registry, &layout, &plan).await.with_context(|| format!("{shown} was not imported"));
    output::progress_done();
    sent?;
    for (reference, manifest) in &plan.images {
        output::line(&format!("{}: digest: {}", reference.familiar(), manifest.digest));
    }
    Ok(())
}

/// Finds out what is to be sent; all of it is read and checked.
fn plan(layout: &Layout, name: Option<&Reference>) -> anyhow::Result<Plan> {
    let index = layout.index()?;
    let mut plan = Plan::default();
    match (index.manifests.as_slice(), name) {
        ([], _) => bail!("there is no image in it"),
        ([_], _) | (_, None) => {}
        (images, Some(name)) => {
            bail!(
                "there are {} images in it; {} can be the name of one only: leave it out",
                images.len(),
                name.familiar()
            )
        }
    }
    for image in &index.manifests {
        let reference = match name {
            Some(name) => name.clone(),
            None => name_of(image)?,
        };
        let manifest = take(layout, image, &mut plan)?;
        plan.images.push((reference, manifest));
    }
    for digest in &plan.blobs {
        layout.blob(digest)?;
    }
    Ok(plan)
}

/// A manifest whose blobs, and parts if it is an index, were added to the plan.
fn take(layout: &Layout, image: &Descriptor, plan: &mut Plan) -> anyhow::Result<Manifest> {
    let (content, bytes) = layout.manifest(&image.digest)?;
    for part in content.manifests.iter().filter(|part| layout.has_blob(&part.digest)) {
        // What nobody fetched, for other platforms, may be missing. An index is one level deep: what an index in an
        // index lists is no image of ours.
        let (content, bytes) = layout.manifest(&part.digest)?;
        plan.blobs.extend(content.blobs().map(|blob| blob.digest.clone()));
        plan.parts.push(Manifest { media_type: part.media_type.clone(), digest: part.digest.clone(), bytes });
    }
    if !content.manifests.is_empty() && !content.manifests.iter().any(|part| layout.has_blob(&part.digest)) {
        bail!("it is not whole: of the images that {} lists, none is there", image.digest);
    }
    plan.blobs.extend(content.blobs().map(|blob| blob.digest.clone()));
    let media_type = content.media_type.unwrap_or_else(|| image.media_type.clone());
    Ok(Manifest { media_type, digest: image.digest.clone(), bytes })
}

/// The name that an archive gives an image. A mere tag is none: it does not say of which repository.
fn name_of(image: &Descriptor) -> anyhow::Result<Reference> {
    let own = image.annotations.get(REF_NAME).filter(|name| name.contains(['/', ':']));
    let Some(name) = own.or_else(|| image.annotations.get(FULL_NAME)) else {
        bail!("the image {} has no name in it; say one: coracle image import FILE NAME", image.digest);
    };
    let reference: Reference = name.parse()?;
    // A short name stays short wherever a person reads it.
    let short = reference.written().strip_prefix("docker.io/").map(|r| r.strip_prefix("library/").unwrap_or(r));
    match (short, reference.pick()) {
        (Some(short), Pick::Tag(tag)) => Ok(Reference::of(short, tag)?),
        (Some(short), Pick::Digest(digest)) => Ok(Reference::of(short, digest.as_str())?),
        (None, _) => Ok(reference),
    }
}

async fn send(registry: &Registry, layout: &Layout, plan: &Plan) -> anyhow::Result<()> {
    // All repositories share their blobs: they are sent once, by way of any.
    let Some((first, _)) = plan.images.first() else { return Ok(()) };
    for digest in &plan.blobs {
        registry.push_blob(first.written(), digest, layout.blob(digest)?).await?;
    }
    for part in &plan.parts {
        let (pick, bytes) = (part.digest.as_str(), part.bytes.clone());
        registry.put_manifest(first.written(), pick, &part.media_type, bytes).await?;
    }
    for (reference, manifest) in &plan.images {
        let pick = match reference.pick() {
            Pick::Tag(tag) => tag.as_str(),
            Pick::Digest(digest) => digest.as_str(),
        };
        registry
            .put_manifest(reference.written(), pick, &manifest.media_type, manifest.bytes.clone())
            .await
            .with_context(|| format!("image {}", reference.familiar()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use expect_test::{Expect, expect};

    use super::*;

    fn check(names: &[(&str, &str)], expected: Expect) {
        let image = Descriptor {
            media_type: String::new(),
            digest: Digest::new(format!("sha256:{}", "a".repeat(64))).unwrap(),
            annotations: names.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>(),
        };
        expected.assert_eq(&match name_of(&image) {
            Ok(reference) => reference.familiar(),
            Err(error) => error.to_string().replace(&"a".repeat(64), "…"),
        });
    }

    #[test]
    fn an_image_has_the_name_that_its_archive_gives_it() {
        check(&[(REF_NAME, "hello:1")], expect!["hello:1"]);
        check(&[(REF_NAME, "1"), (FULL_NAME, "docker.io/library/hello:1")], expect!["hello:1"]);
        check(&[(FULL_NAME, "docker.io/team/hello:1")], expect!["team/hello:1"]);
        check(&[(REF_NAME, "ghcr.io/team/hello")], expect!["ghcr.io/team/hello:latest"]);
        check(
            &[(REF_NAME, "latest")],
            expect!["the image sha256:… has no name in it; say one: coracle image import FILE NAME"],
        );
    }
}
