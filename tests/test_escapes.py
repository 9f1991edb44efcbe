import sys

import pytest

from dereflect.escapes import escaped, one_line, unescaped

NAMES = [
    "plain.jpg",
    "日本語 ü 👨‍👩‍👧.jpg",
    "caf\udce9.jpg",
    "a\nb\r\tc.jpg",
    "red\x1b[31m.jpg",
    "gpj\u202e.exe",
    "two\u2028lines.jpg",
    "\x85\x9b.jpg",
    "100% #1? [a].jpg",
    "\ud800.jpg",
]
WITH_BACKSLASHES = ["back\\slash.jpg", "\\xe9.jpg", "\\", "\\\\n\udce9\\"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_comes_back_from_one_printable_line(name):
    text = escaped(name)
    assert unescaped(text) == name
    assert text.isprintable() or "\u200d" in text
    assert len(text.splitlines()) == 1
    text.encode()  # is text, whatever the name was


@pytest.mark.skipif(sys.platform == "win32", reason="there it parts folders")
@pytest.mark.parametrize("name", WITH_BACKSLASHES)
def test_backslashes_come_back_too(name):
    assert unescaped(escaped(name)) == name


def test_usual_names_stay_as_they_are():
    assert [escaped(name) for name in (NAMES[0], NAMES[1], NAMES[8])] == [NAMES[0], NAMES[1], NAMES[8]]


def test_different_names_have_different_texts():
    assert len({escaped(name) for name in NAMES}) == len(NAMES)


def test_one_line_joins_lines_and_spells_the_rest():
    assert one_line("a\nb\udce9\x1b") == "a b\\xe9\\u001b"
