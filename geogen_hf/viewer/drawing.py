"""Draw an identity into a viser scene: frustums with their pictures, axes, points of the hull.

Everything is in the release's world coordinates. Open this module to change what the scene shows;
`server` decides when.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geogen_hf.cameras.conventions import quaternion_from_rotation
from geogen_hf.viewer.frustums import IdentityFrustums

_LINES, _CHOSEN = (230, 126, 34), (45, 85, 200)
_SMALL_PX, _LARGE_PX = 256, 1024
"""Longest side of a picture in its frustum, and of the one that is looked through."""
_JPEG_QUALITY = 88
_OnClick = Callable[[int, Any], None]


class Drawing:
    """The nodes of a `viser` scene that show one identity.

    `on_click` gets the index of a frustum that is clicked, and the browser's handle; `opacity` is
    that of the pictures, 0..1.
    """

    def __init__(
        self, scene: Any, shown: IdentityFrustums, opacity: float, on_click: _OnClick
    ) -> None:
        self._scene, self._shown, self._opacity = scene, shown, opacity
        self._chosen: int | None = None
        self._root = scene.add_frame("/identity", show_axes=False)
        self._pictures: list[Any] = []
        self._lines: list[Any] = []
        for index, frustum in enumerate(shown.frustums):
            name = f"/identity/view_{frustum.view_id}"
            wxyz = quaternion_from_rotation(frustum.world_to_camera[:3, :3].T, "wxyz")
            scene.add_frame(name, show_axes=False, wxyz=wxyz, position=tuple(frustum.position))
            top_left, _, bottom_right, _ = frustum.corners()
            width, height, _ = bottom_right - top_left
            picture = scene.add_image(
                f"{name}/picture",
                self._texture(index),
                width,
                height,
                jpeg_quality=_JPEG_QUALITY,
                cast_shadow=False,
                receive_shadow=False,
                position=tuple((top_left + bottom_right) / 2),
            )
            picture.on_click(lambda event, index=index: on_click(index, event.client))
            self._pictures.append(picture)
            self._lines.append(self._add_lines(index))
        self.axes = self._add_axes()
        self.points: Any = None

    def _add_lines(self, index: int) -> Any:
        frustum, chosen = self._shown.frustums[index], index == self._chosen
        return self._scene.add_line_segments(
            f"/identity/view_{frustum.view_id}/lines",
            frustum.edges().astype(np.float32),
            _CHOSEN if chosen else _LINES,
            thickness=3.0 if chosen else 2.0,
            thickness_units="screen",
        )

    def _add_axes(self) -> Any:
        length = 0.4 * self._shown.distance
        axes = self._scene.add_frame(
            "/identity/axes", axes_length=length, axes_radius=0.012 * length
        )
        for name, direction in zip("xyz", np.eye(3), strict=True):
            self._scene.add_label(
                f"/identity/axes/{name}",
                name,
                position=tuple(1.08 * length * direction),
                anchor="center-center",
            )
        return axes

    def add_points(
        self, points: NDArray[np.floating[Any]], colours: NDArray[np.uint8], *, visible: bool
    ) -> None:
        """Draw coloured points `(N, 3)` of the world, colours `(N, 3)` uint8."""
        centre = self._shown.orbit.centre
        # Half precision is relative: near the centre it resolves 0.0005 of the head.
        self.points = self._scene.add_point_cloud(
            "/identity/points",
            np.asarray(points - centre, dtype=np.float32),
            colours,
            point_size=0.005 * self._shown.distance,
            point_shape="circle",
            point_shading="flat",
            position=tuple(centre),
            visible=visible,
        )

    def choose(self, index: int | None) -> None:
        """Mark the frustum that is looked through and show its picture in full; None for none."""
        previous, self._chosen = self._chosen, index
        for changed in {previous, index}:
            if changed is not None:
                self._pictures[changed].image = self._texture(changed)
                self._lines[changed].remove()
                self._lines[changed] = self._add_lines(changed)

    def set_opacity(self, opacity: float) -> None:
        """Blend the picture that is looked through with what is behind it, or else all."""
        self._opacity = opacity
        indices = range(len(self._pictures)) if self._chosen is None else [self._chosen]
        for index in indices:
            self._pictures[index].image = self._texture(index)

    def _texture(self, index: int) -> NDArray[np.uint8]:
        longest_px = _LARGE_PX if index == self._chosen else _SMALL_PX
        image = self._shown.frustums[index].reduced(longest_px)
        if self._opacity < 1:
            image.putalpha(round(255 * self._opacity))
        return np.asarray(image)

    def remove(self) -> None:
        """Take everything out of the scene."""
        self._root.remove()
