//! One blob on its way to the disk: streamed, hashed as it comes, and gone on with where a connection broke.
//!
//! Invariant: what lies in the place of a blob has its digest. What came so far lies beside it under another name and
//! outlives the attempt, so that the next one goes on from there, whoever makes it.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use coracle_api::names::Digest;
use http::{HeaderMap, StatusCode, header};
use sha2::{Digest as _, Sha256};
use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt;

use super::super::upload::hex;
use super::refusal::Refusal;
use super::session::Session;
use super::transport::next_piece;

/// How often in a row a connection may break without a single byte having come.
const BARREN_MAX: u32 = 3;

/// The wait before a broken connection is made anew, times how often it broke in a row.
const RESUME_WAIT: Duration = Duration::from_millis(250);

/// How much of a file is read at a time when what came earlier is hashed again.
const REHASH_BYTES: usize = 256 * 1024;

/// Why a blob did not arrive.
#[derive(Debug, thiserror::Error)]
pub(super) enum DownloadError {
    /// The registry did not give it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It could not be written.
    #[error("cannot write {path:?}")]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// A blob that is partly here.
struct Part {
    path: PathBuf,
    file: File,
    hasher: Sha256,
    size: u64,
}

/// What became of one connection.
enum Came {
    All,
    /// It broke off.
    Broke(String),
}

/// Fetches a blob of `size` bytes into `place`, by way of `part`.
pub(super) async fn fetch(
    session: &mut Session,
    digest: &Digest,
    size: u64,
    part: &Path,
    place: &Path,
) -> Result<(), DownloadError> {
    let mut left = Part::open(part).await?;
    let taken_over = left.size > 0;
    let mut outcome = complete(session, digest, size, &mut left).await;
    // What an earlier attempt left may have been the fault.
    if taken_over && is_wrong(&outcome) {
        left.start_over().await?;
        outcome = complete(session, digest, size, &mut left).await;
    }
    if is_wrong(&outcome) {
        // Nothing to go on with. If it cannot be removed now, it will be later.
        let _ = tokio::fs::remove_file(part).await;
    }
    outcome?;
    left.finish(place).await
}

/// Whether something came, and was not what was asked for.
fn is_wrong(outcome: &Result<(), DownloadError>) -> bool {
    matches!(outcome, Err(DownloadError::Refused(Refusal::Content { .. })))
}

/// Goes on until all is here and has the digest.
async fn complete(session: &mut Session, digest: &Digest, size: u64, part: &mut Part) -> Result<(), DownloadError> {
    let wrong = |session: &Session, why| Refusal::Content { url: session.url("blobs", digest.as_str()), why };
    let mut barren = 0;
    while part.size < size {
        let before = part.size;
        match stream(session, digest, size, part).await? {
            Came::All => {}
            Came::Broke(why) => {
                barren = if part.size > before { 0 } else { barren + 1 };
                if barren >= BARREN_MAX {
                    let url = session.url("blobs", digest.as_str());
                    return Err(Refusal::Unreachable { url, why }.into());
                }
                tracing::debug!(%digest, came = part.size, size, why, "a connection broke off in the middle of a blob");
                tokio::time::sleep(RESUME_WAIT * (barren + 1)).await;
            }
        }
    }
    let actual = format!("sha256:{}", hex(&part.hasher.clone().finalize()));
    if actual != digest.as_str() {
        part.start_over().await?;
        return Err(wrong(session, format!("the blob has the digest {actual}")).into());
    }
    Ok(())
}

/// One connection: from where we are, as far as it goes.
async fn stream(session: &mut Session, digest: &Digest, size: u64, part: &mut Part) -> Result<Came, DownloadError> {
    let answer = match session.blob(digest, part.size).await {
        Ok(answer) => answer,
        // A registry that gave the manifest a moment ago may be there again.
        Err(Refusal::Unreachable { why, .. }) => return Ok(Came::Broke(why)),
        Err(refusal) => return Err(refusal.into()),
    };
    let goes_on = answer.status() == StatusCode::PARTIAL_CONTENT && starts_at(answer.headers()) == Some(part.size);
    if !goes_on && part.size > 0 {
        part.start_over().await?;
        if answer.status() != StatusCode::OK {
            return Ok(Came::Broke("the registry does not go on from where it stopped".to_owned()));
        }
    }
    let mut body = answer.into_body();
    while let Some(piece) = next_piece(&mut body).await {
        match piece {
            Ok(piece) => {
                let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
                if part.size.saturating_add(length) > size {
                    part.start_over().await?;
                    let url = session.url("blobs", digest.as_str());
                    let why = format!("the blob has more than the {size} bytes that its manifest says");
                    return Err(Refusal::Content { url, why }.into());
                }
                part.append(&piece).await?;
            }
            Err(why) => {
                part.flush().await?;
                return Ok(Came::Broke(why));
            }
        }
    }
    part.flush().await?;
    Ok(if part.size < size { Came::Broke("the connection ended too early".to_owned()) } else { Came::All })
}

/// The first byte of what comes: `bytes 5-9/10`.
fn starts_at(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}

impl Part {
    async fn open(path: &Path) -> Result<Self, DownloadError> {
        let fault = |source| DownloadError::Write { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).open(path).await.map_err(fault)?;
        let found = path.to_owned();
        let hashed = tokio::task::spawn_blocking(move || rehash(&found)).await;
        let (hasher, size) = hashed.map_err(|e| fault(std::io::Error::other(e)))?.map_err(fault)?;
        Ok(Self { path: path.to_owned(), file, hasher, size })
    }

    fn fault(&self, source: std::io::Error) -> DownloadError {
        DownloadError::Write { path: self.path.clone(), source }
    }

    async fn append(&mut self, piece: &[u8]) -> Result<(), DownloadError> {
        self.hasher.update(piece);
        self.size += u64::try_from(piece.len()).unwrap_or(0);
        let written = self.file.write_all(piece).await;
        written.map_err(|e| self.fault(e))
    }

    async fn flush(&mut self) -> Result<(), DownloadError> {
        let flushed = self.file.flush().await;
        flushed.map_err(|e| self.fault(e))
    }

    async fn start_over(&mut self) -> Result<(), DownloadError> {
        self.flush().await?;
        let cut = self.file.set_len(0).await;
        cut.map_err(|e| self.fault(e))?;
        self.hasher = Sha256::new();
        self.size = 0;
        Ok(())
    }

    async fn finish(self, place: &Path) -> Result<(), DownloadError> {
        let synced = self.file.sync_all().await;
        synced.map_err(|e| self.fault(e))?;
        let moved = tokio::fs::rename(&self.path, place).await;
        moved.map_err(|e| self.fault(e))
    }
}

/// The hash and the size of what is here.
fn rehash(path: &Path) -> std::io::Result<(Sha256, u64)> {
    let mut file = std::fs::File::open(path)?;
    let (mut hasher, mut size) = (Sha256::new(), 0_u64);
    let mut buffer = vec![0; REHASH_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((hasher, size)),
            Ok(n) => {
                hasher.update(buffer.get(..n).unwrap_or_default());
                size += u64::try_from(n).unwrap_or(0);
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
