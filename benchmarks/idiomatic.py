"""The baseline: the script one would write for these zips by the documentation of `datasets`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets

NAMES = [*(f"images_batch_{n}.zip" for n in range(1, 8)), "metadata_files.zip"]


class IdiomaticConfig(datasets.BuilderConfig):
    """Where the zips are served."""

    def __init__(self, base_url: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.base_url = base_url


class Idiomatic(datasets.GeneratorBasedBuilder):
    """`download_and_extract`, then paths: one identity a row."""

    VERSION = datasets.Version("1.0.0")
    BUILDER_CONFIG_CLASS = IdiomaticConfig

    def _info(self) -> datasets.DatasetInfo:
        features = {
            "subject_id": datasets.Value("string"),
            "images": datasets.Sequence(datasets.Image()),
            "view_ids": datasets.Sequence(datasets.Value("int32")),
            "extrinsics": datasets.Array3D((None, 4, 4), "float32"),
            "intrinsics": datasets.Array3D((None, 3, 3), "float32"),
        }
        return datasets.DatasetInfo(features=datasets.Features(features))

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        urls = [f"{self.config.base_url}/{name}" for name in NAMES]
        *image_folders, metadata_folder = dl_manager.download_and_extract(urls)
        subjects: dict[str, list[list[str]]] = {"train": [], "validation": [], "test": []}
        images: dict[str, list[str]] = {}
        for folder in image_folders:
            for path in sorted(Path(folder).glob("*/*.png")):
                images.setdefault(path.parent.name, []).append(str(path))
        for path in sorted(Path(metadata_folder).glob("*.json")):
            name = json.loads(path.read_text())["name"]
            position = int(hashlib.sha256(f"0:{name}".encode()).hexdigest()[:16], 16) / 2**64
            split = "train" if position < 0.8 else "validation" if position < 0.9 else "test"
            subjects[split].append([str(path), *sorted(images[name])])
        return [
            datasets.SplitGenerator(name=split, gen_kwargs={"subjects": paths})
            for split, paths in subjects.items()
            if paths
        ]

    def _generate_examples(
        self, subjects: list[list[str]]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for metadata_path, *image_paths in subjects:
            metadata = json.loads(Path(metadata_path).read_text())
            yield (
                metadata["name"],
                {
                    "subject_id": metadata["name"],
                    "images": image_paths,
                    "view_ids": [int(Path(path).stem) for path in image_paths],
                    "extrinsics": [camera["extrinsics"] for camera in metadata["cameras"]],
                    "intrinsics": [camera["intrinsics"] for camera in metadata["cameras"]],
                },
            )
