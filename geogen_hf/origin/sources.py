"""Where bytes come from: one file at a URL, read from any offset on to its end."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import unquote

from geogen_hf.errors import UsageError, explain
from geogen_hf.origin.fsspec_source import FsspecSource
from geogen_hf.origin.headers import RemoteInfo
from geogen_hf.origin.http_source import HttpSource

_HUB_URL = re.compile(
    r"hf://(?:(datasets|spaces)/)?([^/@]+/[^/@]+)(?:@(refs/[^/]+/[^/]+|[^/]+))?/(.+)"
)


class Stream(Protocol):
    """A file on its way, from one offset on; a context manager.

    Attributes:
        start: Offset of the first byte in the file.
        info: Version of the file that is being sent.
    """

    start: int
    info: RemoteInfo

    def read(self) -> bytes:
        """Wait for some bytes, at most 1 MiB; empty at the end."""
        ...

    def abort(self) -> None:
        """End a read that another thread is waiting in."""
        ...

    def __enter__(self) -> Stream: ...

    def __exit__(self, *exc_info: object) -> None: ...


class Source(Protocol):
    """One file at a URL."""

    @property
    def url(self) -> str:
        """Where it is, as asked for."""
        ...

    def probe(self) -> RemoteInfo:
        """Ask which version is there."""
        ...

    def open(self, start: int, known: RemoteInfo) -> Stream:
        """Ask for the file from an offset on, as long as it is the version known.

        The answer may be another version, or start at 0: its reader has to look.
        """
        ...


def open_source(
    url: str,
    label: str,
    *,
    connect_s: float = 10.0,
    read_s: float = 60.0,
    headers: Mapping[str, str] | None = None,
) -> Source:
    """Choose how to read a URL: by HTTP where it is `http(s)://` or `hf://`, else through fsspec.

    Files on the Hugging Face Hub are asked for at the address that the Hub gives them, so they
    resume like all others and do not pass through its cache on disk.

    Args:
        url: Of the file, or its path.
        label: The part's name, for messages.
        connect_s: Longest wait for a connection, seconds.
        read_s: Longest wait for the next bytes, seconds.
        headers: Sent along, for example for authorization.

    Raises:
        UsageError: fsspec does not know this kind of URL, or lacks a package for it.
    """
    if url.startswith("hf://") and not url.startswith("hf://buckets/"):
        address, hub_headers = hub_address(url)
        headers = {**hub_headers, **(headers or {})}
        return HttpSource(url, label, (connect_s, read_s), headers, address)
    if url.startswith(("http://", "https://")):
        return HttpSource(url, label, (connect_s, read_s), headers or {})
    return FsspecSource(url, label)


def hub_address(url: str, options: Mapping[str, Any] | None = None) -> tuple[str, dict[str, str]]:
    """Translate an `hf://` URL into the one that serves the file, and what to send along.

    Args:
        url: `hf://datasets/<owner>/<name>/<file>`, perhaps with `@<revision>` behind the name.
        options: As for `HfFileSystem`: its `token` is sent (False: none is; None or True: that of
            whoever is logged in), to its `endpoint`.

    Raises:
        UsageError: It names no file in a repository.
    """
    # Here, since the import is slow and seldom needed.
    from huggingface_hub import get_token, hf_hub_url

    match = _HUB_URL.fullmatch(url)
    if match is None:
        raise UsageError(
            explain(
                "not the URL of a file on the Hugging Face Hub",
                expected="hf://datasets/<owner>/<name>/<file>, perhaps with @<revision>",
                found=url,
            )
        )
    options = options or {}
    kind, repository, revision, path = match.groups()
    address = hf_hub_url(
        repository,
        path,
        repo_type={"datasets": "dataset", "spaces": "space"}.get(kind),
        revision=unquote(revision) if revision else None,
        endpoint=options.get("endpoint"),
    )
    given = options.get("token")
    token = get_token() if given in (None, True) else given
    return address, {"Authorization": f"Bearer {token}"} if token else {}
