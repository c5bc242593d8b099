"""The check of a card's front matter, which the Hub makes before and within a commit."""

from __future__ import annotations

import re
from typing import Any

import yaml

LICENSES = {"mit", "apache-2.0", "cc-by-4.0", "cc-by-nc-4.0", "cc0-1.0", "other", "unknown"}
"""Those known here; the Hub knows more."""

_LISTS = ("task_categories", "task_ids", "tags", "size_categories", "annotations_creators")


def check_card(content: str) -> tuple[list[str], list[str]]:
    """Check a README.md and return its errors and warnings."""
    match = re.match(r"---\r?\n(.*?)\r?\n---(\r?\n|$)", content, re.DOTALL)
    if match is None:
        return [], ["empty or missing yaml metadata in repo card"]
    try:
        facts = yaml.safe_load(match.group(1))
    except yaml.YAMLError as error:
        return [f"bad YAML: {error}"], []
    if not isinstance(facts, dict):
        return ["the metadata must be a mapping"], []
    errors = [*_license_errors(facts), *_config_errors(facts)]
    for name in _LISTS:
        value = facts.get(name, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            errors.append(f'"{name}" must be a list of strings')
    for name in ("pretty_name", "extra_gated_prompt", "extra_gated_heading"):
        if not isinstance(facts.get(name, ""), str):
            errors.append(f'"{name}" must be a string')
    if not isinstance(facts.get("extra_gated_fields", {}), dict):
        errors.append('"extra_gated_fields" must be an object')
    return errors, []


def _license_errors(facts: dict[str, Any]) -> list[str]:
    names = facts.get("license", [])
    names = names if isinstance(names, list) else [names]
    errors = [
        f'"license" must be one of the known ones, not {n!r}' for n in names if n not in LICENSES
    ]
    if "other" not in names and ("license_name" in facts or "license_link" in facts):
        errors.append('"license_name" and "license_link" go with license: other')
    return errors


def _config_errors(facts: dict[str, Any]) -> list[str]:
    configs = facts.get("configs", [])
    if not isinstance(configs, list):
        return ['"configs" must be a list']
    named = [c.get("config_name") for c in configs if isinstance(c, dict)]
    errors = []
    if len(named) != len(configs) or not all(isinstance(name, str) for name in named):
        errors.append('each of "configs" needs a "config_name"')
    if len(set(named)) != len(named):
        errors.append('"config_name" must be unique')
    for config in configs:
        files = config.get("data_files") if isinstance(config, dict) else None
        if isinstance(files, list):
            for item in files:
                if isinstance(item, dict) and not {"split", "path"} <= item.keys():
                    errors.append('each of "data_files" needs a "split" and a "path"')
    return errors
