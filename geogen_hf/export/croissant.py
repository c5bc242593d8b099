"""Describe an exported folder in Croissant 1.1, for search engines and `mlcroissant`.

Every config is a record set with all of its columns, images and cameras included. Statements on
collection, limits and use (`rai:` and `prov:`) are taken from the card. Open this module when a
column is added, or when Croissant asks for another statement.

Format: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html
Statements: https://docs.mlcommons.org/croissant/docs/croissant-rai-spec.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from datasets import Array2D, Array3D, Image, Value

from geogen_hf.export.card import card_template, section, split_front_matter
from geogen_hf.release.features import CITATION, COLUMNS, DESCRIPTION, FEATURES, HOMEPAGE
from geogen_hf.release.shards import SPLITS
from geogen_hf.source.parts import UPSTREAM_URL

_CROISSANT_WORDS = (
    "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field",
    "fileObject", "fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset",
    "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex",
    "repeated", "replace", "samplingRate", "separator", "source", "subField", "transform",
)  # fmt: skip
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    **{word: f"cr:{word}" for word in _CROISSANT_WORDS},
}
_DATA_TYPES = {"string": "sc:Text", "int32": "cr:Int32", "float32": "cr:Float32"}


def write_croissant(configs: Sequence[str], source: dict[str, Any]) -> str:
    """Return the text of `croissant.json`, given the `source` of `provenance.json`.

    Its paths are relative, so that it holds for any copy of the folder.
    """
    sample = "sample" in source
    front, body = split_front_matter(card_template(sample=sample))
    value = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": [
            "http://mlcommons.org/croissant/1.1",
            "http://mlcommons.org/croissant/RAI/1.0",
        ],
        "name": front["pretty_name"],
        "description": _plain(body.split("\n## ")[0].split("\n", 2)[2]) if sample else DESCRIPTION,
        "license": "https://spdx.org/licenses/MIT" if sample else front["license_link"],
        "url": HOMEPAGE,
        "version": source["versions"]["geogen-hf"],
        "keywords": front["tags"],
        **({} if sample else _PUBLICATION),
        **_statements(body, source),
        "distribution": [
            {
                "@type": "cr:FileSet",
                "@id": f"{config}-files",
                "name": f"{config}-files",
                "description": f"The Parquet files of {config}.",
                "encodingFormat": "application/x-parquet",
                "includes": f"data/{config}/*.parquet",
            }
            for config in configs
        ],
        "recordSet": [_record_set(config) for config in configs],
    }
    return json.dumps(value, indent=1) + "\n"


_PUBLICATION = {
    "creator": {"@type": "Organization", "name": "Microsoft", "url": HOMEPAGE},
    "citeAs": CITATION,
    "datePublished": "2024-06",
}


def _statements(body: str, source: dict[str, Any]) -> dict[str, Any]:
    """What the Croissant vocabulary for responsible AI asks, and where the data comes from."""
    sample = "sample" in source
    package = f"geogen-hf {source['versions']['geogen-hf']}"
    limits = _items(section(body, "Limitations"))
    statements: dict[str, Any] = {
        "rai:hasSyntheticData": True,
        "rai:dataCollection": "Rendered by computer; no person was photographed.",
        "rai:dataCollectionType": ["Synthetic"],
        "rai:dataPreprocessingProtocol": [
            f"{package} joined images and cameras, divided the identities into splits and wrote "
            "Parquet files; provenance.json has every option and the proof of the cameras.",
        ],
        "rai:dataLimitations": limits,
        "prov:wasGeneratedBy": {
            "@type": "prov:Activity",
            "prov:label": f"geogen export, {package}",
            "prov:used": sorted(source["parts"]),
        },
    }
    if sample:
        return statements | {"rai:dataUseCases": ["Tests and demonstrations of geogen-hf."]}
    licence = _items(section(body, "Licence"))
    return statements | {
        "rai:dataBiases": limits[:1],
        "rai:dataUseCases": [_plain(body.split("\n## ")[0].split("\n", 2)[2]), *licence],
        "rai:personalSensitiveInformation": [_plain(section(body, "Disclaimer").split("\n", 2)[2])],
        "rai:dataSocialImpact": licence[-1],
        "prov:wasDerivedFrom": {"@id": UPSTREAM_URL, "@type": "prov:Entity"},
    }


def _items(text: str) -> list[str]:
    """The items of a section's list; of a section without one, its text."""
    _, *items = re.split(r"^- ", text, flags=re.MULTILINE)
    return [_plain(item) for item in items or [text.split("\n", 2)[2]]]


def _plain(markdown: str) -> str:
    return " ".join(re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", markdown.replace("*", "")).split())


def _record_set(config: str) -> dict[str, Any]:
    key = ["subject_id", "view_id"] if "view_id" in FEATURES[config] else ["subject_id"]
    return {
        "@type": "cr:RecordSet",
        "@id": config,
        "name": config,
        "key": [{"@id": f"{config}/{column}"} for column in key],
        "field": [
            _field(config, "split", "The split of the identity.", "sc:Text")
            | {
                "source": {
                    "fileSet": {"@id": f"{config}-files"},
                    "extract": {"fileProperty": "fullpath"},
                    "transform": {"regex": f"^data/{config}/({'|'.join(SPLITS)})-.*$"},
                }
            },
            *(_column(config, name, feature) for name, feature in FEATURES[config].items()),
        ],
    }


def _column(config: str, name: str, feature: Any) -> dict[str, Any]:
    source: dict[str, Any] = {
        "fileSet": {"@id": f"{config}-files"},
        "extract": {"column": name},
    }
    shape: tuple[int | None, ...] = ()
    element = feature
    if isinstance(feature, Array2D | Array3D):
        shape, element = feature.shape, Value(feature.dtype)
    elif not isinstance(feature, Value | Image):
        shape, element = (None,), feature.feature
    data_type = "sc:ImageObject"
    if isinstance(element, Image):
        source["transform"] = {"jsonPath": "bytes"}
    else:
        data_type = _DATA_TYPES[element.dtype]
    field = _field(config, name, COLUMNS[name], data_type) | {"source": source}
    if isinstance(element, Image) and shape:
        # `isArray` is the word for it since 1.1, but mlcroissant 1.1.1 then decodes no images.
        field["repeated"] = True
    elif shape:
        field["isArray"] = True
        field["arrayShape"] = ",".join("-1" if side is None else str(side) for side in shape)
    return field


def _field(config: str, name: str, description: str, data_type: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{config}/{name}",
        "name": name,
        "description": description,
        "dataType": data_type,
    }
