"""Ways to damage a file at random; `fuzz.py` tries them.

Each takes its random numbers and a file's bytes, and returns other bytes.
"""

import random
import struct
import zlib
from collections.abc import Callable, Iterator

Damage = Callable[[random.Random, bytes], bytes]


def flip_bits(chance: random.Random, content: bytes) -> bytes:
    damaged = bytearray(content)
    near = chance.random() < 0.5  # headers are short, and their bits matter most
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        place = chance.randrange(min(len(damaged), 400) if near else len(damaged))
        damaged[place] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def truncate(chance: random.Random, content: bytes) -> bytes:
    return content[: chance.choice((chance.randrange(len(content)), len(content) - chance.randrange(1, 9)))]


def set_numbers(chance: random.Random, content: bytes) -> bytes:
    """Numbers of two or four bytes are made huge, zero or slightly wrong: sizes, counts, lengths, offsets."""
    damaged = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4))):
        width, order = chance.choice((2, 4, 4, 8)), chance.choice("<>")
        code = {2: "H", 4: "I", 8: "Q"}[width]
        place = chance.randrange(max(1, min(len(damaged), chance.choice((64, 600, 1 << 30))) - width))
        most = (1 << 8 * width) - 1
        (now,) = struct.unpack_from(order + code, damaged.ljust(place + width, b"\0"), place)
        wrong = (0, most, most // 2, most // 2 + 1, now + 1, now - 1, now * 2, 65535, 1 << 20, 30000)
        struct.pack_into(order + code, damaged, place, chance.choice(wrong) & most)
    return bytes(damaged)


def set_lengths(chance: random.Random, content: bytes) -> bytes:
    """As `set_numbers`, where the format has its lengths; checksums of PNG are made right again."""
    if content.startswith(b"\x89PNG"):
        return _wrong_png(chance, content)
    places = [*_segments(content), *_directory_entries(content)]
    if not places:
        return set_numbers(chance, content)
    damaged = bytearray(content)
    for place, code in chance.sample(places, min(len(places), chance.choice((1, 1, 2, 5)))):
        most = (1 << 8 * struct.calcsize(code)) - 1
        (now,) = struct.unpack_from(code, damaged, place)
        wrong = (0, 1, most, most // 2, now + 1, now * 2, now + 65536, len(content), len(content) - 1)
        struct.pack_into(code, damaged, place, chance.choice(wrong) & most)
    return bytes(damaged)


def _segments(content: bytes) -> Iterator[tuple[int, str]]:
    """Lengths of a JPEG's segments and sizes of its frame; of RIFF and of boxes."""
    if content.startswith(b"\xff\xd8"):
        place = 2
        while place + 4 <= len(content) and content[place] == 0xFF and content[place + 1] != 0xDA:
            yield place + 2, ">H"
            if content[place + 1] in (0xC0, 0xC2):
                yield from ((place + 5, ">H"), (place + 7, ">H"))
            place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    for name in (b"VP8 ", b"VP8X", b"VP8L", b"ICCP", b"EXIF", b"XMP "):
        if content.startswith(b"RIFF") and (place := content.find(name)) > 0:
            yield place + 4, "<I"
    for name in (b"ftyp", b"meta", b"iloc", b"iinf", b"iprp", b"ipco", b"ispe", b"pitm", b"idat", b"mdat"):
        if content[4:8] == b"ftyp" and (place := content.find(name)) > 3:
            yield from ((place - 4, ">I"), (place + 4, ">I"), (place + 8, ">I"))


def _directory_entries(content: bytes) -> Iterator[tuple[int, str]]:
    """Counts, types and offsets of the entries of TIFF directories, also of those within EXIF."""
    starts = [0] if content[:4] in (b"II*\0", b"MM\0*") else []
    starts += [place + 6 for place in [content.find(b"Exif\0\0")] if place >= 0]
    for start in starts:
        order = "<" if content[start : start + 2] == b"II" else ">"
        (first,) = struct.unpack_from(f"{order}I", content, start + 4)
        place = start + first
        if place + 2 > len(content):
            continue
        (count,) = struct.unpack_from(f"{order}H", content, place)
        yield from ((start + 4, f"{order}I"), (place, f"{order}H"))
        for entry in range(place + 2, min(place + 2 + 12 * count, len(content) - 12), 12):
            yield from ((entry, f"{order}H"), (entry + 2, f"{order}H"))  # tag and type
            yield from ((entry + 4, f"{order}I"), (entry + 8, f"{order}I"))  # count, and value or offset


def _wrong_png(chance: random.Random, content: bytes) -> bytes:
    chunks, place = [], 8
    while place + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, place)
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    which = chance.randrange(len(chunks))
    kind, body = chunks[which]
    way = chance.randrange(5)
    if way == 0 and body:
        body = set_numbers(chance, body) if len(body) > 8 else flip_bits(chance, body)
    elif way == 1:
        body = body[: chance.randrange(len(body) + 1)]
    elif way == 2:
        chunks.insert(chance.randrange(len(chunks)), chunks[which])
    elif way == 3:
        kind = chance.choice(
            (b"PLTE", b"tRNS", b"iCCP", b"eXIf", b"acTL", b"fdAT", b"gAMA", b"cHRM", b"cICP")
        )
    elif way == 4:
        body = body + chance.randbytes(chance.choice((1, 4, 70000)))
    chunks[which] = kind, body
    parts = [struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks]
    return content[:8] + b"".join(parts)


def splicing(all_contents: list[bytes]) -> Damage:
    """Put a piece of another file, or of this one, in some place or over it."""

    def splice(chance: random.Random, content: bytes) -> bytes:
        other = chance.choice((content, chance.choice(all_contents)))
        begin = chance.randrange(len(other))
        piece = other[begin : begin + chance.choice((4, 64, 1000, 1 << 20))]
        place = chance.randrange(len(content))
        return content[:place] + piece + content[place + chance.choice((0, len(piece))) :]

    return splice
