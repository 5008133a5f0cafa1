//! Mutual proof of a shared token: keyed BLAKE3 over both nonces, one label per role.
//!
//! A proof holds for one pair of nonces, one role and one protocol version: it can be neither replayed, nor sent back, nor
//! carried over to another version. Tokens are overwritten when dropped, and shown to nobody.
use blake3::Hash;
use zeroize::Zeroize;

use super::text::PROTOCOL;
use crate::error::Error;

const NONCE_BYTES: usize = 32;

/// What the original's proofs are made for: its only request.
pub const ORIGINAL_REQUEST: &str = "PING";

/// Separates keys made from the same token for other purposes.
const KEY_CONTEXT: &str = "daemoneye-eventbus 2026 connection authentication";
const LABEL: &[u8] = b"daemoneye-eventbus proof";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Client,
    Broker,
}

/// A secret token: hidden in Debug, overwritten on drop, compared in constant time.
#[derive(Clone)]
pub struct Token {
    secret: Vec<u8>,
    /// For rules; no secret.
    name: Option<String>,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        blake3::hash(&self.secret) == blake3::hash(&other.secret) && self.name == other.name
    }
}

impl Eq for Token {}

impl Drop for Token {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl Token {
    pub const fn new(secret: Vec<u8>) -> Self {
        Self { secret, name: None }
    }

    pub const fn named(name: String, secret: Vec<u8>) -> Self {
        Self {
            secret,
            name: Some(name),
        }
    }

    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// 64 lower-case hex digits.
    pub fn proof(&self, role: Role, client_nonce: &str, broker_nonce: &str) -> String {
        self.mac(role, client_nonce, broker_nonce).to_hex().to_string()
    }

    /// Constant-time comparison of a received proof.
    pub fn verify(&self, role: Role, client_nonce: &str, broker_nonce: &str, proof: &str) -> bool {
        is_nonce(client_nonce)
            && is_nonce(broker_nonce)
            && Hash::from_hex(proof).is_ok_and(|proof| proof == self.mac(role, client_nonce, broker_nonce))
    }

    /// What the original sends to prove this token: BLAKE3 of the token and its request, as 64 lower-case hex digits. It is the same
    /// on every connection, so whoever has read it once can send it again.
    pub fn original_proof(&self) -> String {
        self.original_hash().to_hex().to_string()
    }

    /// Constant-time comparison of what the original sent.
    pub fn verify_original(&self, proof: &str) -> bool {
        is_nonce(proof) && Hash::from_hex(proof).is_ok_and(|proof| proof == self.original_hash())
    }

    fn original_hash(&self) -> Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.secret);
        hasher.update(ORIGINAL_REQUEST.as_bytes());
        hasher.finalize()
    }

    fn mac(&self, role: Role, client_nonce: &str, broker_nonce: &str) -> Hash {
        let mut key = blake3::derive_key(KEY_CONTEXT, &self.secret);
        let mut hasher = blake3::Hasher::new_keyed(&key);
        key.zeroize();
        let role: &[u8] = match role {
            Role::Client => b"c",
            Role::Broker => b"s",
        };
        for part in [
            LABEL,
            &PROTOCOL.to_le_bytes(),
            role,
            client_nonce.as_bytes(),
            broker_nonce.as_bytes(),
        ] {
            // Each part's length goes before it, so that no two lists of parts give the same bytes.
            hasher.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize()
    }
}

/// The first of `tokens` that `is_proved`. Every one is tried, so that the time does not tell which it was.
pub fn find_token(tokens: &[Token], is_proved: impl Fn(&Token) -> bool) -> Option<&Token> {
    let found: Vec<_> = tokens.iter().filter(|token| is_proved(token)).collect();
    found.first().copied()
}

/// Whether `text` has the form of a nonce: 64 lower-case hex digits.
pub fn is_nonce(text: &str) -> bool {
    text.len() == 2 * NONCE_BYTES && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A fresh nonce from the operating system, as 64 lower-case hex digits.
pub fn nonce() -> crate::Result<String> {
    let mut bytes = [0; NONCE_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| Error::Io {
        action: "getting random bytes from the operating system".to_owned(),
        cause: error.to_string(),
        errno: error.raw_os_error(),
    })?;
    Ok(Hash::from_bytes(bytes).to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_holds_for_one_token_role_and_pair_of_nonces() {
        let (client, broker) = (nonce().unwrap(), nonce().unwrap());
        assert!(is_nonce(&client) && client != broker);
        let token = Token::new(b"secret".to_vec());
        let proof = token.proof(Role::Client, &client, &broker);
        assert!(is_nonce(&proof));
        assert!(token.verify(Role::Client, &client, &broker, &proof));
        assert!(!token.verify(Role::Broker, &client, &broker, &proof));
        assert!(!token.verify(Role::Client, &broker, &client, &proof));
        assert!(!token.verify(Role::Client, &nonce().unwrap(), &broker, &proof));
        assert!(!Token::new(b"Secret".to_vec()).verify(Role::Client, &client, &broker, &proof));
        assert!(!token.verify(Role::Client, &client, &broker, ""));
        assert!(!token.verify(Role::Client, "", "", &token.proof(Role::Client, "", "")));
        assert_eq!(format!("{token:?}"), "Token(..)");
    }

    /// Both ends may be of different builds, so the bytes that are hashed are fixed. Worked out by another implementation of BLAKE3.
    #[test]
    fn a_proof_is_what_it_always_was() {
        let token = Token::new(b"secret".to_vec());
        let (client, broker) = ("0".repeat(64), "f".repeat(64));
        for (role, proof) in [
            (
                Role::Client,
                "949c38dee914a7c93a860fa44af25520e489494b26ffceea8f50f80d9a1fb50f",
            ),
            (
                Role::Broker,
                "d9516cbb1430c2c2cefc1f6941e66800f7b389041c948d1e42d87b3ee0267bcd",
            ),
        ] {
            assert_eq!(token.proof(role, &client, &broker), proof);
        }
    }

    #[test]
    fn the_original_proves_as_it_was_seen_to() {
        let token = Token::new(b"token-1".to_vec());
        let proof = token.original_proof();
        // From the captures.
        assert_eq!(
            proof,
            "54169902e229d87a48e6656c4bc4f5f318c70971e7a1d1795d059dd97aa46623"
        );
        assert!(token.verify_original(&proof));
        assert!(!token.verify_original(&proof.to_uppercase()));
        assert!(!token.verify_original(proof.get(1..).unwrap()));
        assert!(!Token::new(b"token-2".to_vec()).verify_original(&proof));
    }
}
