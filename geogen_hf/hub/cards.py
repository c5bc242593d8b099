"""What a card must say before the data is passed on: licence, gate, attribution, citation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from geogen_hf.errors import ReleaseError, UsageError, explain, one_line
from geogen_hf.export.card import card_template, split_front_matter
from geogen_hf.release.features import CITATION, HOMEPAGE, LICENSE_NAME, LICENSE_URL

Gate = Literal["auto", "manual", "off"]
GATES: tuple[Gate, ...] = ("auto", "manual", "off")


@dataclass(frozen=True)
class Access:
    """Who may see a repository.

    Attributes:
        private: Only its owners may.
        gated: Others must accept the terms first, let in at once (`"auto"`) or by hand
            (`"manual"`), or need not (`"off"`).
    """

    private: bool
    gated: Gate

    def __str__(self) -> str:
        gate = "not gated" if self.gated == "off" else f"gated ({self.gated})"
        return f"{'private' if self.private else 'public'}, {gate}"


def wanted_access(
    found: Access | None, *, empty: bool, private: bool | None, gated: Gate | None
) -> Access:
    """Decide who is to see the repository in the end.

    An existing one is left as it is, unless told otherwise; one without data is gated unless told
    otherwise, and one that is yet to be made is private.

    Args:
        found: Who may now; None where there is no repository.
        empty: Whether it holds no data.
        private: What the options say; None for nothing.
        gated: What the options say; None for nothing.

    Example:
        >>> str(wanted_access(None, empty=True, private=None, gated=None))
        'private, gated (auto)'
        >>> there = Access(private=False, gated="manual")
        >>> str(wanted_access(there, empty=False, private=None, gated=None))
        'public, gated (manual)'
    """
    default = found or Access(private=True, gated="auto")
    gate = default.gated
    if empty and gate == "off":
        gate = "auto"
    return Access(
        private=default.private if private is None else private,
        gated=gate if gated is None else gated,
    )


def closed_access(found: Access, wanted: Access) -> Access:
    """Say who may see it while the push goes on: what closes comes first, what opens comes last.

    Example:
        >>> private, public = Access(True, "off"), Access(False, "auto")
        >>> str(closed_access(private, public)), str(closed_access(public, private))
        ('private, gated (auto)', 'private, gated (auto)')
    """
    gate = found.gated if wanted.gated == "off" else wanted.gated
    return Access(private=found.private or wanted.private, gated=gate)


def check_licence_accepted(access: Access, accepted: bool) -> None:
    """Refuse to pass the data on without a gate, unless the licence was acknowledged.

    Raises:
        UsageError: It was not.

    Example:
        >>> check_licence_accepted(Access(private=False, gated="auto"), accepted=False)
    """
    if access.gated == "off" and not accepted:
        raise UsageError(
            explain(
                "without a gate, nobody who takes the data is asked to accept its licence",
                expected="a gate, or --accept-license (accept_license=True)",
                found=str(access),
                remedy="pass --gated auto; or read the Research Use of Data Agreement "
                f"({LICENSE_URL}): you must bind every recipient to it yourself",
            )
        )


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
