"""Without the private names of other packages, everything still works."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest

import geogen_hf

pytestmark = pytest.mark.datasets


def test_a_card_without_features_in_its_yaml_loads(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    geogen_hf.export_release(tiny, tmp_path / "whole", workers=1)
    monkeypatch.delattr(datasets.DatasetInfo, "_to_yaml_dict")
    geogen_hf.export_release(tiny, tmp_path / "spare", workers=1)
    monkeypatch.undo()
    whole, spare = (
        datasets.load_dataset(str(tmp_path / name), split="train", cache_dir=str(tmp_path / "c"))
        for name in ("whole", "spare")
    )
    assert "features" not in (tmp_path / "spare" / "README.md").read_text()
    assert spare.column_names == whole.column_names
    assert spare.features["images"] == whole.features["images"]
    assert spare[0]["extrinsics"] == whole[0]["extrinsics"]  # nested lists, and an Array3D
