"""What the library says of its settings and arguments, in the words of the command line."""

from __future__ import annotations

from typing import Final

__all__ = ["in_options"]

_WORDS: Final = {
    "set ClientConfig.token to the broker's": "give --token-file with the broker's",
    "set BrokerConfig.token too": "start it with --token-file too",
    "needs a token; set token": "needs a token; give --token-file",
    "give `token` as a mapping": "name one with --token-file NAME=FILE",
    "and server_uids is ": "and --server-uid is ",
    "or add that uid": "or add that uid with --server-uid",
    "and server_sids is ": "and --server-sid is ",
    "or add the SID": "or add the SID with --server-sid",
    "leave it None": "leave it out",
    "a later one or None": "a later one or none",
    "escape it with os_text()": "escape it",
    'congestion "block"': "--congestion block",
    "start one there, or check the path; last cause: the connection to the broker was lost: something accepted the "
    'connection and did not answer CONNECT; if it is a broker of the original, set peer="original"': "something "
    "accepted the connection and did not answer CONNECT: a broker that hangs, or one of the original, to which this "
    "command cannot speak",
    'check the path; for a broker of the original, set peer="original"': "check the path; to a broker of the original "
    "this command cannot speak",
    'per="uid"': "per=uid",
}
"""Whole phrases, since text from elsewhere may stand beside them."""


def in_options(text: str) -> str:
    """What to do, as whoever typed a command can do it."""
    for said, meant in _WORDS.items():
        text = text.replace(said, meant)
    return text
