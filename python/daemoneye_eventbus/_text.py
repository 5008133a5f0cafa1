"""Names from the operating system as Unicode, reversibly.

The system's names are bytes (Unix) or 16-bit units (Windows) that need not be Unicode; Python carries what is not as
lone surrogates, which no wire can. ``os_text`` writes those with an escape character that names hardly ever
contain, U+241B; it is the identity for all other text, and no two names become the same text.
"""

from __future__ import annotations

import re
from typing import Final

from daemoneye_eventbus._checks import wrong_type

__all__ = ["os_bytes", "os_text"]

ESCAPE: Final = "\u241b"
_SURROGATE = re.compile("[\ud800-\udfff]")
_RAW = re.compile("[\ud800-\udfff\u241b]")
_ESCAPED = re.compile("\u241b(?:(\u241b)|([89a-f][0-9a-f])|u(d[89a-f][0-9a-f]{2}))?")
_BYTE_SURROGATES = range(0xDC80, 0xDD00)


def os_text(value: str | bytes) -> str:
    """Escape what is not Unicode in ``value``, a name of the operating system.

    A byte that is not UTF-8 becomes U+241B and two hexadecimal digits, another lone surrogate U+241B, ``u`` and four,
    U+241B itself is doubled. Bytes are read as UTF-8, as `os.fsdecode` does. `os_bytes` is the inverse.
    """
    if not isinstance(value, str | bytes):
        raise wrong_type("value", "str or bytes", value)
    text = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
    return _RAW.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if match[0] == ESCAPE:
        return ESCAPE * 2
    return f"{ESCAPE}{code - 0xDC00:02x}" if code in _BYTE_SURROGATES else f"{ESCAPE}u{code:04x}"


def os_bytes(text: str) -> bytes:
    """Give back the name that `os_text` escaped as ``text``, as the operating system's bytes.

    `os.fsdecode` makes a ``str`` of it. Raises ``ValueError`` for text that `os_text` cannot have made.
    """
    if not isinstance(text, str):
        raise wrong_type("text", "str", text)
    if (lone := _SURROGATE.search(text)) is not None:
        raise ValueError(f"text: not of os_text(): surrogate at {lone.start()}; os.fsencode() takes the system's own")
    parts: list[bytes] = []
    end = 0
    for match in _ESCAPED.finditer(text):
        parts.append(text[end : match.start()].encode())
        doubled, byte, surrogate = match.groups()
        if doubled:
            parts.append(ESCAPE.encode())
        elif byte:
            parts.append(bytes.fromhex(byte))
        elif surrogate and int(surrogate, 16) not in _BYTE_SURROGATES:
            parts.append(chr(int(surrogate, 16)).encode("utf-8", "surrogatepass"))
        else:
            raise ValueError(f"text: not of os_text(): bad escape at {match.start()}")
        end = match.end()
    parts.append(text[end:].encode())
    return b"".join(parts)
