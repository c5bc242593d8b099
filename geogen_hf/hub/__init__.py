"""On the Hub: an exported folder, or the original parts, pushed in one commit, gated, tagged.

`push_export` and `push_parts` are those of `geogen_hf.hub.push`.
"""

from __future__ import annotations

from geogen_hf.hub.push import push_export, push_parts

__all__ = ["push_export", "push_parts"]
