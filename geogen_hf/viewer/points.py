"""Coloured points of the head: the surface of the visual hull, from the pictures' outlines.

If pictures and cameras belong together, the points cover each picture when it is looked through.
"""

from __future__ import annotations

import numpy as np

from geogen_hf.cameras.foreground import foreground
from geogen_hf.cameras.surface import SurfacePoints, hull_surface
from geogen_hf.viewer.frustums import IdentityFrustums

_COUNT = 20_000
_LEAST_VIEWS = 3  # fewer silhouettes leave a cone, not a head


def hull_points(shown: IdentityFrustums) -> SurfacePoints | None:
    """Sample the visual hull of an identity.

    Returns:
        The points; None where too few of the outlines can be told from the background.
    """
    found = [(frustum, foreground(frustum.pixels)) for frustum in shown.frustums]
    known = [(frustum, seen.mask) for frustum, seen in found if seen.doubt is None]
    if len(known) < _LEAST_VIEWS:
        return None
    points = hull_surface(
        [frustum.pixels for frustum, _ in known],
        [mask for _, mask in known],
        np.stack([frustum.world_to_camera for frustum, _ in known]),
        np.stack([frustum.intrinsics for frustum, _ in known]),
        count=_COUNT,
    )
    return points if len(points.xyz) else None
