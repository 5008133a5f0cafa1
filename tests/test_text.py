"""os_text: names of the operating system, reversibly."""

import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemoneye_eventbus import ProcessEvent, os_bytes, os_text

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=40)


@given(st.text())
def test_text_without_the_escape_is_unchanged(text):
    if "\u241b" not in text:
        assert os_text(text) == text


@given(st.binary())
def test_bytes_come_back(name):
    text = os_text(name)
    assert os_bytes(text) == name
    assert ProcessEvent(1, text).name == text
    if sys.platform != "win32":
        assert os_text(os.fsdecode(name)) == text


@given(ANY_TEXT, ANY_TEXT)
def test_no_two_names_become_one(a, b):
    text = os_text(a)
    text.encode()
    assert (text == os_text(b)) == (a == b)


def test_examples():
    assert os_text(b"caf\xe9") == "caf\u241be9"
    assert os_text("\ud800x") == "\u241bud800x"
    assert os_text("\u241b") == "\u241b\u241b"


@pytest.mark.parametrize("bad", ["\u241b", "\u241bzz", "\u241b41", "\u241budc80", "\u241bE9", "sh\udc80"])
def test_what_os_text_cannot_make_is_refused(bad):
    with pytest.raises(ValueError, match=r"text: not of os_text\(\): (bad escape at 0|surrogate at 2)"):
        os_bytes(bad)
