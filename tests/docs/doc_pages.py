"""What the pages hold: their fenced blocks, with the mark before each, and the shell lines in them."""

import json
import re
import shlex
import string
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

TINY = {"widths": [8, 8, 8], "head_width": 8, "encoder": ""}
"""The shape of the tests' `model_folder`."""
SMALL = [
    f"settings.network={json.dumps(TINY)}",
    "crop=64",
    "batch_size=2",
    "precision=float32",
    "steps=2",
    "grow={}",
]
"""What makes a training that a page shows small."""

_FENCE = re.compile(
    r"(?:<!-- (?:sh|py|file|ci): (?P<mark>[^\n]*?) -->\n)?^```(?P<language>[^\n]*)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_SPAN = re.compile(r"(?<!`)`(dereflect [^`\n]+)`(?!`)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    mark: str
    """What the comment before it says: how it is tested, and why not otherwise."""
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass
class Command:
    """One program of a shell line."""

    words: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    reads: "Command | None" = None
    """The program before it in a pipe."""
    writes: str | None = None
    """The file that gets its standard output."""


def blocks(page: Path) -> list[Block]:
    text, name = page.read_text(encoding="utf-8"), page.relative_to(ROOT).as_posix()
    found = []
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start("language")) + 1
        found.append(Block(name, line, match["language"], match["mark"] or "", match["text"]))
    return found


def spans(page: Path) -> list[str]:
    """The commands within sentences and tables."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [found.replace("\\|", "|") for found in _SPAN.findall(text)]


def commands(text: str) -> Iterator[Command]:
    """The programs of some shell lines: lines, `&&`, pipes, `>`, variables; nothing more is known."""
    variables: dict[str, str] = {}
    text = re.sub(r"\$\([^)]*\)", "secret", text)
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.shlex(
            string.Template(line).safe_substitute(variables), posix=True, punctuation_chars="|&>;"
        )
        words.whitespace_split, words.commenters = True, "#"
        current, piped = Command([]), None
        for word in [*words, "&&"]:
            if word in ("&&", ";", "&", "|"):
                if current.words[:1] == ["export"]:
                    variables |= dict(pair.split("=", 1) for pair in current.words[1:])
                elif current.words:
                    current.reads, piped = piped, current if word == "|" else None
                    if word != "|":
                        yield current
                current = Command([])
            elif word == ">" or current.writes == "":
                current.writes = "" if word == ">" else word
            elif not current.words and re.fullmatch(r"[A-Z_]+=.*", word):
                current.environment |= [word.split("=", 1)]
            else:
                current.words.append(word)
