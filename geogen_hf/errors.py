"""The errors that this package raises on purpose, and how their messages are composed.

Each class also subclasses the builtin exception that it resembles, so callers can catch either.
A message states what is wrong, where, what was expected, what was found and what to do next, in
this order. Add an error class here if no existing one fits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

_USER_IN_URL = re.compile(r"(?<=://)[^/?#\s@]*@")
_QUERY_OF_URL = re.compile(r"((?:://|with url: /)[^\s?'\"]*)\?[^\s'\")]*")


class GeoGenError(Exception):
    """Base class of these errors; the command line prints the message and exits with status 1.

    Args:
        what: What is wrong: one sentence without a full stop.
        where: The part, member, subject or view concerned.
        expected: What should have been there.
        found: What is there.
        remedy: What the reader can do about it.

    Example:
        >>> print(GeoGenError("not a zip archive", where="images_batch_3.zip", found="HTML"))
        not a zip archive
          where: images_batch_3.zip
          found: HTML
    """

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        expected: object = None,
        found: object = None,
        remedy: str | None = None,
    ) -> None:
        facts = {"where": where, "expected": expected, "found": found, "remedy": remedy}
        lines = [f"  {label}: {fact}" for label, fact in facts.items() if fact is not None]
        super().__init__(redact("\n".join([what, *lines])))


class UsageError(GeoGenError, ValueError):
    """An argument or option has a value that cannot work."""


class PartsError(GeoGenError, FileNotFoundError):
    """A part of the release, or the place that should hold it, is missing."""


class ArchiveError(GeoGenError, OSError):
    """A part is not a readable zip, or a member's bytes are damaged."""


class FetchError(GeoGenError, OSError):
    """A part cannot be fetched: the server, the connection or the disk fails, or it changed."""


class MetadataError(GeoGenError, ValueError):
    """Camera metadata cannot be read."""


class CameraError(GeoGenError, ValueError):
    """A camera matrix is not a valid pose or not valid intrinsics."""


class ImageError(GeoGenError, ValueError):
    """An encoded image is damaged, too large, or not what was expected."""


class ReleaseError(GeoGenError, ValueError):
    """The contents of a release or of an exported folder contradict each other or are unreadable.

    Where many problems were found, the message lists all of them.
    """


class OutputError(GeoGenError, OSError):
    """An output folder cannot be written: the disk refuses, or the workers died."""


def did_you_mean(name: object, known: Iterable[str]) -> str | None:
    """Suggest, as a remedy, the known name that is most like one that is not known.

    Example:
        >>> did_you_mean(17, ["subj_00016", "subj_00017"]), did_you_mean("sequence", ["sequences"])
        ("did you mean 'subj_00017'?", "did you mean 'sequences'?")
    """
    text, known = str(name), list(known)
    near = sorted((n for n in known if n.startswith(text) or n.endswith(text)), key=len)
    near = near or get_close_matches(text, known, 1)
    return f"did you mean {near[0]!r}?" if near else None


def install(extra: str) -> str:
    """Say, as a remedy, how to install one of the package's extras."""
    return f'pip install "geogen-hf[{extra}]"; in a checkout, pip install ".[{extra}]"'


def redact(text: str) -> str:
    """Remove passwords and signatures from the URLs in a text, as messages and notes may show it.

    Both the user before the host (`http://user:password@host`) and the query (`?sig=…`, which
    grants access on many object stores) go.

    Example:
        >>> redact("GET https://me:pw@host/a.zip?sig=x failed")
        'GET https://host/a.zip failed'
    """
    return _QUERY_OF_URL.sub(r"\1", _USER_IN_URL.sub("", text))


def one_line(error: Exception) -> str:
    """Fold an error's message into one line, for a list of problems.

    Example:
        >>> one_line(GeoGenError("not a rotation", found="det -1"))
        'not a rotation; found: det -1'
    """
    return "; ".join(line.strip() for line in str(error).splitlines())


def join_failures(failures: Mapping[str, Exception]) -> str:
    r"""Put the messages of several parts together, by label, each distinct message once.

    Messages that differ only in the label become one that lists the parts in its first line. Of
    a line that ends in a label, such as a URL, the folder is left.

    Example:
        >>> where = "the connection failed\n  where: http://h/"
        >>> print(join_failures({n: FetchError(f"{n}: {where}{n}") for n in ("a.zip", "b.zip")}))
        a.zip, b.zip: the connection failed
          where: http://h/
    """
    groups: dict[str, list[str]] = {}
    for label, error in failures.items():
        groups.setdefault(str(error).replace(label, "\0"), []).append(label)
    lines: list[str] = []
    for text, labels in groups.items():
        first, *rest = text.splitlines()
        lines.append(first.replace("\0", ", ".join(labels)))
        for line in rest:
            if len(labels) > 1:
                line = line.removesuffix("\0")
            lines += [line.replace("\0", label) for label in labels] if "\0" in line else [line]
    return "\n".join(lines)
