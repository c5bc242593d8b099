"""Intrinsics as metadata gives them, and as pixels once the image's size is known.

Open this module to see or change how a focal length, an angle or a matrix of unsaid unit is
understood.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geogen_hf.cameras.poses import (
    FloatArray,
    crop_intrinsics,
    intrinsics_from_focal_mm,
    intrinsics_matrix,
)
from geogen_hf.errors import CameraError, UsageError
from geogen_hf.metadata.keys import (
    DEGREES,
    RADIANS,
    CameraValueError,
    Choice,
    DoubtError,
    Path,
    RoleName,
    ambiguous,
    dotted,
)
from geogen_hf.metadata.table import Column, Slots, kind_of_square

IntrinsicsForm = Literal[
    "matrix", "label", "entries", "focal_px", "focal_mm", "fov_x", "fov_y", "incomplete", "absent",
]  # fmt: skip
Units = Literal["pixels", "normalised", "ndc"]
DefaultIntrinsics = Literal["upstream"]
Change = Literal["none", "resized", "cropped"]

UPSTREAM_FOCAL_MM, UPSTREAM_SENSOR_MM = 50.0, 36.0
"""What the publisher's page calls the average."""

# fx fy cx cy of a view of 130 to 12 degrees whose axis meets the image's middle half, divided by
# the image size; and what no image of 8 pixels or more could have in those units.
_NORMALISED = np.array([[0.2, 0.2, 0.25, 0.25], [5.0, 5.0, 0.75, 0.75]])
_LEAST_PX = np.array([7.5, 7.5, 2.0, 2.0])
_LEAST = 1e-9  # of a length or an angle: what is divided by less may overflow

_LENSES: tuple[tuple[IntrinsicsForm, tuple[RoleName, ...]], ...] = (
    ("focal_px", ("fx", "fy")),
    ("focal_mm", ("focal_mm", "sensor_mm")),
    ("focal_px", ("focal",)),
    ("focal_px", ("focal_px",)),
    ("fov_x", ("fov_x",)),
    ("fov_y", ("fov_y",)),
)
LENSES = frozenset(form for form, _ in _LENSES)
"""Forms in which the principal point is in the middle of the image if nothing else is said."""
_LEAST_CROP = 1 / 3
_NUMBERS = '{"intrinsics": {"fx": <number>, "fy": <number>, "cx": <number>, "cy": <number>}}'
_CENTRES: tuple[tuple[RoleName, ...], ...] = (("cx", "cy"), ("principal",), ())
CENTRES = frozenset({"cx", "cy", "principal", "shift"})
"""The principal point, or how far it is from the middle of the image."""
INTRINSICS_KEYS: tuple[tuple[IntrinsicsForm, tuple[RoleName, ...]], ...] = (
    ("matrix", ("matrix",)),
    *(
        # In one unit, which their values tell.
        ("entries" if form == "focal_px" and centre else form, (*lens, *centre))
        for form, lens in _LENSES
        for centre in _CENTRES
        if centre or lens != ("focal",)  # which alone could be in mm
    ),
)
"""What `camera_schema` calls the values of intrinsics, the most direct description first."""
INTRINSICS_PARTS = frozenset({role for _, roles in INTRINSICS_KEYS for role in roles})

Place = TypeVar("Place", Column, Path)


@dataclass(frozen=True)
class IntrinsicsPlan(Generic[Place]):
    """Where intrinsics are: in a matrix, in fx fy cx cy, in focal length and sensor, in an angle.

    `parts` are columns, or the paths that a `camera_schema` states, by what they hold: the lens and
    then its principal point. A number stands for itself, in all cameras.
    """

    form: IntrinsicsForm = "absent"
    parts: Mapping[str, Place | float] = field(default_factory=dict)
    units: Units | None = None  # else the values decide
    angle_units: str | None = None

    @property
    def places(self) -> list[Place]:
        """The parts that are no numbers."""
        return [part for part in self.parts.values() if not isinstance(part, float)]


@dataclass(frozen=True, eq=False)
class StoredIntrinsics:
    """Intrinsics in the units they came in: `(V, 3, 3)` float64 matrices.

    Focal lengths may also be in widths or heights of the image. A principal point in `"shift"` is
    Blender's: from the middle of the image, so zero where none is given.
    """

    kind: Literal[Units, "widths", "heights", "absent"]
    values: FloatArray
    centre_kind: Literal[Units, "shift"]
    size_wh: FloatArray | None = None  # (V, 2) image width and height as the metadata has them
    crop: FloatArray | None = None  # (V, 4) the box in images of that size that was kept
    change: Change = "none"  # of the images, from that size

    def at(self, rows: slice | Sequence[int] | NDArray[np.intp]) -> StoredIntrinsics:
        """The same for some of the views, in this order."""
        size_wh = None if self.size_wh is None else self.size_wh[rows]
        crop = None if self.crop is None else self.crop[rows]
        return replace(self, values=self.values[rows], size_wh=size_wh, crop=crop)


def pixel_intrinsics(
    stored: StoredIntrinsics,
    width: ArrayLike,
    height: ArrayLike,
    default_intrinsics: DefaultIntrinsics | None = None,
) -> FloatArray:
    """Intrinsics of V views as `(V, 3, 3)` float64, in pixels of images of this size.

    `"upstream"` puts a 50 mm lens on a 36 mm wide sensor where the metadata says nothing.
    CameraError if there is nothing and no such default; DoubtError if the metadata is of images of
    another size; UsageError for an unknown default.
    """
    if default_intrinsics not in (None, "upstream"):
        what = "unknown default_intrinsics"
        raise UsageError(what, expected="'upstream' or None", found=default_intrinsics)
    size_wh = np.empty((len(stored.values), 2))
    size_wh[:] = np.stack(np.broadcast_arrays(width, height), axis=-1)
    named_wh = _named_size(stored, size_wh)
    intrinsics = _at_size(stored, named_wh, default_intrinsics)
    if stored.change == "cropped":
        start, kept_wh = _kept(stored, named_wh, size_wh)
        intrinsics, named_wh = crop_intrinsics(intrinsics, *start.T), kept_wh
    return np.asarray(intrinsics * np.insert(size_wh / named_wh, 2, 1.0, axis=1)[:, :, None])


def _kept(
    stored: StoredIntrinsics, named_wh: FloatArray, size_wh: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Where what was kept of larger images begins in them, and its size: `(V, 2)` each, pixels.

    Without a box it is the middle. The numbers of a box are its corner and size, or two corners:
    whichever has the images' aspect and lies within.
    """
    if stored.crop is None:
        return (named_wh - size_wh) / 2, size_wh
    start, end = stored.crop[:, :2], stored.crop[:, 2:]
    ways = []
    for kept in (end, end - start):
        off = np.abs(kept[:, 0] * size_wh[:, 1] - kept[:, 1] * size_wh[:, 0])
        inside = (kept > 0) & (start >= 0) & (start + kept <= named_wh)
        if inside.all() and (off <= kept.max(axis=1) / 2).all():
            ways.append((start, kept))
    if len(ways) != 1:
        raise CameraError(
            "the metadata has crops that can be read in no way, or in several",
            expected="x, y, width and height, or two corners, of the aspect of the images",
            found=stored.crop[0].tolist(),
            remedy=f"state the intrinsics of the images as they are: camera_schema={_NUMBERS}",
        )
    return ways[0]


def _at_size(
    stored: StoredIntrinsics, size_wh: FloatArray, default_intrinsics: DefaultIntrinsics | None
) -> FloatArray:
    """Intrinsics in pixels of the images that the metadata is of."""
    if stored.kind == "absent":
        if default_intrinsics is None:
            raise CameraError(
                "the metadata has no intrinsics",
                expected="a matrix, fx fy cx cy, a lens in mm or a field of view",
                found="none under a known key",
                remedy='name the key with camera_schema, or default_intrinsics="upstream" for the '
                f"publisher's average ({UPSTREAM_FOCAL_MM:g} mm on {UPSTREAM_SENSOR_MM:g} mm)",
            )
        focal = np.full(len(size_wh), UPSTREAM_FOCAL_MM)
        return intrinsics_from_focal_mm(focal, UPSTREAM_SENSOR_MM, *size_wh.T)
    wide, high = size_wh[:, :1], size_wh[:, 1:]
    # PyTorch3D's NDC ("Cameras"): in halves of the shorter side; from the middle, x left and y up.
    half, one = np.minimum(wide, high) / 2, np.ones_like(size_wh)
    units = {"pixels": one, "normalised": size_wh, "ndc": half, "widths": wide, "heights": high}
    # Blender's manual, "Cameras": in longer sides; positive numbers move the view right and up.
    from_middle = {"ndc": -half, "shift": np.maximum(wide, high) * [-1.0, 1.0]}
    intrinsics, centre = stored.values.copy(), stored.values[:, :2, 2]
    intrinsics[:, :2] *= units[stored.kind][:, :, None]
    if stored.centre_kind in from_middle:
        intrinsics[:, :2, 2] = size_wh / 2 + centre * from_middle[stored.centre_kind]
    else:
        intrinsics[:, :2, 2] = centre * units[stored.centre_kind]
    return np.asarray(intrinsics)


def _named_size(stored: StoredIntrinsics, size_wh: FloatArray) -> FloatArray:
    """The size that the metadata names, in any order, or else that of the image.

    What made one of the other, if they differ, has to be known. Resizing keeps the aspect but for
    half a pixel.
    """
    if stored.size_wh is None:
        return size_wh
    turned = np.diff(stored.size_wh) * np.diff(size_wh) < 0
    named_wh = np.where(turned, stored.size_wh[:, ::-1], stored.size_wh)
    scale = size_wh / named_wh
    off = np.abs(size_wh * (1 - scale[:, ::-1] / scale)).min(axis=1) > 0.5
    other = (size_wh != named_wh).any(axis=1)
    if stored.crop is not None:
        other |= (stored.crop[:, :2] != 0).any(axis=1)
    # No head would fill a crop of less than a third, which leaves a resize.
    crops = (scale > _LEAST_CROP).all(axis=1) | np.full(len(scale), stored.crop is not None)
    of_pixels = "pixels" in (stored.kind, stored.centre_kind)
    open_ = {"none": other & (crops | off | of_pixels), "resized": off, "cropped": ()}
    bad = np.flatnonzero(open_[stored.change])
    if len(bad):
        row = int(bad[0])
        image, named = ("{:g} × {:g}".format(*each[row]) for each in (size_wh, named_wh))
        able = {"pixels": of_pixels, "cropped": crops[row], "resized": not off[row]}
        raise DoubtError(
            f"the metadata is of images of another {'aspect' if off[row] else 'size'}",
            where=f"row {row}",
            expected=f"{image} pixels, as the image has; or a word on what was done to images: "
            "resized, cropped (about the middle, if there is no box), or nothing since the "
            "intrinsics in pixels were written",
            found=named,
            choices=[{"intrinsics_units": each} for each, can in able.items() if can],
        )
    return named_wh


def plan_intrinsics(slots: Slots) -> IntrinsicsPlan[Column]:
    """The most direct description there is: a matrix, its entries, a focal length, an angle.

    A 3x3 matrix under any key counts where nothing else does. CameraValueError where several
    columns could be one part.
    """
    by_role = dict(slots)
    if "sensor_mm" in by_role and "focal" in by_role:
        by_role.setdefault("focal_mm", by_role["focal"])
    for form, roles in INTRINSICS_KEYS:
        if any(role not in by_role for role in roles):
            continue
        if form in LENSES and ("cx" in by_role) != ("cy" in by_role):
            one = dotted([by_role["cx" if "cx" in by_role else "cy"][0].path])
            raise CameraValueError(None, "cx and cy beside a lens, both or neither", f"only {one}")
        if form == "focal_mm" and by_role[roles[0]][0].dims:
            continue  # two focal lengths
        parts: dict[str, Column] = {role: by_role[role][0] for role in roles}
        angle_units = parts[roles[0]].role.said.get("euler_units")
        for role in roles:
            if not all(map(parts[role].is_same, by_role[role][1:])):
                paths = [column.path for column in by_role[role]]
                choices = [_statement({**parts, role: c}, angle_units) for c in by_role[role]]
                raise ambiguous(f"the intrinsics ({role})", paths, choices)
        return IntrinsicsPlan(form, parts, angle_units=angle_units)
    roles = ("fx", "fy", "focal", "focal_mm")
    if some := {column.name: column for role in roles for column in by_role.get(role, ())}:
        return IntrinsicsPlan("incomplete", some)
    lenses = [each for each in slots.get("unknown", ()) if kind_of_square(each) == "matrix"]
    lenses = lenses or [p for p in slots.get("projection", ()) if is_clip_space(p.array).all()]
    return plan_intrinsics({"matrix": lenses}) if lenses else IntrinsicsPlan()


def _statement(parts: Mapping[str, Column], angle_units: str | None) -> Choice:
    named = {
        f"{role}_deg" if role in ("fov_x", "fov_y") and angle_units != RADIANS else role: dotted(
            [column.path]
        )
        for role, column in parts.items()
    }
    return {"intrinsics": named.get("matrix", named)}


def is_clip_space(array: FloatArray) -> NDArray[np.bool_]:
    """Which matrices are OpenGL's perspective projections: 0 0 -1 0 is the last row, or column."""
    whole = array.reshape(len(array), -1)
    if whole.shape[1] != 16:
        return np.zeros(len(array), dtype=np.bool_)
    last = whole[:, [[12, 13, 14, 15], [3, 7, 11, 15]]]
    return np.asarray((last == [0, 0, -1, 0]).all(axis=2).any(axis=1))


def compose_intrinsics(
    plan: IntrinsicsPlan[Column],
    values: Mapping[str, FloatArray],
    size_columns: Sequence[Column],
    sizes: Sequence[FloatArray],
    count: int,
) -> StoredIntrinsics:
    """Make intrinsics of V cameras of the numbers of each part and of the image's size.

    Their range tells a unit that is not stated; CameraValueError where it leaves a doubt.
    """
    names = [
        f"{part:g}" if isinstance(part, float) else dotted([part.path])
        for part in plan.parts.values()
    ]
    if plan.form == "incomplete":
        raise CameraValueError(
            None,
            "fx fy cx cy; or a focal length in mm and the sensor's width; or a matrix",
            f"only {', '.join(names)}",
            [
                {"intrinsics": {"focal_mm": names[0], "sensor_mm": UPSTREAM_SENSOR_MM}},
                {"intrinsics": {"focal_px": names[0]}},
            ],
        )
    size = _size(size_columns, sizes)
    if plan.form == "absent":
        return StoredIntrinsics("absent", np.zeros((count, 3, 3)), "shift", size)
    if plan.form not in LENSES:
        matrices = _matrices(np.column_stack([each.reshape(count, -1) for each in values.values()]))
        focal, centre = np.abs(matrices[:, [0, 1], [0, 1]]), matrices[:, :2, 2]
        unit = plan.units or _unit(np.concatenate([focal, centre], axis=1), names[0])
        if unit == "pixels" and not plan.units and "focal" in values and (focal < centre).any():
            others = dict(zip(list(values)[1:], names[1:], strict=True))
            in_mm = {"focal_mm": names[0], "sensor_mm": UPSTREAM_SENSOR_MM}
            raise CameraValueError(
                None,
                f"{names[0]} in pixels, or in mm",
                f"a view of more than 90 degrees with {focal[0, 0]:g} pixels",
                [{"intrinsics": each | others} for each in ({"focal_px": names[0]}, in_mm)],
            )
        return StoredIntrinsics(unit, matrices, unit, size)
    lens = np.column_stack([each for role, each in values.items() if role not in CENTRES])
    kind: Any = {"focal_px": "pixels", "fov_y": "heights"}.get(plan.form, "widths")
    if plan.form in ("fov_x", "fov_y"):
        degrees = plan.angle_units == DEGREES or (not plan.angle_units and lens.max() > np.pi)
        angle = np.radians(lens) if degrees else lens
        good = (angle > _LEAST) & (angle < np.pi)
        _require(good, names[0], "an angle between 0 and 180 degrees", lens[:, 0])
        focal = 0.5 / np.tan(angle / 2)
    else:
        _require((lens > _LEAST).all(axis=1), names[0], "lengths > 0", lens)
        focal = lens if kind == "pixels" else lens[:, :1] / lens[:, 1:2]
    beside = [each for role, each in values.items() if role in CENTRES]
    centre = np.column_stack(beside or [np.zeros((count, 2))])
    centre_kind: Any = "shift"
    if beside and "shift" not in values:
        centre_kind = plan.units or _unit(centre, names[lens.shape[1]])
    matrices = intrinsics_matrix(focal[:, 0], focal[:, -1], *centre.T)
    return StoredIntrinsics(kind, matrices, centre_kind, size)


def _require(good: Any, name: str, expected: str, values: FloatArray) -> None:
    if not good.all():
        row = int(np.argmin(good))
        raise CameraValueError(row, f"{name} to be {expected}", str(values[row]))


def _matrices(flat: FloatArray) -> FloatArray:
    """3x3 matrices of the numbers of any form, in one row a camera."""
    many = flat.shape[1]
    if many == 25:
        return flat[:, 16:].reshape(-1, 3, 3)
    if many <= 4:  # one or two focal lengths, and a principal point
        return intrinsics_matrix(*flat[:, [0, -3, -2, -1]].T)
    if is_clip_space(flat).all():
        rows = flat.reshape(-1, 4, 4)
        rows = (rows if flat[0, 14] == -1 else rows.swapaxes(1, 2))[:, :2] / 2  # from -1 to 1, y up
        half = 0.5 + np.array([-1, 1]) * rows[:, [0, 1], 2]
        return intrinsics_matrix(*rows[:, [0, 1], [0, 1]].T, *half.T)
    matrices = flat.reshape(len(flat), -1, 3 if many == 9 else 4)[:, :3, :3]
    if (matrices[:, 2, 2] < 0).all():  # of cameras that look along -z with y up, as Kubric has them
        matrices = matrices * [1.0, -1.0, -1.0]
    lower = (matrices[:, :2, 2] == 0).all() and (matrices[:, 2, :2] != 0).any()
    # Intrinsics have their centre in the last column: in the last row, they go column by column.
    return matrices.swapaxes(1, 2) if lower else matrices


def _unit(numbers: FloatArray, name: str) -> Units:
    """The unit of focal lengths and principal points `(V, 4)`, or of principal points `(V, 2)`."""
    of = slice(-numbers.shape[1], None)
    normalised = (numbers >= _NORMALISED[0, of]) & (numbers <= _NORMALISED[1, of])
    pixels = numbers >= _LEAST_PX[of]
    if normalised.all():
        return "normalised"
    if pixels.all():
        return "pixels"
    row = int(np.argmin(pixels.all(axis=1) | normalised.all(axis=1)))
    names = " ".join(["fx", "fy", "cx", "cy"][of])
    shown = " ".join(f"{number:.4g}" for number in numbers[row])
    raise CameraValueError(
        row,
        f"{name} in pixels, or divided by the image size with the centre near 0.5",
        f"{names} = {shown}, which could be either or neither",
        [{"intrinsics_units": unit} for unit in get_args(Units)],
    )


def _size(columns: Sequence[Column], values: Sequence[FloatArray]) -> FloatArray | None:
    if not values:
        return None
    size = np.column_stack([*values, *values])[:, :2]  # one number is that of a square
    name = dotted([column.path for column in columns])
    _require((size >= 1).all(axis=1), name, "an image's size in pixels", size)
    return size
