//! The data of a large event, read in parts, so that neither the decompressed bytes nor what is made of all its rows at
//! once has to be in memory.

use std::io::Read;

use sha2::{Digest, Sha256};

use crate::payload::{Codec, PayloadError};
use crate::upcast::Upcaster;

/// About how much of the data a part holds.
const PART_BYTES: usize = 512 << 10;
/// Larger than this, neither what stands before the rows nor one row may be.
const MOST_PART_BYTES: usize = 8 << 20;
const INPUT_BYTES: usize = 64 << 10;
/// What closes the data after its last row.
const AFTER_ROWS: &[u8] = b"]}";

/// Cuts the data of an insights event between its rows. Each part is the JSON of the data with some of the rows, so
/// whatever reads data reads parts.
///
/// The cuts are at the commas between rows, and each byte between two cuts is in one part: the data is JSON if every
/// part is, and no part but that of data without rows is without rows. Only data that ends with its rows is cut, as
/// that of ours does; other data has to be read as a whole.
pub struct Parts<'p> {
    input: Box<dyn Read + Send + 'p>,
    read: Vec<u8>,
    at: usize,
    filled: usize,
    /// The data up to its first row, as soon as it has been read.
    before_rows: usize,
    part: Vec<u8>,
    place: Place,
    handed_out: bool,
    sha256: Sha256,
    total_bytes: u64,
    limit_bytes: u64,
    upcaster: Option<Upcaster>,
    /// What is read counts: before the rows, only what an upcaster makes of it does.
    is_hashed: bool,
}

/// Why data is not read in parts.
#[derive(Debug, thiserror::Error)]
pub enum PartsError {
    #[error(transparent)]
    Payload(#[from] PayloadError),
    #[error("the data is not one that ends with its rows")]
    NotInParts,
    #[error("data is not that of {event_type}: {reason}")]
    Upcast { event_type: &'static str, reason: String },
}

/// Where in the JSON the reader stands.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    depth: u32,
    in_string: bool,
    /// The last byte was a backslash in a string.
    escaped: bool,
    in_rows: bool,
}

/// What the scanner came to.
enum Stop {
    RowsBegin,
    BetweenRows,
    RowsEnd,
}

impl<'p> Parts<'p> {
    /// `limit_bytes` bounds the decompressed data.
    pub fn new(codec: Codec, payload: &'p [u8], limit_bytes: u64) -> Result<Self, PayloadError> {
        let input: Box<dyn Read + Send + 'p> = match codec {
            Codec::Plain => Box::new(payload),
            Codec::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(payload).map_err(PayloadError::Zstd)?;
                Box::new(decoder)
            }
        };
        Ok(Parts {
            input,
            read: vec![0; INPUT_BYTES],
            at: 0,
            filled: 0,
            before_rows: 0,
            part: Vec::with_capacity(PART_BYTES + INPUT_BYTES),
            place: Place::default(),
            handed_out: false,
            sha256: Sha256::new(),
            total_bytes: 0,
            limit_bytes,
            upcaster: None,
            is_hashed: true,
        })
    }

    /// Has what stands before the rows rewritten: parts and sha256 are then those of the newest version's data.
    #[must_use]
    pub fn upcast(self, upcaster: Option<Upcaster>) -> Self {
        Parts { upcaster, is_hashed: upcaster.is_none(), ..self }
    }

    /// The next part; `None` after the last one. Nothing is to be made of the parts before an error.
    pub fn next_part(&mut self) -> Result<Option<&[u8]>, PartsError> {
        if self.handed_out && !self.place.in_rows {
            return Ok(None);
        }
        self.part.truncate(self.before_rows);
        loop {
            if self.at == self.filled && !self.fill()? {
                return Err(PartsError::NotInParts);
            }
            let from = self.at;
            let stop = self.scan();
            self.part.extend_from_slice(&self.read[from..self.at]);
            if self.part.len() > MOST_PART_BYTES {
                return Err(PartsError::NotInParts);
            }
            match stop {
                None => {}
                Some(Stop::RowsBegin) => {
                    self.rewrite()?;
                    self.before_rows = self.part.len();
                    self.place.in_rows = true;
                }
                Some(Stop::BetweenRows) if self.part.len() < PART_BYTES => {}
                Some(Stop::BetweenRows) => {
                    // The comma goes, and what closes the data comes. Without a row before the comma it would become
                    // JSON.
                    self.part.pop();
                    if self.is_without_rows() {
                        return Err(PartsError::NotInParts);
                    }
                    break;
                }
                Some(Stop::RowsEnd) => {
                    self.part.pop();
                    self.place.in_rows = false;
                    let without_rows = self.is_without_rows();
                    self.read_the_end()?;
                    if without_rows && self.handed_out {
                        return Err(PartsError::NotInParts);
                    }
                    break;
                }
            }
        }
        self.handed_out = true;
        self.part.extend_from_slice(AFTER_ROWS);
        Ok(Some(&self.part))
    }

    fn is_without_rows(&self) -> bool {
        self.part[self.before_rows..].iter().all(u8::is_ascii_whitespace)
    }

    /// The sha256 of all the data, after its last part.
    pub fn sha256(self) -> [u8; 32] {
        self.sha256.finalize().into()
    }

    /// Reads on; whether there was anything.
    fn fill(&mut self) -> Result<bool, PayloadError> {
        (self.at, self.filled) = (0, self.input.read(&mut self.read).map_err(PayloadError::Zstd)?);
        self.total_bytes += self.filled as u64;
        if self.total_bytes > self.limit_bytes {
            return Err(PayloadError::TooLarge { limit_bytes: self.limit_bytes });
        }
        if self.is_hashed {
            self.sha256.update(&self.read[..self.filled]);
        }
        Ok(self.filled > 0)
    }

    /// Puts what the upcaster makes of the part so far, which is what stands before the rows, in its place.
    fn rewrite(&mut self) -> Result<(), PartsError> {
        let Some(Upcaster { event_type, rewrite }) = self.upcaster else { return Ok(()) };
        self.part.extend_from_slice(AFTER_ROWS);
        let mut newest = rewrite(&self.part).map_err(|reason| PartsError::Upcast { event_type, reason })?;
        if !newest.ends_with(b"\"rows\":[]}") {
            let reason = "its upcaster makes no data that ends with its rows".to_owned();
            return Err(PartsError::Upcast { event_type, reason });
        }
        newest.truncate(newest.len() - AFTER_ROWS.len());
        self.is_hashed = true;
        self.sha256.update(&newest);
        self.sha256.update(&self.read[self.at..self.filled]);
        self.part = newest;
        Ok(())
    }

    /// After the rows the data closes, and nothing follows.
    fn read_the_end(&mut self) -> Result<(), PartsError> {
        let mut closed = false;
        while self.at < self.filled || self.fill()? {
            match self.read[self.at] {
                b'}' if !closed => closed = true,
                byte if byte.is_ascii_whitespace() => {}
                _ => return Err(PartsError::NotInParts),
            }
            self.at += 1;
        }
        if closed { Ok(()) } else { Err(PartsError::NotInParts) }
    }

    /// Goes on to just behind the next stop in what is read.
    fn scan(&mut self) -> Option<Stop> {
        let Place { mut depth, mut in_string, mut escaped, in_rows } = self.place;
        let bytes = &self.read[..self.filled];
        let mut at = self.at;
        let mut stop = None;
        while at < bytes.len() {
            if in_string {
                if escaped {
                    escaped = false;
                    at += 1;
                    continue;
                }
                match bytes[at..].iter().position(|byte| matches!(byte, b'"' | b'\\')) {
                    None => at = bytes.len(),
                    Some(skipped) => {
                        at += skipped;
                        if bytes[at] == b'"' {
                            in_string = false
                        } else {
                            escaped = true
                        }
                        at += 1;
                    }
                }
                continue;
            }
            let byte = bytes[at];
            at += 1;
            match byte {
                b'"' => in_string = true,
                b'{' | b'[' => {
                    depth = depth.saturating_add(1);
                    if depth == 2 && byte == b'[' && !in_rows && self.is_before_rows(&bytes[self.at..at - 1]) {
                        stop = Some(Stop::RowsBegin);
                        break;
                    }
                }
                b'}' | b']' => {
                    depth = depth.saturating_sub(1);
                    if depth == 1 && in_rows {
                        stop = Some(Stop::RowsEnd);
                        break;
                    }
                }
                b',' if depth == 2 && in_rows => {
                    stop = Some(Stop::BetweenRows);
                    break;
                }
                _ => {}
            }
        }
        self.at = at;
        self.place = Place { depth, in_string, escaped, in_rows };
        stop
    }

    /// Whether what was read so far, these bytes the last of it, ends with the name of the rows.
    fn is_before_rows(&self, last: &[u8]) -> bool {
        let tail = |bytes: &[u8]| bytes[bytes.len().saturating_sub(64)..].to_vec();
        let read = [tail(&self.part), tail(last)].concat();
        let name = read.trim_ascii_end().strip_suffix(b":").map(<[u8]>::trim_ascii_end);
        let before = name.and_then(|name| name.strip_suffix(b"\"rows\""));
        before.is_some_and(|before| before.last() != Some(&b'\\'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Encoder;

    fn parts(json: &[u8], codec: Codec) -> Result<Vec<String>, PartsError> {
        let mut encoder = Encoder::default();
        encoder.push(json)?;
        let encoded = encoder.finish()?;
        let payload = if codec == Codec::Plain { json } else { &encoded.payload };
        let mut parts = Parts::new(if codec == Codec::Plain { codec } else { encoded.codec }, payload, 1 << 30)?;
        let mut all = Vec::new();
        while let Some(part) = parts.next_part()? {
            all.push(String::from_utf8_lossy(part).into_owned());
        }
        assert_eq!(parts.sha256(), <[u8; 32]>::from(Sha256::digest(json)));
        Ok(all)
    }

    /// The rows of a piece of data, each as its text.
    fn rows(json: &str) -> Vec<String> {
        let data: serde_json::Value = serde_json::from_str(json).expect("JSON");
        data["rows"].as_array().expect("rows").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_parts_have_the_rows_of_the_whole_in_their_order() {
        let row = |n: usize, size: usize| {
            format!(r#"{{"ad_id":"{n}","actions":[{{"a":[1,2]}},{{}}],"ad_name":"],[{{\\\"{}\\"}}"#, "x,".repeat(size))
        };
        for (count, size) in [(0, 0), (1, 10), (3, 10), (3000, 300), (20, 100_000), (7, 600_000)] {
            let list: Vec<String> = (0..count).map(|n| row(n, size)).collect();
            for (head, comma, end) in [
                (r#"{"request":{"rows":[1,2],"x":"\"rows\":["},"control":null,"rows":["#, ",", "]}"),
                ("{ \"a\" : [ ] ,\n\"rows\" : [ ", " ,\n ", " ]\n}\n"),
            ] {
                let json = format!("{head}{}{end}", list.join(comma));
                for codec in [Codec::Plain, Codec::Zstd] {
                    let parts = parts(json.as_bytes(), codec).expect("is cut");
                    let found: Vec<String> = parts.iter().flat_map(|part| rows(part)).collect();
                    assert_eq!(found, rows(&json), "{count} rows of {size}");
                    assert_eq!(parts.len() > 1, json.len() > 2 * PART_BYTES);
                    assert!(parts.iter().all(|part| part.len() < PART_BYTES + 3 * size + 200));
                }
            }
        }
    }

    #[test]
    fn what_is_not_cut() {
        let many = vec![format!(r#"{{"ad_id":"{}"}}"#, "1".repeat(300_000)); 4].join(",");
        for json in [
            String::new(),
            "[]".to_owned(),
            r#"{"account_id":"1"}"#.to_owned(),
            r#"{"rows":[{}],"control":null}"#.to_owned(),
            r#"{"x\"rows":[{}]}"#.to_owned(),
            r#"{"rows":[{}]} x"#.to_owned(),
            r#"{"rows":[{}]"#.to_owned(),
            r#"{"rows":[{}"#.to_owned(),
            r#"{"rows":"none"}"#.to_owned(),
            format!(r#"{{"rows":[{many},]}}"#),
            format!(r#"{{"rows":[{}, {{}}]}}"#, " ".repeat(PART_BYTES)),
            format!(r#"{{"note":"{}","rows":[]}}"#, "x".repeat(MOST_PART_BYTES)),
            format!(r#"{{"rows":["{}"]}}"#, "x".repeat(MOST_PART_BYTES)),
        ] {
            let cut = parts(json.as_bytes(), Codec::Plain);
            assert!(matches!(cut, Err(PartsError::NotInParts)), "{}", &json[..json.len().min(60)]);
        }
    }

    #[test]
    fn a_bomb_is_refused_and_so_is_what_is_cut_off() {
        let json = format!(r#"{{"rows":[{}]}}"#, vec!["{}"; 400_000].join(","));
        let mut encoder = Encoder::default();
        encoder.push(json.as_bytes()).expect("is taken");
        let encoded = encoder.finish().expect("encodes");
        let read = |payload: &[u8], limit_bytes: u64| {
            let mut parts = Parts::new(Codec::Zstd, payload, limit_bytes)?;
            while parts.next_part()?.is_some() {}
            Ok::<_, PartsError>(())
        };
        assert!(read(&encoded.payload, json.len() as u64).is_ok());
        let bomb = read(&encoded.payload, json.len() as u64 - 1);
        assert!(matches!(bomb, Err(PartsError::Payload(PayloadError::TooLarge { .. }))), "{bomb:?}");
        let half = read(&encoded.payload[..encoded.payload.len() / 2], 1 << 30);
        assert!(matches!(half, Err(PartsError::Payload(PayloadError::Zstd(_)))), "{half:?}");
    }
}
