"""Metadata files decoded, and checked numbers out of their values.

JSON is decoded strictly; lines of JSON and plain rows of numbers are taken too. Open this module to
accept another text form, or to change what counts as a number or a list of numbers.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from geogen_hf.cameras.poses import FloatArray
from geogen_hf.errors import GeoGenError

Path = tuple[str, ...]
"""Keys from a camera inwards."""
Dims = tuple[int, ...]
"""Dimensions of nested lists of numbers; `()` is one number."""

_MAX_NUMBER = 1e9  # no length, pixel or entry comes near; beyond it arithmetic overflows at last
_MAX_KEYS = 64  # an object with more keys is a collection and no camera
MAX_KEYS_DEEP = 3
"""How deep inside a camera's object a value may be."""

_NUMBER = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_NUMBERS_TEXT = re.compile(rf"[\[(\s]*{_NUMBER}(?:[\s,;\[\]()]+{_NUMBER})*[\])\s]*", re.ASCII)
_ROW = re.compile(r"[-+0-9.eE \t,;]+", re.ASCII)


class JsonError(GeoGenError, ValueError):
    """Text is not JSON as this package takes it."""


class CameraValueError(GeoGenError):
    """A camera's value is not what its key says.

    Attributes:
        row: Which of the cameras; None where it concerns all.
        expected: What should have been there.
        found: What was there.
        remedy: What the reader can do, or None.
    """

    def __init__(
        self, row: int | None, expected: str, found: str, remedy: str | None = None
    ) -> None:
        super().__init__(f"expected {expected}, found {found}")
        self.row, self.expected, self.found, self.remedy = row, expected, found, remedy


def decode_document(data: bytes) -> tuple[str, Any]:
    r"""Decode UTF-8 JSON, one JSON value a line, or rows of numbers.

    No object may have a key twice, and every number has to be finite.

    Returns:
        The text as JSON, as it was written where it is JSON, and the value.

    Raises:
        JsonError: It is none of these.

    Example:
        >>> decode_document(b"1 0 2.5\n0 1 0\n")[1]
        [[1.0, 0.0, 2.5], [0.0, 1.0, 0.0]]
        >>> decode_document(b'{"0": 1, "0": 2}')
        Traceback (most recent call last):
        geogen_hf.metadata.values.JsonError: the key '0' is there twice
    """
    try:
        text = data.decode("utf-8-sig")
        return text, _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        lines = data.decode("utf-8-sig", "replace").split("\n")
        lines = [line.strip() for line in lines if line.strip()]
        try:
            if len(lines) > 1 and lines[0][0] in "{[":
                return join_texts(lines), list(map(_DECODER.decode, lines))
            if lines and all(map(_ROW.fullmatch, lines)):
                rows = [[float(word) for word in re.split(r"[ \t,;]+", line)] for line in lines]
                value = rows if len(rows) > 1 else rows[0]
                return json.dumps(value), value
        except (ValueError, RecursionError):
            pass  # then it is broken JSON
        raise JsonError(str(error)) from error


def _refuse_constant(constant: str) -> float:
    raise JsonError(f"{constant} is not a finite number")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise JsonError(f"the key {twice[:60]!r} is there twice")
    return value


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_distinct)


def join_texts(texts: Sequence[str]) -> str:
    r"""Several JSON texts as one array, each as it was.

    Example:
        >>> join_texts(["{}", "[1.50]"])
        '[{},\n[1.50]]'
    """
    return "[" + ",\n".join(text.strip() for text in texts) + "]"


def dotted(paths: Iterable[Path], most: int = 8) -> str:
    """Paths for a message.

    Example:
        >>> dotted([("camera", "K"), ("fx",)])
        'camera.K, fx'
    """
    shown = [".".join(key[:40] for key in path) for path in paths]
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if shown[most:] else "")


def shape_of(value: object, depth: int = MAX_KEYS_DEEP + 1) -> Any:
    """The keys of an object with the shapes of their values, or the dimensions of numbers.

    Lists are described by their first items: `numbers` checks the others.

    Example:
        >>> shape_of({"K": [[1.0, 0.0], [0.0, 1.0]], "file": "3.png", "t": "1 2 3"})
        (('K', (2, 2)), ('file', 's'), ('t', (3,)))
    """
    kind = type(value)
    if kind is dict:
        if depth == 0 or not value or len(value) > _MAX_KEYS:  # type: ignore[arg-type]
            return "{}"
        return tuple([(key, shape_of(v, depth - 1)) for key, v in value.items()])  # type: ignore[attr-defined]
    dims: Dims = ()
    inner: Any = value
    while kind is list and len(dims) < 5:
        dims = (*dims, len(inner))
        inner = inner[0] if inner else None
        kind = type(inner)
    if kind is float or kind is int:
        return dims
    if kind is str:
        if _NUMBERS_TEXT.fullmatch(inner[:2000]):
            count = len(re.findall(_NUMBER, inner))
            return dims if count == 1 else (*dims, count)
        return "[]" if len(dims) > 1 else ("s", dims[0]) if dims else "s"
    return "[]" if dims else "b" if kind is bool else "-"


def numbers(values: Sequence[object], what: str, shapes: Sequence[Dims]) -> FloatArray:
    """Read one value of every camera: finite numbers, or text of such, all of one of these shapes.

    Args:
        values: One a camera.
        what: The key, for messages.
        shapes: Those accepted; `()` is a plain number.

    Returns:
        `(V, *shape)` float64.

    Raises:
        CameraValueError: Anything else, of which words and true/false are examples.

    Example:
        >>> numbers([[1, 2, 3], [4, 5, 6.5]], "t", [(3,), (3, 1)]).shape
        (2, 3)
        >>> numbers(["1 2 3"], "t", [(3,)]).tolist()
        [[1.0, 2.0, 3.0]]
    """
    array = _as_array(values)
    expected = f"{what} to be {spoken(shapes)}"
    if array is None or array.shape[1:] not in shapes:
        first: Dims | None = None
        for row, value in enumerate(values):
            one = _as_array([value])
            if one is None or one.shape[1:] not in shapes:
                found = repr(value) if one is None else f"numbers of shape {one.shape[1:]}"
                raise CameraValueError(row, expected, found[:80])
            first = one.shape[1:] if first is None else first
            if one.shape[1:] != first:
                raise CameraValueError(row, f"{what} alike in all views", f"shape {one.shape[1:]}")
        raise CameraValueError(None, expected, "mixed numbers")
    good = np.abs(array) <= _MAX_NUMBER
    if not good.all():
        found = f"a number that is not finite, or over {_MAX_NUMBER:g}"
        raise CameraValueError(int(np.argwhere(~good)[0, 0]), expected, found)
    return array


def _as_array(values: Sequence[object]) -> FloatArray | None:
    """Numbers, or text of such, in lists of the same lengths; None for anything else."""
    if values and isinstance(values[0], (str, dict)):
        values = [_plain(value) for value in values]
    dims: list[int] = []
    flat: Any = values
    while (kinds := set(map(type, flat))) == {list}:
        lengths = set(map(len, flat))
        if len(lengths) != 1 or len(dims) > 4:
            return None
        dims += lengths
        flat = list(chain.from_iterable(flat))
    if not (kinds <= {int, float} or kinds == {str}):  # numpy takes True for 1.0 among floats
        return None
    try:
        array = np.fromiter(map(float, flat) if str in kinds else flat, np.float64, len(flat))
    except (ValueError, OverflowError):
        return None
    return array.reshape(len(values), *dims)


def _plain(value: object) -> object:
    """`{"x": …}` as a list, and text of several numbers as a list of texts."""
    if isinstance(value, dict):
        parts = {str(key).lower(): each for key, each in value.items()}
        return [parts.get(letter) for letter in ("wxyz" if "w" in parts else "xyz")]
    if isinstance(value, str):
        words = re.split(r"[\s,;\[\]()]+", value.strip(" \t\r\n[](),;"))
        return words[0] if len(words) == 1 else words
    return value


def spoken(shapes: Sequence[Dims]) -> str:
    """Shapes for a message.

    Example:
        >>> spoken([(), (3, 3)])
        'a finite number or 3×3 finite numbers'
    """
    named = " or ".join("×".join(map(str, shape)) for shape in shapes if shape)
    alone = ["a finite number"] if () in shapes else []
    return " or ".join(alone + ([f"{named} finite numbers"] if named else []))
