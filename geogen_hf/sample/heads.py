"""Who a subject is: numbers that shape and colour a head, and its cameras, drawn from a seed.

World frame: right-handed, +y up, the face towards +z, +x towards the subject's own left, metres,
the origin between the ears. No head is its own mirror image: one shoulder is higher, the head is
turned and tilted, the hair leans to a side. So a picture taken by a mirrored camera can be told
from a true one by its outline alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from geogen_hf.cameras.poses import intrinsics_from_focal_mm, look_at
from geogen_hf.errors import UsageError

Vector = tuple[float, float, float]

HAIR_STYLES = (
    "short", "long", "mohawk", "bun", "cropped", "bob", "swept", "balding", "curly", "ponytail",
)  # fmt: skip
COLLARS = ("crew", "turtleneck", "shirt")
PATTERNS = ("plain", "stripes", "zigzag", "dots", "knit")

# sRGB, 0..255: chosen by eye.
SKIN_TONES = (
    (246, 216, 196), (234, 194, 166), (222, 176, 142), (203, 152, 116),
    (172, 120, 86), (134, 90, 64), (98, 66, 50),
)  # fmt: skip
HAIR_TONES = (
    (30, 24, 22), (54, 38, 30), (92, 60, 38), (128, 84, 46), (196, 150, 82),
    (222, 186, 120), (158, 74, 36), (150, 148, 146), (206, 202, 196),
)  # fmt: skip
DARK_SKIN, DARK_HAIR = (4, 5, 6), (0, 1, 2, 7)  # fair hair on dark skin reads as a mistake
CLOTH_TONES = (
    (44, 56, 86), (98, 168, 210), (36, 70, 44), (126, 44, 122), (226, 214, 150), (150, 34, 36),
    (66, 66, 70), (196, 198, 204), (210, 120, 60), (40, 120, 118), (230, 226, 218),
)  # fmt: skip
EYE_TONES = ((70, 44, 28), (96, 66, 36), (84, 110, 74), (82, 118, 150), (58, 40, 30))

_SUBJECT_ID = re.compile(r"subj_([0-9]{5}|[1-9][0-9]{5,8})")
_HEAD_STREAM, _CAMERA_STREAM = 0, 1  # keeps the draws of heads and cameras apart

FOCAL_MM = 50.0
SENSOR_MM = 36.0
ELEVATION_RANGE_DEG = (-10.0, 25.0)

_DISTANCE_RANGE_M = (0.66, 0.71)  # head and shoulders fill the frame at 50 mm on 36 mm
_TARGET_M = (0.0, -0.028, 0.0)
_TARGET_JITTER_M = 0.006
_AZIMUTH_JITTER = 0.22  # share of the even spacing; below 0.5 the views keep their order


@dataclass(frozen=True)
class Head:
    """One subject. Lengths in metres, colours sRGB 0..255.

    A number is annotated with the range that it is drawn from.
    `side` is +1 where hair and the higher shoulder are on the subject's own left, else -1;
    `stubble` is how much of the jaw's colour is hair, 0..1.
    """

    side: float
    skull_radii: Vector
    jaw_width: Annotated[float, 0.046, 0.058]
    chin_length: Annotated[float, -0.006, 0.01]
    nose_length: Annotated[float, 0.008, 0.026]
    nose_width: Annotated[float, 0.009, 0.014]
    ear_size: Annotated[float, 0.85, 1.25]
    eye_spacing: Annotated[float, 0.029, 0.034]
    mouth_width: Annotated[float, 0.02, 0.028]
    mouth_y: Annotated[float, -0.073, -0.066]
    brow_weight: Annotated[float, 0.003, 0.006]
    hair_style: str
    hair_thickness: Annotated[float, 0.8, 1.25]
    hairline: Annotated[float, 0.062, 0.08]
    stubble: float
    full_beard: bool
    neck_radius: Annotated[float, 0.045, 0.056]
    shoulder_width: Annotated[float, 0.15, 0.19]
    shoulder_drop: Annotated[float, 0.235, 0.26]
    shoulder_raise: float
    collar: str
    pattern: str
    pattern_scale: float
    skin_rgb: Vector
    hair_rgb: Vector
    eye_rgb: Vector
    cloth_rgb: Vector
    accent_rgb: Vector
    collar_rgb: Vector
    head_rows: tuple[Vector, Vector, Vector]  # rotation from the world frame to the head's own


def subject_name(index: int) -> str:
    """The id of the subject of this number: `"subj_00010"` for 10."""
    return f"subj_{index:05d}"


def subject_index(subject_id: str) -> int:
    """The number in a subject id, which has five digits or, without leading zeros, more.

    Raises:
        UsageError: The id is not written `subj_<5 digits>`.
    """
    match = _SUBJECT_ID.fullmatch(subject_id)
    if match is None:
        expected = "subj_<5 digits>, as subj_00012"
        raise UsageError("not a subject id", expected=expected, found=repr(subject_id))
    return int(match.group(1))


@lru_cache(maxsize=64)
def head_of(subject_id: str, seed: int = 0) -> Head:
    """Draw a subject's head; it depends on the seed of the release and its own number only.

    Raises:
        UsageError: Unknown form of the id, or a negative seed.
    """
    index = subject_index(subject_id)
    if seed < 0:
        raise UsageError("seed is negative", expected=">= 0", found=seed)
    rng = np.random.default_rng((seed, index, _HEAD_STREAM))
    side = float(rng.choice((-1.0, 1.0)))
    yaw = float(rng.choice((-1.0, 1.0)) * rng.uniform(0.05, 0.2))
    roll = -side * float(rng.uniform(0.04, 0.1))
    tones = rng.choice(len(CLOTH_TONES), size=3, replace=False)
    # Neighbours get different styles, so that even a release of three shows three kinds of hair.
    style = HAIR_STYLES[(index + seed) % len(HAIR_STYLES)]

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    skin = int(rng.integers(len(SKIN_TONES)))
    hair = int(rng.choice(DARK_HAIR if skin in DARK_SKIN else range(len(HAIR_TONES))))
    beard = str(rng.choice(("shaven", "stubble", "full"), p=(0.4, 0.25, 0.35)))
    darkness = between(0.45, 0.75)
    if style in ("long", "bob", "bun", "ponytail"):
        beard = "shaven"
    radii = between(0.071, 0.079), between(0.085, 0.092), between(0.093, 0.102)
    hints = get_type_hints(Head, include_extras=True).items()
    numbers: dict[str, Any] = {
        name: between(*hint.__metadata__) for name, hint in hints if get_origin(hint) is Annotated
    }
    return Head(
        side=side,
        skull_radii=radii,
        **numbers,
        hair_style=style,
        stubble=0.0 if beard == "shaven" else darkness,
        full_beard=beard == "full",
        shoulder_raise=side * between(0.016, 0.026),
        collar=COLLARS[int(rng.integers(len(COLLARS)))],
        pattern=PATTERNS[int(rng.integers(len(PATTERNS)))],
        pattern_scale=between(0.8, 1.4),
        skin_rgb=_tone(rng, SKIN_TONES[skin], 6),
        hair_rgb=_tone(rng, HAIR_TONES[hair], 8),
        eye_rgb=_tone(rng, EYE_TONES[int(rng.integers(len(EYE_TONES)))], 8),
        cloth_rgb=_vector(CLOTH_TONES[tones[0]]),
        accent_rgb=_vector(CLOTH_TONES[tones[1]]),
        collar_rgb=_vector(CLOTH_TONES[tones[2]]),
        head_rows=_head_rows(yaw, roll),
    )


def subject_cameras(
    subject_id: str, *, views: int = 7, size: int = 128, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The exact cameras of a subject, one a view.

    The extrinsics depend on seed, subject and number of views only: pictures of another size show
    the same geometry.

    Args:
        subject_id: `subj_<5 digits>`.
        views: How many views, spread over the whole circle.
        size: Width and height of the pictures in pixels.
        seed: Seed of the release.

    Returns:
        extrinsics `(V, 4, 4)` float64 world-to-camera, OpenCV axes (x right, y down, z forward),
        metres, and intrinsics `(V, 3, 3)` float64 pixels, pixel (0, 0) covering [0, 1) x [0, 1).

    Raises:
        UsageError: Unknown form of the id, or a count, size or seed out of range.

    Example:
        >>> extrinsics, intrinsics = subject_cameras("subj_00000", views=5, size=36)
        >>> extrinsics.shape, intrinsics[0].tolist()
        ((5, 4, 4), [[50.0, 0.0, 18.0], [0.0, 50.0, 18.0], [0.0, 0.0, 1.0]])
    """
    for name, value, least in (("views", views, 1), ("size", size, 1), ("seed", seed, 0)):
        if value < least:
            raise UsageError(f"{name} is too small", expected=f">= {least}", found=value)
    rng = np.random.default_rng((seed, subject_index(subject_id), _CAMERA_STREAM))
    spacing_deg = 360.0 / views
    jitter_deg = rng.uniform(-_AZIMUTH_JITTER, _AZIMUTH_JITTER, views) * spacing_deg
    azimuth = np.radians(rng.uniform(0.0, 360.0) + np.arange(views) * spacing_deg + jitter_deg)
    elevation = np.radians(rng.uniform(*ELEVATION_RANGE_DEG, views))
    distance_m = rng.uniform(*_DISTANCE_RANGE_M)
    target = np.array(_TARGET_M) + rng.uniform(-_TARGET_JITTER_M, _TARGET_JITTER_M, (views, 3))
    level = np.cos(elevation)
    outward = np.stack(
        [np.sin(azimuth) * level, np.sin(elevation), np.cos(azimuth) * level], axis=-1
    )
    extrinsics = look_at(target + distance_m * outward, target, (0.0, 1.0, 0.0))
    intrinsics = intrinsics_from_focal_mm(FOCAL_MM, SENSOR_MM, size, size)
    return extrinsics, np.broadcast_to(intrinsics, (views, 3, 3)).copy()


def _tone(rng: np.random.Generator, tone: tuple[int, int, int], spread: int) -> Vector:
    return _vector(np.clip(tone + rng.uniform(-spread, spread, 3), 4, 250))


def _vector(values: Iterable[float]) -> Vector:
    first, second, third = map(float, values)
    return first, second, third


def _head_rows(yaw: float, roll: float) -> tuple[Vector, Vector, Vector]:
    """World to head: undo the turn about +y, then the tilt about +z."""
    cy, sy, cr, sr = (float(f(a)) for a in (yaw, roll) for f in (np.cos, np.sin))
    return (cr * cy, sr, -cr * sy), (-sr * cy, cr, sr * sy), (sy, 0.0, cy)
