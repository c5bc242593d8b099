"""GeoGen for Hugging Face `datasets`: `load` is `load_dataset` for the eight upstream zips.

Where `datasets` still runs scripts (before 4.0), this file is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from typing import Literal

import datasets

# datasets 3.6 finds what a script needs by reading its import lines: one module a line.
import geogen_hf
from geogen_hf.builder import ReleaseBuilder
from geogen_hf.builder import load_from
from geogen_hf.release.convention import CameraOptions
from geogen_hf.source.hf_cache import download_parts
from geogen_hf.source.parts import locate_parts
from geogen_hf.source.parts import select_parts
from geogen_hf.threads import read_ahead
from geogen_hf.release.release import read_release
from geogen_hf.report import Policy
from geogen_hf.release.features import shard_rows
from geogen_hf.release.features import dataset_info
from geogen_hf.release.shards import Shard
from geogen_hf.release.shards import make_shards

VERSION = datasets.Version(geogen_hf.__version__)


@dataclass
class GeoGenConfig(datasets.BuilderConfig):  # type: ignore[misc]
    """What to load, and how.

    Attributes:
        parts: Numbers (1 … 7) of the image parts to use; None for all.
        split_seed: Another seed divides the identities over the splits in another way.
        on_bad_subject: `"raise"` on any structural problem, or `"skip"` the identities concerned.
        base_url: Where the parts are served; any URL fsspec opens. None for the publisher's host.
        camera_convention: `"auto"` takes what the evidence proves, or stops; or a name.
        camera_schema: A mapping, or a TOML or JSON file, for metadata whose keys do not say enough.
        default_intrinsics: `"upstream"` assumes the publisher's average lens where there is none.
    """

    parts: tuple[int, ...] | None = None
    split_seed: int = 0
    on_bad_subject: Policy = "raise"
    base_url: str | None = None
    camera_convention: str = "auto"
    camera_schema: Any = None
    default_intrinsics: Literal["upstream"] | None = None


class GeoGen(ReleaseBuilder):
    """The data set: images, cameras and identity, in identity-disjoint splits."""

    VERSION = VERSION
    BUILDER_CONFIG_CLASS = GeoGenConfig
    BUILDER_CONFIGS = [  # noqa: RUF012 (what datasets expects)
        GeoGenConfig(name="sequences", version=VERSION, description="One identity a row."),
        GeoGenConfig(name="views", version=VERSION, description="One image a row."),
        GeoGenConfig(name="cameras", version=VERSION, description="One image a row, no pixels."),
        GeoGenConfig(name="metadata", version=VERSION, description="One identity's JSON a row."),
    ]
    DEFAULT_CONFIG_NAME = "sequences"

    def _info(self) -> datasets.DatasetInfo:
        return dataset_info(self.config.name)

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        config: GeoGenConfig = self.config
        parts = select_parts(config.parts)
        cameras = CameraOptions(
            config.camera_convention,
            config.camera_schema,
            config.default_intrinsics,
            memory=self.conventions_folder,
        )
        locations = download_parts(dl_manager, locate_parts(self.place, parts))
        release = read_release(locations, cameras)
        subjects = release.sound_subjects(config.on_bad_subject)
        shards = make_shards(
            subjects, split_seed=config.split_seed, on_bad_subject=config.on_bad_subject
        )
        # A split without any identity is left out: datasets fails on reading an empty one.
        return [
            datasets.SplitGenerator(name=split, gen_kwargs={"shards": shards[split]})
            for split in shards
            if shards[split]
        ]

    def _generate_examples(self, shards: list[Shard]) -> Iterator[tuple[str, dict[str, Any]]]:
        for shard in shards:
            yield from read_ahead(shard_rows(self.config.name, shard))


def load(
    config: str = "sequences",
    split: str | None = None,
    *,
    data_dir: str | None = None,
    streaming: bool = False,
    num_proc: int | None = None,
    cache_dir: str | None = None,
    **options: Any,
) -> Any:
    """Load GeoGen from its upstream zips, as `load_dataset` would, on any version of `datasets`.

    Args:
        config: `"sequences"` (one identity a row), `"views"` (one image a row), `"cameras"` (one
            image a row, without its pixels) or `"metadata"` (one identity's JSON a row).
        split: `"train"`, `"validation"`, `"test"`, a slice such as `"train[:10%]"`, or None for a
            dictionary of all three.
        data_dir: Folder with the eight zips; None downloads them.
        streaming: Read the zips while iterating instead of preparing Arrow files first.
        num_proc: Processes that prepare.
        cache_dir: Where downloads and Arrow files go; None for the cache of `datasets`.
        **options: Fields of `GeoGenConfig`, and `download_config`, `download_mode`,
            `keep_in_memory`, `storage_options` and `token` as for `load_dataset`.

    Returns:
        A `Dataset` or, streaming, an `IterableDataset`; for `split=None` a dictionary of them.

    Raises:
        geogen_hf.errors.GeoGenError: Parts are missing or damaged, or do not add up.

    Example:
        >>> rows = load("views", split="train", data_dir="parts", streaming=True)
        >>> row = next(iter(rows))
        >>> row["image"].size, row["view_id"]
        ((32, 32), 0)
    """
    return load_from(
        GeoGen,
        config,
        split=split,
        data_dir=data_dir,
        streaming=streaming,
        num_proc=num_proc,
        cache_dir=cache_dir,
        **options,
    )
