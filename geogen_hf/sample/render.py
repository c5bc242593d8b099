"""Draw heads: cast rays at the solid of a head, then light and colour what they hit.

Open this to change the light, the anti-aliasing or how rays find the surface. The pictures are
what an sRGB screen expects. Pixels whose whole area misses the head are exactly `BACKGROUND_RGB`;
pixels on an outline or a strong edge are averaged from several rays, in linear light.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from geogen_hf.sample.heads import Head, Vector, head_of, subject_cameras
from geogen_hf.sample.shape import (
    BOUND_CENTRE,
    BOUND_RADIUS,
    Array,
    layer_distances,
    surface_distance,
    to_head_frame,
)

Floats = NDArray[np.float32]

BACKGROUND_RGB = (213, 213, 213)

# Directions towards the lights, world frame; linear strength. One key, one fill from behind.
_LIGHTS = (((0.35, 0.6, 0.72), 0.62), ((-0.55, 0.45, -0.7), 0.42), ((-0.8, 0.1, 0.55), 0.18))
_SKY, _GROUND = 0.5, 0.26
_GLOSS = (0.05, 0.06, 0.008, 0.01)  # by layer
_NORMAL_STEP_M = 6e-4
_EDGE_CONTRAST = 34  # of 255: strand-to-strand contrast stays below, features of the face above
_SUBPIXELS = np.array([[5, 7], [7, 3], [3, 1], [1, 5]]) / 8  # x, y from a pixel's corner
_BLOCK = 1 << 16  # rays at a time: bounds the memory

_TILE_PX = 8
_HIT_PX = 0.02  # a ray this near to the surface has hit it: as much fatter are outlines
_LEAST_CURVATURE_M = 0.01  # radius of the finest features whose outlines must not be stepped over
_CONE_STOP_M = 2e-3
_MAX_CONE_STEPS = 72


def render_view(
    subject_id: str, view: int, *, views: int = 7, size: int = 128, seed: int = 0
) -> NDArray[np.uint8]:
    """Draw one view of a subject, as it is in the release of these arguments.

    Args:
        subject_id: `subj_<5 digits>`.
        view: Which of the views, from 0.
        views: How many views the subject has.
        size: Width and height in pixels.
        seed: Seed of the release.

    Returns:
        `(H, W, 3)` uint8 sRGB.
    """
    extrinsics, intrinsics = subject_cameras(subject_id, views=views, size=size, seed=seed)
    camera = extrinsics[view, None], intrinsics[view, None]
    return np.asarray(render(head_of(subject_id, seed), *camera, size)[0])


def render(
    head: Head, world_to_camera: NDArray[np.float64], intrinsics: NDArray[np.float64], size: int
) -> NDArray[np.uint8]:
    """Draw a head as `(V, 4, 4)`, `(V, 3, 3)` cameras see it: `(V, H, W, 3)` uint8 sRGB.

    All views at once, because small pictures spend their time in calls and not in pixels.
    """
    views = Views(world_to_camera, intrinsics)
    shape = len(intrinsics), size, size
    starts = _tile_starts(head, views, size)
    view, row, column = (index.ravel() for index in np.indices(shape))
    colours, hit = _shoot(head, views, starts, view, column + 0.5, row + 0.5)
    edges = np.flatnonzero(_edges(colours, hit, shape))
    if len(edges):
        x_px, y_px = (
            (each[edges] + _SUBPIXELS[:, k, None]).ravel() for k, each in enumerate((column, row))
        )
        several, _ = _shoot(head, views, starts, np.tile(view[edges], len(_SUBPIXELS)), x_px, y_px)
        colours[edges] = several.reshape(len(_SUBPIXELS), len(edges), 3).mean(axis=0)
    return _srgb(colours).reshape(*shape, 3)


def _shoot(
    head: Head,
    views: Views,
    starts: Array,
    view: NDArray[np.intp],
    x_px: NDArray[np.float64],
    y_px: NDArray[np.float64],
) -> tuple[Floats, NDArray[np.bool_]]:
    """Linear colour `(N, 3)` and hit `(N,)` of rays through places in pictures, `(N,)` each."""
    row, column = (axis.astype(np.intp) // _TILE_PX for axis in (y_px, x_px))
    start = starts[view, row, column]
    colours = np.tile(_linear(BACKGROUND_RGB), (len(start), 1))
    hit = np.zeros(len(start), dtype=np.bool_)
    near = np.flatnonzero(np.isfinite(start))
    for first in range(0, len(near), _BLOCK):
        part = near[first : first + _BLOCK]
        origins, directions = views.rays(view[part], x_px[part], y_px[part])
        reached = trace(head, origins, directions, start[part], views.pixel_angle)
        on = np.flatnonzero(np.isfinite(reached))
        toward = directions.take(on, axis=1)
        colours[part[on]] = _shade(head, origins.take(on, axis=1) + toward * reached[on], toward)
        hit[part[on]] = True
    return colours, hit


def _shade(head: Head, points: Array, toward: Floats) -> Floats:
    """Linear colour `(N, 3)` of surface points seen along `toward`."""
    layer = np.argmin(layer_distances(head, points), axis=0)
    normal = _normals(head, points)
    open_sky = _openness(head, points, normal)
    light = (_GROUND + (_SKY - _GROUND) * (0.5 + 0.5 * normal[1])) * open_sky
    shine = np.zeros_like(light)
    for direction, strength in _LIGHTS:
        unit = np.array(direction, dtype=np.float32)[:, None]
        unit /= np.sqrt((unit * unit).sum())
        facing = (normal * unit).sum(axis=0)
        # Wrapped a little round the edge, as light is in skin and hair.
        light += strength * np.maximum((facing + 0.25) / 1.25, 0.0) * (0.4 + 0.6 * open_sky)
        half = unit - toward
        half /= np.sqrt((half * half).sum(axis=0))
        shine += strength * np.maximum((half * normal).sum(axis=0), 0.0) ** 24
    gloss = np.array(_GLOSS, dtype=np.float32)[layer]
    return np.asarray(
        _albedo(head, layer, points) * light[:, None] + (shine * gloss * open_sky)[:, None]
    )


def _normals(head: Head, points: Array) -> Floats:
    """Unit normals `(3, N)` from four distances at the corners of a tetrahedron."""
    total = np.zeros((3, len(points[0])), dtype=np.float32)
    for corner in ((1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)):
        towards = np.array(corner, dtype=np.float32)[:, None]
        total += towards * surface_distance(head, points + towards * np.float32(_NORMAL_STEP_M))
    total /= np.maximum(np.sqrt((total * total).sum(axis=0)), 1e-12)
    return total


def _openness(head: Head, points: Array, normal: Floats) -> Array:
    """How much of the sky a point sees, 0..1, judged by the room along its normal."""
    hidden = np.zeros(len(points[0]), dtype=np.float32)
    for reach_m, weight in ((0.012, 0.35), (0.045, 0.65)):
        room = surface_distance(head, points + normal * reach_m)
        hidden += weight * np.clip(1.0 - room / (0.8 * reach_m), 0.0, 1.0)
    return np.asarray(1.0 - 0.75 * hidden)


def _edges(
    colours: Floats, hit: NDArray[np.bool_], shape: tuple[int, int, int]
) -> NDArray[np.bool_]:
    """Flat mask of pixels that differ from a neighbour in hit or, strongly, in colour."""
    encoded = _srgb(colours).reshape(*shape, 3).astype(np.int16)
    covered = hit.reshape(shape)
    edge = np.zeros(shape, dtype=np.bool_)
    for axis in (1, 2):
        step = np.abs(np.diff(encoded, axis=axis)).max(axis=-1) > _EDGE_CONTRAST
        step |= np.diff(covered, axis=axis)
        beside, step = np.moveaxis(edge, axis, 0), np.moveaxis(step, axis, 0)
        beside[:-1] |= step
        beside[1:] |= step
    return edge.ravel()


def _rgb(linear: Vector) -> Floats:
    return np.array(linear, dtype=np.float32)


def _albedo(head: Head, layer: NDArray[np.intp], points: Array) -> Floats:
    """Linear colour `(N, 3)` of points before light falls on them, by their layers `(N,)`."""
    colours = np.empty((len(layer), 3), dtype=np.float32)
    for kind, paint in enumerate((_paint_skin, _paint_hair, _paint_cloth, _paint_collar)):
        chosen = np.flatnonzero(layer == kind)
        colours[chosen] = paint(head, points.take(chosen, axis=1))
    return colours


def _paint_skin(head: Head, points: Array) -> Floats:
    x, y, z = in_head = to_head_frame(head, points)
    aside = np.abs(x)
    colour = np.tile(_linear(head.skin_rgb), (len(x), 1))
    colour *= (1.0 + 0.05 * _noise(points, 260.0))[:, None]
    flush = 0.5 * _spot((aside - 0.042) / 0.02, (y + 0.035) / 0.018) * (z > 0.0)
    flush += 0.5 * _spot(aside / 0.014, (y + 0.036) / 0.014) * (z > 0.06)
    flush += 0.5 * (aside > 0.08)
    inner_ear = _spot((y - 0.002) / 0.013, (z + 0.008) / 0.008) * (aside > 0.078)
    _mix(colour, colour * _rgb((0.6, 0.42, 0.38)), inner_ear)
    _mix(colour, colour * _rgb((1.05, 0.72, 0.66)), flush)
    _stubble(head, colour, in_head)
    front = z > 0.045
    across = aside / head.mouth_width
    lip = front * _inside(np.abs(y - head.mouth_y), 0.0085 * (1.0 - across**2))
    _mix(colour, _linear(head.skin_rgb) * _rgb((0.72, 0.38, 0.36)), 0.85 * lip)
    seam = front * _inside(np.abs(y - head.mouth_y), 0.0016 - 0.0016 * (across > 1))
    _mix(colour, _rgb((0.05, 0.012, 0.01)), 0.85 * seam * (across < 1))
    nostril = _spot((aside - 0.0075) / 0.004, (y + 0.0475) / 0.0028) * (z > 0.08)
    _mix(colour, colour * 0.12, nostril)
    _eyes(head, colour, aside - head.eye_spacing, y, front)
    return colour


def _eyes(head: Head, colour: Floats, across: Array, y: Array, front: NDArray[np.bool_]) -> None:
    lid = 0.0058 * (1.0 - (across / 0.0145) ** 2)
    opening = front * _inside(np.abs(y), lid)
    _mix(colour, _rgb((0.62, 0.58, 0.55)), opening)
    radius = np.hypot(across, y)
    _mix(colour, _linear(head.eye_rgb), opening * _inside(radius, 0.0062))
    _mix(colour, _rgb((0.008, 0.007, 0.006)), opening * _inside(radius, 0.0032))
    lash = front * _inside(np.abs(y - np.maximum(lid, 0.0)), 0.0017) * (np.abs(across) < 0.0155)
    _mix(colour, _linear(head.hair_rgb) * 0.25, 0.9 * lash)
    arch = across - 0.002
    line = 0.0205 - 9.0 * arch**2
    brow = front * _inside(np.abs(y - line), head.brow_weight * (1.0 - (arch / 0.021) ** 2))
    _mix(colour, _linear(head.hair_rgb) * 0.55, 0.9 * brow)


def _stubble(head: Head, colour: Floats, head_points: Array) -> None:
    if not head.stubble:
        return
    _, y, z = head_points
    jaw = np.clip((-0.04 - 0.25 * (z - 0.08) - y) / 0.012, 0.0, 1.0)
    jaw = jaw * np.clip((z + 0.005) / 0.025, 0.0, 1.0)
    jaw = jaw * np.clip((0.125 + head.chin_length + y) / 0.01, 0.0, 1.0)
    grain = 0.75 + 0.25 * _noise(head_points, 900.0)
    _mix(colour, _linear(head.hair_rgb) * 0.8, jaw * grain * head.stubble)


def _paint_hair(head: Head, points: Array) -> Floats:
    x, y, z = in_head = to_head_frame(head, points)
    # Strands run from the crown outwards and then down: lines of constant angle about it.
    angle = np.arctan2(x - 0.012 * head.side, z + 0.035)
    wander = _noise(in_head, 45.0)
    fine = np.sin(angle * 110.0 + 3.5 * wander)
    coarse = np.sin(angle * 23.0 + 2.0 * wander + 20.0 * y)
    if head.hair_style == "curly":
        fine, coarse = _noise(in_head, 650.0), _noise(in_head, 300.0)
    shade = 1.0 + 0.24 * fine + 0.2 * coarse
    if head.hair_style in ("cropped", "mohawk", "balding"):
        shade = 1.0 + 0.22 * _noise(in_head, 800.0)
    colour = np.outer(shade, _linear(head.hair_rgb)).astype(np.float32)
    # Roots are darker: hair reads as a mass with depth.
    colour *= np.clip(0.75 + 2.2 * np.abs(x) + 1.0 * np.maximum(y, 0.0), 0.6, 1.1)[:, None]
    return colour


def _paint_cloth(head: Head, points: Array) -> Floats:
    x, y, z = points
    # Rings round the neck and spokes from it, as in a knitted yoke: neither is stretched where the
    # shoulders turn from upright to level.
    along = np.sqrt(x * x + (y + 0.1) ** 2 + (z + 0.04) ** 2) / (0.028 * head.pattern_scale)
    around = np.arctan2(x, z + 0.04) * (5.0 / head.pattern_scale)
    weave = 1.0 + 0.06 * np.sin(around * 45.0) * np.sin(along * 40.0)
    colour = np.outer(weave, _linear(head.cloth_rgb)).astype(np.float32)
    if head.pattern != "plain":
        _mix(colour, _linear(head.accent_rgb), _pattern(head, along, around))
    return colour


def _pattern(head: Head, along: Array, around: Array) -> Array:
    """Share of the second colour, 0..1, at pattern coordinates that repeat with period 1."""
    if head.pattern == "stripes":
        return _inside(np.abs(along % 1.0 - 0.5), 0.17, 0.05)
    if head.pattern == "zigzag":
        fold = np.abs(around % 1.0 - 0.5)
        return _inside(np.abs((along + fold) % 1.0 - 0.5), 0.15, 0.05)
    if head.pattern == "dots":
        across = (around + 0.5 * (np.floor(along) % 2)) % 1.0 - 0.5
        return _inside(np.hypot(across, along % 1.0 - 0.5), 0.24, 0.08)
    return np.asarray(0.35 * (0.5 + 0.5 * np.sin(around * 16.0)))


def _paint_collar(head: Head, points: Array) -> Floats:
    ribs = np.sin(np.arctan2(points[0], points[2] + 0.035) * 60.0)
    depth = 0.03 if head.collar == "shirt" else 0.16
    tone = head.collar_rgb if head.collar != "turtleneck" else head.cloth_rgb
    return np.outer(1.0 + depth * ribs, _linear(tone)).astype(np.float32)


def _noise(points: Array, waves_per_m: float) -> Array:
    """Smooth, irregular, within -1..1: sines whose directions and lengths share no period."""
    x, y, z = (p * waves_per_m for p in points)
    mixed = np.sin(x + 0.6 * y + 1.3 * np.sin(0.7 * z - 0.4 * x))
    return np.asarray(mixed * np.sin(0.8 * z - 0.9 * y + 1.1 * np.sin(0.9 * y + 0.5 * x)))


def _inside(value: Array, limit: Array | float, soft: float = 0.0012) -> Array:
    """1 where `value` is well below `limit`, 0 well above, a ramp of width `soft` between."""
    return np.clip((limit - value) / soft + 0.5, 0.0, 1.0)


def _spot(u: Array, v: Array) -> Array:
    return np.asarray(np.exp(-(u * u + v * v)))


def _mix(colour: Floats, other: Floats, amount: Array) -> None:
    colour += (other - colour) * np.clip(amount, 0.0, 1.0)[:, None].astype(np.float32)


def _linear(colour: Vector) -> Floats:
    """Linear light, `(3,)` float32, of an sRGB colour 0..255 (IEC 61966-2-1)."""
    encoded = np.asarray(colour, dtype=np.float64) / 255.0
    low = encoded / 12.92
    return np.where(encoded <= 0.04045, low, ((encoded + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _srgb(linear: Floats) -> NDArray[np.uint8]:
    """Bytes, in sRGB, of linear light (IEC 61966-2-1)."""
    clipped = np.clip(linear, 0.0, 1.0)
    high = 1.055 * clipped ** np.float32(1 / 2.4) - 0.055
    encoded = np.where(clipped <= 0.0031308, 12.92 * clipped, high)
    return (encoded * 255.0 + 0.5).astype(np.uint8)


@dataclass(frozen=True)
class Views:
    """Cameras to cast rays from: `(V, 4, 4)` extrinsics and `(V, 3, 3)` intrinsics."""

    world_to_camera: NDArray[np.float64]
    intrinsics: NDArray[np.float64]

    @cached_property
    def inverse(self) -> NDArray[np.float64]:
        """`(V, 3, 3)`: from pixels (x, y, 1) to directions in the camera frame."""
        return np.asarray(np.linalg.inv(self.intrinsics), dtype=np.float64)

    @property
    def pixel_angle(self) -> float:
        """The most that the rays of neighbouring pixels differ by, radians."""
        return float(self.inverse[:, [0, 1], [0, 1]].max())

    def rays(self, view: NDArray[np.intp], x_px: Array, y_px: Array) -> tuple[Floats, Floats]:
        """Origins and unit directions, `(3, N)` float32 world frame, through pixels `(N,)`.

        Sums are written out, as a matrix product's rounding may depend on BLAS and its threads.
        """
        to_world = np.swapaxes(self.world_to_camera[:, :3, :3], 1, 2)
        eyes = -(to_world * self.world_to_camera[:, None, :3, 3]).sum(axis=2)
        pixel = np.stack([x_px, y_px, np.ones_like(x_px)])
        camera = [(self.inverse[view, row].T * pixel).sum(axis=0) for row in range(3)]
        directions = np.stack([(to_world[view, row].T * camera).sum(axis=0) for row in range(3)])
        directions /= np.sqrt((directions * directions).sum(axis=0))
        return eyes[view].T.astype(np.float32, order="C"), directions.astype(np.float32)


def _tile_starts(head: Head, views: Views, size: int) -> Floats:
    """How far the rays of each tile may go untested: `(V, T, T)` float32 metres, inf for a miss."""
    tiles = -(-size // _TILE_PX)
    count = len(views.intrinsics)
    view, row, column = (i.ravel() for i in np.indices((count, tiles, tiles)))
    origins, directions = views.rays(view, (column + 0.5) * _TILE_PX, (row + 0.5) * _TILE_PX)
    # A pixel's distance from the tile's centre over the focal length is at least their angle.
    focal_inverse = views.inverse[:, [0, 1], [0, 1]].max(axis=1).astype(np.float32)
    widening = (focal_inverse * np.float32(_TILE_PX * 0.5**0.5))[view]
    centre_m, _ = _bound(origins, directions)
    travelled, leaves = np.maximum(0.0, centre_m - BOUND_RADIUS), centre_m + BOUND_RADIUS
    active = np.arange(len(view))
    for _ in range(_MAX_CONE_STEPS):
        here = travelled[active]
        room = surface_distance(
            head, origins.take(active, axis=1) + directions.take(active, axis=1) * here
        )
        room -= here * widening[active]
        here += np.maximum(room, 0.0)
        travelled[active] = here
        active = active[(room > _CONE_STOP_M) & (here < leaves[active])]
        if not len(active):
            break
    travelled[travelled >= leaves] = np.inf
    return np.asarray(travelled.reshape(count, tiles, tiles), dtype=np.float32)


def trace(
    head: Head,
    origins: Floats,
    directions: Floats,
    start: Array,
    pixel_angle: float,
) -> Floats:
    """Follow rays to the surface: `(N,)` float32 metres along each, inf where it misses.

    Origins and unit directions are `(3, N)` float32 in the world frame, `start` `(N,)` metres known
    to be free along each ray, `pixel_angle` the angle between neighbouring pixels' rays, radians.

    This is sphere tracing with a least step, so that rays that graze the surface come past it. A
    step of s goes unnoticed through a bulge of radius r no deeper than s * s / (8 * r). So the
    least step that keeps outlines within `_HIT_PX` grows with the square root of the pixel's size.
    """
    reached = np.full(len(start), np.inf, dtype=np.float32)
    centre_m, half_chord = _bound(origins, directions)
    leaves = centre_m + half_chord
    here = np.maximum(start, centre_m - half_chord)
    active = np.flatnonzero(here < leaves)
    origins, directions = origins.take(active, axis=1), directions.take(active, axis=1)
    here, leaves = here[active], leaves[active]
    hit_angle, step_angle = _HIT_PX * pixel_angle, np.float32(8 * _HIT_PX * pixel_angle)
    room, step = np.zeros_like(here), np.zeros_like(here)
    while len(active):
        before, room = room, surface_distance(head, origins + directions * here)
        arrived = (room < here * hit_angle) & (here < leaves)
        # A ray that is inside by now entered between its last two points: linear interpolation.
        entered = np.where(room < 0, step * room / np.maximum(before - room, 1e-9), 0.0)
        reached[active[arrived]] = (here + entered)[arrived]
        step = np.maximum(room, np.sqrt(here * (step_angle * _LEAST_CURVATURE_M)))
        here = here + step
        leaves = np.where(arrived, 0.0, leaves)
        going = here < leaves
        # Compacting copies everything, so it waits until a good share of rays is done.
        if np.count_nonzero(going) < 0.85 * len(active):
            active, here, leaves = active[going], here[going], leaves[going]
            room, step = room[going], step[going]
            origins, directions = (
                origins.compress(going, axis=1),
                directions.compress(going, axis=1),
            )
    return reached


def _bound(origins: Array, directions: Array) -> tuple[Array, Array]:
    """Distance along each ray to the point nearest the bounding sphere's centre; half the chord.

    The half chord of a ray that misses the sphere is negative, so that it leaves before it enters.
    """
    towards = np.array(BOUND_CENTRE, dtype=np.float32)[:, None] - origins
    nearest = (towards * directions).sum(axis=0)
    inside = BOUND_RADIUS**2 - ((towards * towards).sum(axis=0) - nearest * nearest)
    return nearest, np.where(inside > 0, np.sqrt(np.maximum(inside, 0.0)), np.float32(-1.0))
