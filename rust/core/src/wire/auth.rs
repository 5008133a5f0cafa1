//! Mutual proof of a shared token: keyed BLAKE3 over both nonces, one label per role.

pub const NONCE_BYTES: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Client,
    Broker,
}

/// A token that shows itself to nobody: hidden in Debug.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Vec<u8>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
    /// 64 lower-case hex digits.
    pub fn proof(&self, _role: Role, _client_nonce: &str, _broker_nonce: &str) -> String {
        todo!()
    }
    /// Constant-time comparison of a received proof.
    pub fn verify(&self, _role: Role, _client_nonce: &str, _broker_nonce: &str, _proof: &str) -> bool {
        todo!()
    }
}

/// A fresh nonce from the operating system, as 64 lower-case hex digits.
pub fn nonce() -> crate::Result<String> {
    todo!()
}
