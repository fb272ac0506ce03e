//! The administrator's password, as argon2 keeps it.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use secrecy::{ExposeSecret, SecretString};

/// A hash that is none, or a password that cannot be hashed.
#[derive(Debug, thiserror::Error)]
#[error("argon2 cannot work with it")]
pub struct PasswordError;

/// The shortest password that is taken.
pub const MIN_CHARS: usize = 12;

/// What is kept of a password (argon2id with the parameters that its library recommends).
pub fn hash(password: &SecretString) -> Result<String, PasswordError> {
    let hash = Argon2::default().hash_password(password.expose_secret().as_bytes()).map_err(|_| PasswordError)?;
    Ok(hash.to_string())
}

/// Refuses what is not the hash of a password.
pub(crate) fn check_hash(hash: &SecretString) -> Result<(), PasswordError> {
    let hash = PasswordHash::new(hash.expose_secret()).map_err(|_| PasswordError)?;
    let is_argon2 = hash.algorithm.as_str().starts_with("argon2");
    if is_argon2 && hash.hash.is_some() && hash.salt.is_some() { Ok(()) } else { Err(PasswordError) }
}

/// Whether it is that password. It takes some ten milliseconds of a processor, on purpose.
pub(crate) fn is_right(hash: &SecretString, password: &SecretString) -> bool {
    let Ok(hash) = PasswordHash::new(hash.expose_secret()) else { return false };
    Argon2::default().verify_password(password.expose_secret().as_bytes(), &hash).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_by_its_hash_alone() {
        let (right, wrong) = ("correct horse battery".to_owned().into(), "correct horse batter".to_owned().into());
        let kept = SecretString::from(hash(&right).unwrap());
        assert!(kept.expose_secret().starts_with("$argon2id$v=19$"));
        check_hash(&kept).unwrap();
        assert!(is_right(&kept, &right) && !is_right(&kept, &wrong));
        for none in ["", "hunter2", "$2b$12$abcdefghijklmnopqrstuv", "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ"] {
            assert!(check_hash(&none.to_owned().into()).is_err(), "{none}");
        }
    }
}
