"""The public names of the package, as somebody who uses one function meets them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import geogen_hf


def test_every_public_name_is_there_and_documented() -> None:
    for name in geogen_hf.__all__:
        value = getattr(geogen_hf, name)
        if callable(value):
            assert value.__doc__, name
    assert set(geogen_hf.__all__) <= set(dir(geogen_hf))
    with pytest.raises(AttributeError, match="no attribute 'open_relase'"):
        geogen_hf.open_relase  # noqa: B018


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = ("datasets", "torch", "pyarrow", "numpy", "PIL", "requests", "distributed", "viser")
    code = f"import sys, geogen_hf; print([m for m in {heavy!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_verbs_take_str_and_path(by_subject: Path, tmp_path: Path) -> None:
    assert geogen_hf.inspect_release(str(by_subject)).images == 280
    with geogen_hf.open_release(by_subject) as from_path:
        from_path_first = from_path["subj_00003"]
    with geogen_hf.open_release(str(by_subject)) as from_str:
        assert from_str["subj_00003"].images == from_path_first.images
    assert [a.shape for a in from_path_first.arrays()] == [(48, 48, 3)] * 7
    assert [i.size for i in from_path_first.pil_images()] == [(48, 48)] * 7
