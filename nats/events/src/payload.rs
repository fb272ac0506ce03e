//! The payload codec: plain JSON while it is small, zstd above that. Where the bytes travel (in the message, or as an
//! object beside it) is not decided here.
//!
//! The codec of a payload is named by the event itself, in the extension attribute `datacodec`; consumers see one type
//! whatever the rung.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::io::{Read, Write};
use std::str::FromStr;

/// Payloads below this many bytes travel as plain JSON: compressing them saves less than a network packet.
pub const PLAIN_BELOW_BYTES: usize = 1024;

/// zstd's level: 7 to 11 times smaller on insights rows, for less time than the saved bytes cost.
const ZSTD_LEVEL: i32 = 3;

/// Data up to this size is decompressed into memory that its thread keeps; see [`decoded`].
pub const KEPT_BYTES: u64 = 2 << 20;

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
    #[error("{reason}")]
    Lost { reason: String },
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

/// Encodes data that comes in pieces, on the lowest rung that suits its size. The data is never in memory as a whole:
/// the encoder holds what is small, or the compressed bytes.
///
/// The same bytes in give the same bytes out, however they are cut into pieces, which is what lets the raw log store
/// equal content once.
pub struct Encoder {
    rung: Rung,
    uncompressed_bytes: u64,
}

enum Rung {
    Plain(Vec<u8>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

/// What an [`Encoder`] made of its data.
#[derive(Debug)]
pub struct Encoded {
    pub codec: Codec,
    pub payload: Vec<u8>,
    /// Size of the data before compression.
    pub uncompressed_bytes: u64,
}

impl Default for Encoder {
    fn default() -> Self {
        Encoder { rung: Rung::Plain(Vec::new()), uncompressed_bytes: 0 }
    }
}

impl Encoder {
    /// Adds a piece of the data.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), PayloadError> {
        self.uncompressed_bytes += piece.len() as u64;
        match &mut self.rung {
            Rung::Plain(held) if held.len() + piece.len() < PLAIN_BELOW_BYTES => held.extend_from_slice(piece),
            Rung::Plain(held) => {
                let mut encoder =
                    zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL).map_err(PayloadError::Zstd)?;
                encoder.write_all(held).and_then(|()| encoder.write_all(piece)).map_err(PayloadError::Zstd)?;
                self.rung = Rung::Zstd(encoder);
            }
            Rung::Zstd(encoder) => encoder.write_all(piece).map_err(PayloadError::Zstd)?,
        }
        Ok(())
    }

    /// The payload of all that was pushed.
    pub fn finish(self) -> Result<Encoded, PayloadError> {
        let (codec, payload) = match self.rung {
            Rung::Plain(held) => (Codec::Plain, held),
            Rung::Zstd(encoder) => (Codec::Zstd, encoder.finish().map_err(PayloadError::Zstd)?),
        };
        Ok(Encoded { codec, payload, uncompressed_bytes: self.uncompressed_bytes })
    }
}

/// The data as text. Meta's strings may hold bytes that are no UTF-8: each such sequence is read as U+FFFD, and what is
/// stored and hashed stays the bytes that came. Valid data is borrowed.
pub fn text(data: &[u8]) -> Cow<'_, str> {
    // Asked for valid data alone, the check is several times as fast.
    std::str::from_utf8(data).map_or_else(|_| String::from_utf8_lossy(data), Cow::Borrowed)
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

thread_local! {
    static KEPT: Cell<Option<Kept>> = const { Cell::new(None) };
}

/// What a thread keeps from one payload to the next.
#[derive(Default)]
struct Kept {
    decompressor: zstd::bulk::Decompressor<'static>,
    json: Vec<u8>,
}

impl Kept {
    /// Decompresses a payload, if it can be and is no larger.
    fn holds(&mut self, payload: &[u8], limit_bytes: u64) -> bool {
        // The memory is touched only where something is written to it.
        self.json.clear();
        self.json.reserve_exact(KEPT_BYTES as usize);
        let decompressed = self.decompressor.decompress_to_buffer(payload, &mut self.json);
        // No bytes are no frame, and no error to this decompressor.
        decompressed.is_ok() && !payload.is_empty() && self.json.len() as u64 <= limit_bytes
    }
}

/// Decodes as [`decode`] does, and hands the data to `read`.
///
/// Data of up to [`KEPT_BYTES`] is decompressed at one go into memory that its thread keeps. A log is read event by
/// event, and fresh memory for each costs more than the decompression: the kernel clears every page of it, and gets it
/// back a moment later.
pub fn decoded<T>(
    codec: Codec,
    payload: &[u8],
    limit_bytes: u64,
    read: impl FnOnce(&[u8]) -> T,
) -> Result<T, PayloadError> {
    if codec == Codec::Zstd && limit_bytes <= KEPT_BYTES {
        let mut kept = KEPT.take().unwrap_or_default();
        if kept.holds(payload, limit_bytes) {
            let made = read(&kept.json);
            KEPT.set(Some(kept));
            return Ok(made);
        }
        // What is wrong with it is said below.
        KEPT.set(Some(kept));
    }
    decode(codec, payload, limit_bytes).map(|data| read(&data))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(data: &[u8], piece_bytes: usize) -> Encoded {
        let mut encoder = Encoder::default();
        data.chunks(piece_bytes).for_each(|piece| encoder.push(piece).expect("is taken"));
        encoder.finish().expect("encodes")
    }

    #[test]
    fn both_rungs_give_back_what_they_took() {
        for size in [0, 10, PLAIN_BELOW_BYTES - 1, PLAIN_BELOW_BYTES, 200_000] {
            let data = vec![b'7'; size];
            let encoded = encode(&data, 100);
            assert_eq!(encoded.codec == Codec::Plain, size < PLAIN_BELOW_BYTES);
            assert_eq!(encoded.uncompressed_bytes, size as u64);
            assert_eq!(decode(encoded.codec, &encoded.payload, 1 << 20).expect("decodes").as_ref(), data);
            decoded(encoded.codec, &encoded.payload, 1 << 20, |again| assert_eq!(again, data)).expect("decodes");
        }
    }

    /// Whatever came before, and whatever is wrong.
    #[test]
    fn kept_memory_changes_nothing() {
        let data = vec![b'7'; 200_000];
        let payload = encode(&data, 100).payload;
        for (payload, limit_bytes, wanted) in [
            (&payload[..], 200_000, None),
            (&payload[..], 199_999, Some("payload is larger than 199999 bytes when decompressed")),
            (&payload[..payload.len() / 2], KEPT_BYTES, Some("payload is not valid zstd")),
            (b"", KEPT_BYTES, Some("payload is not valid zstd")),
            (b"no frame", KEPT_BYTES, Some("payload is not valid zstd")),
            (&payload[..], KEPT_BYTES, None),
        ] {
            let said = decoded(Codec::Zstd, payload, limit_bytes, |again| assert_eq!(again, data));
            assert_eq!(said.err().map(|e| e.to_string()).as_deref(), wanted);
        }
    }

    #[test]
    fn pieces_do_not_show() {
        let data: Vec<u8> = (0..600_000_u32).flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 7).to_le_bytes()).collect();
        for size in [500, PLAIN_BELOW_BYTES, 100_000, data.len()] {
            let whole = encode(&data[..size], size).payload;
            for piece_bytes in [77, 5_000, 131_072, 1 << 20] {
                assert_eq!(
                    encode(&data[..size], piece_bytes).payload,
                    whole,
                    "{size} bytes in pieces of {piece_bytes}"
                );
            }
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        let encoded = encode(&vec![0; 1 << 20], 1 << 20);
        let decoded = decode(encoded.codec, &encoded.payload, 1000);
        assert!(matches!(decoded, Err(PayloadError::TooLarge { limit_bytes: 1000 })));
    }

    #[test]
    fn cut_bytes_and_unknown_codecs_are_refused() {
        let Encoded { codec, payload, .. } = encode(&[1; 5000], 5000);
        assert!(matches!(decode(codec, &payload[..payload.len() / 2], 1 << 20), Err(PayloadError::Zstd(_))));
        let error = "lz4".parse::<Codec>().expect_err("lz4 is none of them");
        assert_eq!(
            error.to_string(),
            "payload codec \"lz4\" (header ce-datacodec) is unknown: this version reads plain and zstd"
        );
    }

    #[test]
    fn text_is_borrowed_where_it_is_utf_8() {
        assert!(matches!(text("żółw 🐢".as_bytes()), Cow::Borrowed("żółw 🐢")));
        assert_eq!(text(b"cut \xf0\x9f emoji, \xff"), "cut \u{fffd} emoji, \u{fffd}");
    }
}
