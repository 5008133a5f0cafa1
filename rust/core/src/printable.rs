//! Text of a peer, or a path, made safe to show: it may hold anything, line breaks and terminal escapes included.

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

#[cfg(test)]
mod tests {
    use super::*;

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
