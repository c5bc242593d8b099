"""Contents on disk, each under the name of its sha256, and uploads on their way there."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from pathlib import Path

from hub_server.errors import HubError


class BlobStore:
    """Immutable contents by sha256. What is under a name hashes to it, or it never gets there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._incoming = folder / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        self.expire_signatures()

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

    def sign(self, text: str) -> str:
        """Make the signature that lets a storage URL be used once it is handed out."""
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()[:32]

    def expire_signatures(self) -> None:
        """Refuse every storage URL that was handed out so far."""
        self._key = secrets.token_bytes(16)

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
