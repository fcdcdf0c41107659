"""What files are made of, and readers that are nobody's but Python's and numpy's."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

SENTENCES = [
    "the old gardener watered every plant", "nobody remembered who had built the bridge",
    "twelve plus nineteen, and nothing else", "before the sun came up it was still",
]  # fmt: skip
NONWORDS = ["glorbix fendal mopi strane", 'wuggle "trisket" plonder', "vash", "mopi fendal ça"]


def plain(value: Any) -> Any:
    """Return something that can be compared: numbers by their bits."""
    if isinstance(value, torch.Tensor):
        return plain(value.detach().cpu().float().numpy() if value.dtype is torch.bfloat16
                     else value.detach().cpu().numpy())  # fmt: skip
    if isinstance(value, np.ndarray):
        return (str(value.dtype.newbyteorder("=")), value.shape,
                np.ascontiguousarray(value).tobytes() if value.dtype.kind in "biufc"
                else repr(value.tolist()))  # fmt: skip
    if isinstance(value, pd.DataFrame):
        return tuple((str(name), repr(value[name].tolist())) for name in value.columns)
    if isinstance(value, dict):
        return tuple((str(key), plain(found)) for key, found in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(plain, value))
    return value if isinstance(value, str | int | bool | None) else repr(value)


def written_csv(path: Path, rows: list[dict[str, Any]], sep: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=sep)
        writer.writeheader()
        writer.writerows(rows)
    return path


def written_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def decoded(content: bytes) -> str:
    """Return a text as its byte order mark says, otherwise UTF-8."""
    for mark, encoding in ((b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"),
                           (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):  # fmt: skip
        if content.startswith(mark):
            return content.decode(encoding)
    return content.decode("utf-8-sig")


def cells(text: str, sep: str) -> list[dict[str, str]]:
    """Read a table with Python's own reader; names of columns in small letters."""
    csv.field_size_limit(10**9)
    usual = next((each for each in (sep, ";", "\t", "|") if each in text.splitlines()[0]), sep)
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=usual)]
    header = [title.strip().casefold() for title in rows[0]]
    return [dict(zip(header, row, strict=False)) for row in rows[1:] if any(c.strip() for c in row)]
