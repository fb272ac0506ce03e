//! The payload codec: plain JSON while it is small, zstd above that. A third rung, the claim check, is not built yet.
//!
//! The codec of a payload is named by the event itself, in the extension attribute `datacodec`; consumers see one type
//! whatever the rung.

use std::borrow::Cow;
use std::fmt;
use std::io::Read;
use std::str::FromStr;

/// Payloads below this many bytes travel as plain JSON: compressing them saves less than a network packet.
pub const PLAIN_BELOW_BYTES: usize = 1024;

/// zstd's level: 7 to 11 times smaller on insights rows, for less time than the saved bytes cost.
const ZSTD_LEVEL: i32 = 3;

/// How a payload's bytes are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    Plain,
    Zstd,
}

/// A payload that cannot be encoded or decoded.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    #[error("payload codec {0:?} (header ce-datacodec) is unknown: this version reads plain and zstd")]
    UnknownCodec(String),
    #[error("the data cannot be written as JSON")]
    Json(#[source] serde_json::Error),
    #[error("payload is not valid zstd")]
    Zstd(#[source] std::io::Error),
    #[error("payload is larger than {limit_bytes} bytes when decompressed")]
    TooLarge { limit_bytes: u64 },
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Codec::Plain => "plain",
            Codec::Zstd => "zstd",
        })
    }
}

impl FromStr for Codec {
    type Err = PayloadError;
    fn from_str(name: &str) -> Result<Self, PayloadError> {
        match name {
            "plain" => Ok(Codec::Plain),
            "zstd" => Ok(Codec::Zstd),
            other => Err(PayloadError::UnknownCodec(other.to_owned())),
        }
    }
}

/// Encodes `json` on the lowest rung that suits its size. The same bytes in give the same bytes out, which is what lets
/// the raw log store equal content once.
pub fn encode(json: Vec<u8>) -> Result<(Codec, Vec<u8>), PayloadError> {
    if json.len() < PLAIN_BELOW_BYTES {
        return Ok((Codec::Plain, json));
    }
    Ok((Codec::Zstd, zstd::bulk::compress(&json, ZSTD_LEVEL).map_err(PayloadError::Zstd)?))
}

/// Decodes a payload, refusing one that would grow past `limit_bytes`: a small message must not fill the memory.
pub fn decode(codec: Codec, payload: &[u8], limit_bytes: u64) -> Result<Cow<'_, [u8]>, PayloadError> {
    match codec {
        Codec::Plain if payload.len() as u64 > limit_bytes => Err(PayloadError::TooLarge { limit_bytes }),
        Codec::Plain => Ok(Cow::Borrowed(payload)),
        Codec::Zstd => {
            let stated = zstd::zstd_safe::get_frame_content_size(payload).ok().flatten().unwrap_or(0);
            if stated > limit_bytes {
                return Err(PayloadError::TooLarge { limit_bytes });
            }
            let mut json = Vec::with_capacity(usize::try_from(stated).unwrap_or(0));
            // The stated size is a claim of the sender's: the reader is cut off one byte past the limit.
            zstd::stream::read::Decoder::new(payload)
                .and_then(|decoder| decoder.take(limit_bytes.saturating_add(1)).read_to_end(&mut json))
                .map_err(PayloadError::Zstd)?;
            if json.len() as u64 > limit_bytes {
                return Err(PayloadError::TooLarge { limit_bytes });
            }
            Ok(Cow::Owned(json))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_rungs_give_back_what_they_took() {
        for size in [0, 10, PLAIN_BELOW_BYTES - 1, PLAIN_BELOW_BYTES, 200_000] {
            let json = vec![b'7'; size];
            let (codec, bytes) = encode(json.clone()).expect("encodes");
            assert_eq!(codec == Codec::Plain, size < PLAIN_BELOW_BYTES);
            assert_eq!(decode(codec, &bytes, 1 << 20).expect("decodes").as_ref(), json);
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        let (codec, bytes) = encode(vec![0; 1 << 20]).expect("encodes");
        assert!(matches!(decode(codec, &bytes, 1000), Err(PayloadError::TooLarge { limit_bytes: 1000 })));
    }

    #[test]
    fn cut_bytes_and_unknown_codecs_are_refused() {
        let (codec, bytes) = encode(vec![1; 5000]).expect("encodes");
        assert!(matches!(decode(codec, &bytes[..bytes.len() / 2], 1 << 20), Err(PayloadError::Zstd(_))));
        let error = "lz4".parse::<Codec>().expect_err("lz4 is none of them");
        assert_eq!(
            error.to_string(),
            "payload codec \"lz4\" (header ce-datacodec) is unknown: this version reads plain and zstd"
        );
    }
}
