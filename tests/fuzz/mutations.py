"""Ways to damage a file: drawn by a seed, so that a mutant can be made again."""

import json
import random
import struct
from collections.abc import Callable, Sequence
from typing import Any

Mutate = Callable[[bytes, random.Random], bytes]

_NUMBERS = (
    0,
    1,
    127,
    128,
    255,
    2**15,
    2**16 - 1,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**64 - 1,
)
# What readers of text trip over: long numbers, deep nesting, controls, markup, formulas.
_WORDS = (
    *(b"9" * 5000, b"-" + b"9" * 400, b"1e999", b"NaN", b"Infinity", b"-0", b"0x10", b"null"),
    *(b"true", b"[" * 100_000, b"{" * 20_000, b"]", b"}", b'"', b'""', b"'", b",", b";", b"\t"),
    *(b"\n", b"\r", b"\r\n", b"\x00", b"\x1b[31m", b"\x07", b"[/x]", b"[bold]", b"{0}", b"%s"),
    *(b"=cmd|' /C calc'!A0", b"<script>", b"../../etc/passwd", b"x" * 10_000, b"\\ud800"),
    *(b"\xed\xa0\x80", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xe2\x80\xae", b"\xd7\xa9\xd7"),
    *(b"\xf0\x9f\x99\x82", b"\xe2\x80\x8b", b"\xc2\xa0", b"\xe2\x80\xa8"),
)


def flip_bits(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 8))):
        if changed:
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def flip_early_bits(content: bytes, draw: random.Random) -> bytes:
    """Flip where headers are."""
    head = draw.choice((16, 64, 256, 2048))
    return flip_bits(content[:head], draw) + content[head:]


def set_number(content: bytes, draw: random.Random) -> bytes:
    """Write a number as machines have it over a place, more often an early one."""
    if not content:
        return b"\x00"
    form = draw.choice(("<B", "<H", "<I", "<Q", ">I"))
    size = struct.calcsize(form)
    number = draw.choice(_NUMBERS) % (1 << (8 * size))
    end = len(content) if draw.random() < 0.5 else min(len(content), 200)
    place = draw.randrange(end)
    return content[:place] + struct.pack(form, number) + content[place + size :]


def cut(content: bytes, draw: random.Random) -> bytes:
    if draw.random() < 0.2:
        return content[: draw.choice((0, 1, 4, 8, 16))]
    return content[: draw.randrange(len(content) + 1)]


def cut_a_little(content: bytes, draw: random.Random) -> bytes:
    return content[: max(0, len(content) - draw.randint(1, 64))]


def drop(content: bytes, draw: random.Random) -> bytes:
    start, length = _stretch(content, draw)
    return content[:start] + content[start + length :]


def double(content: bytes, draw: random.Random) -> bytes:
    start, length = _stretch(content, draw)
    return content[: start + length] + content[start:]


def blank(content: bytes, draw: random.Random) -> bytes:
    start, length = _stretch(content, draw)
    filler = draw.choice((b"\x00", b"\xff", b" "))
    return content[:start] + filler * length + content[start + length :]


def swap(content: bytes, draw: random.Random) -> bytes:
    a, length = _stretch(content, draw)
    b, other = _stretch(content, draw)
    (a, length), (b, other) = sorted([(a, length), (b, other)])
    if a + length > b:
        return drop(content, draw)
    return (
        content[:a] + content[b : b + other] + content[a + length : b] + content[a : a + length]
        + content[b + other :]
    )  # fmt: skip


def append(content: bytes, draw: random.Random) -> bytes:
    more = draw.choice((b"\x00", b"x", b"\n", b" ", content[:100], draw.randbytes(40)))
    return content + more * draw.choice((1, 1, 100))


def random_bytes(content: bytes, draw: random.Random) -> bytes:
    return draw.randbytes(draw.choice((0, 1, 7, 100, 3000)))


def insert_word(content: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(content) + 1)
    return content[:place] + draw.choice(_WORDS) + content[place:]


def replace_line(content: bytes, draw: random.Random) -> bytes:
    """Lose, double, swap or empty a line."""
    lines = content.split(b"\n")
    at, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    what = draw.randrange(4)
    if what == 0:
        del lines[at]
    elif what == 1:
        lines.insert(at, lines[at])
    elif what == 2:
        lines[at], lines[other] = lines[other], lines[at]
    else:
        lines[at] = draw.choice((b"", *_WORDS))
    return b"\n".join(lines)


def replace_cell(content: bytes, draw: random.Random) -> bytes:
    """Write something odd in place of what stands between two separators."""
    marks = [place for place, letter in enumerate(content) if letter in b',;\t\n":{}[] ']
    if len(marks) < 2:
        return insert_word(content, draw)
    at = draw.randrange(len(marks) - 1)
    return content[: marks[at] + 1] + draw.choice(_WORDS) + content[marks[at + 1] :]


def other_encoding(content: bytes, draw: random.Random) -> bytes:
    text = content.decode("utf-8", errors="replace")
    encoding = draw.choice(("utf-16", "utf-32", "latin-1", "cp037", "utf-8-sig", "utf-16-le"))
    return text.encode(encoding, errors="replace")


_ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 10**6, 10**9, 2**31, 2**63, 10**30, 0.5, -1.5, 1e308,
    float("nan"), float("inf"), "", " ", "x", "0", "\x00", "\x1b[2J", "\ud800", "[/x]", "a" * 5000,
    [], [[]], [0], ["x"], [None], {}, {"": None}, {"a": {"a": {}}},
)  # fmt: skip


def odd_json(content: bytes, draw: random.Random) -> bytes:
    """Replace, drop or add a value somewhere in a JSON text."""
    try:
        found = json.loads(content)
    except ValueError:
        return insert_word(content, draw)
    return _dumped(_odd(found, draw))


def odd_json_lines(content: bytes, draw: random.Random) -> bytes:
    lines = content.split(b"\n")
    at = draw.randrange(len(lines))
    return b"\n".join([*lines[:at], odd_json(lines[at], draw), *lines[at + 1 :]])


def odd_safetensors(content: bytes, draw: random.Random) -> bytes:
    """Change something in the header of a ``.safetensors`` file, which stays JSON."""
    if len(content) < 8:
        return content
    (n_bytes,) = struct.unpack("<Q", content[:8])
    header = content[8 : 8 + n_bytes]
    changed = odd_json(header, draw)
    return struct.pack("<Q", len(changed)) + changed + content[8 + n_bytes :]


def _dumped(found: Any) -> bytes:
    return json.dumps(found).encode()


def _odd(found: Any, draw: random.Random) -> Any:
    """Change one value, which may lie deeper."""
    if isinstance(found, dict) and found and draw.random() < 0.9:
        key = draw.choice(list(found))
        if draw.random() < 0.1:
            return {name: value for name, value in found.items() if name != key}
        if draw.random() < 0.05:
            return {draw.choice(("", "x", "\x1b", key * 2)) if name == key else name: value
                    for name, value in found.items()}  # fmt: skip
        return {**found, key: _odd(found[key], draw)}
    if isinstance(found, list) and found and draw.random() < 0.9:
        at = draw.randrange(len(found))
        if draw.random() < 0.15:
            return found[:at] + found[at + 1 :]
        if draw.random() < 0.15:
            return [*found[:at], found[at], *found[at:]]
        return [*found[:at], _odd(found[at], draw), *found[at + 1 :]]
    if isinstance(found, int) and draw.random() < 0.3:
        return found + draw.choice((-1, 1, 2))
    return draw.choice(_ODD)


def _stretch(content: bytes, draw: random.Random) -> tuple[int, int]:
    if not content:
        return 0, 0
    start = draw.randrange(len(content))
    return start, draw.randint(1, min(len(content) - start, draw.choice((1, 4, 16, 200, 5000))))


_ANY: tuple[Mutate, ...] = (
    *(flip_bits, flip_bits, flip_early_bits, set_number, set_number, cut, cut_a_little, drop),
    *(double, blank, swap, append, random_bytes),
)
BINARY: tuple[Mutate, ...] = (*_ANY, flip_early_bits, set_number)
TEXT: tuple[Mutate, ...] = (
    *_ANY, *(insert_word, replace_line, replace_cell) * 4, other_encoding,
)  # fmt: skip
JSON: tuple[Mutate, ...] = (*_ANY, *(insert_word, replace_cell), *(odd_json,) * 10, other_encoding)
JSON_LINES: tuple[Mutate, ...] = (*TEXT, *(odd_json_lines,) * 8)
SAFETENSORS: tuple[Mutate, ...] = (*BINARY, *(odd_safetensors,) * 8)


def mutant(content: bytes, ways: Sequence[Mutate], seed: str) -> bytes:
    """Return a damaged copy that differs from what was given; the same seed gives the same one."""
    draw = random.Random(seed)
    changed = content
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        changed = draw.choice(ways)(changed, draw)
    while changed == content:
        changed = draw.choice(ways)(changed, draw)
    return changed
