"""What a card must say before the data is passed on: licence, gate, attribution, citation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from geogen_hf.errors import ReleaseError, explain, one_line
from geogen_hf.export.card import card_template, split_front_matter
from geogen_hf.schema import CITATION, HOMEPAGE, LICENSE_NAME, LICENSE_URL

_KEPT = (
    "license",
    "license_name",
    "license_link",
    "extra_gated_heading",
    "extra_gated_prompt",
    "extra_gated_fields",
    "extra_gated_button_content",
)
_CITATION_KEY = CITATION.partition("{")[2].partition(",")[0]


def check_card(card: str, where: object) -> None:
    """Refuse a card that does not bind its readers to the licence.

    Args:
        card: The text of `README.md`.
        where: Its path, for messages.

    Raises:
        ReleaseError: Something is missing; all of it is named.

    Example:
        >>> check_card(raw_card(), "README.md")
    """
    try:
        front, body = split_front_matter(card)
    except yaml.YAMLError as error:
        found = one_line(error)
        raise ReleaseError(
            explain("the card's YAML is broken", where=where, found=found)
        ) from error
    missing = list(_missing(front if isinstance(front, dict) else {}, body))
    if missing:
        raise ReleaseError(
            explain(
                "the card does not say what the licence asks for",
                where=where,
                found=f"no {'; no '.join(missing)}",
                remedy="put back what was taken out, or export again",
            )
        )


def _missing(front: dict[str, Any], body: str) -> Iterator[str]:
    for key, value in (
        ("license", "other"),
        ("license_name", LICENSE_NAME),
        ("license_link", LICENSE_URL),
    ):
        if front.get(key) != value:
            yield f"{key}: {value}"
    if LICENSE_URL not in str(front.get("extra_gated_prompt")):
        yield "extra_gated_prompt with the licence's address"
    if not front.get("extra_gated_fields"):
        yield "extra_gated_fields"
    if "Microsoft" not in body or not re.search(rf"{re.escape(HOMEPAGE)}(?!/)", body):
        yield f"attribution to Microsoft with {HOMEPAGE}"
    if LICENSE_URL not in body:
        yield "section on the licence with its address"
    if _CITATION_KEY not in body:
        yield f"citation ({_CITATION_KEY})"


def raw_card() -> str:
    """Write the card of a mirror of the original parts: licence, gate and attribution as ever."""
    front, body = split_front_matter(card_template())
    kept = {
        "pretty_name": "GeoGen, the original archives",
        **{key: front[key] for key in _KEPT},
        "tags": front["tags"],
        "viewer": False,  # a zip a view or so is no table
    }
    text = yaml.safe_dump(kept, sort_keys=False, allow_unicode=True, width=100)
    sections = "\n".join(_section(body, name) for name in ("Licence", "Disclaimer", "Citation"))
    return f"---\n{text}---\n{_RAW_BODY}\n{sections}"


def _section(body: str, title: str) -> str:
    found = re.search(rf"^## {title}\n.*?(?=^## |\Z)", body, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ReleaseError(explain("the card's template lacks a section", expected=f"## {title}"))
    return found[0].rstrip() + "\n"


_RAW_BODY = f"""
# GeoGen, the original archives

The eight zips that Microsoft published with
[GeoGen: Geometry-Aware Generative Modeling via Signed Distance Functions]({HOMEPAGE})
(CVPR-W 2024), byte for byte: seven with images, one with camera metadata. `parts.lock.json` has
size and SHA-256 of each.

This is a mirror to build from, not rows: `datasets` cannot load it by itself. With the package
`geogen-hf`, name it as the base URL:

```python
import geogen

ds = geogen.load("sequences", split="train", base_url="hf://datasets/OWNER/NAME")
```

or `geogen download OUT --base-url hf://datasets/OWNER/NAME`.
"""
