"""Write the dataset card of an exported folder.

The text is that of the template `dataset_card.md`; the YAML, the tables and the command come from
the export. Change the wording in the template, and what is filled in here.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from datasets import DatasetInfo
from datasets.splits import SplitDict, SplitInfo

from geogen_hf.compat import yaml_of
from geogen_hf.errors import ReleaseError, one_line
from geogen_hf.export.options import ExportOptions
from geogen_hf.export.parquet import FileRecord
from geogen_hf.release.features import FEATURES
from geogen_hf.release.shards import SPLITS
from geogen_hf.source.parts import IMAGE_PARTS

TEMPLATE, SAMPLE_TEMPLATE = "dataset_card.md", "export/sample_card.md"
SAMPLE_LICENSE = "mit"
_SECTIONS_MARK = "<!-- sections of dataset_card.md -->"
_SAMPLE_SECTIONS = ("Configs and columns", "Cameras", "Splits", "Loading", "Provenance")
_CONFIG_LINE = re.compile(r"\| `(\w+)`(?: \(default\))? \| (one .*)", re.ASCII)
_SNIPPET = re.compile(r"(?:[^\n]+\n)+\n```python\n.*?^```\n\n", re.MULTILINE | re.DOTALL)
"""A paragraph and the code that follows it."""
_COLUMN_LINE = re.compile(r"\| `(\w+)` \|.*", re.ASCII)

_Grouped = dict[str, dict[str, list[FileRecord]]]
"""Files by config and split."""


def card_template(*, sample: bool = False) -> str:
    """Read the template of the card, from the installed package or from the source tree.

    That of sample heads takes from `dataset_card.md` only the sections that hold for any export.
    """
    package = resources.files("geogen_hf")
    installed = package / TEMPLATE
    beside = Path(__file__).parents[2] / TEMPLATE
    text = (installed if installed.is_file() else beside).read_text(encoding="utf-8")
    if not sample:
        return text
    kept = "\n".join(section(text, title) for title in _SAMPLE_SECTIONS).rstrip()
    kept = kept.replace("the publisher's", "the sample's").replace("the publisher", "the sample")
    return package.joinpath(SAMPLE_TEMPLATE).read_text("utf-8").replace(_SECTIONS_MARK, kept)


def section(card: str, title: str) -> str:
    r"""Return one section of a card, with its heading.

    Example:
        >>> section("# Heads\n\n## Licence\n\nMIT\n\n## Splits\n", "Licence")
        '## Licence\n\nMIT\n'
    """
    found = re.search(rf"^## {title}\n.*?(?=^## |\Z)", card, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ReleaseError("the card's template lacks a section", expected=f"## {title}")
    return found[0].rstrip() + "\n"


def split_front_matter(card: str) -> tuple[dict[str, Any], str]:
    r"""Split a card into the values of the YAML at its beginning, and the rest.

    Example:
        >>> split_front_matter("---\nlicense: other\n---\n# Title\n")
        ({'license': 'other'}, '# Title\n')
    """
    opening, *rest = card.split("---\n", 2)
    if opening or len(rest) != 2:
        raise ReleaseError("a card without YAML at its beginning", found=card[:60])
    try:
        front = yaml.safe_load(rest[0])
    # PyYAML lets errors of its constructors through, such as that of `!!timestamp x`.
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ReleaseError("the YAML of a card cannot be read", found=one_line(error)) from error
    if not isinstance(front, dict):
        raise ReleaseError("the YAML of a card is not a mapping", found=repr(front)[:60])
    return front, rest[1]


def write_card(
    files: Sequence[FileRecord],
    images: int,
    options: ExportOptions,
    source: dict[str, Any],
    pictures: Sequence[str],
) -> str:
    """Return the text of `README.md`: the template, filled in.

    `images` counts those of all identities, `source` is that of `provenance.json`, and
    `pictures` names the contact sheet and, where there is one, the camera proof.
    """
    front, body = split_front_matter(card_template(sample="sample" in source))
    front["size_categories"] = [_size_category(images)]
    by_split: _Grouped = {config: {} for config in options.configs}
    for config, split in itertools.product(options.configs, SPLITS):
        if some := [f for f in files if (f.config, f.split) == (config, split)]:
            by_split[config][split] = some
    front["configs"] = [
        {
            "config_name": config,
            "data_files": [
                {"split": split, "path": f"data/{config}/{split}-*.parquet"} for split in of_config
            ],
            **({"default": True} if config == options.configs[0] else {}),
        }
        for config, of_config in by_split.items()
    ]
    front["dataset_info"] = [_dataset_info(*item) for item in by_split.items()]
    text = yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=100)
    body = _with_configs(body, options.configs)
    for what, said in (
        ("images", _encoding(options)),
        ("figures", _figures(by_split, pictures[0])),
        ("cameras", _cameras(source["cameras"], pictures[1:])),
        ("provenance", _provenance(options, source)),
    ):
        body = body.replace(f"<!-- {what} of this export -->", said)
    return f"---\n{text}---\n{body}"


def _with_configs(body: str, configs: Sequence[str]) -> str:
    """Keep what is said of the exported configs and columns, and mark the default config."""
    body = body.replace('records("sequences")', f'records("{configs[0]}")')
    body = _SNIPPET.sub(
        lambda found: found[0] * set(re.findall(r"/data/(\w+)/", found[0])).issubset(configs), body
    )
    every = {column for features in FEATURES.values() for column in features}
    here = {column for config in configs for column in FEATURES[config]}
    lines = []
    for line in body.splitlines():
        if matched := _CONFIG_LINE.fullmatch(line):
            if matched[1] not in configs:
                continue
            default = " (default)" if matched[1] == configs[0] else ""
            line = f"| `{matched[1]}`{default} | {matched[2]}"
        elif (matched := _COLUMN_LINE.fullmatch(line)) and matched[1] in every - here:
            continue
        lines.append(line)
    return "\n".join(lines) + "\n"


def _size_category(images: int) -> str:
    """Name the Hub's size category."""
    bounds = {1000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K"}
    return next((name for bound, name in bounds.items() if images < bound), "100K<n<1M")


def _dataset_info(config: str, by_split: dict[str, list[FileRecord]]) -> dict[str, Any]:
    """Describe a config as `datasets` does in the YAML of a card.

    Lists are spelt `sequence`, as `datasets` before 4 writes them, because later versions read
    both spellings.
    """
    splits = SplitDict()
    for split, files in by_split.items():
        size, rows = sum(f.arrow_bytes for f in files), sum(f.rows for f in files)
        splits.add(SplitInfo(name=split, num_bytes=size, num_examples=rows))
    info = DatasetInfo(
        features=FEATURES[config],
        splits=splits,
        download_size=sum(file.size for files in by_split.values() for file in files),
        dataset_size=sum(split.num_bytes for split in splits.values()),
    )
    values: dict[str, Any] = {"config_name": config, **yaml_of(info)}
    for feature in values.get("features", []):
        if "list" in feature:
            feature["sequence"] = feature.pop("list")
    return values


def _figures(grouped: _Grouped, picture: str) -> str:
    lines = [
        f"![Some of the identities]({picture})",
        "",
        "| config | split | rows | files | size |",
        "|---|---|---:|---:|---:|",
    ]
    for config, by_split in grouped.items():
        for split, files in by_split.items():
            rows, size = sum(f.rows for f in files), sum(f.size for f in files) / 1e6
            lines.append(f"| `{config}` | {split} | {rows:,} | {len(files)} | {size:,.1f} MB |")
    return "\n".join(lines)


def _cameras(convention: dict[str, Any], proof: Sequence[str]) -> str:
    """State the camera convention of the metadata, how it was found, and the warnings."""
    evidence = convention["evidence"]
    text = (
        f"The metadata's camera convention was `{convention['convention']}`; here it is "
        "world-to-camera with OpenCV axes. "
    )
    if evidence is None:
        text += "It was stated, not proven."
    else:
        text += "Proven by" if evidence["settled"] else "Stated, and compared with"
        text += (
            f" the geometry of {evidence['subjects']:,} subjects and the silhouettes of "
            f"{len(evidence['pixel_subjects'])}: {evidence['reason']}. The focal length that all "
            "views share is taken as stated. `provenance.json` has all scores."
        )
    # Names and keys come from the archives and do not belong into Markdown.
    foreign = {"exchanged_views", "odd_subject", "settled_by_images"}
    kinds = [warning["kind"] for warning in convention["warnings"]]
    of_all = [w["text"] for w in convention["warnings"] if w["kind"] not in foreign]
    if "settled_by_images" in kinds:
        of_all.append("The metadata can be read in several ways; the images proved one of them.")
    odd = kinds.count("exchanged_views") + kinds.count("odd_subject")
    text = " ".join([text, *of_all, *[f"{odd} of these subjects fit badly."] * (odd > 0)])
    for picture in proof:
        text += (
            f"\n\n![Outlines of the visual hull, seen again by each camera]({picture})\n\n"
            "Green is the outline of the hull of all silhouettes, as each camera sees it: on the "
            "left under the convention taken, on the right under the next best."
        )
    return text


def _provenance(options: ExportOptions, source: dict[str, Any]) -> str:
    """State the versions that wrote the files, and the command that writes them again."""
    versions = source["versions"]
    convention = source["cameras"]
    split_seed = source["options"]["split_seed"]
    command = ["geogen export PARTS OUT", *(f"--config {config}" for config in options.configs)]
    parts = [part.number for part in IMAGE_PARTS if part.name in source["parts"]]
    if len(parts) < len(IMAGE_PARTS):
        command += [f"--part {number}" for number in parts]
    command += [f"--split-seed {split_seed}"] if split_seed else []
    if not options.keeps_images:
        command += [f"--image-format {options.image_format}"]
        command += [f"--image-size {options.image_size}"] if options.image_size else []
        command += [f"--quality {options.quality}"] if options.image_format == "jpeg" else []
    if convention["how"] in ("stated", "unchecked"):
        unchecked = " unchecked" * (convention["how"] == "unchecked")
        command += [f'--camera-convention "{convention["convention"]}{unchecked}"']
    return (
        f"Written by geogen-hf {versions['geogen-hf']} with pyarrow {versions['pyarrow']} and "
        f"Pillow {versions['pillow']}; split seed {split_seed}; images: {_encoding(options)}. The "
        "same versions give the same files from the same zips, bit for bit:\n\n"
        f"```\n{' '.join(command)}\n```"
    )


def _encoding(options: ExportOptions) -> str:
    if options.keeps_images:
        return "the published PNG bytes"
    name = {"png": "PNG", "webp": "lossless WebP", "jpeg": f"JPEG, quality {options.quality}"}
    size = f", longer side {options.image_size} px" if options.image_size else ""
    return name[options.image_format] + size
