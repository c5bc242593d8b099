"""The base class of the builder in `geogen.py`, and `load_from`, which drives such a builder.

`load_dataset` runs no scripts from `datasets` 4.0 on, but a builder class that is imported still
works there; `load_from` drives one the way `load_dataset` does. Open this module to change how rows
are prepared as Arrow files, when prepared files are out of date, or what `geogen.load` accepts.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from datasets.exceptions import DatasetGenerationError

from geogen_hf.compat import BuilderHooks, ResumableShards
from geogen_hf.durable import absolute_path, write_durably, writing
from geogen_hf.errors import GeoGenError, UsageError, did_you_mean
from geogen_hf.release.features import TableBuilder
from geogen_hf.release.shards import SPLITS, Shard, ShardReader, split_shard
from geogen_hf.release.subjects import Subject
from geogen_hf.source.parts import folder_stamp, resolve_place, select_parts
from geogen_hf.threads import read_ahead

SMALL_SPLIT_BYTES = 512 * 2**20
_TABLE_BYTES = 3 * 2**20
"""Images in one record batch. By default `datasets` holds 1,000 rows of seven images: 1.5 GB. Much
less is also faster, since the same memory is used again and again."""
_TABLE_ROWS = 1000
_STAMP_FILE = "parts.json"


class ReleaseBuilder(
    BuilderHooks,
    datasets.ArrowBasedBuilder,  # type: ignore[misc]
    datasets.GeneratorBasedBuilder,  # type: ignore[misc]
):
    """A builder of rows made from the zips of a release.

    It streams rows one by one, and prepares them by the table: encoding each row by its features
    takes `datasets` longer than to read and inflate it.
    """

    def __init__(self, *args: Any, writer_batch_size: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, writer_batch_size=writer_batch_size, **kwargs)
        self._writer_batch_size = writer_batch_size or _TABLE_ROWS

    @property
    def conventions_folder(self) -> Path | None:
        """Where proven camera conventions are kept; None where the cache is remote."""
        root = resolve_place(self._cache_dir_root)
        # Not isinstance(root, Path): for streaming, datasets puts a class of its own in place of
        # that name in the modules of a builder.
        return None if isinstance(root, str) else root / "geogen-cameras"

    @property
    def place(self) -> Path | str:
        """The folder or base URL of the parts.

        Raises:
            UsageError: `data_dir` is a URL.
        """
        if self.config.data_dir is None:
            return resolve_place(self.config.base_url)
        folder = resolve_place(self.config.data_dir)
        if isinstance(folder, str):
            raise UsageError(
                "data_dir must be a folder", found=folder, remedy=f"pass base_url={folder!r}"
            )
        return folder

    def download_and_prepare(
        self, output_dir: str | None = None, *args: Any, download_mode: Any = None, **kwargs: Any
    ) -> None:
        """Prepare Arrow files, anew if a part in `data_dir` was replaced since the last time.

        Arguments are those of `datasets.DatasetBuilder.download_and_prepare`.
        """
        stamp = self._parts_stamp()
        stamp_path = Path(output_dir or self.cache_dir) / _STAMP_FILE
        if download_mode is None and stamp and _read_stamp(stamp_path) not in (None, stamp):
            download_mode = datasets.DownloadMode.REUSE_CACHE_IF_EXISTS
            self.info.splits = None  # read back from the old files, and not to be held to them
        super().download_and_prepare(output_dir, *args, download_mode=download_mode, **kwargs)
        if stamp and stamp_path.parent.is_dir() and _read_stamp(stamp_path) != stamp:
            write_durably(stamp_path, json.dumps(stamp).encode())

    def _parts_stamp(self) -> list[list[Any]] | None:
        if self.config.data_dir is None:
            return None
        stamp = folder_stamp(self.config.data_dir, select_parts(self.config.parts))
        return None if stamp is None else [list(entry) for entry in stamp]

    def _generate_tables(self, shards: list[Shard]) -> Iterator[tuple[str, pa.Table]]:
        """Give the rows of `_generate_examples` as tables, made while the last one is written."""
        builder = TableBuilder(
            self.info.features.arrow_schema,
            most_bytes=_TABLE_BYTES,
            most_rows=self._writer_batch_size,
        )
        tables = builder.tables(row for _, row in self._generate_examples(shards))
        for number, table in enumerate(read_ahead(tables)):
            yield str(number), table

    def resumable_shards(self, gen_kwargs: dict[str, Any]) -> ResumableShards[Shard]:
        """See `BuilderHooks`."""
        # A row is one view where it has a view's number, else one subject.
        row_count = _count_views if "view_id" in self.info.features else _count_one
        reader = ShardReader(self._generate_examples, row_count)
        return ResumableShards(reader, gen_kwargs["shards"], split_shard)

    def processes(self, gen_kwargs: dict[str, Any], num_proc: int) -> int | None:
        """Prepare small splits in this process: starting others takes longer than their bytes."""
        subjects = [subject for shard in gen_kwargs["shards"] for subject in shard.subjects]
        size = sum(image.size for subject in subjects for image in subject.images)
        return None if size < SMALL_SPLIT_BYTES else num_proc


def _count_views(subject: Subject) -> int:
    return len(subject.view_ids)


def _count_one(subject: Subject) -> int:
    return 1


def _read_stamp(path: Path) -> list[list[Any]] | None:
    try:
        stamp: list[list[Any]] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None  # prepared without a folder, or interrupted before the stamp
    return stamp


def load_from(
    builder_class: type[ReleaseBuilder],
    config: str,
    *,
    split: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    streaming: bool = False,
    num_proc: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    download_config: datasets.DownloadConfig | None = None,
    download_mode: datasets.DownloadMode | str | None = None,
    keep_in_memory: bool = False,
    storage_options: dict[str, Any] | None = None,
    token: str | bool | None = None,
    **config_options: Any,
) -> Any:
    """Load from an imported builder class what `load_dataset` loads from a script.

    `config` names one of its configs, `config_options` are fields of its config class, and the
    other arguments are those of `load_dataset`; `streaming` does not go with `num_proc`. For
    `split=None`, a dictionary of all splits is returned.

    Raises:
        UsageError: An option is unknown or does not go with another.
        OutputError: The cache cannot be written.
        GeoGenError: The release cannot be read.
    """
    _check_options(builder_class, config, split, streaming, num_proc, config_options)
    with writing(cache_dir or datasets.config.HF_DATASETS_CACHE, resumes=False):
        builder = builder_class(
            cache_dir=cache_dir and os.fspath(cache_dir),
            config_name=config,
            data_dir=None if data_dir is None else _absolute(data_dir),
            storage_options=storage_options,
            token=_hub_token(token, storage_options),
            **config_options,
        )
        if streaming:
            return builder.as_streaming_dataset(split=split)
        try:
            builder.download_and_prepare(
                download_config=download_config,
                download_mode=download_mode,
                num_proc=num_proc,
                storage_options=storage_options,
            )
        except DatasetGenerationError as error:
            if isinstance(error.__cause__, (GeoGenError, OSError)):
                raise error.__cause__ from None
            raise
    return builder.as_dataset(split=split, in_memory=keep_in_memory)


def _hub_token(token: str | bool | None, storage_options: dict[str, Any] | None) -> Any:
    # DownloadConfig overwrites the token of storage_options, with None where there is no other.
    return (storage_options or {}).get("hf", {}).get("token") if token is None else token


def _absolute(data_dir: str | os.PathLike[str]) -> str:
    # One cache entry for one folder, however it is spelt. A URL is left for the builder to refuse.
    text = os.fspath(data_dir)
    return text if "://" in text else str(absolute_path(text))


def _check_options(
    builder_class: type[ReleaseBuilder],
    config: str,
    split: str | None,
    streaming: bool,
    num_proc: int | None,
    options: dict[str, Any],
) -> None:
    configs = builder_class.builder_configs
    if config not in configs:
        remedy = did_you_mean(config, configs)
        if config in SPLITS or os.path.exists(config):  # noqa: PTH110 (Path refuses some names)
            remedy = f"pass {'split' if config in SPLITS else 'data_dir'}={config!r}"
        raise UsageError(f"unknown config {config!r}", expected=", ".join(configs), remedy=remedy)
    for name in options:
        if not hasattr(configs[config], name):
            other = ("name", "version", "description", "data_files")
            known = [known for known in vars(configs[config]) if known not in other]
            raise UsageError(
                f"unknown option {name!r}",
                expected=", ".join(known),
                remedy=did_you_mean(name, known),
            )
    # datasets itself would say so once all is downloaded.
    for name in re.findall(r"(?:^|\+)\s*(\w+)", split) if isinstance(split, str) else ():
        if name not in (*SPLITS, "all"):
            expected = f"{', '.join(SPLITS)}, or a slice such as 'train[:10%]'"
            raise UsageError(
                f"no split {name!r}", expected=expected, remedy=did_you_mean(name, SPLITS)
            )
    if streaming and num_proc is not None:
        raise UsageError(
            "num_proc does not go with streaming", remedy="use DataLoader workers instead"
        )
