"""Search for inputs that end in anything but a `GeoGenError`: `python -m benchmarks.fuzz`.

`--seconds N` bounds the time, and `--target` chooses what is read: `zip` (the directory of an
archive and its members), `metadata` (camera documents), `lock` (the lock file, and the note beside
an incomplete download), `png` (headers and decoders) or `export` (the files of an exported folder).
Without it the targets take turns.

Inputs are sound ones, changed at random by a seed, so that the same seed gives the same inputs.
With `--coverage`, `atheris` (`pip install atheris`) chooses the changes by the code that they
reach; it takes one target and ends at the first failure. A failure is printed with the seed and the
input in base64, which `--input BASE64` reads again. The input at hand lies in a file, for libraries
that end the process.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import random
import shutil
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)
TOKENS = (
    b"", b"\0", b"\r", b"\n---\n", b"-1", b"1e400", b"NaN", b".inf", b"null", b"[]", b"{}", b'"',
    b"\\ud800", b"\xed\xa0\x80", b"../", b"!!timestamp x", b"&a [*a]", b"9" * 5000, b"[" * 2000,
    b"PK\x05\x06", b"PK\x01\x02", b"PK\x03\x04", b"IEND", b"IDAT",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 10**30, 1e308, 0.5, "", "x", "\ud800", "0", "3.png", [], {}, [[]], [1, 2, 3],
    [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 5], [0, 0, 0, 1]], {"x": 1}, float("nan"),
)  # fmt: skip

Read = Callable[[bytes], None]
Target = tuple[list[bytes], Read]
"""Sound inputs, and what reads one and raises `GeoGenError` at most."""


def zip_target(work: Path) -> Target:
    from geogen_hf.errors import GeoGenError
    from geogen_hf.sample import write_release
    from geogen_hf.source.files import open_file
    from geogen_hf.source.parts import Location
    from geogen_hf.source.zip_directory import read_directory
    from geogen_hf.source.zip_reader import Archives, unpack_png

    path = work / "input.zip"
    parts = write_release(work / "parts", subjects=1, views=2, size=8)
    with zipfile.ZipFile(path, "w") as zipped, zipped.open("s/0.png", "w", force_zip64=True) as out:
        out.write(bytes(300))
    seeds = [path.read_bytes(), *(file.read_bytes() for file in sorted(parts.glob("*.zip")))]

    def read(data: bytes) -> None:
        path.write_bytes(data)
        with closing(open_file(Location(str(path)))) as file:
            runs = [[member] for member in read_directory(file).members[:50]]
        with Archives() as archives:
            for (member,), (record,) in zip(runs, archives.records(runs), strict=True):
                with suppress(GeoGenError):
                    unpack_png(member, record)
            for (member,), (head,) in zip(runs, archives.heads(runs), strict=True):
                with suppress(GeoGenError):
                    archives.png_size_from(member, head)

    return seeds, read


def metadata_target(work: Path) -> Target:
    from geogen_hf.metadata.reader import Document, read_metadata
    from geogen_hf.sample.heads import subject_cameras
    from geogen_hf.sample.schemas import SCHEMAS, CamerasOf

    names = ("subj_00000", "subj_00001")
    cameras = [CamerasOf(n, *subject_cameras(n, views=2, size=8, seed=0), 8) for n in names]
    members = [next(iter(schema.members(iter(cameras), None))) for schema in SCHEMAS.values()]
    seeds = [f"{name}\0{text}".encode() for name, text in members]

    def read(data: bytes) -> None:
        name, _, text = data.partition(b"\0")
        path = name.decode(errors="replace")
        read_metadata([Document(path, text, path)], dict.fromkeys(names, (0, 1)))

    return seeds, read


def lock_target(work: Path) -> Target:
    from geogen_hf.source.download import part_path, resumable_bytes, sidecar_path
    from geogen_hf.source.fetch import LockEntry, lock_text, read_lock
    from geogen_hf.source.parts import RemoteInfo

    info = RemoteInfo(9, '"a1"', "Mon, 06 Jan 2025 00:00:00 GMT")
    entry = LockEntry("http://host/a.zip", 9, info.etag, info.last_modified, "00" * 32)
    note = {"version": 1, "url": entry.url, "size": 9, "etag": info.etag, "synced": 5}
    note["last_modified"] = info.last_modified
    target = work / "a.zip"
    part_path(target).write_bytes(bytes(9))

    def read(data: bytes) -> None:
        sidecar_path(target).write_bytes(data)
        if not 0 <= resumable_bytes(target, entry.url, info) <= 9:
            raise AssertionError("more bytes are trusted than there are")
        (work / "lock.json").write_bytes(data)
        for known in read_lock(work / "lock.json").values():
            known.difference(entry.url, info)

    return [lock_text({"a.zip": entry, "b.zip": entry}), json.dumps(note).encode()], read


def png_target(work: Path) -> Target:
    from PIL import Image

    from geogen_hf.errors import GeoGenError
    from geogen_hf.images import decode_image, decode_rgb, read_header

    seeds = []
    for mode in ("RGB", "RGBA", "L", "P", "1", "I;16", "LA"):
        for form in ("PNG", "WEBP", "JPEG"):
            buffer = io.BytesIO()
            with suppress(OSError, KeyError):  # the format cannot hold the mode
                Image.new(mode, (5, 4)).save(buffer, form, icc_profile=bytes(64), dpi=(72, 72))
                seeds.append(buffer.getvalue())

    def read(data: bytes) -> None:
        for decode in (read_header, decode_rgb, decode_image):
            with suppress(GeoGenError):
                decode(data)

    return seeds, read


def export_target(work: Path) -> Target:
    from geogen_hf import export_release, open_export, verify_export
    from geogen_hf.errors import GeoGenError
    from geogen_hf.release.convention import CameraOptions
    from geogen_hf.sample import write_release

    parts = write_release(work / "parts", subjects=2, views=2, size=8)
    named = CameraOptions("world_to_camera opencv unchecked")
    folder = export_release(parts, work / "geogen", cameras=named, workers=1).folder
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    sound = {name: (folder / name).read_bytes() for name in names}
    # Footers by themselves, too, or nearly all changes of a Parquet file would hit its images.
    places = [(name, 0) for name in names]
    for name, data in sound.items():
        if name.endswith(".parquet"):
            places.append((name, len(data) - 8 - int.from_bytes(data[-8:-4], "little")))

    def read(data: bytes) -> None:
        name, kept = places[data[0] % len(places)] if data else places[0]
        changed = sound[name][:kept] + data[1:]
        (folder / name).write_bytes(changed)
        try:
            found = verify_export(folder, workers=1)
            if changed != sound[name] and not found.failures:
                raise AssertionError(f"{name} was changed, and verify is content")
            with suppress(GeoGenError), open_export(folder) as export:
                for subject_id in export:
                    export[subject_id]
        finally:
            (folder / name).write_bytes(sound[name])

    return [bytes([n]) + sound[name][kept:] for n, (name, kept) in enumerate(places)], read


TARGETS: dict[str, Callable[[Path], Target]] = {
    "zip": zip_target,
    "metadata": metadata_target,
    "lock": lock_target,
    "png": png_target,
    "export": export_target,
}


def mutated(seeds: list[bytes], chance: random.Random) -> bytes:
    """Change one of the seeds in some places; JSON, in its values, too."""
    data = bytearray(chance.choice(seeds))
    if chance.random() < 0.4:
        with suppress(ValueError):  # this is no JSON
            data = bytearray(_with_other_values(bytes(data), chance))
    for _ in range(chance.choice((0, 1, 1, 2, 4))):
        at, length = chance.randrange(len(data) + 1), chance.choice((1, 2, 4, 8, 100))
        size, other = chance.choice((1, 2, 4, 8)), chance.choice(seeds)
        number = (chance.choice(NUMBERS) % 256**size).to_bytes(
            size, chance.choice(("big", "little"))
        )
        start = chance.randrange(len(other) + 1)
        stop, new = chance.choice(
            (
                (at + 1, bytes(byte ^ 1 << chance.randrange(8) for byte in data[at : at + 1])),
                (at + size, number),
                (at + length, b""),
                (at + chance.choice((0, length)), chance.choice(TOKENS)),
                (at, bytes(data[at : at + length]) * chance.choice((1, 50))),
                (at + length, other[start : start + length]),
                (len(data), b""),
            )
        )
        data[at:stop] = new
    return bytes(data)


def _with_other_values(data: bytes, chance: random.Random) -> bytes:
    """Replace values somewhere in a JSON document, perhaps behind a name and a NUL."""
    front, nul, text = data.rpartition(b"\0")
    tree = {"root": json.loads(text)}
    for _ in range(chance.choice((1, 1, 3))):
        places = list(_places(tree))
        (container, key), (other, other_key) = chance.choice(places), chance.choice(places)
        if isinstance(container, dict) and key != "root" and chance.random() < 0.3:
            container[chance.choice(("", "x", "0", "name", "K", "\ud800"))] = container.pop(key)
        else:
            value = chance.choice((chance.choice(VALUES), other[other_key]))
            container[key] = json.loads(json.dumps(value))  # a copy, or the tree could hold itself
    return front + nul + json.dumps(tree["root"]).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from _places(value[key])


def fuzz(
    name: str, work: Path, seconds: float, seed: int, inputs: int = sys.maxsize
) -> tuple[int, list[str]]:
    """Read changed inputs: how many it were, and a description of each kind of failure."""
    seeds, read = TARGETS[name](work)
    from geogen_hf.errors import GeoGenError

    failures: dict[object, str] = {}
    count, end = 0, time.monotonic() + seconds
    while time.monotonic() < end and count < inputs:
        data = mutated(seeds, random.Random(f"{name} {seed} {count}"))
        (work / "at-hand").write_bytes(data)
        try:
            read(data)
        except GeoGenError:
            pass
        except Exception as error:  # noqa: BLE001 (that is what is searched for)
            place = traceback.extract_tb(error.__traceback__)[-1]
            told = f"{name}, seed {seed}, input {count}: {traceback.format_exc()}--input "
            told += base64.b64encode(data).decode()
            failures.setdefault((type(error), place.filename, place.lineno), told)
        count += 1
    return count, list(failures.values())


def fuzz_by_coverage(name: str, work: Path, seconds: float, seed: int) -> None:
    """Let atheris choose the inputs; it ends the process."""
    import atheris

    with atheris.instrument_imports(include=["geogen_hf"]):
        seeds, read = TARGETS[name](work)
        from geogen_hf.errors import GeoGenError

    def read_one(data: bytes) -> None:
        with suppress(GeoGenError):
            read(data)

    (work / "corpus").mkdir()
    for index, sound in enumerate(seeds):
        (work / "corpus" / str(index)).write_bytes(sound)
    options = [f"-max_total_time={seconds:.0f}", f"-seed={seed + 1}", "-print_final_stats=1"]
    options += ["-rss_limit_mb=3000", "-timeout=60", "-max_len=200000", f"-artifact_prefix={work}/"]
    atheris.Setup([sys.argv[0], *options, str(work / "corpus")], read_one)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz what reads input from outside.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--target", choices=TARGETS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--coverage", action="store_true")
    parser.add_argument("--input", help="an input in base64, to read once")
    chosen = parser.parse_args()
    names = [chosen.target] if chosen.target else list(TARGETS)
    found: list[str] = []
    for name in names:
        work = Path(tempfile.mkdtemp(prefix=f"geogen-fuzz-{name}-"))
        if chosen.coverage:
            fuzz_by_coverage(name, work, chosen.seconds, chosen.seed)
        elif chosen.input is not None:
            TARGETS[name](work)[1](base64.b64decode(chosen.input))
        else:
            count, failures = fuzz(name, work, chosen.seconds / len(names), chosen.seed)
            print(f"{name:9} {count:9,} inputs, {len(failures)} kinds of failures", flush=True)
            found += failures
        shutil.rmtree(work, ignore_errors=True)
    print("\n\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
