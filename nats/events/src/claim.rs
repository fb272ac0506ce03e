use std::fmt::{self, Write as _};

use sha2::{Digest, Sha256};

use crate::headers::{DATAREF, carries};

/// The bucket that holds payloads which fit into no message.
pub const BUCKET: &str = "META_PAYLOADS";

/// The claim check of a payload that travels beside its event: CloudEvents' extension `dataref`, whose value is
/// `nats-object://META_PAYLOADS/<sha256>`. The object's name is the sha256 of the payload's bytes in hex, so whoever
/// has the claim can tell whether the bytes are the right ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    sha256: [u8; 32],
}

impl Claim {
    /// The claim of these bytes.
    pub fn of(payload: &[u8]) -> Claim {
        Claim { sha256: Sha256::digest(payload).into() }
    }

    /// The claim whose object has this name.
    pub fn named(name: &str) -> Option<Claim> {
        let is_hex = name.len() == 64 && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let mut sha256 = [0; 32];
        for (at, byte) in sha256.iter_mut().enumerate() {
            *byte = u8::from_str_radix(name.get(2 * at..2 * at + 2).filter(|_| is_hex)?, 16).ok()?;
        }
        Some(Claim { sha256 })
    }

    /// The claim that a `dataref` makes; `None` for one that names no object of ours.
    pub fn parse(dataref: &str) -> Option<Claim> {
        Claim::named(dataref.strip_prefix("nats-object://")?.strip_prefix(BUCKET)?.strip_prefix('/')?)
    }

    /// The claim that a header makes, if it makes one.
    pub fn in_header(name: &str, value: &str) -> Option<Claim> {
        Claim::parse(value).filter(|_| carries(name, DATAREF))
    }

    /// The object's name.
    pub fn name(&self) -> String {
        let mut name = String::with_capacity(64);
        for byte in self.sha256 {
            // Writing into a String does not fail.
            let _ = write!(name, "{byte:02x}");
        }
        name
    }

    /// What the sha256 of the payload's bytes must be.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nats-object://{BUCKET}/{}", self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_read_as_it_was_written() {
        let claim = Claim::of(b"payload");
        assert_eq!(
            claim.to_string(),
            "nats-object://META_PAYLOADS/239f59ed55e737c77147cf55ad0c1b030b6d7ee748a7426952f9b852d5a935e5"
        );
        assert_eq!(Claim::parse(&claim.to_string()), Some(claim));
        assert_eq!(Claim::in_header("Ce-DataRef", &claim.to_string()), Some(claim));
        assert_eq!(Claim::in_header("ce-data", &claim.to_string()), None);
    }

    #[test]
    fn what_names_no_object_of_ours_is_no_claim() {
        let name = Claim::of(b"").name();
        for dataref in [
            String::new(),
            name.clone(),
            format!("nats-object://{BUCKET}/"),
            format!("nats-object://{BUCKET}/{}", &name[1..]),
            format!("nats-object://{BUCKET}/{}", name.to_uppercase()),
            format!("nats-object://{BUCKET}/+{}", &name[1..]),
            format!("nats-object://OTHER/{name}"),
            format!("https://{BUCKET}/{name}"),
        ] {
            assert_eq!(Claim::parse(&dataref), None, "{dataref}");
        }
    }
}
