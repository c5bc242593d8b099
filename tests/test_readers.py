"""Exported folders in the hands of other readers: images and cameras as they are, and Croissant."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from PIL import Image

import geogen_hf
from geogen_hf.export import parquet
from geogen_hf.export.folder import export_release
from geogen_hf.export.options import ExportOptions
from geogen_hf.release.features import FEATURES
from geogen_hf.release.release import Identity, read_release
from geogen_hf.source.parts import locate_parts

SUBJECT = "subj_00011"
OF_RAY = pytest.mark.filterwarnings("ignore")  # what Ray itself does


@pytest.fixture(scope="module")
def exported(unmarked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All configs, in several row groups a file."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(parquet, "ROW_GROUP_BYTES", 20_000)
        folder = tmp_path_factory.mktemp("readers") / "geogen"
        release = read_release(locate_parts(unmarked))
        return export_release(release, folder, ExportOptions(tuple(FEATURES))).folder


@pytest.fixture(scope="module")
def published(unmarked: Path) -> Iterator[Identity]:
    with geogen_hf.open_release(unmarked) as release:
        yield release[SUBJECT]


def check(published: Identity, images: Any, extrinsics: Any, intrinsics: Any) -> None:
    """Compare what a reader gave for one identity with the zips."""
    assert [bytes(image["bytes"]) for image in images] == list(published.images)
    extrinsics = np.array(plain(extrinsics), np.float32)
    intrinsics = np.array(plain(intrinsics), np.float32)
    np.testing.assert_array_equal(extrinsics, published.extrinsics.astype(np.float32))
    np.testing.assert_array_equal(intrinsics, published.intrinsics.astype(np.float32))


def plain(value: Any) -> Any:
    """Nested lists of nested lists or arrays of objects."""
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(item) for item in value]
    return value


# --- One identity by each reader ---


def test_pyarrow(exported: Path, published: Identity) -> None:
    rows = pa.dataset.dataset(exported / "data" / "sequences")
    table = rows.to_table(filter=pa.compute.field("subject_id") == SUBJECT)
    (row,) = table.to_pylist()
    check(published, row["images"], row["extrinsics"], row["intrinsics"])
    assert not any(isinstance(kind, pa.ExtensionType) for kind in table.schema.types)


def test_pandas(exported: Path, published: Identity) -> None:
    import pandas

    rows = pandas.read_parquet(exported / "data" / "sequences")
    row = rows[rows.subject_id == SUBJECT].iloc[0]
    check(published, row.images, row.extrinsics, row.intrinsics)


def test_polars(exported: Path, published: Identity) -> None:
    import polars

    lazy = polars.scan_parquet(exported / "data" / "sequences" / "*.parquet")
    row = lazy.filter(polars.col("subject_id") == SUBJECT).collect().row(0, named=True)
    check(published, row["images"], row["extrinsics"], row["intrinsics"])
    views = polars.read_parquet(exported / "data" / "views" / "*.parquet")
    views = views.filter(polars.col("subject_id") == SUBJECT)
    images = views["image"].to_list()
    check(published, images, views["extrinsics"].to_list(), views["intrinsics"].to_list())


def test_duckdb(exported: Path, published: Identity) -> None:
    import duckdb

    columns = "images, extrinsics, intrinsics"
    query = f"SELECT {columns} FROM '{exported}/data/sequences/*.parquet' WHERE subject_id = ?"
    (row,) = duckdb.execute(query, [SUBJECT]).fetchall()
    check(published, *row)


def test_daft(exported: Path, published: Identity) -> None:
    why = "Daft is not installed: it keeps pyarrow below 26; .ci/run installs it for this file"
    daft = pytest.importorskip("daft", reason=why)
    rows = daft.read_parquet(f"{exported}/data/sequences/*.parquet")
    (row,) = rows.where(daft.col("subject_id") == SUBJECT).to_pylist()
    check(published, row["images"], row["extrinsics"], row["intrinsics"])


@OF_RAY
def test_ray(ray: Any, exported: Path, published: Identity) -> None:
    rows = ray.data.read_parquet(str(exported / "data" / "sequences"))
    (row,) = rows.filter(lambda row: row["subject_id"] == SUBJECT).take_all()
    check(published, row["images"], row["extrinsics"], row["intrinsics"])


def test_lance(exported: Path, published: Identity, tmp_path: Path) -> None:
    why = "Lance is not installed: its wheel has 85 MB; .ci/run installs it for this file"
    lance = pytest.importorskip("lance", reason=why)
    rows = pa.dataset.dataset(exported / "data" / "sequences")
    written = lance.write_dataset(rows.to_table(), tmp_path / "geogen.lance")
    (row,) = written.to_table(filter=f"subject_id = '{SUBJECT}'").to_pylist()
    check(published, row["images"], row["extrinsics"], row["intrinsics"])


# --- Few row groups for one identity ---


def ids_of(file: pq.ParquetFile, group: int) -> list[str]:
    return file.read_row_group(group, ["subject_id"])["subject_id"].to_pylist()


def test_bloom_filters_name_the_row_group(exported: Path) -> None:
    import duckdb

    if "bloom_filter_options" not in parquet._OPTIONS:
        pytest.skip("this pyarrow writes no Bloom filters")
    read = several = 0
    for path in (exported / "data" / "sequences").glob("train-*"):
        with pq.ParquetFile(path) as file:
            several += file.num_row_groups
            for group in range(file.num_row_groups):
                for subject_id in ids_of(file, group):
                    query = "SELECT bloom_filter_excludes FROM parquet_bloom_probe(?, ?, ?)"
                    parameters = [str(path), "subject_id", subject_id]
                    excluded = [row[0] for row in duckdb.execute(query, parameters).fetchall()]
                    assert len(excluded) == file.num_row_groups
                    assert not excluded[group]
                    read += excluded.count(False)
    assert several > 8
    assert read <= 1.1 * 40  # one each, and few in vain


def test_open_export_reads_few_row_groups(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    read_row_group = pq.ParquetFile.read_row_group

    def counted(file: pq.ParquetFile, group: int, *columns: list[str]) -> pa.Table:
        reads.append(group)
        return read_row_group(file, group, *columns)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    with geogen_hf.open_export(exported) as export:
        for subject_id in export:
            assert export[subject_id].subject_id == subject_id
        assert len(reads) <= 3 * len(export)  # the ids of a row group, and the row group


def test_open_export_finds_identities_where_files_hold_other_numbers_of_them(
    exported: Path, published: Identity, tmp_path: Path
) -> None:
    # As after an export that left damaged identities out.
    folder = Path(shutil.copytree(exported, tmp_path / "uneven"))
    files = sorted((folder / "data" / "sequences").glob("train-*"))
    rows = pa.concat_tables([pq.read_table(path) for path in files])
    for number, path in enumerate(files):
        first, last = (max(0, len(rows) - 2 * (len(files) - n)) for n in (number, number + 1))
        pq.write_table(rows[first if number else 0 : last], path, row_group_size=2)
    with geogen_hf.open_export(folder) as export:
        assert [export[subject_id].subject_id for subject_id in export] == list(export)
        assert export[SUBJECT].images == published.images


def test_open_export_of_views(unmarked: Path, published: Identity, tmp_path: Path) -> None:
    options = ExportOptions(("views",))
    geogen_hf.export_release(unmarked, tmp_path / "views", options)
    with geogen_hf.open_export(tmp_path / "views") as export:
        assert [export[subject_id].subject_id for subject_id in export] == list(export)
        assert export[SUBJECT].images == published.images
        np.testing.assert_array_equal(export[SUBJECT].view_ids, published.view_ids)


# --- Croissant ---

OF_MLCROISSANT = pytest.mark.filterwarnings(
    "ignore:ConjunctiveGraph is deprecated", "ignore:The inplace keyword"
)


def croissant(folder: Path) -> Any:
    import mlcroissant

    return mlcroissant.Dataset(str(folder / "croissant.json"))


@OF_MLCROISSANT
def test_croissant_is_valid_and_states_what_is_asked(exported: Path) -> None:
    described = croissant(exported)
    issues = described.metadata.ctx.issues
    assert not issues.errors
    assert not issues.warnings
    value = json.loads((exported / "croissant.json").read_text())
    assert value["conformsTo"][0] == "http://mlcommons.org/croissant/1.1"
    assert value["license"].endswith("/LICENSE")
    for name in (
        "rai:dataLimitations", "rai:dataBiases", "rai:personalSensitiveInformation",
        "rai:dataUseCases", "rai:dataSocialImpact", "rai:hasSyntheticData",
        "prov:wasDerivedFrom", "prov:wasGeneratedBy",
    ):  # fmt: skip
        assert value[name], name
    assert "](" not in json.dumps(value)


@OF_MLCROISSANT
@pytest.mark.parametrize("config", FEATURES)
def test_croissant_gives_every_column_of_every_row(
    config: str, exported: Path, published: Identity
) -> None:
    rows = list(croissant(exported).records(config))
    assert list(rows[0]) == [f"{config}/{name}" for name in ("split", *FEATURES[config])]
    rows = [{key.split("/")[1]: value for key, value in row.items()} for row in rows]
    assert len(rows) == 40 * (7 if "view_id" in FEATURES[config] else 1)
    ours = [row for row in rows if row["subject_id"] == SUBJECT.encode()]
    assert {row["split"] for row in ours} == {published.split.encode()}
    if config == "metadata":
        assert ours[0]["metadata"].decode() == published.metadata
        return
    joined = ours[0] if config == "sequences" else {
        name: [row[name] for row in ours] for name in ours[0]
    }  # fmt: skip
    for name in ("extrinsics", "intrinsics"):
        expected = getattr(published, name).astype(np.float32)
        np.testing.assert_array_equal(np.array(joined[name], np.float32), expected)
    for image, data in zip(joined.get("images") or joined.get("image") or (), published.images):  # noqa: B905 (`cameras` has none)
        assert image.tobytes() == Image.open(io.BytesIO(data)).tobytes()


# --- The card's snippets ---


@OF_MLCROISSANT
@OF_RAY
def test_snippets_of_the_card_run(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(exported)
    card = (exported / "README.md").read_text()
    assert "arxiv.org/abs/2406.04254" in card
    assert "(camera_proof.png)" in card
    snippets = re.findall(r"^```python\n(.*?)^```$", card, re.DOTALL | re.MULTILINE)
    assert len(snippets) == 5
    found: dict[str, Any] = {}
    for snippet in snippets:
        if "import ray" in snippet and find_spec("ray") is None:
            continue  # as the fixture says
        here = snippet.replace("hf://datasets/OWNER/NAME", str(exported))
        here = here.replace("OWNER/NAME", str(exported))
        exec(here.replace(', revision="v1.0.0"', ""), found)  # a folder has no tags
    assert found["rows"] is not None
    assert found["poses"].shape[1:] == (4, 4)
    assert found["png"] == found["identity"].images[0]
