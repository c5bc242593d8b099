"""Private names of other packages that this package uses, each with a fallback.

Open this file when a new version of a dependency breaks something: each entry says in which
versions the name was seen, and what happens without it. Entries are sorted by package.
"""

from __future__ import annotations

# --- datasets -----------------------------------------------------------------------------------


def cached_file_name(url: str, etag: str | None) -> str | None:
    """Name the file in the download cache of `datasets` that holds a URL's content.

    `datasets.utils.file_utils.hash_url_to_filename`, seen in 3.6.0 to 5.2.0.

    Args:
        url: Where the content comes from.
        etag: Its entity tag, as sent; None where the cache is to ignore it.

    Returns:
        The file's name; None without that function: then the download manager of `datasets`
        fetches the parts, which works but starts a broken transfer again from zero.
    """
    try:
        from datasets.utils.file_utils import hash_url_to_filename
    except ImportError:
        return None
    return str(hash_url_to_filename(url, etag))
