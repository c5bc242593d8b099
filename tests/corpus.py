"""Hostile inputs, made by code: zips, images, metadata, exported folders, notes on downloads.

Each table maps a name to what makes the input. `geogen` runs a command in this process, as a
traceback is one here too, and tells how it ended. As a script, this file runs the commands that it
reads as JSON, for tests of processes with other rights.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from geogen_hf.cli import main
from geogen_hf.source.parts import IMAGE_PARTS, METADATA_PART

UNCHECKED = ("--camera-convention", "world_to_camera opencv unchecked")
Change = Callable[[Path], object]
"""Spoils a folder."""


@dataclass(frozen=True)
class Ended:
    """How a command ended: its status, and what it printed."""

    status: object
    stdout: str
    stderr: str


def in_a_process(commands: Sequence[Sequence[object]], prefix: Sequence[str] = ()) -> Any:
    """Run commands one after the other in a process of its own: how they ended, and its peak."""
    child = subprocess.run(
        [*prefix, sys.executable, __file__],
        input=json.dumps([list(map(str, command)) for command in commands]),
        capture_output=True,
        check=False,
        text=True,
    )
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout)


def geogen(*arguments: object) -> Ended:
    """Run a command in this process; whatever it raises but `SystemExit` is raised here."""
    out, err = io.StringIO(), io.StringIO()
    status: object = 0
    with (
        patch.object(sys, "argv", ["geogen", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            status = ended.code
    return Ended(status, out.getvalue(), err.getvalue())


# --- Zips ---

END = b"PK\x05\x06"
FIRST = IMAGE_PARTS[0].name


def rewritten(change: Callable[[bytearray], object], name: str = FIRST) -> Change:
    """Change the bytes of one part."""

    def spoil(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        change(data)
        (folder / name).write_bytes(data)

    return spoil


def _patch(form: str, offset: int, value: int, signature: bytes = END) -> Change:
    return rewritten(
        lambda data: struct.pack_into(form, data, data.rindex(signature) + offset, value)
    )


def _replace(old: bytes, new: bytes) -> Change:
    def change(data: bytearray) -> None:
        data[:] = data.replace(old, new)

    return rewritten(change)


def _zip64(value: int) -> Change:
    def change(data: bytearray) -> None:
        end = data.rindex(END)
        size, start = struct.unpack_from("<LL", data, end + 12)
        record = struct.pack("<4sQHHLLQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 2, 2, size, start)
        record = record[:48] + struct.pack("<Q", value)
        data[end:end] = record + struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)

    return rewritten(change)


def _folder_in_place(folder: Path) -> None:
    (folder / FIRST).unlink()
    (folder / FIRST).mkdir()


def _dangling(folder: Path) -> None:
    (folder / FIRST).unlink()
    (folder / FIRST).symlink_to(folder / "nowhere")


ZIPS: dict[str, Change] = {
    "empty": rewritten(lambda data: data.clear()),
    "HTML": rewritten(lambda data: data.__setitem__(slice(None), b"<html>404</html>")),
    "front cut off": rewritten(lambda data: data.__delitem__(slice(0, 7))),
    "end cut off": rewritten(lambda data: data.__delitem__(slice(-30, None))),
    "end alone": rewritten(lambda data: data.__delitem__(slice(0, -22))),
    "directory far away": _patch("<L", 16, 0xFFFFFFF0),
    "directory too long": _patch("<L", 12, 0xFFFFFFF0),
    "zip64 offset of 2**64 - 1": _zip64(2**64 - 1),
    "zip64 offset of 2**63": _zip64(2**63),
    "version 255": _patch("<H", 6, 255, b"PK\x01\x02"),
    "method 99": _patch("<H", 10, 99, b"PK\x01\x02"),
    "flags": _patch("<H", 8, 0xFFFF, b"PK\x01\x02"),
    "name of 65,535": _patch("<H", 28, 65535, b"PK\x01\x02"),
    "no name": _patch("<H", 28, 0, b"PK\x01\x02"),
    "comment of 65,535": _patch("<H", 32, 65535, b"PK\x01\x02"),
    "leads out": _replace(b"subj_00000", b"../../..//"),
    "escape in name": _replace(b"subj_00000", b"subj\x1b[31m0"),
    "surrogate in name": _replace(b"subj_00000", b"subj\xed\xa0\x80000"),
    "override in name": _replace(b"subj_00000", b"subj_\xe2\x80\xae00"),
    "a folder": _folder_in_place,
    "a dangling link": _dangling,
}

# --- Images ---


def chunk(kind: bytes, content: bytes) -> bytes:
    """Make a chunk of a PNG, with its CRC-32."""
    return (
        struct.pack(">L", len(content))
        + kind
        + content
        + struct.pack(">L", zlib.crc32(kind + content))
    )


def header(width: int, height: int, colour: int = 2, depth: int = 8) -> bytes:
    """Signature and IHDR of a PNG."""
    fields = struct.pack(">LL5B", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", fields)


BLANKS = zlib.compress(bytes(64 * 2**20))


def with_chunk(kind: bytes, content: bytes) -> Callable[[bytes], bytes]:
    """Put a chunk behind the header of a PNG."""
    return lambda png: png[:33] + chunk(kind, content) + png[33:]


def hollow(width: int, height: int, colour: int = 2) -> Callable[[bytes], bytes]:
    """Make a PNG that claims a size, and has no pixels."""
    end = chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return lambda _: header(width, height, colour) + end


def encoded(form: str, width: int, height: int) -> bytes:
    """Encode an even picture."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (200, 200, 200)).save(buffer, form)
    return buffer.getvalue()


IMAGES: dict[str, Callable[[bytes], bytes]] = {
    "10**9 x 10**9": hollow(10**9, 10**9),
    "2**31 x 1": hollow(2**31, 1),
    "2**32 - 1": hollow(2**32 - 1, 2**32 - 1),
    "0 x 5": hollow(0, 5),
    "no pixels": hollow(16, 16),
    "colour type 7": hollow(16, 16, 7),
    "palette without one": hollow(16, 16, 3),
    "iCCP bomb": with_chunk(b"iCCP", b"x\0\0" + BLANKS),
    "zTXt bomb": with_chunk(b"zTXt", b"x\0\0" + BLANKS),
    "iTXt bomb": with_chunk(b"iTXt", b"x\0\1\0\0\0" + BLANKS),
    "short tRNS": with_chunk(b"tRNS", b"\0"),
    "short gAMA": with_chunk(b"gAMA", b"\0"),
    "short fcTL": with_chunk(b"fcTL", b"\0"),
    "negative length": lambda png: png[:33] + b"\xff\xff\xff\xff" + png[37:],
    "cut": lambda png: png[: len(png) // 2],
    "header alone": lambda png: png[:33],
    "flipped": lambda png: png[:60] + bytes([png[60] ^ 1]) + png[61:],
    "a GIF": lambda _: encoded("GIF", 16, 16),
    "a WebP": lambda _: encoded("WEBP", 16, 16),
    "empty": lambda _: b"",
    "long": lambda _: encoded("PNG", 1_000_000, 1),
}

# --- Metadata ---

DOCUMENTS: dict[str, bytes] = {
    "empty": b"",
    "depth of 100,000": b"[" * 100_000,
    "depth of 100,000 objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "1e400": b'{"cameras": [[1e400, 0, 0, 0]]}',
    "NaN": b'{"name": "subj_00000", "cameras": [NaN]}',
    "5,000 digits": b'{"cameras": [' + b"9" * 5000 + b"]}",
    "surrogate": b'{"name": "\\ud800", "cameras": {"\\udc00": 1}}',
    "NUL": b'{"name": "\\u0000/../x", "cameras": []}',
    "not UTF-8": b"\xff\xfe{}",
    "null": b"null",
    "list of null": b"[null, null]",
    "number": b"17",
    "text": b'"x"',
    "UTF-16": '{"name": "subj_00000"}'.encode("utf-16"),
}

# --- Exported folders ---


def shard(folder: Path, config: str = "sequences") -> Path:
    """Find a Parquet file of an export."""
    return sorted(folder.glob(f"data/{config}/train-*"))[0]


def _provenance(change: Callable[[dict[str, object]], None]) -> Change:
    def spoil(folder: Path) -> None:
        path = folder / "provenance.json"
        value = json.loads(path.read_text())
        change(value)
        path.write_text(json.dumps(value))

    return spoil


def substituted(name: str, pattern: str, text: str) -> Change:
    """Replace the first match in a file."""

    def spoil(folder: Path) -> None:
        path = folder / name
        path.write_text(re.sub(pattern, text, path.read_text(), count=1), newline="")

    return spoil


def written(name: str, content: bytes) -> Change:
    """Write a file."""
    return lambda folder: (folder / name).write_bytes(content)


def folder_instead(name: str) -> Change:
    """Put a folder in the place of a file."""

    def spoil(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return spoil


def _cut_parquet(folder: Path) -> None:
    path = shard(folder)
    path.write_bytes(path.read_bytes()[:-9])


def _hollow_parquet(folder: Path) -> None:
    """The footer is whole, and the pages are not."""
    path = shard(folder)
    data = path.read_bytes()
    length = int.from_bytes(data[-8:-4], "little") + 8
    path.write_bytes(b"PAR1" + bytes(len(data) - length - 4) + data[-length:])


def _other_columns(folder: Path) -> None:
    pq.write_table(pq.read_table(shard(folder)).drop_columns(["images"]), shard(folder))


def _nan_cameras(folder: Path) -> None:
    table = pq.read_table(shard(folder))
    index = table.schema.get_field_index("extrinsics")
    field = table.schema.field(index)
    values = table["extrinsics"].to_pylist()
    values[0][0][0][0] = float("nan")
    pq.write_table(table.set_column(index, field, pa.array(values, field.type)), shard(folder))


SEED = r'"split_seed": 0'
ROWS = r"num_examples: \d+"
ALIASES = ", ".join(
    f"&{one} [{', '.join(['*' + other] * 9)}]"
    for other, one in zip("abcdefgh", "bcdefghi", strict=True)
)

EXPORTS: dict[str, Change] = {
    "rows are a number": _provenance(lambda value: value.update(rows=5)),
    "rows of text": _provenance(lambda value: value.update(rows={"views": {"train": "x"}})),
    "source is a list": _provenance(lambda value: value.update(source=[1])),
    "huge number": substituted("provenance.json", SEED, '"split_seed": 1e400'),
    "5,000 digits": substituted("provenance.json", SEED, f'"split_seed": {"9" * 5000}'),
    "deep JSON": written("provenance.json", b"[" * 100_000),
    "provenance is a folder": folder_instead("provenance.json"),
    "YAML infinity": substituted("README.md", ROWS, "num_examples: .inf"),
    "YAML timestamp": substituted("README.md", ROWS, "num_examples: !!timestamp x"),
    "YAML object": substituted("README.md", ROWS, "num_examples: !!python/object:x {}"),
    "YAML deep": substituted("README.md", ROWS, "num_examples: " + "[" * 1000),
    "YAML aliases": substituted("README.md", ROWS, f"num_examples: [&a [x, x], {ALIASES}]"),
    "YAML list": substituted("README.md", r"(?s)\A---\n.*?\n---\n", "---\n- a\n---\n"),
    "card is not UTF-8": written("README.md", b"\xff\xfe\n"),
    "bare CR": substituted("splits.csv", r"\n", "\rx\n"),
    "CSV with NUL": written("splits.csv", b"subject_id,split\n\0,train\n"),
    "CSV with a long field": written("splits.csv", b"subject_id,split\n" + b"x" * 200_000),
    "CSV is a folder": folder_instead("splits.csv"),
    "sums are not UTF-8": written("SHA256SUMS", b"\xff\xfe\n"),
    "sums lead out": substituted("SHA256SUMS", r"splits\.csv", "../../../etc/passwd"),
    "sums are a folder": folder_instead("SHA256SUMS"),
    "cut Parquet": _cut_parquet,
    "hollow Parquet": _hollow_parquet,
    "empty Parquet": lambda folder: shard(folder).write_bytes(b""),
    "Parquet is a folder": lambda folder: folder_instead(str(shard(folder).relative_to(folder)))(
        folder
    ),
    "other columns": _other_columns,
    "NaN": _nan_cameras,
}

# --- Notes on downloads ---


def note(**fields: object) -> bytes:
    """Write what stands beside an incomplete download; `URL` is to be replaced."""
    sound = {"version": 1, "url": "URL", "size": 9, "etag": None, "last_modified": "2", "synced": 5}
    return json.dumps(sound | fields).encode()


def entry(value: object) -> bytes:
    """Write a lock file with one entry."""
    return json.dumps({"version": 1, "parts": {METADATA_PART.name: value}}).encode()


NOTES: dict[str, bytes] = {
    "empty": b"",
    "depth of 100,000": b"[" * 100_000,
    "list": b"[1]",
    "not UTF-8": b"\xff\xfe",
    "numbers for texts": note(url=5, etag=7, last_modified=3),
    "etag is a number": note(etag=7),
    "infinite": note(size=float("inf"), synced=float("inf")),
    "negative": note(size=-1, synced=-5),
    "texts for numbers": note(size="x", synced="y"),
    "parts are a number": b'{"version": 1, "parts": 5}',
    "an entry is a list": entry([]),
    "fields of other types": entry(
        {"url": [], "size": "x", "etag": {}, "last_modified": 1, "sha256": 7}
    ),
}

# --- Places ---

URLS = (
    "foo://x", "://", "x://", "http://[::1", "http://", "http://x:99999/", "http://127.0.0.1:x/",
    "hf://", "hf://datasets", "zip://x::file:///nowhere.zip", "file:///nowhere",
    "memory://nothing",
)  # fmt: skip


def places(folder: Path) -> dict[str, object]:
    """Make names at which no folder can be, some of them in a folder."""
    (folder / "file").write_text("mine")
    (folder / "dangling").symlink_to(folder / "nowhere")
    (folder / "circle").symlink_to(folder / "circle")
    return {
        "long name": folder / ("x" * 300),
        "long path": "/".join([str(folder), *["d" * 200] * 25]),
        "a file": folder / "file",
        "below a file": folder / "file" / "below",
        "dangling": folder / "dangling",
        "below dangling": folder / "dangling" / "below",
        "circle": folder / "circle",
        "proc": "/proc/geogen",
    }


if __name__ == "__main__":
    ended = [asdict(geogen(*command)) for command in json.load(sys.stdin)]
    status = Path("/proc/self/status")  # getrusage would count the process that started this one
    peak = int(status.read_text().split("VmHWM:")[1].split()[0]) / 1e3 if status.exists() else None
    json.dump({"ended": ended, "peak_mb": peak}, sys.stdout)
