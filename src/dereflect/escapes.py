"""File names as text that can be stored and printed anywhere, and back again.

A file name on Unix is bytes: it may hold line breaks, control characters and bytes that are no UTF-8, which
Python keeps as lone surrogates. In manifests, JSON and logs such characters are written as escapes. Usual
names stay as they are.
"""

from __future__ import annotations

import os
import re

# Controls, line and paragraph separators, marks that turn the direction of text around, and surrogates.
_ODD = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_ESCAPE = re.compile(r"\\(?:([\\nrt])|x([0-9a-f]{2})|u([0-9a-f]{4}))")
_LETTERS = {"\n": "n", "\r": "r", "\t": "t"}
_MEANT = {letter: character for character, letter in _LETTERS.items()} | {"\\": "\\"}


def escaped(name: str) -> str:
    r"""A file name in printable characters: ``\xe9`` for a byte that is no text, ``\n``, ``\u001b``.

    A backslash is doubled, except on Windows, where it parts folders. `unescaped` gives the name back.

    >>> escaped("caf\udce9.jpg"), escaped("a\nb.jpg")
    ('caf\\xe9.jpg', 'a\\nb.jpg')
    """
    return _ODD.sub(_escape, name.replace("\\", r"\\") if os.sep == "/" else name)


def unescaped(text: str) -> str:
    """The file name that `escaped` was given."""

    def meant(found: re.Match[str]) -> str:
        letter, byte, code = found.groups()
        if letter:
            return _MEANT[letter]
        return chr(0xDC00 + int(byte, 16)) if byte else chr(int(code, 16))

    return _ESCAPE.sub(meant, text)


def one_line(text: str) -> str:
    """Text in one printable line: line breaks become spaces, other odd characters escapes."""
    return _ODD.sub(_escape, " ".join(text.splitlines()))


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    if character in _LETTERS:
        return f"\\{_LETTERS[character]}"
    code = ord(character)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"
