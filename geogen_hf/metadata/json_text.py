"""JSON text decoded strictly, and pieces of it cut out as they were written.

Lines of JSON and plain rows of numbers are taken too. Open this module to accept another text form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from geogen_hf.errors import GeoGenError

Trail = tuple[str | int, ...]
"""Keys and positions from a document's root."""

_BLANK = " \t\n\r"


class JsonError(GeoGenError, ValueError):
    """Text is not JSON as this package takes it."""


def decode_json(data: bytes) -> tuple[str, Any]:
    """Decode UTF-8 JSON in which no object has a key twice and every number is finite.

    Returns:
        The text without its byte order mark, and the value.

    Raises:
        JsonError: It is something else, or nested too deeply.

    Example:
        >>> decode_json(b'{"0": 1, "0": 2}')
        Traceback (most recent call last):
        geogen_hf.metadata.json_text.JsonError: the key '0' is there twice
    """
    try:
        text = data.decode("utf-8-sig")
        return text, _DECODER.decode(text)
    except JsonError:
        raise
    except (ValueError, RecursionError) as error:
        raise JsonError(str(error)) from error


_ROW = re.compile(r"[-+0-9.eE \t,;]+", re.ASCII)


def decode_document(data: bytes) -> tuple[str, Any]:
    r"""Decode JSON, one JSON value a line, or rows of numbers.

    Returns:
        The text as JSON, as it was written where it is JSON, and the value.

    Raises:
        JsonError: It is none of these.

    Example:
        >>> decode_document(b"1 0 2.5\n0 1 0\n")[1]
        [[1.0, 0.0, 2.5], [0.0, 1.0, 0.0]]
    """
    try:
        return decode_json(data)
    except JsonError as error:
        lines = data.decode("utf-8-sig", "replace").split("\n")
        lines = [line.strip() for line in lines if line.strip()]
        try:
            if len(lines) > 1 and lines[0][0] in "{[":
                return join_texts(lines), [decode_json(line.encode())[1] for line in lines]
            if lines and all(map(_ROW.fullmatch, lines)):
                rows = [[float(word) for word in re.split(r"[ \t,;]+", line)] for line in lines]
                value = rows if len(rows) > 1 else rows[0]
                return json.dumps(value), value
        except (JsonError, ValueError):
            pass  # then it is broken JSON
        raise error


def _refuse_constant(constant: str) -> float:
    raise JsonError(f"{constant} is not a finite number")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise JsonError(f"the key {twice[:60]!r} is there twice")
    return value


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_distinct)
_SCANNER = json.JSONDecoder()


class Cutter:
    """Cuts pieces out of one valid JSON text, each as it was written.

    Example:
        >>> cutter = Cutter('{"a": {"v": 1.50}, "b": {"v": 2e0}}')
        >>> cutter.value(("b",)), cutter.children((), ("a",))
        ('{"v": 2e0}', '{"a": {"v": 1.50}}')
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._children: dict[Trail, dict[str | int, tuple[int, int, int]]] = {}

    def value(self, trail: Trail) -> str:
        """Cut out the value at a path of keys and positions.

        Raises:
            KeyError: There is none.
        """
        if not trail:
            return self._text
        _, start, stop = self._spans(trail[:-1])[trail[-1]]
        return self._text[start:stop]

    def children(self, container: Trail, keys: Sequence[str | int]) -> str:
        """Cut some children out of an object or array, as one of the same kind.

        Raises:
            KeyError: There is no such child.
        """
        spans = self._spans(container)
        if isinstance(next(iter(spans)), int):
            return "[" + ",\n".join(self._text[spans[k][1] : spans[k][2]] for k in keys) + "]"
        return "{" + ",\n".join(self._text[spans[k][0] : spans[k][2]] for k in keys) + "}"

    def _spans(self, container: Trail) -> dict[str | int, tuple[int, int, int]]:
        """Where every child's key starts, and where its value starts and ends."""
        if container not in self._children:
            start = self._spans(container[:-1])[container[-1]][1] if container else 0
            self._children[container] = self._scan(start)
        return self._children[container]

    def _scan(self, start: int) -> dict[str | int, tuple[int, int, int]]:
        text, at = self._text, self._skip(start)
        is_object, at = text[at] == "{", self._skip(at + 1)
        spans: dict[str | int, tuple[int, int, int]] = {}
        if text[self._skip(start)] not in "{[":
            return spans
        while text[at] not in "]}":
            key: str | int = len(spans)
            key_start = at
            if is_object:
                key, at = _SCANNER.raw_decode(text, at)
                at = self._skip(self._skip(at) + 1)
            _, stop = _SCANNER.raw_decode(text, at)
            spans[key] = (key_start, at, stop)
            at = self._skip(stop)
            at = self._skip(at + 1) if text[at] == "," else at
        return spans

    def _skip(self, at: int) -> int:
        while at < len(self._text) and self._text[at] in _BLANK:
            at += 1
        return at


def join_texts(texts: Sequence[str]) -> str:
    r"""Several JSON texts as one array, each as it was.

    Example:
        >>> join_texts(["{}", "[1.50]"])
        '[{},\n[1.50]]'
    """
    return "[" + ",\n".join(text.strip() for text in texts) + "]"
