use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, AeadCore, KeyInit, OsRng, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use secrecy::{ExposeSecret, SecretBox, SecretString};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Keys by their ids. The first seals; all open, so that keys can be rotated without a moment when neither works.
pub struct KeyRing {
    keys: Vec<(String, SecretBox<[u8; 32]>)>,
}

/// A key ring setting that cannot be used. Nothing of the value is repeated: all of it may be secret.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyRingError {
    #[error(
        "ADLEDGER_SECRET_KEYS is not set: tokens are sealed with it. Make one with: echo \"k1:$(head -c 32 /dev/urandom | base64)\""
    )]
    Missing,
    #[error("key {number} of ADLEDGER_SECRET_KEYS has no id: write kid:base64[,kid:base64]")]
    NoId { number: usize },
    #[error(
        "key {number} of ADLEDGER_SECRET_KEYS is not base64 of 32 bytes: make one with: head -c 32 /dev/urandom | base64"
    )]
    NoKey { number: usize },
    #[error("key {number} of ADLEDGER_SECRET_KEYS has the id of an earlier one: each needs an id of its own")]
    SameId { number: usize },
}

/// A sealed token that cannot be opened.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SealError {
    #[error(
        "the token is sealed with key {kid:?}, which ADLEDGER_SECRET_KEYS does not hold: add that key again, or connect anew"
    )]
    UnknownKey { kid: String },
    #[error(
        "the sealed token of this integration does not open with key {kid:?}: it was changed or moved; connect anew"
    )]
    Broken { kid: String },
    #[error("the token cannot be sealed")]
    Seal,
}

/// A secret as a table keeps it.
#[derive(Debug)]
pub struct Sealed {
    pub kid: String,
    pub nonce: Vec<u8>,
    pub ciphertext: Vec<u8>,
}

/// Whose secret it is. Tenant and holder are authenticated beside the text, what it is about inside it: a sealed text
/// copied into another row opens for nobody.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    pub account_id: Uuid,
    /// The row that holds it: of a token in use, the integration.
    pub holder_id: Uuid,
    /// Of a token in use the ad account's `act_…`, else what the secret is for.
    pub about: &'a str,
}

#[derive(Serialize, Deserialize)]
struct Plain<'a> {
    ad_account: std::borrow::Cow<'a, str>,
    token: std::borrow::Cow<'a, str>,
}

impl KeyRing {
    /// Reads `kid:base64[,kid:base64]`.
    pub fn parse(setting: &SecretString) -> Result<Self, KeyRingError> {
        let mut keys: Vec<(String, SecretBox<[u8; 32]>)> = Vec::new();
        let parts = setting.expose_secret().split(',').map(str::trim).filter(|part| !part.is_empty());
        for (number, part) in (1..).zip(parts) {
            let (kid, key) = part.split_once(':').ok_or(KeyRingError::NoId { number })?;
            if kid.is_empty() {
                return Err(KeyRingError::NoId { number });
            }
            if keys.iter().any(|(known, _)| known == kid) {
                return Err(KeyRingError::SameId { number });
            }
            let bytes = STANDARD.decode(key).map_err(|_| KeyRingError::NoKey { number })?;
            let key: [u8; 32] = bytes.try_into().map_err(|_| KeyRingError::NoKey { number })?;
            keys.push((kid.to_owned(), SecretBox::new(Box::new(key))));
        }
        if keys.is_empty() { Err(KeyRingError::Missing) } else { Ok(KeyRing { keys }) }
    }

    /// Whether the ring holds the key of that id.
    pub fn holds(&self, kid: &str) -> bool {
        self.keys.iter().any(|(known, _)| known == kid)
    }

    /// The ids of its keys, in their order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|(kid, _)| kid.as_str())
    }

    /// The id of the key that seals.
    pub fn current(&self) -> &str {
        self.keys.first().map(|(kid, _)| kid.as_str()).unwrap_or_default()
    }

    /// A fresh setting with one key, for a data folder of the demo's.
    pub fn generate() -> SecretString {
        let key = XChaCha20Poly1305::generate_key(&mut OsRng);
        format!("demo:{}", STANDARD.encode(key)).into()
    }

    /// Seals with the ring's first key.
    pub fn seal(&self, owner: &Owner<'_>, token: &SecretString) -> Result<Sealed, SealError> {
        let (kid, key) = self.keys.first().ok_or(SealError::Seal)?;
        let plain = Plain { ad_account: owner.about.into(), token: token.expose_secret().into() };
        let text = SecretBox::new(Box::new(serde_json::to_vec(&plain).map_err(|_| SealError::Seal)?));
        let nonce = XChaCha20Poly1305::generate_nonce(&mut OsRng);
        let payload = Payload { msg: text.expose_secret(), aad: &owner.associated_data() };
        let ciphertext = cipher(key).encrypt(&nonce, payload).map_err(|_| SealError::Seal)?;
        Ok(Sealed { kid: kid.clone(), nonce: nonce.to_vec(), ciphertext })
    }

    /// Opens what the same owner sealed, with whichever key of the ring did.
    pub fn open(&self, owner: &Owner<'_>, sealed: &Sealed) -> Result<SecretString, SealError> {
        let kid = &sealed.kid;
        let broken = || SealError::Broken { kid: kid.clone() };
        let (_, key) =
            self.keys.iter().find(|(known, _)| known == kid).ok_or(SealError::UnknownKey { kid: kid.clone() })?;
        if sealed.nonce.len() != 24 {
            return Err(broken());
        }
        let payload = Payload { msg: &sealed.ciphertext, aad: &owner.associated_data() };
        let text = cipher(key).decrypt(XNonce::from_slice(&sealed.nonce), payload).map_err(|_| broken())?;
        let text = SecretBox::new(Box::new(text));
        let plain: Plain<'_> = serde_json::from_slice(text.expose_secret()).map_err(|_| broken())?;
        if plain.ad_account != owner.about {
            return Err(broken());
        }
        Ok(plain.token.into_owned().into())
    }
}

impl Owner<'_> {
    fn associated_data(&self) -> Vec<u8> {
        [self.account_id.as_bytes().as_slice(), self.holder_id.as_bytes()].concat()
    }
}

fn cipher(key: &SecretBox<[u8; 32]>) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(Key::from_slice(key.expose_secret()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(setting: &str) -> Result<KeyRing, KeyRingError> {
        KeyRing::parse(&setting.to_owned().into())
    }

    fn key(byte: u8) -> String {
        STANDARD.encode([byte; 32])
    }

    const ID: Uuid = Uuid::from_u128(7);

    #[test]
    fn bad_settings_are_refused_without_showing_them() {
        for (setting, error) in [
            (String::new(), KeyRingError::Missing),
            (key(1), KeyRingError::NoId { number: 1 }),
            (format!(":{}", key(1)), KeyRingError::NoId { number: 1 }),
            (format!("a:{},b:c2hvcnQ=", key(1)), KeyRingError::NoKey { number: 2 }),
            (format!("a:{},a:{}", key(1), key(2)), KeyRingError::SameId { number: 2 }),
        ] {
            let found = ring(&setting).err().expect("refused");
            assert_eq!(found, error);
            assert!(!found.to_string().contains(&key(1)));
        }
    }

    #[test]
    fn the_first_key_seals_and_every_key_opens() {
        let token = SecretString::from("EAAB-token".to_owned());
        let owner = Owner { account_id: ID, holder_id: ID, about: "act_1" };
        let old = ring(&format!("old:{}", key(1))).unwrap();
        let sealed = old.seal(&owner, &token).unwrap();
        assert!(!sealed.ciphertext.windows(10).any(|w| w == b"EAAB-token"));
        let rotated = ring(&format!("new:{},old:{}", key(2), key(1))).unwrap();
        assert_eq!(rotated.open(&owner, &sealed).unwrap().expose_secret(), "EAAB-token");
        assert_eq!(rotated.seal(&owner, &token).unwrap().kid, "new");
        let gone = ring(&format!("new:{}", key(2))).unwrap();
        assert_eq!(gone.open(&owner, &sealed).unwrap_err(), SealError::UnknownKey { kid: "old".into() });
    }

    #[test]
    fn a_sealed_token_opens_in_its_own_row_only() {
        let ring = ring(&format!("k:{}", key(3))).unwrap();
        let owner = |account, holder, about| Owner {
            account_id: Uuid::from_u128(account),
            holder_id: Uuid::from_u128(holder),
            about,
        };
        let mut sealed = ring.seal(&owner(1, 2, "act_1"), &"t".to_owned().into()).unwrap();
        for other in [owner(9, 2, "act_1"), owner(1, 9, "act_1"), owner(1, 2, "act_9")] {
            assert_eq!(ring.open(&other, &sealed).unwrap_err(), SealError::Broken { kid: "k".into() });
        }
        sealed.ciphertext[0] ^= 1;
        assert_eq!(ring.open(&owner(1, 2, "act_1"), &sealed).unwrap_err(), SealError::Broken { kid: "k".into() });
    }
}
