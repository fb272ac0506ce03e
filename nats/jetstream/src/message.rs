use async_nats::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use cloudevents::Event;
use events::Claim;
use events::headers::{HeaderError, TRACEPARENT, carries};

use crate::Room;

/// A message of a stream: where it stands, and what it carries.
#[derive(Debug, Clone)]
pub struct Message {
    pub subject: String,
    pub sequence: u64,
    /// When the stream stored it, to the microsecond.
    pub stored_at: DateTime<Utc>,
    /// Empty where it travels beside the event: see [`Message::claim`] and [`Wire::whole`](crate::Wire::whole).
    pub payload: Bytes,
    headers: HeaderMap,
    /// The room that a loaded payload takes of what the process has for them.
    room: Room,
}

impl Message {
    pub(crate) fn new(
        subject: String,
        sequence: u64,
        stored_at: DateTime<Utc>,
        payload: Bytes,
        headers: HeaderMap,
    ) -> Self {
        Message { subject, sequence, stored_at: microseconds(stored_at), payload, headers, room: Room::default() }
    }

    /// The claim of a payload that travels beside the event; `None` where the message has it.
    pub fn claim(&self) -> Option<Claim> {
        if !self.payload.is_empty() {
            return None;
        }
        let of = |(name, values): (&HeaderName, &Vec<HeaderValue>)| {
            Claim::in_header(name.as_ref(), values.first()?.as_str())
        };
        self.headers.iter().find_map(of)
    }

    /// The same message with its payload, and the room that this takes until the message is dropped.
    pub(crate) fn with_payload(self, payload: Bytes, room: Room) -> Self {
        Message { payload, room, ..self }
    }

    /// The room that its payload takes if it was loaded, for who goes on with what he made of it when the message is
    /// gone.
    pub fn room(&self) -> Room {
        self.room.clone()
    }

    /// The CloudEvents attributes of the message.
    pub fn attributes(&self) -> Result<Event, HeaderError> {
        let pairs = self.header_pairs();
        events::headers::from_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }

    /// The trace that the event belongs to, as it travelled. Asked for each message, so it copies nothing.
    pub(crate) fn traceparent(&self) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, values) = headers.find(|(name, _)| carries(name.as_ref(), TRACEPARENT))?;
        values.first().map(|value| value.as_str())
    }

    /// The headers that belong to the event, each with all its values.
    pub(crate) fn event_headers(&self, is_ours: impl Fn(&str) -> bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, values) in self.headers.iter() {
            let lower_case = AsRef::<str>::as_ref(name).to_ascii_lowercase();
            if !is_transport(&lower_case) && !is_ours(&lower_case) {
                values.iter().for_each(|value| headers.append(name.clone(), value.clone()));
            }
        }
        headers
    }

    /// The headers that belong to the event; those that say how the message travelled are left out, the claim of its
    /// payload among them.
    pub fn event_header_pairs(&self) -> Vec<(String, String)> {
        let belongs = |(name, value): &(String, String)| {
            !is_transport(&name.to_ascii_lowercase()) && Claim::in_header(name, value).is_none()
        };
        self.header_pairs().into_iter().filter(belongs).collect()
    }

    /// The headers as they travelled, the first value of each.
    pub fn header_pairs(&self) -> Vec<(String, String)> {
        let mut pairs: Vec<_> = self
            .headers
            .iter()
            .filter_map(|(name, values)| Some((name.to_string(), values.first()?.to_string())))
            .collect();
        pairs.sort();
        pairs
    }
}

/// What PostgreSQL keeps of an instant: the stream and the raw log must tell the same time.
pub(crate) fn microseconds(instant: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(instant.timestamp_micros()).unwrap_or(instant)
}

/// Whether a header, its name in lower case, says how the message travelled.
pub(crate) fn is_transport(name: &str) -> bool {
    name.starts_with("nats-")
}

/// The headers of an event's attributes. `None` when one holds what a NATS header cannot (a line break, say).
pub(crate) fn header_map<'a>(pairs: impl Iterator<Item = &'a (String, String)>) -> Option<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        let name: async_nats::HeaderName = name.parse().ok()?;
        let value: async_nats::HeaderValue = value.parse().ok()?;
        map.insert(name, value);
    }
    Some(map)
}
