//! The headers of SPDY's streams: pairs of names and values, compressed by zlib with a dictionary that both sides know.
//!
//! Invariant: there is one stream of zlib for each direction of a connection, and each block is taken through it in
//! its turn, wanted or not; else the next one could not be read.

use std::sync::LazyLock;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::frame::Broken;

/// The largest block of headers once inflated, in bytes: a client names a stream in some hundred.
const BLOCK_BYTES_MAX: usize = 16 * 1024;

/// How much is inflated at a time.
const INFLATED_AT_ONCE: usize = 4096;

/// The words of the dictionary of SPDY 3, each preceded by its length.
const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding accept-language \
    accept-ranges age allow authorization cache-control connection content-base content-encoding content-language \
    content-length content-location content-md5 content-range content-type date etag expect expires from host if-match \
    if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma \
    proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade \
    user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie \
    keep-alive origin";

/// What follows them.
const PHRASES: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
    203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden\
    404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable\
    Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT\
    chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,\
    publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut dictionary = Vec::new();
    for word in WORDS.split_whitespace() {
        put(&mut dictionary, &word.replace('_', " "));
    }
    dictionary.extend_from_slice(PHRASES.as_bytes());
    dictionary
});

/// The headers of a stream; names are in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::kubelet) struct Headers(Vec<(String, String)>);

impl Headers {
    /// These.
    #[cfg(test)]
    pub(in crate::kubelet) fn of(pairs: &[(&str, &str)]) -> Self {
        Self(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    /// The value of the header, or nothing.
    pub(in crate::kubelet) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Reads blocks of headers.
#[derive(Debug)]
pub(super) struct Inflater(Decompress);

impl Default for Inflater {
    fn default() -> Self {
        Self(Decompress::new(true))
    }
}

impl Inflater {
    /// The headers of the next block.
    pub(super) fn read(&mut self, block: &[u8]) -> Result<Headers, Broken> {
        parse(&self.inflate(block)?)
    }

    fn inflate(&mut self, mut block: &[u8]) -> Result<Vec<u8>, Broken> {
        let mut inflated = Vec::new();
        let mut piece = [0; INFLATED_AT_ONCE];
        loop {
            let (read_before, written_before) = (self.0.total_in(), self.0.total_out());
            let result = self.0.decompress(block, &mut piece, FlushDecompress::Sync);
            let count = |now: u64, before: u64| usize::try_from(now - before).map_err(|_| Broken::Compression);
            let read = count(self.0.total_in(), read_before)?;
            let written = count(self.0.total_out(), written_before)?;
            block = block.get(read..).ok_or(Broken::Compression)?;
            inflated.extend_from_slice(piece.get(..written).ok_or(Broken::Compression)?);
            if inflated.len() > BLOCK_BYTES_MAX {
                return Err(Broken::TooLarge);
            }
            match result {
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&DICTIONARY).map_err(|_| Broken::Compression)?;
                }
                Ok(Status::Ok | Status::BufError) if block.is_empty() && written < piece.len() => return Ok(inflated),
                Ok(Status::Ok) if read > 0 || written > 0 => {}
                Ok(_) | Err(_) => return Err(Broken::Compression),
            }
        }
    }
}

/// Writes blocks of headers.
#[derive(Debug)]
pub(super) struct Deflater(Compress);

impl Deflater {
    pub(super) fn new() -> Result<Self, Broken> {
        let mut compress = Compress::new(Compression::fast(), true);
        compress.set_dictionary(&DICTIONARY).map_err(|_| Broken::Compression)?;
        Ok(Self(compress))
    }

    /// The block of these headers.
    pub(super) fn write(&mut self, headers: &Headers) -> Result<Vec<u8>, Broken> {
        let mut plain = Vec::new();
        plain.extend_from_slice(&length(headers.0.len()));
        for (name, value) in &headers.0 {
            put(&mut plain, name);
            put(&mut plain, value);
        }
        let mut rest = plain.as_slice();
        let mut block = Vec::new();
        loop {
            block.reserve(plain.len() + 64);
            let before = self.0.total_in();
            self.0.compress_vec(rest, &mut block, FlushCompress::Sync).map_err(|_| Broken::Compression)?;
            let read = usize::try_from(self.0.total_in() - before).map_err(|_| Broken::Compression)?;
            rest = rest.get(read..).ok_or(Broken::Compression)?;
            if rest.is_empty() && block.len() < block.capacity() {
                return Ok(block);
            }
        }
    }
}

fn length(count: usize) -> [u8; 4] {
    u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes()
}

fn put(to: &mut Vec<u8>, text: &str) {
    to.extend_from_slice(&length(text.len()));
    to.extend_from_slice(text.as_bytes());
}

fn parse(mut block: &[u8]) -> Result<Headers, Broken> {
    let count = number(&mut block)?;
    let mut headers = Vec::new();
    for _ in 0..count {
        headers.push((text(&mut block)?.to_ascii_lowercase(), text(&mut block)?));
    }
    if block.is_empty() { Ok(Headers(headers)) } else { Err(Broken::Headers) }
}

fn number(block: &mut &[u8]) -> Result<u32, Broken> {
    let (number, rest) = block.split_first_chunk().ok_or(Broken::Headers)?;
    *block = rest;
    Ok(u32::from_be_bytes(*number))
}

fn text(block: &mut &[u8]) -> Result<String, Broken> {
    let length = usize::try_from(number(block)?).map_err(|_| Broken::Headers)?;
    let (text, rest) = block.split_at_checked(length).ok_or(Broken::Headers)?;
    *block = rest;
    String::from_utf8(text.to_vec()).map_err(|_| Broken::Headers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_dictionary_is_that_of_spdy_3() {
        // What every implementation of it has in its zlib streams.
        let adler = Compress::new(Compression::fast(), true).set_dictionary(&DICTIONARY).unwrap();
        assert_eq!((DICTIONARY.len(), adler), (1423, 0xe3c6_a7c2));
    }

    #[test]
    fn blocks_of_another_implementation_are_read() {
        // By Python's zlib, at its best, one after the other.
        let bytes = |text: &str| -> Vec<u8> {
            (0..text.len() / 2).map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap()).collect()
        };
        let first = bytes("78f9e3c6a7c202a62346703a2b294a4dcc851625aca9a08006000000ffff");
        let second = bytes("02651c0c295029930829b08bc079c3c2c0c200000000ffff");
        let mut inflater = Inflater::default();
        assert_eq!(inflater.read(&first), Ok(Headers::of(&[("streamtype", "error")])));
        assert_eq!(inflater.read(&second), Ok(Headers::of(&[("streamtype", "data"), ("port", "8080")])));
    }

    #[test]
    fn a_block_that_inflates_beyond_bounds_is_refused() {
        let large = Headers::of(&[("x", &"a".repeat(2 * BLOCK_BYTES_MAX))]);
        let block = Deflater::new().unwrap().write(&large).unwrap();
        assert!(block.len() < 1000, "{}", block.len());
        assert_eq!(Inflater::default().read(&block), Err(Broken::TooLarge));
    }

    proptest! {
        #[test]
        fn blocks_come_back_as_they_were_sent(all in prop::collection::vec(prop::collection::vec(("[a-z-]{1,20}", ".{0,60}"), 0..6), 1..6)) {
            let (mut deflater, mut inflater) = (Deflater::new().unwrap(), Inflater::default());
            for pairs in all {
                let headers = Headers(pairs);
                let block = deflater.write(&headers).unwrap();
                prop_assert_eq!(inflater.read(&block), Ok(headers));
            }
        }

        #[test]
        fn any_bytes_are_headers_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Inflater::default().read(&bytes);
            let _ = parse(&bytes);
        }
    }
}
