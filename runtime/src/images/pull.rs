//! Images from remote registries: asked with a pod's own credentials, streamed to disk, kept in the local store.
//!
//! Invariant: a name in the store moves only when all that its manifest refers to is here. The registry is asked at
//! every pull, with the credentials given, also for what is here already; what is here is not fetched again.
//!
//! Own code, and not a client library: mirrors with paths and rewritten names, client certificates, going on with a
//! broken blob, and one conversation per credential are what this is about (docs/decisions/0007).

mod challenge;
mod download;
mod face;
mod grants;
mod keyring;
mod refusal;
mod registries;
mod session;
mod shelf;
mod tls;
mod transport;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use coracle_api::limits::IMAGE_LAYER_BYTES_MAX;
use coracle_api::names::Digest;
use rustls::ClientConfig;
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub use face::{PULL_PATH, PullAnswer, PullRequest, Registry};
pub use keyring::{AuthEntry, Credential, Keyring, KeyringError};
pub use registries::{Registries, RegistriesError, RegistriesFile};
pub use tls::TlsError;

use super::manifest::{Descriptor, Manifest};
use super::{Image, ImageStore, LayoutError, Missing, Pick, Reference};
use download::DownloadError;
use grants::Grants;
use refusal::Refusal;
use registries::Endpoint;
use session::{Received, Session};
use transport::Transport;

/// How many images may be on their way at once: enough to fill a line, and few enough that each gets somewhere.
const PULLS_MAX: usize = 8;

/// How many manifests of an index are looked into for WebAssembly; more platforms than that nobody has.
const PLATFORMS_MAX: usize = 16;

/// A blob that broke off is kept this long for the next process to go on with.
const PART_KEPT: Duration = Duration::from_secs(24 * 3600);

/// An image that was pulled, or found to be as the registry has it.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The image.
    pub image: Image,
    /// How long it took.
    pub took: Duration,
    /// How long it took with the time in the queue.
    pub took_with_waiting: Duration,
    /// The size of all that it consists of, in bytes.
    pub size: u64,
}

/// Why an image could not be pulled.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// No registry gave it.
    #[error("{said}")]
    Refused {
        /// What each of them said.
        said: String,
    },
    /// It is there, and holds no WebAssembly.
    #[error(transparent)]
    NotWasm(Missing),
    /// It is too large.
    #[error("{digest} has {size} bytes; a layer may have at most {IMAGE_LAYER_BYTES_MAX}")]
    TooLarge {
        /// The blob.
        digest: String,
        /// Its size.
        size: u64,
    },
    /// The store's disk failed.
    #[error("cannot write {path:?} of the image store")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The store could not take it in.
    #[error(transparent)]
    Store(#[from] LayoutError),
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Tls(#[from] TlsError),
}

/// What one attempt came to.
enum Fault {
    /// The registry would not: another credential, or another registry, may.
    Refused(Refusal),
    /// Nobody else can help.
    Final(PullError),
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<PullError> for Fault {
    fn from(error: PullError) -> Self {
        Self::Final(error)
    }
}

impl From<DownloadError> for Fault {
    fn from(error: DownloadError) -> Self {
        match error {
            DownloadError::Refused(refusal) => Self::Refused(refusal),
            DownloadError::Write { path, source } => Self::Final(PullError::Write { path, source }),
        }
    }
}

/// Pulls images into the local store.
#[derive(Debug)]
pub struct Puller {
    store: ImageStore,
    registries: Registries,
    system_tls: OnceLock<Arc<ClientConfig>>,
    parts: PathBuf,
    turns: Semaphore,
    /// Who waits for a blob waits here, so that each is fetched once.
    blobs: Mutex<BTreeMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
    grants: Mutex<Grants>,
}

impl Puller {
    /// A puller into `store`. Blobs that an earlier process left half done are kept for a day.
    ///
    /// # Errors
    /// [`PullError`] if the directory for unfinished blobs cannot be made.
    pub fn open(store: ImageStore, registries: Registries) -> Result<Self, PullError> {
        let parts = store.root().join("pulls");
        std::fs::create_dir_all(&parts).map_err(|source| PullError::Write { path: parts.clone(), source })?;
        let old = |entry: &std::fs::DirEntry| {
            let modified = entry.metadata().and_then(|m| m.modified());
            modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > PART_KEPT))
        };
        for entry in std::fs::read_dir(&parts).into_iter().flatten().flatten().filter(old) {
            // Tried again at the next start.
            let _ = std::fs::remove_file(entry.path());
        }
        let turns = Semaphore::new(PULLS_MAX);
        let mut grants = Grants::open(&store.root().join("grants.json"));
        let here: BTreeSet<String> = store.list().iter().map(|image| image.digest.to_string()).collect();
        grants.keep(|digest| here.contains(digest));
        let (blobs, grants) = (Mutex::default(), Mutex::new(grants));
        Ok(Self { store, registries, system_tls: OnceLock::new(), parts, turns, blobs, grants })
    }

    /// Whether an image has a registry to be pulled from.
    #[must_use]
    pub fn has_registry(&self, image: &Reference) -> bool {
        self.registries.know(image)
    }

    /// Whether whoever has one of these credentials was given this image by its registry before.
    #[must_use]
    pub fn was_granted(&self, image: &Image, credentials: &[Credential]) -> bool {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner).include(&image.id, credentials)
    }

    /// Remembers that a registry gave the image.
    async fn grant(&self, image: &Image, credential: Option<&Credential>) {
        let news = self.grants.lock().unwrap_or_else(PoisonError::into_inner).add(&image.id, credential);
        let Some((path, bytes)) = news else { return };
        let write = move || {
            let beside = path.with_extension("new");
            std::fs::write(&beside, bytes).and_then(|()| std::fs::rename(&beside, &path))
        };
        if let Ok(Err(error)) = tokio::task::spawn_blocking(write).await {
            tracing::warn!(%error, "who may have an image could not be written down; its registry will be asked again");
        }
    }

    /// Makes the store have what the image's registry has now, asking with `credentials`, the first first.
    ///
    /// # Errors
    /// [`PullError`] if nobody gave the image, or it is none to run here.
    pub async fn pull(&self, image: &Reference, credentials: &[Credential]) -> Result<Pulled, PullError> {
        let queued = Instant::now();
        // The semaphore is never closed.
        let _turn = self.turns.acquire().await.ok();
        let begun = Instant::now();
        let mut refusals: Vec<String> = Vec::new();
        for endpoint in self.registries.endpoints(image) {
            let transport = Transport::new(&self.tls(&endpoint)?);
            for credential in candidates(credentials, &endpoint) {
                let of_pod = credential.clone().filter(|c| credentials.contains(c));
                let mut session = Session::new(transport.clone(), endpoint.clone(), credential);
                match self.pull_from(&mut session, image).await {
                    Ok((image, size)) => {
                        self.grant(&image, of_pod.as_ref()).await;
                        return Ok(Pulled { image, took: begun.elapsed(), took_with_waiting: queued.elapsed(), size });
                    }
                    Err(Fault::Final(error)) => return Err(error),
                    Err(Fault::Refused(refusal)) => {
                        let said = refusal.to_string();
                        if !refusals.contains(&said) {
                            refusals.push(said);
                        }
                        if !refusal.may_depend_on_who_asks() {
                            break;
                        }
                    }
                }
            }
        }
        Err(PullError::Refused { said: refusals.join("; ") })
    }

    fn tls(&self, endpoint: &Endpoint) -> Result<Arc<ClientConfig>, TlsError> {
        if let Some(own) = &endpoint.tls {
            return Ok(Arc::clone(own));
        }
        if let Some(system) = self.system_tls.get() {
            return Ok(Arc::clone(system));
        }
        let system = tls::system()?;
        Ok(Arc::clone(self.system_tls.get_or_init(|| system)))
    }

    async fn pull_from(&self, session: &mut Session, image: &Reference) -> Result<(Image, u64), Fault> {
        let pick = match image.pick() {
            Pick::Tag(tag) => tag.clone(),
            Pick::Digest(digest) => digest.to_string(),
        };
        if let Some(digest) = session.resolve(&pick).await?
            && let Some(found) = self.store.found(image, &digest)
        {
            return Ok(found);
        }
        let received = session.manifest(&pick).await?;
        let manifest = parsed(session, &received)?;
        let chosen =
            if manifest.manifests().is_empty() { None } else { Some(self.choose(session, image, &manifest).await?) };
        let own = chosen.as_ref().map_or(&manifest, |(_, m)| m);
        own.content(&|_| Err(String::new()))
            .map_err(|why| PullError::NotWasm(Missing::NotWasm { name: image.familiar(), why }))?;
        for blob in own.references() {
            self.blob(session, blob).await?;
        }
        if let Some((nested, _)) = &chosen {
            self.store.keep_nested(nested).await.map_err(|e| Fault::Final(e.into()))?;
        }
        self.store.keep_pulled(image, &received).await.map_err(|e| Fault::Final(e.into()))?;
        let size = own.references().map(|d| d.size).sum::<u64>() + received.bytes.len() as u64;
        let found = self.store.find(image).map_err(PullError::NotWasm)?;
        Ok((found, size))
    }

    /// The manifest of an index that is WebAssembly: said so by its platform, or the first that has such a layer.
    async fn choose(
        &self,
        session: &mut Session,
        image: &Reference,
        index: &Manifest,
    ) -> Result<(Received, Manifest), Fault> {
        for descriptor in manifest_order(index.manifests()) {
            let received = session.manifest(&descriptor.digest).await?;
            let manifest = parsed(session, &received)?;
            if manifest.content(&|_| Err(String::new())).is_ok() {
                return Ok((received, manifest));
            }
        }
        let found: Vec<String> = index.manifests().iter().map(Descriptor::platform_name).collect();
        let why = format!(
            "it has no layer of type application/wasm for any platform; it is an index of: {}. \
             Build a WebAssembly component and push that",
            found.join(", ")
        );
        Err(PullError::NotWasm(Missing::NotWasm { name: image.familiar(), why }).into())
    }

    /// Makes sure that a blob is in the store.
    async fn blob(&self, session: &mut Session, blob: &Descriptor) -> Result<(), Fault> {
        let too_large = || PullError::TooLarge { digest: blob.digest.clone(), size: blob.size };
        if blob.size > u64::try_from(IMAGE_LAYER_BYTES_MAX).unwrap_or(u64::MAX) {
            return Err(too_large().into());
        }
        let wrong = |why: String| Refusal::Content { url: session.url("blobs", &blob.digest), why };
        let digest = Digest::new(&*blob.digest).map_err(|e| wrong(e.to_string()))?;
        let waiting = Arc::clone(self.lines().entry(digest.clone()).or_default());
        let alone = waiting.lock().await;
        // Known before it is in its place, so that no sweep takes it in between.
        let place = self.store.expect_blob(&digest);
        let fetched = if tokio::fs::try_exists(&place).await.unwrap_or(false) {
            Ok(())
        } else {
            download::fetch(session, &digest, blob.size, &self.parts.join(digest.hex()), &place).await
        };
        drop(alone);
        let mut lines = self.lines();
        // Ours and the map's: nobody else waits.
        if Arc::strong_count(&waiting) <= 2 {
            lines.remove(&digest);
        }
        drop(lines);
        Ok(fetched?)
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, BTreeMap<Digest, Arc<tokio::sync::Mutex<()>>>> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whom to ask as: each credential of the pod's; else who the node is to that host; else nobody.
fn candidates(credentials: &[Credential], endpoint: &Endpoint) -> Vec<Option<Credential>> {
    if credentials.is_empty() {
        return vec![endpoint.credential.clone()];
    }
    let own = endpoint.credential.iter().filter(|c| !credentials.contains(c));
    credentials.iter().chain(own).cloned().map(Some).collect()
}

/// Those that say they are WebAssembly first; of those that are for other machines only a few are looked into, since
/// older tools say nothing or something else.
fn manifest_order(manifests: &[Descriptor]) -> Vec<&Descriptor> {
    let (mut wasm, others): (Vec<&Descriptor>, Vec<&Descriptor>) =
        manifests.iter().partition(|d| d.platform.as_ref().is_some_and(|p| p.architecture.starts_with("wasm")));
    if wasm.is_empty() {
        wasm.extend(others.into_iter().take(PLATFORMS_MAX));
    }
    wasm
}

fn parsed(session: &Session, received: &Received) -> Result<Manifest, Refusal> {
    let url = || session.url("manifests", received.digest.as_str());
    Manifest::parse(&received.bytes).map_err(|why| Refusal::Content { url: url(), why })
}

#[cfg(test)]
mod tests;
