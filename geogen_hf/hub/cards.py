"""Check the dataset card of an export, and write the card of a mirror of the zips.

Open this to change what a card must say before the data may be passed on: licence, gate,
attribution, citation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from typing import Any

import yaml

from geogen_hf.errors import ReleaseError, explain, one_line
from geogen_hf.export.card import SAMPLE_LICENSE, card_template, section, split_front_matter
from geogen_hf.release.features import CITATION, HOMEPAGE, LICENSE_NAME, LICENSE_URL

_CITATION_KEY = CITATION.partition("{")[2].partition(",")[0]


def check_card(card: str, where: object, *, sample: bool = False) -> None:
    """Refuse a card that does not bind its readers to the licence.

    Args:
        card: The text of `README.md`.
        where: Its path, for messages.
        sample: Whether the data is rendered sample heads, which the publisher's licence does not
            cover: then the card must not claim that it does.

    Raises:
        ReleaseError: Something is missing or wrong; all of it is named.

    Example:
        >>> check_card(mirror_card("lab/parts"), "README.md")
    """
    try:
        front, body = split_front_matter(card)
    except yaml.YAMLError as error:
        what = "the card's YAML is broken"
        raise ReleaseError(explain(what, where=where, found=one_line(error))) from error
    front = front if isinstance(front, dict) else {}
    missing = list(_missing_of_sample(front) if sample else _missing(front, body))
    if missing:
        what = "the card does not say what the licence asks for"
        found, remedy = f"no {'; no '.join(missing)}", "put back what was removed, or export again"
        raise ReleaseError(explain(what, where=where, found=found, remedy=remedy))


def _missing_of_sample(front: dict[str, Any]) -> Iterator[str]:
    if front.get("license") != SAMPLE_LICENSE:
        yield f"license: {SAMPLE_LICENSE} (these are sample heads, not the publisher's data)"


def _missing(front: dict[str, Any], body: str) -> Iterator[str]:
    required = {"license": "other", "license_name": LICENSE_NAME, "license_link": LICENSE_URL}
    for key, value in required.items():
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


def mirror_card(repo_id: str, *, sample: bool = False) -> str:
    """Write the card of a mirror of the zips, with the licence and gate of the export's card."""
    name = "mirror_card_sample.md" if sample else "mirror_card.md"
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    template, body = split_front_matter(card_template(sample=sample))
    kept = ("pretty_name", "tags", "license", "extra_gated")
    front = {key: value for key, value in template.items() if key.startswith(kept)}
    front |= {"pretty_name": f"{front['pretty_name']}, as zips", "viewer": False}
    text = text.replace("OWNER/NAME", repo_id)
    titles = ("Licence",) if sample else ("Licence", "Disclaimer", "Citation")
    text += "\n".join(section(body, title) for title in titles)
    dumped = yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=100)
    return f"---\n{dumped}---\n{text}"
