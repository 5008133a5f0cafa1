//! Text of a peer, or a path, made safe to show: it may hold anything, line breaks and terminal escapes included.
use std::path::Path;

/// Characters that are kept; our own messages are shorter.
const MAX_CHARS: usize = 1000;

/// One line of printable characters: others become `\n`, `\u{1b}` and the like, what is longer is cut. Quotes and backslashes stay.
pub(crate) fn printable(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(MAX_CHARS));
    let mut rest = text.chars();
    for character in rest.by_ref().take(MAX_CHARS) {
        match character {
            '"' | '\'' | '\\' => line.push(character),
            _ => line.extend(character.escape_debug()),
        }
    }
    if rest.next().is_some() {
        line.push('…');
    }
    line
}

/// Before what is not Unicode in a path, as in `os_text` of the Python package; `os_bytes` there makes a path of it again.
const ESCAPE: char = '\u{241b}';

/// A path as text; no two paths have the same.
#[cfg(unix)]
pub(crate) fn path_text(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;

    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        chunk.valid().chars().for_each(|character| push(&mut text, character));
        for byte in chunk.invalid() {
            text.push_str(&format!("{ESCAPE}{byte:02x}"));
        }
    }
    text
}

/// The same.
#[cfg(windows)]
pub(crate) fn path_text(path: &Path) -> String {
    use std::os::windows::ffi::OsStrExt;

    let mut text = String::new();
    for decoded in char::decode_utf16(path.as_os_str().encode_wide()) {
        match decoded.map_err(|error| error.unpaired_surrogate()) {
            Ok(character) => push(&mut text, character),
            Err(unit @ 0xdc80..=0xdcff) => text.push_str(&format!("{ESCAPE}{:02x}", unit - 0xdc00)),
            Err(unit) => text.push_str(&format!("{ESCAPE}u{unit:04x}")),
        }
    }
    text
}

fn push(text: &mut String, character: char) {
    text.push(character);
    if character == ESCAPE {
        text.push(character);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn no_two_paths_look_the_same() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;

        let text = |bytes| path_text(Path::new(OsStr::from_bytes(bytes)));
        assert_eq!(text("/run/grün".as_bytes()), "/run/grün");
        assert_eq!(text(b"/run/n\xff\xe9.sock"), "/run/n␛ff␛e9.sock");
        assert_eq!(text(b"\xed\xa0\x80\xe2\x90"), "␛ed␛a0␛80␛e2␛90");
        assert_eq!(text("␛ff".as_bytes()), "␛␛ff");
    }

    #[test]
    fn no_terminal_escape_is_left() {
        assert_eq!(printable("it's \"so\" \\ grün"), "it's \"so\" \\ grün");
        assert_eq!(printable("a\r\nb\x1b[2J\0\u{202e}"), "a\\r\\nb\\u{1b}[2J\\0\\u{202e}");
    }

    #[test]
    fn what_is_longer_is_cut() {
        let whole = "x".repeat(MAX_CHARS);
        assert_eq!(printable(&whole), whole);
        assert_eq!(printable(&"x".repeat(MAX_CHARS + 1)), format!("{whole}…"));
    }
}
