//! Names of pipes. Text only, so that the rules hold, and are tested, on every system.

/// Where the pipes of this machine are.
pub(super) const PREFIX: &str = r"\\.\pipe\";
/// UTF-16 units of a whole name, its prefix included.
const LIMIT: usize = 256;

/// `given` with the one right prefix, or why it is no name of a local pipe.
///
/// A name on another machine is refused and not looked up: opening it would send this user's credentials there. What Win32 would
/// read differently from how it is written (dots and spaces at the end, slashes) is refused too, so that a name means one pipe.
pub(super) fn canonical(given: &str) -> Result<String, String> {
    let slashed = given.replace('/', r"\");
    let Some(rest) = slashed.strip_prefix(r"\\") else {
        return Err(format!(
            "it is not the name of a pipe; give {PREFIX}NAME, or an instance"
        ));
    };
    let mut parts = rest.splitn(3, '\\');
    let (host, kind, name) = (
        parts.next().unwrap_or(""),
        parts.next().unwrap_or(""),
        parts.next().unwrap_or(""),
    );
    if host != "." {
        return Err(if host == "?" {
            format!("it starts with another prefix of this machine; give {PREFIX}{name}")
        } else {
            format!("it names a pipe of another machine ({host}), and the bus is local; give {PREFIX}NAME")
        });
    }
    if !kind.eq_ignore_ascii_case("pipe") {
        return Err(format!("it is not among the pipes of this machine; give {PREFIX}NAME"));
    }
    if name.is_empty() {
        return Err(format!("the pipe has no name; give {PREFIX}NAME"));
    }
    if name.contains('\\') {
        return Err(format!(
            "the name behind {PREFIX} contains a slash or backslash, which a name of a pipe may not; leave it out"
        ));
    }
    if name.chars().any(char::is_control) {
        return Err("the name contains a control character; leave it out".to_owned());
    }
    if name.ends_with(['.', ' ']) {
        return Err("the name ends in a dot or space, which Windows would leave out; leave it out yourself".to_owned());
    }
    let name = format!("{PREFIX}{name}");
    let length = name.encode_utf16().count();
    if length > LIMIT {
        return Err(format!(
            "it has {length} characters and the limit is {LIMIT}; choose a shorter name"
        ));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_names_are_taken_with_one_prefix() {
        for (given, name) in [
            (r"\\.\pipe\DaemonEye-main", r"\\.\pipe\DaemonEye-main"),
            (r"\\.\PIPE\DaemonEye-main", r"\\.\pipe\DaemonEye-main"),
            ("//./pipe/DaemonEye-main", r"\\.\pipe\DaemonEye-main"),
            (r"\\.\pipe\bus.x y", r"\\.\pipe\bus.x y"),
            (r"\\.\pipe\Überwachung", r"\\.\pipe\Überwachung"),
        ] {
            assert_eq!(canonical(given).as_deref(), Ok(name), "{given}");
        }
    }

    #[test]
    fn the_limit_is_the_whole_name() {
        let longest = format!("{PREFIX}{}", "x".repeat(LIMIT - PREFIX.len()));
        assert_eq!(canonical(&longest), Ok(longest.clone()));
        assert!(
            canonical(&format!("{longest}x"))
                .unwrap_err()
                .contains("257 characters and the limit is 256")
        );
    }

    #[test]
    fn what_is_no_local_pipe_is_refused_with_the_reason() {
        for (given, reason) in [
            ("DaemonEye-main", "not the name of a pipe"),
            ("/tmp/daemoneye.sock", "not the name of a pipe"),
            (r"C:\daemoneye.sock", "not the name of a pipe"),
            (r"\\server\pipe\DaemonEye-main", "another machine (server)"),
            (r"\\127.0.0.1\pipe\DaemonEye-main", "another machine (127.0.0.1)"),
            (r"\\localhost\pipe\DaemonEye-main", "another machine (localhost)"),
            (r"\\?\pipe\DaemonEye-main", r"give \\.\pipe\DaemonEye-main"),
            (r"\\.\mailslot\DaemonEye-main", "not among the pipes"),
            (r"\\.\pipe", "has no name"),
            (r"\\.\pipe\", "has no name"),
            (r"\\.\pipe\a\b", "slash or backslash"),
            (r"\\.\pipe\a/b", "slash or backslash"),
            (r"\\.\pipe\\\.\pipe\a", "slash or backslash"),
            ("\\\\.\\pipe\\a\nb", "control character"),
            (r"\\.\pipe\..", "ends in a dot"),
            (r"\\.\pipe\a ", "ends in a dot or space"),
        ] {
            let refused = canonical(given).unwrap_err();
            assert!(refused.contains(reason), "{given}: {refused}");
        }
    }
}
