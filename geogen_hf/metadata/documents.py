"""Metadata documents as values: JSON in several guises, and objects with parts of values in keys.

Open this module when a file is "neither JSON nor rows of numbers", or when single numbers that
belong together are not seen as one value.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

from geogen_hf.errors import GeoGenError
from geogen_hf.metadata.keys import (
    ACCEPTED,
    BARE,
    OTHERWISE,
    SQUARES,
    Role,
    normalise_key,
    role_of,
    shape_of,
)

_PART = re.compile(r"(.*?)([wxyz]|[0-9]{1,2})")
_COUNTS = frozenset({"012", "123", "0123", "1234"})
_ROW = re.compile(r"[-+0-9.eE \t,;]+", re.ASCII)
_COMMENTS = re.compile(r"\s*(?:(?://|#)[^\n]*\n\s*|/\*.*?\*/\s*)*", re.DOTALL)
_SIGNS = str.maketrans("'()", '"[]')
_JSON_WORDS = {"True": "true", "False": "false", "None": "null"}
_WORDS = re.compile(r"\b(?:True|False|None)\b")
_NUMBERED = re.compile(r"(\D*?)[\W_]*([0-9]{1,9})[\W_]*(\D*)")


class JsonError(GeoGenError, ValueError):
    """Text is not JSON as this package takes it."""


def decode_document(data: bytes) -> tuple[str, Any]:
    """Decode JSON (also a string of it, or what Python prints), one a line, or rows of numbers.

    The text as JSON goes with it. JsonError for anything else, and for a key that is there twice.
    """
    try:
        text = data.decode(json.detect_encoding(data))
    except ValueError as error:
        raise JsonError(str(error)) from error
    try:
        value = _DECODER.decode(text)
        if type(value) is str and value.lstrip().startswith(("{", "[")):
            return value, _DECODER.decode(value)
        return text, value
    except (ValueError, RecursionError) as error:
        above = _COMMENTS.match(text)
        for said in (text[above.end() if above else 0 :], _printed(text)):
            with suppress(ValueError, RecursionError):
                return said, _DECODER.decode(said)
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        with suppress(ValueError, RecursionError):
            if len(lines) > 1 and lines[0][0] in "{[":
                return join_texts(lines), list(map(_DECODER.decode, lines))
            if lines and all(map(_ROW.fullmatch, lines)):
                rows = [[float(word) for word in re.split(r"[ \t,;]+", line)] for line in lines]
                value = rows if len(rows) > 1 else rows[0]
                return json.dumps(value), value
        raise JsonError(str(error)) from error


def _printed(text: str) -> str:
    """What Python prints of dictionaries and tuples, as JSON."""
    return _WORDS.sub(lambda word: _JSON_WORDS[word[0]], text.translate(_SIGNS))


def object_in(text: str) -> Any:
    """The object or list that a value's text holds; else the text."""
    for said in (text, _printed(text)):
        with suppress(ValueError, RecursionError):
            return _DECODER.decode(said)
    return text


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise JsonError(f"the key {twice[:60]!r} is there twice")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_distinct)


def join_texts(texts: Sequence[str]) -> str:
    """Several JSON texts as one array, each as it was."""
    return "[" + ",\n".join(text.strip() for text in texts) + "]"


def regrouped(node: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    """An object with what is spread over several keys, or several things in one, put together.

    `names` of identities, without case, are no words of which one could be a part.
    """
    return _split(_joined(_nested(node)), names)


def vector_in(node: dict[str, Any]) -> list[Any]:
    """The numbers under `x y`, `x y z` or `w x y z`, if all else is words (three.js's `_order`)."""
    if not ("x" in node or "X" in node or "_x" in node):
        return []
    found = {key.strip("_").lower(): value for key, value in node.items() if len(key) < 3}
    words = sum(type(value) in (str, bool) for key, value in node.items() if len(key) > 2)
    whole = found.keys() in ({*"xy"}, {*"xyz"}, {*"wxyz"}) and len(found) + words == len(node)
    whole = whole and all(shape_of(each) == () for each in found.values())
    return [found[letter] for letter in sorted(found)] if whole else []


@lru_cache(maxsize=4096)
def _number_in(key: str) -> tuple[str, str] | None:
    """The number in a key without a meaning, and what is left without it."""
    matched = _NUMBERED.fullmatch(key) if len(key) < 64 and role_of(key) is None else None
    rest = f"{matched[1]} {matched[3]}".strip() if matched else ""
    return (matched[2], rest) if matched and rest else None


def _split(node: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    """An object with `0_pose 0_K 1_pose …` as one with an object for each number.

    Keys that are names of identities stay as they are.
    """
    if len(node) < 4:  # two numbers with two things each
        return node
    numbered = {
        key: found
        for key, value in node.items()
        if type(value) in (dict, list)
        and (found := _number_in(key))
        and key.casefold() not in names
    }
    split: dict[str, Any] = {}
    for key, (number, rest) in numbered.items():
        split.setdefault(number, {})[rest] = node[key]
    alike = len({tuple(sorted(each)) for each in split.values()}) == 1
    if not alike or len(numbered) == len(split) or not split.keys().isdisjoint(node):
        return node
    return {**{key: node[key] for key in node if key not in numbered}, **split}


def _nested(node: dict[str, Any]) -> dict[str, Any]:
    """An object with `camera.pose.rotation` as one with an object in an object for it."""
    if not any("." in key for key in node):
        return node
    nested: dict[str, Any] = {}
    for key, value in node.items():
        *outer, last = key.split(".", 8) if "." in key else [key]
        if not outer or role_of(last) is None or not all(map(str.isidentifier, (*outer, last))):
            nested[key] = value
            continue
        inner = nested
        for step in outer:
            inner = inner.setdefault(step, {})
            if type(inner) is not dict or outer[0] in node:
                return node
        inner[last] = value
    return nested


@lru_cache(maxsize=4096)
def _part(key: str) -> re.Match[str] | None:
    return _PART.fullmatch(normalise_key(key))


def _joined(node: dict[str, Any]) -> dict[str, Any]:
    """An object with the single numbers under `tx ty tz` as one value `t`, `m00 … m33` as `m`."""
    families: dict[str, dict[str, str]] = {}
    for key, value in node.items():
        if type(value) in (float, int, str) and (part := _part(key)):
            if part[2].isdigit() and role_of(key):
                continue  # such as k1, of a distortion
            families.setdefault(part[1], {})[part[2]] = key
    for word, keys in families.items():
        if word == "" and "h" in node:
            keys.pop("w", None)  # then it is a width
        role = role_of(word) or Role("unknown")
        if len(keys) < (2 if role.name == "shift" else 3):
            continue
        joined: Any = {part: node[key] for part, key in keys.items()}
        rows, columns = ("".join(sorted({part[at] for part in keys})) for at in (0, -1))
        if keys.keys() in ({*"xy"}, {*"xyz"}, {*"wxyz"}):
            word = word or "".join(sorted(keys))
            role = role_of(word) or Role("unknown")
        elif len(keys) == len(rows) * len(columns) and {rows, columns} <= _COUNTS:
            joined = [[joined[row + column] for column in columns] for row in rows]
        else:
            parts = sorted((part for part in keys if part.isdigit()), key=int)
            places = list(map(int, parts))
            if len(parts) < len(keys) or places != list(range(places[0], places[0] + len(keys))):
                continue
            joined = [joined[part] for part in parts]
        dims = (len(keys),) if type(joined) is dict else shape_of(joined)
        shapes = (*ACCEPTED.get(role.name, BARE + SQUARES), *OTHERWISE.get(word, ((), role))[0])
        if word not in node and dims in shapes:
            node = {key: value for key, value in node.items() if key not in keys.values()}
            node[word] = joined
    return node
