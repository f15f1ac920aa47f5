//! Blobs in the registry: sent as streams, whole or from where a broken download left off.

use bytes::BytesMut;
use coracle_api::meet::{BodyError, HttpResponse};
use coracle_api::names::Digest;
use futures::TryStreamExt;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::super::ImageStore;
use super::answer::{self, Refusal};

/// How many bytes of a blob are read and sent at a time.
const CHUNK_BYTES: u64 = 64 * 1024;

/// What of a blob is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// All of it: nothing else was asked for, or in a way that is not understood, which HTTP says to ignore.
    Whole,
    /// From the first to the last byte, both included.
    Bytes(u64, u64),
    /// What is not there.
    Beyond,
}

impl ImageStore {
    pub(super) async fn get_blob(&self, digest: &Digest, head: &Request<()>) -> Result<HttpResponse, Refusal> {
        let unknown = |_| Refusal::BlobUnknown(digest.to_string());
        let mut file = tokio::fs::File::open(self.blob_path(digest)).await.map_err(unknown)?;
        let size = file.metadata().await.map_err(Refusal::Io)?.len();
        if *head.method() == Method::HEAD {
            return Ok(answer::blob(digest, size, coracle_api::meet::body_of("")));
        }
        let range = head.headers().get(header::RANGE).and_then(|r| r.to_str().ok());
        let part = range.map_or(Part::Whole, |range| part(range, size));
        let (first, length) = match part {
            Part::Whole => (0, size),
            Part::Bytes(first, last) => (first, last - first + 1),
            Part::Beyond => return Err(Refusal::RangeInvalid { size }),
        };
        file.seek(std::io::SeekFrom::Start(first)).await.map_err(Refusal::Io)?;
        let chunks = futures::stream::try_unfold((file, length), |(mut file, left)| async move {
            if left == 0 {
                return Ok::<_, std::io::Error>(None);
            }
            let mut buffer = BytesMut::with_capacity(usize::try_from(left.min(CHUNK_BYTES)).unwrap_or_default());
            let read = (&mut file).take(left.min(CHUNK_BYTES)).read_buf(&mut buffer).await?;
            let left = left.saturating_sub(u64::try_from(read).unwrap_or(u64::MAX));
            Ok((read > 0).then(|| (http_body::Frame::data(buffer.freeze()), (file, left))))
        });
        let body = StreamBody::new(chunks.map_err(|e| -> BodyError { Box::new(e) })).boxed_unsync();
        let response = answer::blob(digest, length, body);
        Ok(match part {
            Part::Bytes(first, last) => answer::partial(response, first, last, size),
            Part::Whole | Part::Beyond => response,
        })
    }

    pub(super) fn delete_blob(&self, digest: &Digest) -> Result<HttpResponse, Refusal> {
        let mut layout = self.layout();
        if layout.is_referenced(digest) {
            return Err(Refusal::Denied("an image needs this blob; delete its manifest first".to_owned()));
        }
        layout.delete_blob(digest).map_err(|_| Refusal::BlobUnknown(digest.to_string()))?;
        Ok(answer::empty(StatusCode::ACCEPTED))
    }
}

/// What a `Range` header asks of a blob of `size` bytes. Several ranges at once are answered by the whole.
fn part(range: &str, size: u64) -> Part {
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|r| r.split_once('-')) else { return Part::Whole };
    let end = size.saturating_sub(1);
    match (first.trim().parse::<u64>(), last.trim()) {
        (Ok(first), _) if first >= size => Part::Beyond,
        (Ok(first), "") => Part::Bytes(first, end),
        (Ok(first), last) => match last.parse::<u64>() {
            Ok(last) if last >= first => Part::Bytes(first, last.min(end)),
            Ok(_) | Err(_) => Part::Whole,
        },
        (Err(_), suffix) if first.trim().is_empty() => match suffix.parse::<u64>() {
            Ok(0) => Part::Beyond,
            Ok(_) if size == 0 => Part::Beyond,
            Ok(count) => Part::Bytes(size.saturating_sub(count), end),
            Err(_) => Part::Whole,
        },
        (Err(_), _) => Part::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_to_what_is_there() {
        for (range, expected) in [
            ("bytes=0-3", Part::Bytes(0, 3)),
            ("bytes=4-", Part::Bytes(4, 9)),
            ("bytes=4-99", Part::Bytes(4, 9)),
            ("bytes=-3", Part::Bytes(7, 9)),
            ("bytes=-30", Part::Bytes(0, 9)),
            ("bytes=10-", Part::Beyond),
            ("bytes=-0", Part::Beyond),
            ("bytes=5-4", Part::Whole),
            ("bytes=0-1,4-5", Part::Whole),
            ("lines=1-2", Part::Whole),
            ("bytes=x-", Part::Whole),
        ] {
            assert_eq!(part(range, 10), expected, "{range}");
        }
        assert_eq!(part("bytes=-1", 0), Part::Beyond);
    }
}
