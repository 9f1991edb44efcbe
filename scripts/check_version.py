#!/usr/bin/env python3
"""Check that package, CITATION.cff and a tag, if given, name one version: check_version.py [VERSION]."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def found(file: str, pattern: str) -> str:
    match = re.search(pattern, (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        sys.exit(f"{file}: states no version")
    return match[1]


def main() -> None:
    versions = {
        "src/dereflect/_version.py": found("src/dereflect/_version.py", r'^__version__ = "(.+)"$'),
        "CITATION.cff": found("CITATION.cff", r"^version: (.+)$"),
    }
    if len(sys.argv) > 1:
        versions["the tag"] = sys.argv[1]
    if len(set(versions.values())) > 1:
        sys.exit("versions differ: " + ", ".join(f"{name} says {text}" for name, text in versions.items()))


if __name__ == "__main__":
    main()
