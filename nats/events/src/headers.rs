//! CloudEvents 1.0, binary content mode over NATS headers: attribute `x` travels as header `ce-x`, percent-encoded; the
//! data's media type as `content-type`.
//!
//! Header names are case-sensitive in NATS: lower case is written, any case is read. The functions speak in pairs of
//! strings, so that the raw log can keep an event's headers without knowing a NATS client.

use cloudevents::event::SpecVersion;
use cloudevents::message::{BinarySerializer, MessageAttributeValue};
use cloudevents::{AttributesReader, Event, EventBuilder, EventBuilderV10};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// What the CloudEvents HTTP binding encodes, and the NATS one with it: controls, space, quote, percent, non-ASCII.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');
const CONTENT_TYPE: &str = "content-type";
const PREFIX: &str = "ce-";
/// The extension that names how the payload is encoded; plain where it is absent.
pub const DATACODEC: &str = "datacodec";
/// The extension that says where the payload is when it is not in the message: see [`Claim`](crate::Claim).
pub const DATAREF: &str = "dataref";
/// The extension that names the span which the event was made in.
pub const TRACEPARENT: &str = "traceparent";
/// What every CloudEvent has.
const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];

/// Headers that are not those of a CloudEvent.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    #[error("message has no CloudEvents header ce-{0}")]
    Missing(&'static str),
    #[error("header {name} holds {value:?}, which is not {expected}")]
    Invalid { name: String, value: String, expected: &'static str },
    #[error("headers are not those of a CloudEvent")]
    CloudEvent(#[source] cloudevents::message::Error),
}

/// The headers of an event's attributes, without its data.
pub fn to_pairs(event: &Event) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for (name, value) in event.iter() {
        if name == "datacontenttype" {
            pairs.push((CONTENT_TYPE.to_owned(), value.to_string()));
        } else {
            let text = value.to_string();
            pairs.push((format!("{PREFIX}{name}"), utf8_percent_encode(&text, ENCODED).to_string()));
        }
    }
    pairs
}

/// The event (without data) whose headers these are; headers of other families are passed over.
pub fn from_pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Event, HeaderError> {
    let mut builder = Attributes(EventBuilderV10::new());
    let mut seen: Vec<&'static str> = Vec::new();
    for (name, value) in pairs {
        let name = name.to_ascii_lowercase();
        if name == CONTENT_TYPE {
            // The media type is an attribute of the event, though its header has no prefix. An SDK event keeps it
            // beside its data only; nothing of ours reads it.
            continue;
        }
        let Some(attribute) = name.strip_prefix(PREFIX) else { continue };
        let text = percent_decode_str(value).decode_utf8().map_err(|_| HeaderError::Invalid {
            name: name.clone(),
            value: value.to_owned(),
            expected: "percent-encoded UTF-8",
        })?;
        let attribute_value = MessageAttributeValue::String(text.into_owned());
        seen.extend(REQUIRED.iter().find(|required| **required == attribute));
        builder = match attribute {
            "specversion" => match value {
                "1.0" => builder.set_spec_version(SpecVersion::V10).map_err(HeaderError::CloudEvent)?,
                other => {
                    return Err(HeaderError::Invalid {
                        name,
                        value: other.to_owned(),
                        expected: "CloudEvents version 1.0",
                    });
                }
            },
            "time" if chrono::DateTime::parse_from_rfc3339(&attribute_value.to_string()).is_err() => {
                return Err(HeaderError::Invalid {
                    name,
                    value: attribute_value.to_string(),
                    expected: "an RFC 3339 instant",
                });
            }
            "id" | "source" | "type" | "subject" | "time" | "dataschema" => {
                builder.set_attribute(attribute, attribute_value).map_err(HeaderError::CloudEvent)?
            }
            extension => builder.set_extension(extension, attribute_value).map_err(HeaderError::CloudEvent)?,
        };
    }
    if let Some(missing) = REQUIRED.iter().find(|required| !seen.contains(required)) {
        return Err(HeaderError::Missing(missing));
    }
    builder.end().map_err(HeaderError::CloudEvent)
}

/// Whether a header, its name in any case, carries this attribute.
pub fn carries(header: &str, attribute: &str) -> bool {
    let (prefix, name) = header.split_at_checked(PREFIX.len()).unwrap_or_default();
    prefix.eq_ignore_ascii_case(PREFIX) && name.eq_ignore_ascii_case(attribute)
}

/// The text of an extension attribute.
pub fn extension(event: &Event, name: &str) -> Option<String> {
    event.extension(name).map(ToString::to_string)
}

/// A required attribute, or an extension, parsed.
pub(crate) fn required<T: std::str::FromStr>(
    name: &'static str,
    value: Option<String>,
    expected: &'static str,
) -> Result<T, HeaderError> {
    let value = value.ok_or(HeaderError::Missing(name))?;
    value.parse().map_err(|_| HeaderError::Invalid { name: format!("{PREFIX}{name}"), value, expected })
}

/// Like [`required`], for one that may be missing.
pub(crate) fn optional<T: std::str::FromStr>(
    name: &'static str,
    value: Option<String>,
    expected: &'static str,
) -> Result<Option<T>, HeaderError> {
    value.map(|value| required(name, Some(value), expected)).transpose()
}

/// Collects attributes into the SDK's builder: the SDK's own collector is private.
struct Attributes(EventBuilderV10);

impl BinarySerializer<Event> for Attributes {
    fn set_spec_version(self, _: SpecVersion) -> cloudevents::message::Result<Self> {
        Ok(self)
    }

    fn set_attribute(self, name: &str, value: MessageAttributeValue) -> cloudevents::message::Result<Self> {
        let builder = self.0;
        Ok(Attributes(match name {
            "id" => builder.id(value.to_string()),
            "source" => builder.source(value.to_string()),
            "type" => builder.ty(value.to_string()),
            "subject" => builder.subject(value.to_string()),
            "time" => builder.time(value.to_string()),
            _ => builder.extension(name, value.to_string()),
        }))
    }

    fn set_extension(self, name: &str, value: MessageAttributeValue) -> cloudevents::message::Result<Self> {
        Ok(Attributes(self.0.extension(name, value.to_string())))
    }

    fn end_with_data(self, bytes: Vec<u8>) -> cloudevents::message::Result<Event> {
        let mut event = self.end()?;
        event.set_data_unchecked(bytes);
        Ok(event)
    }

    fn end(self) -> cloudevents::message::Result<Event> {
        Ok(self.0.build()?)
    }
}

/// The instant of an event, truncated to the microseconds that PostgreSQL keeps, so that an event read back from the
/// raw log has the version it had on the stream.
pub(crate) fn time(event: &Event) -> Result<chrono::DateTime<chrono::Utc>, HeaderError> {
    let time = event.time().ok_or(HeaderError::Missing("time"))?;
    chrono::DateTime::from_timestamp_micros(time.timestamp_micros()).ok_or(HeaderError::Missing("time"))
}
