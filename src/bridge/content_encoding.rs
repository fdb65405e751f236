//! Bodies that come compressed, read into no more bytes than one that comes as it is may have.

use std::io::{self, Read};

use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use super::error::ApiError;

/// What is understood: told to whoever sends something else.
const UNDERSTOOD: &str = "gzip, deflate, br, identity";
/// How much of a brotli stream is read at a time, in bytes.
const BROTLI_BUFFER: usize = 4096;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Identity,
    Gzip,
    /// zlib's format, or what some send under its name: the same without zlib's frame.
    Deflate,
    Brotli,
}

impl Encoding {
    /// What the headers say of the body.
    ///
    /// # Errors
    /// 415 with what is understood, for another encoding and for more than one.
    pub fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let mut named = headers
            .get_all(header::CONTENT_ENCODING)
            .iter()
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
        let mut encoding = Self::Identity;
        let is_read = named.try_for_each(|name| {
            let name = match name.trim_ascii().to_ascii_lowercase().as_slice() {
                b"" | b"identity" => return Some(()),
                b"gzip" | b"x-gzip" => Self::Gzip,
                b"deflate" => Self::Deflate,
                b"br" => Self::Brotli,
                _ => return None,
            };
            (std::mem::replace(&mut encoding, name) == Self::Identity).then_some(())
        });
        is_read.map(|()| encoding).ok_or_else(|| {
            let words = format!("the body's Content-Encoding must be one of: {UNDERSTOOD}");
            ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, words)
        })
    }

    /// The body as it was before it was compressed.
    ///
    /// # Errors
    /// 413 if that is longer than `longest`, found without reading further than there; 400 if it is not compressed so.
    pub fn decode(self, body: Bytes, longest: usize) -> Result<Bytes, ApiError> {
        let read = match self {
            Self::Identity => return Ok(body),
            Self::Gzip => read(MultiGzDecoder::new(&*body), longest),
            Self::Deflate => {
                read(ZlibDecoder::new(&*body), longest).or_else(|_| read(DeflateDecoder::new(&*body), longest))
            }
            Self::Brotli => read(brotli::Decompressor::new(&*body, BROTLI_BUFFER), longest),
        };
        match read {
            Ok(decoded) if decoded.len() > longest => Err(ApiError::too_large()),
            Ok(decoded) => Ok(decoded.into()),
            Err(_) => Err(ApiError::bad_request("the body is not compressed as its Content-Encoding says")),
        }
    }
}

/// All that comes out, or one byte more than may.
fn read(decoder: impl Read, longest: usize) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    decoder.take(longest as u64 + 1).read_to_end(&mut body)?;
    Ok(body)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use axum::http::HeaderValue;
    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };

    use super::*;

    fn of(lines: &[&str]) -> Result<Encoding, u16> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::CONTENT_ENCODING, HeaderValue::from_str(line).expect("a value"));
        }
        Encoding::of(&headers).map_err(|error| error.status.as_u16())
    }

    #[test]
    fn names_are_read_in_every_spelling_and_what_is_not_understood_is_415() {
        assert_eq!(of(&[]), Ok(Encoding::Identity));
        assert_eq!(of(&["identity, identity"]), Ok(Encoding::Identity));
        for gzip in ["gzip", "GZIP", " x-gzip ", "identity, gzip", "gzip,"] {
            assert_eq!(of(&[gzip]), Ok(Encoding::Gzip), "{gzip}");
        }
        assert_eq!((of(&["br"]), of(&["Deflate"])), (Ok(Encoding::Brotli), Ok(Encoding::Deflate)));
        for other in [&["zstd"][..], &["compress"], &["gzip, br"], &["gzip", "gzip"], &["*"], &["aws-chunked"]] {
            assert_eq!(of(other), Err(415), "{other:?}");
        }
    }

    fn packed(encoding: Encoding, raw_deflate: bool, plain: &[u8]) -> Bytes {
        let level = Compression::best();
        let written: io::Result<Vec<u8>> = match (encoding, raw_deflate) {
            (Encoding::Identity, _) => Ok(plain.to_vec()),
            (Encoding::Gzip, _) => {
                let mut encoder = GzEncoder::new(Vec::new(), level);
                encoder.write_all(plain).and_then(|()| encoder.finish())
            }
            (Encoding::Deflate, false) => {
                let mut encoder = ZlibEncoder::new(Vec::new(), level);
                encoder.write_all(plain).and_then(|()| encoder.finish())
            }
            (Encoding::Deflate, true) => {
                let mut encoder = DeflateEncoder::new(Vec::new(), level);
                encoder.write_all(plain).and_then(|()| encoder.finish())
            }
            (Encoding::Brotli, _) => {
                let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 9, 22);
                encoder.write_all(plain).map(|()| encoder.into_inner())
            }
        };
        written.expect("bytes").into()
    }

    #[test]
    fn each_is_read_a_bomb_is_413_and_what_is_broken_is_400() {
        let status = |result: Result<Bytes, ApiError>| result.map_err(|error| error.status.as_u16());
        let plain = br#"{"personCount":1}"#;
        for (encoding, raw) in
            [(Encoding::Gzip, false), (Encoding::Deflate, false), (Encoding::Deflate, true), (Encoding::Brotli, false)]
        {
            let body = packed(encoding, raw, plain);
            assert_eq!(status(encoding.decode(body.clone(), plain.len())).as_deref(), Ok(&plain[..]), "{encoding:?}");
            assert_eq!(status(encoding.decode(body.clone(), plain.len() - 1)), Err(413));
            let bomb = packed(encoding, raw, &vec![b' '; 50 << 20]);
            assert!(bomb.len() < 64 * 1024, "{encoding:?}: {}", bomb.len());
            assert_eq!(status(encoding.decode(bomb, 64 * 1024)), Err(413), "{encoding:?}");
            assert_eq!(
                status(encoding.decode(body.slice(..body.len() / 2), 1000)),
                Err(400),
                "{encoding:?} {raw}, cut off"
            );
            assert_eq!(status(encoding.decode(Bytes::from_static(b"{}"), 1000)), Err(400), "{encoding:?}");
        }
        // Two gzip members one after the other are one body (RFC 1952, 2.2).
        let twice = [packed(Encoding::Gzip, false, b"{"), packed(Encoding::Gzip, false, b"}")].concat();
        assert_eq!(status(Encoding::Gzip.decode(twice.into(), 10)).as_deref(), Ok(&b"{}"[..]));
    }
}
