"""What hosts want to be shown before they hand out bytes: tokens, headers, keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fsspec import available_protocols


@dataclass(frozen=True)
class Credentials:
    """Options of file systems, as `storage_options` of `datasets` holds them; picklable.

    They travel with what is to be read, since each process connects for itself. Their text is
    hidden, so that no message and no log shows a token.

    Attributes:
        storage_options: By protocol (`{"hf": {"token": …}, "s3": {"key": …}}`), or for all that are
            not named so (`{"headers": {…}}`).
    """

    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def for_url(self, url: str) -> dict[str, Any]:
        """Choose the options that concern a URL, as `datasets` does.

        Example:
            >>> given = Credentials({"hf": {"token": "hf_x"}, "headers": {"X-Key": "k"}})
            >>> given.for_url("hf://datasets/me/raw/a.zip"), given.for_url("https://host/a.zip")
            ({'token': 'hf_x'}, {'headers': {'X-Key': 'k'}})
            >>> given
            Credentials()
        """
        scheme = url.split("://")[0]
        if scheme in self.storage_options:
            return dict(self.storage_options[scheme])
        protocols = available_protocols()
        return {key: value for key, value in self.storage_options.items() if key not in protocols}
