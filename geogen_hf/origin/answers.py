"""Whether a server's answer is about the file, the version and the bytes that were asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from geogen_hf.errors import FetchError, explain
from geogen_hf.origin.headers import RemoteInfo, content_range, remote_info
from geogen_hf.origin.http import check_status


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for, for messages.

    Attributes:
        label: The part's name.
        url: Where it is.
    """

    label: str
    url: str

    def check_version(
        self, status: int, headers: Mapping[str, str], known: RemoteInfo | None
    ) -> RemoteInfo:
        """Refuse an answer that is no file, or of another version.

        Args:
            status: The answer's.
            headers: The answer's.
            known: The version to insist on; None for any.

        Returns:
            The version the answer is of; its size is known.

        Raises:
            TransientError: Another attempt may succeed.
            FetchError: It will not, or the file was replaced.
        """
        check_status(status, headers, label=self.label, url=self.url)
        if headers.get("Content-Encoding", "identity").lower() not in ("identity", ""):
            raise self.refused("bytes as they are", f"encoded: {headers['Content-Encoding']}")
        info = remote_info(status, headers)
        if known is not None and not known.same_version(info):
            raise self.changed(known, _describe(info))
        if info.size is None and (known is None or known.size is None):
            raise self.refused("the size of the file", "neither Content-Length nor Content-Range")
        return info

    def check_place(self, headers: Mapping[str, str], start: int, stop: int) -> None:
        """Refuse an answer of status 206 that does not hold `[start, stop)`.

        Raises:
            FetchError: It does not.
        """
        place = content_range(headers)
        if place is None or (place.start, place.stop) != (start, stop):
            found = headers.get("Content-Range", "no Content-Range")
            raise self.refused(f"bytes {start}-{stop - 1}", found)

    def changed(self, known: RemoteInfo, found: str) -> FetchError:
        """The file was replaced."""
        return FetchError(
            explain(
                f"{self.label}: changed upstream while it was being read",
                where=self.url,
                expected=_describe(known),
                found=found,
                remedy="load the data set anew, to read the new version",
            )
        )

    def refused(self, expected: str, found: str) -> FetchError:
        """The answer is of no use."""
        return FetchError(
            explain(
                f"{self.label}: the server does not send what was asked for",
                where=self.url,
                expected=expected,
                found=found,
                remedy="choose another source with base_url",
            )
        )

    def without_ranges(self) -> FetchError:
        """The server sends whole files only."""
        return FetchError(
            explain(
                f"{self.label}: the server does not serve byte ranges",
                where=self.url,
                expected="status 206 to a request with Range",
                found="status 200 and the whole file",
                remedy="download the parts first (geogen download), then pass data_dir",
            )
        )


def _describe(info: RemoteInfo) -> str:
    return f"{info.size} bytes, ETag {info.etag}, last modified {info.last_modified}"
