use serde::Serialize;

use crate::{META_INSIGHTS, OBJ_META_PAYLOADS, Wire, WireError};

/// From here on somebody should look.
const WARN_PERCENT: u64 = 80;
/// From here on the next event may not fit.
const FULL_PERCENT: u64 = 99;

/// What to do where the log's own limit is reached.
pub(crate) const MAKE_ROOM: &str =
    "raise ADLEDGER_LOG_MAX_BYTES and run `adledger streams apply`, or take old days out with `adledger streams trim`";

/// How full the insights log is, or the payloads beside it where they are fuller: what it holds, and how much it may. A
/// full one makes every fetch wait.
#[derive(Debug, Clone, Serialize)]
pub struct LogRoom {
    pub messages: u64,
    /// What counts towards `max_bytes`: the bytes of the log or of the payloads beside it, whichever are more, or those
    /// of all streams where the limit is the account's.
    pub bytes: u64,
    /// `None` when nothing but the server's disk limits the log.
    pub max_bytes: Option<u64>,
    pub percent: Option<u64>,
    bounded_by: Bound,
}

/// Whose limit it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Bound {
    Log,
    NatsAccount,
    Disk,
}

/// What to think of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Room,
    FillingUp,
    Full,
}

impl LogRoom {
    /// Asks the server. Where the log has no limit of its own, the account's counts.
    pub async fn ask(wire: &Wire) -> Result<LogRoom, WireError> {
        let mut level = wire.log(META_INSIGHTS).await?.level().await?;
        match wire.log(OBJ_META_PAYLOADS).await {
            // Both have the same limit.
            Ok(beside) => {
                let beside = beside.level().await?;
                level.bytes = level.bytes.max(beside.bytes);
            }
            // Streams that an older version made: `streams check` says what is missing.
            Err(WireError::NoStream { .. }) => {}
            Err(error) => return Err(error),
        }
        if let Some(max) = level.max_bytes.filter(|max| *max > 0) {
            return Ok(LogRoom::new(level.messages, level.bytes, Some(max), Bound::Log));
        }
        let storage = wire.storage().await?;
        Ok(match storage.max_bytes {
            Some(max) => LogRoom::new(level.messages, storage.bytes, Some(max), Bound::NatsAccount),
            None => LogRoom::new(level.messages, level.bytes, None, Bound::Disk),
        })
    }

    fn new(messages: u64, bytes: u64, max_bytes: Option<u64>, bounded_by: Bound) -> LogRoom {
        // Wider, so that no size overflows.
        let percent = max_bytes.map(|max| u64::try_from(u128::from(bytes) * 100 / u128::from(max)).unwrap_or(u64::MAX));
        LogRoom { messages, bytes, max_bytes, percent, bounded_by }
    }

    pub fn verdict(&self) -> Verdict {
        match self.percent {
            Some(percent) if percent >= FULL_PERCENT => Verdict::Full,
            Some(percent) if percent >= WARN_PERCENT => Verdict::FillingUp,
            _ => Verdict::Room,
        }
    }

    /// How full it is, from 0 to 1; `None` without a limit.
    pub fn ratio(&self) -> Option<f64> {
        self.max_bytes.map(|max| self.bytes as f64 / max as f64)
    }

    /// In words; where it is not well, with what to do.
    pub fn sentence(&self) -> String {
        let (Some(percent), Some(max)) = (self.percent, self.max_bytes) else {
            return format!(
                "{} events, {} bytes, without a limit but the NATS server's disk",
                self.messages, self.bytes
            );
        };
        let (is, so) = match self.verdict() {
            Verdict::Room => return format!("{} events, {percent}% of {max} bytes", self.messages),
            Verdict::FillingUp => (format!("{percent}% full"), "before fetches have to wait"),
            Verdict::Full => (format!("full ({percent}%)"), "because fetches wait until there is room"),
        };
        let of = format!("{} of {max} bytes", self.bytes);
        match self.bounded_by {
            Bound::NatsAccount => format!(
                "the streams' storage is {is}, {of}: raise the NATS account's max_file or the server's max_file_store, {so}"
            ),
            _ => {
                format!("the log is {is}, {of}: {MAKE_ROOM}, {so}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_turns_at_80_and_at_99_percent() {
        for (bytes, max_bytes, percent, verdict) in [
            (0, Some(1000), Some(0), Verdict::Room),
            (799, Some(1000), Some(79), Verdict::Room),
            (800, Some(1000), Some(80), Verdict::FillingUp),
            (989, Some(1000), Some(98), Verdict::FillingUp),
            (990, Some(1000), Some(99), Verdict::Full),
            (1100, Some(1000), Some(110), Verdict::Full),
            (u64::MAX, Some(u64::MAX), Some(100), Verdict::Full),
            (u64::MAX, None, None, Verdict::Room),
        ] {
            let room = LogRoom::new(1, bytes, max_bytes, Bound::Log);
            assert_eq!((room.percent, room.verdict()), (percent, verdict), "{bytes} of {max_bytes:?}");
            let says_what_to_do = room.sentence().contains("raise ADLEDGER_LOG_MAX_BYTES");
            assert_eq!(says_what_to_do, verdict != Verdict::Room, "{}", room.sentence());
        }
    }
}
