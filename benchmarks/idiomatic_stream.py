"""The baseline: the streaming script the documentation of `datasets` leads to.

It extracts, iterates the paths and reads them; while streaming, `datasets` makes `open` read
`zip://…::https://…`. It lists all zips first, since the views of a subject may be in several. A
subject's cameras are read when its first image comes, from the file that its name leads to: quicker
than to read all of them first.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import datasets

_IMAGES = [f"images_batch_{n}.zip" for n in range(1, 8)]


class IdiomaticStreamConfig(datasets.BuilderConfig):
    """Where the zips are served."""

    def __init__(self, base_url: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.base_url = base_url


class IdiomaticStream(datasets.GeneratorBasedBuilder):
    """One image a row, as bytes."""

    VERSION = datasets.Version("1.0.0")
    BUILDER_CONFIG_CLASS = IdiomaticStreamConfig

    def _info(self) -> datasets.DatasetInfo:
        features = {
            "subject_id": datasets.Value("string"),
            "view_id": datasets.Value("int32"),
            "image": datasets.Image(decode=False),
            "extrinsics": datasets.Array2D((4, 4), "float32"),
            "intrinsics": datasets.Array2D((3, 3), "float32"),
        }
        return datasets.DatasetInfo(features=datasets.Features(features))

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        urls = [f"{self.config.base_url}/{name}" for name in (*_IMAGES, "metadata_files.zip")]
        *folders, metadata = dl_manager.download_and_extract(urls)
        subjects: dict[str, list[str]] = {}
        for path in dl_manager.iter_files(folders):
            subjects.setdefault(path.split("::")[0].split("/")[-2], []).append(path)
        kwargs = {"subjects": list(subjects.items()), "metadata": metadata}
        return [datasets.SplitGenerator(name="train", gen_kwargs=kwargs)]

    def _generate_examples(
        self, subjects: list[tuple[str, list[str]]], metadata: str
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for subject_id, paths in subjects:
            number = subject_id.removeprefix("subj_")
            # os.path, since datasets makes it and open, not pathlib, work on URLs.
            camera_path = os.path.join(metadata, f"metadata_{number}.json")  # noqa: PTH118
            with open(camera_path) as file:
                cameras = json.load(file)["cameras"]
            for view_id, path in enumerate(sorted(paths)):
                with open(path, "rb") as file:
                    image = file.read()
                yield (
                    f"{subject_id}/{view_id}",
                    {
                        "subject_id": subject_id,
                        "view_id": view_id,
                        "image": {"path": None, "bytes": image},
                        **cameras[view_id],
                    },
                )
