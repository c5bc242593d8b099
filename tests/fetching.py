"""Parts behind a server that fails when told to, and a folder to fetch them into."""

from __future__ import annotations

from pathlib import Path

import pytest
from origin_server import Faults, OriginServer, quick_retry, write_zip
from warm import Child

from geogen_hf.errors import FetchError
from geogen_hf.source.fetch import fetch_parts, read_lock
from geogen_hf.source.files import TransferOptions
from geogen_hf.source.parts import Part, named_parts

NUMBERS = [1, 2, 3, 8]
PARTS = named_parts(NUMBERS)
FIRST, SECOND = PARTS[:2]
SIZE = 400_000
CUT = 240_000
QUICK = TransferOptions(retry=quick_retry(3), max_retry_after_s=0.3, read_s=0.5, sync_s=0.0)


class Site:
    """Parts behind a server, and a folder to fetch them into."""

    def __init__(self, root: Path, origin: OriginServer) -> None:
        self.root, self.origin, self.out = root, origin, root / "out"
        self.content = {
            part: write_zip(origin.folder / part.name, SIZE, part.number) for part in PARTS
        }

    @property
    def total(self) -> int:
        return sum(map(len, self.content.values()))

    def spoil(self, faults: Faults, part: Part = FIRST) -> Faults:
        self.origin.faults[part.name] = faults
        return faults

    def mend(self) -> None:
        self.origin.faults.clear()

    def fetch(self, **options: object) -> dict[Part, Path]:
        arguments: dict[str, object] = {"place": self.origin.url, "options": QUICK, **options}
        return fetch_parts(self.out, parts=NUMBERS, **arguments)  # type: ignore[arg-type]

    def fetch_right(self, **options: object) -> None:
        """Fetch, and see that every byte is as served."""
        paths = self.fetch(**options)
        assert {part: path.read_bytes() for part, path in paths.items()} == self.content
        names = {path.name for path in self.out.iterdir() if not path.name.startswith(".")}
        assert names - {part.name for part in PARTS} <= {"parts.lock.json"}

    def fetch_wrong(self, match: str) -> str:
        """Fetch, and see it fail over the first part alone, naming it and its URL."""
        with pytest.raises(FetchError, match=match) as caught:
            self.fetch()
        assert FIRST.name in str(caught.value)
        assert f"{self.origin.url}/{FIRST.name}" in str(caught.value)
        assert not (self.out / FIRST.name).exists()
        for part in PARTS[1:]:
            assert part.name not in str(caught.value)
            assert (self.out / part.name).read_bytes() == self.content[part]
        assert FIRST.name not in read_lock(self.out / "parts.lock.json")
        return str(caught.value)

    def sent(self, part: Part = FIRST) -> int:
        return self.origin.sent.get(part.name, 0)

    def process(self) -> Child:
        """Start a process that fetches all parts."""
        code = f"""
import logging
from geogen_hf.source.fetch import fetch_parts
from geogen_hf.source.files import TransferOptions
logging.basicConfig(level=logging.INFO)
fetch_parts(
    {str(self.out)!r}, parts=[1, 2, 3, 8], place={self.origin.url!r}, jobs=2,
    options=TransferOptions(sync_s=0.0),
)
"""
        return Child("-c", code)
