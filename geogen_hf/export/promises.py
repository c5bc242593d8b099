"""What the small files of a folder say, and whether the Parquet files keep to it."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from geogen_hf.errors import ReleaseError, one_line
from geogen_hf.export.card import split_front_matter
from geogen_hf.export.exported import CARD, MANIFEST, PROVENANCE, SUMS, Source
from geogen_hf.export.verify_rows import FileFindings
from geogen_hf.release.splits import split_of

SHARD_NAME = re.compile(r"data/(\w+)/(\w+)-(\d{5})-of-(\d{5})\.parquet", re.ASCII)
_SUM_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)", re.ASCII)

Rows = dict[str, dict[str, int]]
"""Number of rows by config and split."""


@dataclass(frozen=True)
class Promises:
    """What a folder says of itself.

    Attributes:
        sums: SHA-256 by file.
        manifest: Split by identity.
        card_rows: By the card's YAML.
        provenance_rows: By `provenance.json`.
        split_seed: Seed the identities were divided with; None where it cannot be read.
        failures: What in these files cannot be understood.
    """

    sums: dict[str, str]
    manifest: dict[str, str]
    card_rows: Rows | None
    provenance_rows: Rows | None
    split_seed: int | None
    failures: tuple[str, ...]


def read_promises(source: Source) -> Promises:
    """Read the small files; whatever cannot be understood in them is a failure, not an error."""
    failures: list[str] = []
    sums = _read_sums(_text(source, SUMS, failures), failures)
    manifest = _read_manifest(_text(source, MANIFEST, failures), failures)
    card_rows = _read_card(_text(source, CARD, failures), failures)
    rows, seed = _read_provenance(_text(source, PROVENANCE, failures), failures)
    return Promises(sums, manifest, card_rows, rows, seed, tuple(failures))


def _text(source: Source, name: str, failures: list[str]) -> str | None:
    if name not in source.names:
        failures.append(f"{name}: missing")
        return None
    try:
        return source.read(name).decode()
    except UnicodeDecodeError as error:
        failures.append(f"{name}: not UTF-8: {error}")
        return None


def _read_sums(text: str | None, failures: list[str]) -> dict[str, str]:
    sums: dict[str, str] = {}
    for number, line in enumerate((text or "").splitlines(), start=1):
        matched = _SUM_LINE.fullmatch(line)
        if matched is None or matched[2] in sums:
            failures.append(f"{SUMS}: line {number} is not a digest and a new name")
        else:
            sums[matched[2]] = matched[1]
    return sums


def _read_manifest(text: str | None, failures: list[str]) -> dict[str, str]:
    manifest: dict[str, str] = {}
    if text is None:
        return manifest
    lines = list(csv.reader(io.StringIO(text)))
    if lines[:1] != [["subject_id", "split"]]:
        failures.append(f"{MANIFEST}: its first line is not subject_id,split")
        return manifest
    for number, row in enumerate(lines[1:], start=2):
        if len(row) != 2:
            failures.append(f"{MANIFEST}: line {number} is not an identity and a split")
        elif row[0] in manifest:
            failures.append(f"{MANIFEST}: {row[0]} is there twice")
        else:
            manifest[row[0]] = row[1]
    return manifest


def _read_card(text: str | None, failures: list[str]) -> Rows | None:
    if text is None:
        return None
    try:
        front, _ = split_front_matter(text)
        return {
            info["config_name"]: {
                split["name"]: int(split["num_examples"]) for split in info["splits"]
            }
            for info in front["dataset_info"]
        }
    except (ReleaseError, yaml.YAMLError) as error:
        failures.append(f"{CARD}: its YAML cannot be read: {one_line(error)}")
    except (KeyError, TypeError, ValueError) as error:
        failures.append(f"{CARD}: its YAML lacks the rows of every split: {error!r}")
    return None


def _read_provenance(text: str | None, failures: list[str]) -> tuple[Rows | None, int | None]:
    if text is None:
        return None, None
    try:
        value: dict[str, Any] = json.loads(text)
        return value["rows"], int(value["source"]["options"]["split_seed"])
    except (KeyError, TypeError, ValueError) as error:
        failures.append(f"{PROVENANCE}: cannot be understood: {error!r}")
    return None, None


def count_rows(findings: Iterable[FileFindings]) -> Rows:
    """Add up the rows of the files."""
    rows: Rows = {}
    for finding in findings:
        if finding.config:
            of_config = rows.setdefault(finding.config, {})
            of_config[finding.split] = of_config.get(finding.split, 0) + finding.rows
    return rows


def check_rows(promises: Promises, findings: Sequence[FileFindings]) -> Iterator[str]:
    """Compare the numbers of rows with those the card and the provenance give."""
    found = count_rows(findings)
    for name, said in ((CARD, promises.card_rows), (PROVENANCE, promises.provenance_rows)):
        if said is None:
            continue
        for config in sorted({*said, *found}):
            if said.get(config) != found.get(config):
                yield (
                    f"{name}: {config} has {said.get(config, 'no rows')} by it, "
                    f"{found.get(config, 'no rows')} by the files"
                )


def check_shard_numbers(findings: Iterable[FileFindings]) -> Iterator[str]:
    """Every split's files are numbered from 0 to one less than the count in their names."""
    groups: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for finding in findings:
        matched = SHARD_NAME.fullmatch(finding.path)
        if matched:
            place = (finding.config, finding.split)
            groups.setdefault(place, []).append((int(matched[3]), int(matched[4])))
    for (config, split), numbers in groups.items():
        count = numbers[0][1]
        if sorted(numbers) != [(index, count) for index in range(count)]:
            yield f"data/{config}/{split}-*: the shards are not 0 to {count - 1} of {count}"


def check_hashes(promises: Promises) -> Iterator[str]:
    """Every identity is in the split that its id and the seed decide."""
    if promises.split_seed is None:
        return
    for subject_id, split in promises.manifest.items():
        right = split_of(subject_id, promises.split_seed)
        if split != right:
            yield f"{MANIFEST}: {subject_id} is in {split}; by its hash it belongs to {right}"
