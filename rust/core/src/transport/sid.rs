//! Security identifiers: how Windows names users and groups.
use std::fmt;

use crate::error::{Error, Result};

/// Sub-authorities that fit into one SID.
const MAX_PARTS: usize = 15;
/// An authority has 48 bits.
const MAX_AUTHORITY: u64 = (1 << 48) - 1;

/// A SID in its text form, `S-1-5-32-545`. Aliases of the descriptor language (`BU`) are not taken, since they read as names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sid(String);

impl Sid {
    /// LocalSystem, as which most services run.
    pub const SYSTEM: &str = "S-1-5-18";
    /// The owner of what an elevated administrator makes.
    pub const ADMINISTRATORS: &str = "S-1-5-32-544";

    /// Checks the form; whether somebody has that SID only the system knows. `field` is the setting that it was given for.
    pub fn parse(field: &'static str, text: &str) -> Result<Self> {
        let refused = || {
            Error::invalid(
                field,
                format!("{text:?} is not a SID; give its text form, as in S-1-5-32-545 (whoami /user shows your own)"),
            )
        };
        let mut parts = text.split('-');
        if !parts.next().is_some_and(|part| part.eq_ignore_ascii_case("S")) || parts.next() != Some("1") {
            return Err(refused());
        }
        let authority = parts.next().and_then(authority).ok_or_else(refused)?;
        let parts: Option<Vec<u32>> = parts.map(number).collect();
        let parts = parts
            .filter(|parts| (1..=MAX_PARTS).contains(&parts.len()))
            .ok_or_else(refused)?;
        let mut canonical = format!("S-1-{authority}");
        for part in parts {
            canonical.push_str(&format!("-{part}"));
        }
        Ok(Self(canonical))
    }

    /// One that the system itself has named.
    #[cfg(windows)]
    pub(super) fn of_system(text: String) -> Self {
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last number, which tells the users of one machine or domain apart.
    pub fn relative(&self) -> u32 {
        self.0.rsplit('-').next().and_then(number).unwrap_or(u32::MAX)
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn number(text: &str) -> Option<u32> {
    // `parse` would also take a sign.
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// Decimal, or hexadecimal where it has more than 32 bits; given back as the system writes it.
fn authority(text: &str) -> Option<String> {
    let value = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => u64::from_str_radix(digits, 16).ok()?,
        Some(_) => return None,
        None => u64::from(number(text)?),
    };
    if value > MAX_AUTHORITY {
        return None;
    }
    Some(u32::try_from(value).map_or_else(|_| format!("0x{value:012x}"), |small| small.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sids_are_made_canonical() {
        for (given, canonical) in [
            ("S-1-5-18", "S-1-5-18"),
            ("s-1-5-32-545", "S-1-5-32-545"),
            ("S-1-0x5-0021-1001", "S-1-5-21-1001"),
            ("S-1-0x123456789abc-1", "S-1-0x123456789abc-1"),
            ("S-1-5-21-4294967295", "S-1-5-21-4294967295"),
        ] {
            assert_eq!(Sid::parse("server_sids", given).unwrap().as_str(), canonical);
        }
    }

    #[test]
    fn what_is_no_sid_is_refused_and_named() {
        let too_many = format!("S-1-5{}", "-1".repeat(16));
        for given in [
            "",
            "S",
            "S-1",
            "S-1-5",
            "S-1-5-",
            "S-2-5-18",
            "S-1-5-x",
            "S-1-5-+1",
            "S-1-5--1",
            "S-1-5-4294967296",
            "BU",
            "S-1-5-18)",
            "S-1-0x-1",
            "S-1-0x1000000000000-1",
            "S-1-5-18;;;WD",
            " S-1-5-18",
            &too_many,
        ] {
            let error = Sid::parse("allowed_sids", given).unwrap_err().to_string();
            assert!(
                error.starts_with("allowed_sids: ") && error.contains(&format!("{given:?}")),
                "{error}"
            );
        }
    }

    #[test]
    fn the_relative_identifier_is_the_last_number() {
        assert_eq!(
            Sid::parse("server_sids", "S-1-5-21-7-8-9-1001").unwrap().relative(),
            1001
        );
    }
}
