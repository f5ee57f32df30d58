//! Keys of Ed25519, in the texts of Nix.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::signature;

/// Why a text is not a key. It never holds the text: that may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no name, or no `:` after it.
    #[error("a key has the form `<name>:<base 64>`")]
    Form,
    /// What follows the name is something else.
    #[error("what follows `{name}:` is not a key of {expected} bytes in base 64")]
    Bytes {
        /// The name in front.
        name: String,
        /// How many bytes such a key has.
        expected: usize,
    },
    /// In the text of a signature the name ends with the first colon, and signatures are words.
    #[error("`{}` cannot be the name of a key: it is empty, or has a `:` or a blank in it", name.escape_debug())]
    Name {
        /// The name refused.
        name: String,
    },
    /// The bytes are no point of the curve, or the two halves of a secret key do not belong together.
    #[error("the key `{name}` is not a valid one")]
    Invalid {
        /// The name in front.
        name: String,
    },
}

/// What signatures are checked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    key: VerifyingKey,
}

/// What signatures are made with. Its memory is wiped when it is dropped, and only [`SecretKey::reveal`] prints it.
pub struct SecretKey {
    name: String,
    key: SigningKey,
}

impl PublicKey {
    /// Returns the name that its signatures begin with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether `signature`, `<key name>:<base 64>`, is this key's over `text`.
    pub fn has_signed(&self, text: &str, signature: &str) -> bool {
        let bytes = || {
            let (name, digits) = signature::split(signature)?;
            let bytes = BASE64.decode(digits.as_bytes()).ok()?;
            (name == self.name).then(|| Signature::from_slice(&bytes).ok())?
        };
        // Keys and signatures for which every text is right are refused.
        bytes().is_some_and(|signature| self.key.verify_strict(text.as_bytes(), &signature).is_ok())
    }
}

impl SecretKey {
    /// Makes a key of 32 bytes that nobody can guess.
    ///
    /// # Errors
    /// [`KeyError::Name`] if no signature could begin with the name.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        if name.is_empty() || name.contains([':', '\0']) || name.contains(char::is_whitespace) {
            return Err(KeyError::Name { name: name.to_owned() });
        }
        Ok(Self { name: name.to_owned(), key: SigningKey::from_bytes(seed) })
    }

    /// Returns the text of a file with this key: whoever reads it can sign.
    pub fn reveal(&self) -> String {
        format!("{}:{}", self.name, BASE64.encode(&self.key.to_keypair_bytes()))
    }

    /// Returns the key that checks what this one signs.
    pub fn public(&self) -> PublicKey {
        PublicKey { name: self.name.clone(), key: self.key.verifying_key() }
    }

    /// Signs a text; the same text always gets the same signature.
    pub fn sign(&self, text: &str) -> String {
        format!("{}:{}", self.name, BASE64.encode(&self.key.sign(text.as_bytes()).to_bytes()))
    }
}

/// Tells the name only.
impl fmt::Debug for SecretKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SecretKey").field("name", &self.name).finish_non_exhaustive()
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (name, bytes) = parse::<32>(text)?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError::Invalid { name: name.clone() })?;
        Ok(Self { name, key })
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.name, BASE64.encode(self.key.as_bytes()))
    }
}

impl FromStr for SecretKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (name, bytes) = parse::<64>(text)?;
        let key =
            SigningKey::from_keypair_bytes(&bytes).map_err(|_| KeyError::Invalid { name: name.clone() })?;
        Ok(Self { name, key })
    }
}

fn parse<const LEN: usize>(text: &str) -> Result<(String, [u8; LEN]), KeyError> {
    let (name, digits) = signature::split(text.trim_end()).ok_or(KeyError::Form)?;
    let bytes = BASE64.decode(digits.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    let bytes = bytes.ok_or_else(|| KeyError::Bytes { name: name.to_owned(), expected: LEN })?;
    Ok((name.to_owned(), bytes))
}
