"""JSON text decoded strictly, and pieces of it cut out as they were written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from geogen_hf.errors import GeoGenError

_BLANK = " \t\n\r"


class JsonError(GeoGenError, ValueError):
    """Text is not JSON as this package takes it."""


@dataclass(frozen=True)
class Cut:
    """A piece of a JSON text.

    Attributes:
        container: Keys and positions from the root to an object or array.
        children: Which of its children, by position.
        form: The one child's value; or the children as an array; or as an object with their keys.
    """

    container: tuple[str | int, ...]
    children: tuple[int, ...]
    form: Literal["value", "array", "object"]


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
        >>> cutter.cut(Cut((), (1,), "value"))
        '{"v": 2e0}'
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._children: dict[tuple[str | int, ...], list[tuple[str | int, int, int, int]]] = {}

    def cut(self, piece: Cut) -> str:
        """Cut one piece out; arrays and objects made of several keep every child as it was."""
        spans = self._spans(piece.container)
        picked = [spans[child] for child in piece.children]
        if piece.form == "value":
            return self._text[picked[0][2] : picked[0][3]]
        if piece.form == "array":
            return "[" + ",\n".join(self._text[start:stop] for _, _, start, stop in picked) + "]"
        return "{" + ",\n".join(self._text[key:stop] for _, key, _, stop in picked) + "}"

    def _spans(self, container: tuple[str | int, ...]) -> list[tuple[str | int, int, int, int]]:
        """Key, where it starts, where its value starts and ends, of every child."""
        if container not in self._children:
            start = 0
            if container:
                above = self._spans(container[:-1])
                start = next(span[2] for span in above if span[0] == container[-1])
            self._children[container] = self._scan(start)
        return self._children[container]

    def _scan(self, start: int) -> list[tuple[str | int, int, int, int]]:
        text, at = self._text, self._skip(start)
        is_object, at = text[at] == "{", self._skip(at + 1)
        spans: list[tuple[str | int, int, int, int]] = []
        while text[at] not in "]}":
            key: str | int = len(spans)
            key_start = at
            if is_object:
                key, at = _SCANNER.raw_decode(text, at)
                at = self._skip(self._skip(at) + 1)
            _, stop = _SCANNER.raw_decode(text, at)
            spans.append((key, key_start, at, stop))
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
