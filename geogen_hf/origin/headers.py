"""What HTTP headers say about a file: its size, its version, and when to ask again.

Pure functions; `http` acts on them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http import HTTPStatus

_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


@dataclass(frozen=True, slots=True)
class RemoteInfo:
    """One version of a remote file, as far as its server tells.

    Attributes:
        size: Of the whole file, bytes; None where the server does not say.
        etag: Entity tag as sent, with its quotes and perhaps a leading `W/`.
        last_modified: Date of the last change, as sent.
        accepts_ranges: Whether the server says that it serves byte ranges.
    """

    size: int | None = None
    etag: str | None = None
    last_modified: str | None = None
    accepts_ranges: bool = False

    def if_range(self) -> str | None:
        """Give the value for `If-Range` (RFC 9110, 13.1.5): a strong ETag, else the date.

        Returns:
            The value; None where nothing proves that two answers hold the same bytes.

        Example:
            >>> RemoteInfo(9, '"a1"').if_range(), RemoteInfo(9, 'W/"a1"').if_range()
            ('"a1"', None)
        """
        if self.etag is not None and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified

    def same_version(self, other: RemoteInfo) -> bool:
        """Tell whether nothing known of both says that they are different versions.

        Sizes are compared where both are known; then ETags or, where one of the two has none, the
        dates. A tag that turned weak on the way through a proxy still matches.

        Example:
            >>> first = RemoteInfo(9, '"a1"', "Mon, 06 Jan 2025 00:00:00 GMT")
            >>> first.same_version(RemoteInfo(9, 'W/"a1"')), first.same_version(RemoteInfo(8))
            (True, False)
        """
        if None not in (self.size, other.size) and self.size != other.size:
            return False
        if self.etag and other.etag:
            return self.etag.removeprefix("W/") == other.etag.removeprefix("W/")
        if self.last_modified and other.last_modified:
            return self.last_modified == other.last_modified
        return True


@dataclass(frozen=True, slots=True)
class ContentRange:
    """A `Content-Range` header.

    Attributes:
        start: Offset of the first byte sent; None with status 416.
        stop: Offset behind the last one.
        total: Size of the whole file, bytes; None where unknown.
    """

    start: int | None
    stop: int | None
    total: int | None


def content_range(headers: Mapping[str, str]) -> ContentRange | None:
    """Read `Content-Range`; None where it is missing or is not about bytes.

    Example:
        >>> content_range({"Content-Range": "bytes 100-199/5000"})
        ContentRange(start=100, stop=200, total=5000)
    """
    match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if match is None:
        return None
    first, last, total = match.groups()
    return ContentRange(
        start=None if first is None else int(first),
        stop=None if last is None else int(last) + 1,
        total=None if total == "*" else int(total),
    )


def remote_info(status: int, headers: Mapping[str, str]) -> RemoteInfo:
    """Read from an answer's headers which version of the file it is about.

    Args:
        status: 200 or 206.
        headers: The answer's; names in any case where the mapping allows it, as that of `requests`.

    Returns:
        The version; with 206 the size is the whole file's.

    Example:
        >>> remote_info(206, {"Content-Range": "bytes 0-0/77", "ETag": '"a1"'})
        RemoteInfo(size=77, etag='"a1"', last_modified=None, accepts_ranges=True)
    """
    if status == HTTPStatus.PARTIAL_CONTENT:
        described = content_range(headers)
        size = described.total if described else None
    else:
        length = headers.get("Content-Length", "")
        size = int(length) if length.isascii() and length.isdigit() else None
    return RemoteInfo(
        size=size,
        etag=headers.get("ETag") or None,
        last_modified=headers.get("Last-Modified") or None,
        accepts_ranges=status == HTTPStatus.PARTIAL_CONTENT
        or headers.get("Accept-Ranges", "").strip().lower() == "bytes",
    )


def is_html(headers: Mapping[str, str], head: bytes = b"") -> bool:
    """Tell an error or login page, as some hosts send with status 200, from a file.

    Args:
        headers: The answer's.
        head: First bytes of the body, where at hand.

    Example:
        >>> is_html({"Content-Type": "text/html; charset=utf-8"}), is_html({}, b"PK")
        (True, False)
    """
    kind = headers.get("Content-Type", "").split(";")[0].strip().lower()
    return kind in ("text/html", "application/xhtml+xml") or head.lstrip()[:1] == b"<"


def retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Read `Retry-After`, which holds seconds or an HTTP date.

    Args:
        headers: The answer's.
        now: The present moment, with a time zone; None to look at the clock.

    Returns:
        Seconds from now, not negative; None where the header is missing or unreadable.

    Example:
        >>> retry_after_s({"Retry-After": "7"})
        7.0
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError):  # TypeError: what Python 3.9 raised and some 3.10 still do
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return max(0.0, (moment - (now or datetime.now(timezone.utc))).total_seconds())
