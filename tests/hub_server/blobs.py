"""Contents on disk, each under the name of its sha256, and uploads on their way there."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections.abc import Iterable
from pathlib import Path

from hub_server.errors import HubError


class BlobStore:
    """Immutable contents by sha256. What is under a name hashes to it, or it never gets there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._incoming = folder / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        self._key = secrets.token_bytes(16)
        self._parts: dict[tuple[str, int], tuple[Path, str]] = {}
        self._lock = threading.Lock()

    def path(self, sha256: str) -> Path:
        return self.folder / sha256[:2] / sha256

    def has(self, sha256: str) -> bool:
        return self.path(sha256).is_file()

    def put(self, sha256: str, chunks: Iterable[bytes]) -> int:
        """Store a content under the hash that was promised for it, and return its size.

        Raises:
            HubError: It has another hash.
        """
        received, found, size = self._receive(chunks)
        if found != sha256:
            received.unlink()
            raise HubError(400, f"BadDigest: the content has sha256 {found}, not {sha256}")
        self._keep(received, sha256)
        return size

    def put_bytes(self, content: bytes) -> str:
        """Store a content and return its sha256."""
        sha256 = hashlib.sha256(content).hexdigest()
        if not self.has(sha256):
            self.put(sha256, [content])
        return sha256

    def put_part(self, upload: str, number: int, chunks: Iterable[bytes]) -> str:
        """Store one part of a multipart upload and return its ETag."""
        received, found, _ = self._receive(chunks)
        with self._lock:
            self._parts[upload, number] = (received, found)
        return f'"{found[:32]}"'

    def complete(self, upload: str, sha256: str, etags: list[tuple[int, str]], count: int) -> int:
        """Join the parts of an upload and return the size.

        Raises:
            HubError: A part is missing or another one, or the whole has another hash.
        """
        with self._lock:
            parts = [self._parts.get((upload, number)) for number, _ in etags]
        if [number for number, _ in etags] != list(range(1, count + 1)):
            raise HubError(400, f"InvalidPartOrder: expected parts 1 to {count}")
        for part, (number, etag) in zip(parts, etags, strict=True):
            if part is None or f'"{part[1][:32]}"' != etag:
                raise HubError(400, f"InvalidPart: {number}")
        paths = [part[0] for part in parts if part is not None]
        size = self.put(sha256, _pieces(paths))
        with self._lock:
            for number, _ in etags:
                del self._parts[upload, number]
        for path in paths:
            path.unlink()
        return size

    def sign(self, method: str, path: str) -> str:
        """Make the query that lets a storage URL be used once it is handed out."""
        text = f"{method} {path}".encode()
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()[:32]

    def _receive(self, chunks: Iterable[bytes]) -> tuple[Path, str, int]:
        path = self._incoming / secrets.token_hex(8)
        digest, size = hashlib.sha256(), 0
        try:
            with path.open("wb") as file:
                for chunk in chunks:
                    digest.update(chunk)
                    size += file.write(chunk)
        except BaseException:
            path.unlink()  # an upload that broke off leaves nothing, as on S3
            raise
        return path, digest.hexdigest(), size

    def _keep(self, received: Path, sha256: str) -> None:
        target = self.path(sha256)
        target.parent.mkdir(exist_ok=True)
        received.replace(target)


def _pieces(paths: Iterable[Path]) -> Iterable[bytes]:
    for path in paths:
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                yield piece
