//! What a peer wrote for people, or a path, made fit to be shown: it may hold anything, line breaks and a terminal's commands included.

/// Characters that are kept; our own messages are shorter.
const MOST: usize = 1000;

/// One line of printable characters: others become `\n`, `\u{1b}` and the like, what is longer is cut. Quotes and backslashes stay.
pub(crate) fn shown(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(MOST));
    let mut rest = text.chars();
    for character in rest.by_ref().take(MOST) {
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
    fn nothing_that_a_terminal_obeys_is_left() {
        assert_eq!(shown("it's \"so\" \\ grün"), "it's \"so\" \\ grün");
        assert_eq!(shown("a\r\nb\x1b[2J\0\u{202e}"), "a\\r\\nb\\u{1b}[2J\\0\\u{202e}");
    }

    #[test]
    fn what_is_longer_is_cut() {
        let whole = "x".repeat(MOST);
        assert_eq!(shown(&whole), whole);
        assert_eq!(shown(&"x".repeat(MOST + 1)), format!("{whole}…"));
    }
}
