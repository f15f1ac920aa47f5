//! Upload sessions: blobs on their way in, each a file that grows and a digest that runs along.
//!
//! There are at most [`UPLOADS_MAX`]; one that nobody has written to for [`UPLOAD_IDLE_MAX`] is dropped, file and all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use coracle_api::limits::IMAGE_LAYER_BYTES_MAX;
use coracle_api::meet::Body;
use http_body_util::BodyExt;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

/// How many blobs may be on their way in at once: several clients pushing several layers each.
const UPLOADS_MAX: usize = 64;

/// How long a session may be silent.
const UPLOAD_IDLE_MAX: Duration = Duration::from_secs(3600);

/// Why an upload does not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum UploadError {
    #[error("too many uploads at once; try again later")]
    TooMany,
    #[error("there is no such upload; start anew")]
    Unknown,
    #[error("a layer may have at most {IMAGE_LAYER_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the chunk starts at byte {given}, but {expected} bytes have arrived")]
    OutOfOrder { given: u64, expected: u64 },
    #[error("the content has the digest {actual}")]
    Digest { actual: String },
    #[error("the body broke off: {0}")]
    Body(String),
    #[error("cannot write the blob")]
    Write(#[source] std::io::Error),
}

/// A blob on its way in. Its file goes with it, unless it was kept.
#[derive(Debug)]
pub(super) struct Session {
    path: PathBuf,
    hasher: Sha256,
    size: u64,
    touched: Instant,
}

impl Drop for Session {
    fn drop(&mut self) {
        // The file has gone if the blob was kept; else nobody can do anything about an error here.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Session {
    /// How many bytes have arrived.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Takes in a chunk, streamed; `start` is where the client thinks it begins.
    pub(super) async fn append(&mut self, start: Option<u64>, mut body: Body) -> Result<(), UploadError> {
        if let Some(given) = start.filter(|s| *s != self.size) {
            return Err(UploadError::OutOfOrder { given, expected: self.size });
        }
        let mut options = tokio::fs::OpenOptions::new();
        let mut file = options.create(true).append(true).open(&self.path).await.map_err(UploadError::Write)?;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| UploadError::Body(e.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            self.size += u64::try_from(data.len()).unwrap_or(u64::MAX);
            if self.size > u64::try_from(IMAGE_LAYER_BYTES_MAX).unwrap_or(u64::MAX) {
                return Err(UploadError::TooLarge);
            }
            self.hasher.update(&data);
            file.write_all(&data).await.map_err(UploadError::Write)?;
        }
        self.touched = Instant::now();
        file.flush().await.map_err(UploadError::Write)
    }

    /// Puts the blob into its place, if it is what it claims to be.
    pub(super) async fn finish(self, digest: &str, place: &Path) -> Result<(), UploadError> {
        let actual = format!("sha256:{}", hex(&self.hasher.clone().finalize()));
        if actual != digest {
            return Err(UploadError::Digest { actual });
        }
        let mut options = tokio::fs::OpenOptions::new();
        let file = options.create(true).append(true).open(&self.path).await.map_err(UploadError::Write)?;
        file.sync_all().await.map_err(UploadError::Write)?;
        tokio::fs::rename(&self.path, place).await.map_err(UploadError::Write)
    }
}

/// All sessions, by their id.
#[derive(Debug)]
pub(super) struct Uploads {
    dir: PathBuf,
    sessions: Mutex<BTreeMap<String, Session>>,
}

impl Uploads {
    /// Sessions with their files in `dir`; what an earlier process left there is deleted.
    pub(super) fn open(dir: &Path) -> std::io::Result<Self> {
        if dir.exists() {
            std::fs::remove_dir_all(dir)?;
        }
        std::fs::create_dir_all(dir)?;
        Ok(Self { dir: dir.to_owned(), sessions: Mutex::default() })
    }

    /// A new session.
    pub(super) fn begin(&self) -> Result<(String, Session), UploadError> {
        let mut sessions = self.lock();
        sessions.retain(|_, s| s.touched.elapsed() < UPLOAD_IDLE_MAX);
        if sessions.len() >= UPLOADS_MAX {
            return Err(UploadError::TooMany);
        }
        let id = uuid::Uuid::new_v4().to_string();
        let path = self.dir.join(&id);
        Ok((id, Session { path, hasher: Sha256::new(), size: 0, touched: Instant::now() }))
    }

    /// Takes a session out: one request at a time works on it.
    pub(super) fn take(&self, id: &str) -> Result<Session, UploadError> {
        self.lock().remove(id).ok_or(UploadError::Unknown)
    }

    /// Gives it back, to go on later.
    pub(super) fn keep(&self, id: String, session: Session) {
        self.lock().insert(id, session);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, b| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{b:02x}");
        text
    })
}
