"""What the keys of camera metadata say and claim, and what counts as their numbers.

A key is looked up without case, `-`, `_`, `.` and spaces, and where that is unknown also without
words that add nothing (`camera_intrinsics`, `world_to_camera_matrix`). A key claims a direction or
axes only where its name leaves no doubt; everything else is left to evidence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, permutations, product
from typing import Any, Literal, get_args

import numpy as np

from geogen_hf.cameras.conventions import CameraAxes, Direction, QuaternionOrder
from geogen_hf.cameras.poses import FloatArray
from geogen_hf.errors import CameraError, GeoGenError, MetadataError

Path = tuple[str, ...]
"""The keys that lead to a value."""
Dims = tuple[int, ...]
"""Dimensions of nested lists of numbers; `()` is one number."""
Choice = Mapping[str, Any]
"""What states one of several readings: a `camera_schema`, or what is to be added to one."""

MAX_KEYS_DEEP = 3
"""How deep inside a camera's object a value may be."""
_MAX_NUMBER = 1e9  # no length, pixel or entry comes near; beyond it arithmetic overflows at last
_LONGEST = 2000  # characters of numbers in a text
_MOST_CHOICES = 8  # in a message
_MAX_KEYS = 64  # an object with more keys is a collection and no camera
_DIGITS = r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"  # no digit in two ways
_NUMBERS_TEXT = re.compile(rf"[\[(\s]*{_DIGITS}(?:[\s,;\[\]()]+{_DIGITS})*[\])\s]*", re.ASCII)
_WORDED = re.compile(
    r"<?[a-zA-Z][\w. ]*([\[(][-+.\deE\s,()\[\]]*[\])])(?:,\s*dtype=[\w.]+\))?>?", re.ASCII
)
"""What Python prints: `<Matrix 4x4 (…)>`, `Vector((…))`, `array([…], dtype=float32)`."""

RoleName = Literal[
    "pose", "projection", "rotation", "quaternion", "euler", "rodrigues", "translation", "yaw",
    "pitch", "roll", "location", "target", "forward", "up", "azimuth", "elevation", "distance",
    "matrix", "fx", "fy", "cx", "cy", "focal", "principal", "focal_mm", "focal_px", "sensor_mm",
    "fov_x", "fov_y", "width", "height", "resolution", "crop", "distortion",
    "shift",
    "layout", "column_major", "row_major", "quaternion_order", "axes", "ndc",
    "view", "file", "name", "subject", "id", "wrapper", "cameras", "subjects", "unknown",
]  # fmt: skip

W2C: Direction = "world_to_camera"
C2W: Direction = "camera_to_world"
ROW_MAJOR, COLUMN_MAJOR = "row-major", "column-major"
RADIANS, DEGREES = "radians", "degrees"

_EULER_ORDERS = tuple(map("".join, permutations("XYZ")))
CHOICES: Mapping[str, tuple[str, ...]] = {
    "quaternion_order": get_args(QuaternionOrder),
    "pose_order": ("position first", "quaternion first"),
    "euler_units": (RADIANS, DEGREES),
    "euler_order": _EULER_ORDERS,
    "turns": (
        *("".join(each) for each in product("+-", "xyz", "+-", "xyz", "+-", "xyz")
          if each[3] not in (each[1], each[5])),
        *(f"{axes} {order}" for axes in ("zyx", "yxz", "zxy") for order in _EULER_ORDERS),
    ),
    "world_up": ("+y", "-y", "+z", "-z", "+x", "-x"),
    "direction": get_args(Direction),
    "axes": get_args(CameraAxes),
    "layout": (ROW_MAJOR, COLUMN_MAJOR),
    "intrinsics_units": ("pixels", "normalised", "ndc", "resized", "cropped"),
}  # fmt: skip
"""What may be said of cameras in one of a few words; `geogen_hf.metadata.schema` explains them."""


@dataclass(frozen=True)
class Role:
    """What a key holds, and what its name claims: words that `camera_schema` has too."""

    name: RoleName
    said: Mapping[str, str] = field(default_factory=dict, hash=False)


def _spelt(name: RoleName, spellings: str, endings: str = "", **said: str) -> dict[str, Role]:
    words = [f"{word}{end}" for word in spellings.split() for end in endings.split() or [""]]
    return dict.fromkeys(words, Role(name, said))


_BLENDER: dict[str, str] = {"direction": C2W, "axes": "opengl"}
OPENCV: dict[str, str] = {"direction": W2C, "axes": "opencv"}
_ROLES: dict[str, Role] = {
    **_spelt(
        "pose",
        "worldtocamera world2camera worldtocam world2cam w2c worldtoview world2view worldview "
        "worldviewtransform viewmatrix camerafromworld camfromworld",
        direction=W2C,
    ),
    **_spelt(
        "pose",
        "cameratoworld camera2world camtoworld cam2world c2w viewtoworld view2world "
        "worldfromcamera worldfromcam transformmatrix",
        direction=C2W,
    ),
    **_spelt("pose", "matrixworld", **_BLENDER),  # a property of Blender's objects
    **_spelt("pose", "extrinsic ext rt pose transform transformation matrix"),
    **_spelt("projection", "p projection proj worldtoimage"),
    **_spelt("rotation", "r rot rotation orientation attitude"),
    **_spelt("translation", "t trans translation xyz"),
    # COLMAP's names for the pose in images.txt: world-to-camera, w first.
    **_spelt("quaternion", "qvec", **OPENCV, quaternion_order="wxyz"),
    **_spelt("translation", "tvec", **OPENCV),
    **_spelt("quaternion", "q quat quaternion"),
    **_spelt("quaternion", "wxyz", quaternion_order="wxyz"),
    **_spelt("quaternion", "xyzw", quaternion_order="xyzw"),
    # Blender's names for the pose of an object: camera-to-world, w first, radians.
    **_spelt("quaternion", "rotationquaternion", **_BLENDER, quaternion_order="wxyz"),
    **_spelt("euler", "rotationeuler", **_BLENDER, euler_units="radians"),
    **_spelt("euler", "euler eulerangles eulerxyz rotationxyz angles"),
    **_spelt("rodrigues", "rvec", **OPENCV),  # OpenCV's name beside tvec
    **_spelt("rodrigues", "rodrigues axisangle rotvec"),
    **_spelt("yaw", "yaw heading pan"),
    **_spelt("pitch", "pitch tilt"),
    **_spelt("roll", "roll bank"),
    **_spelt("location", "location position pos loc centre center origin eye from", direction=C2W),
    **_spelt("target", "target lookat lookatpoint lookattarget at to interest focus focuspoint"),
    **_spelt("target", "centerofinterest pointofinterest"),
    **_spelt("forward", "forward viewdir viewdirection lookdir lookdirection direction"),
    **_spelt("up", "up viewup vup updir updirection worldup"),
    **_spelt("azimuth", "azimuth azimuthangle azim az"),
    **_spelt("elevation", "elevation elevationangle elev el polar polarangle inclination"),
    **_spelt("distance", "distance dist radius"),
    **_spelt(
        "matrix",
        "k intrinsic intrin intr cameratoimage camera2image calibration cammat cameramatrix",
    ),
    **_spelt("fx", "fx flx focalx focallengthx"),
    **_spelt("fy", "fy fly focaly focallengthy"),
    **_spelt("cx", "cx ppx px u0 principalx principalpointx"),
    **_spelt("cy", "cy ppy py v0 principaly principalpointy"),
    **_spelt("focal", "f fl focal focallen focallength"),
    **_spelt("principal", "c pp principal principalpt principalpoint opticalcenter opticalcentre"),
    **_spelt("focal_mm", "lens lenslength"),
    **_spelt("sensor_mm", "sensor sensorwidth sensorsize filmwidth filmbackwidth aperturewidth"),
    **_spelt("sensor_mm", "horizontalaperture"),
    **_spelt("fov_x", "anglex", euler_units="radians"),
    **_spelt("fov_x", "fovx fov fieldofview hfov angle viewangle xfov horizontalfov fovhorizontal"),
    **_spelt("fov_y", "angley", euler_units="radians"),
    **_spelt("fov_y", "fovy vfov yfov verticalfov fovvertical"),
    **_spelt("width", "w width imagewidth imgwidth imagew imgw resolutionx resx"),
    **_spelt("height", "h height imageheight imgheight imageh imgh resolutiony resy"),
    **_spelt("resolution", "resolution res wh hw"),
    **_spelt("resolution", "image img render", "size resolution wh hw"),
    **_spelt("crop", "crop cropbox croprect cropregion cropwindow croparea"),
    **_spelt(
        "distortion",
        "k1 k2 k3 k4 k5 k6 p1 p2 distortion distortioncoefficients distcoeffs distortionparams "
        "skew",
    ),
    **_spelt("shift", "shift shiftx shifty lensshift"),  # of a camera in Blender, in Unity
    **_spelt("layout", "layout order storageorder matrixorder memoryorder major"),
    **_spelt("column_major", "columnmajor colmajor"),
    **_spelt("row_major", "rowmajor"),
    **_spelt("quaternion_order", "quaternionorder quatorder qorder"),
    **_spelt("ndc", "inndc intrinsicsformat"),  # PyTorch3D's cameras, CO3D's annotations
    **_spelt("axes", "axes axesconvention convention"),
    **_spelt("view", "view index idx"),
    **_spelt(
        "view",
        "view viewpoint camera cam frame image img render pose",
        "id idx index no num number",
    ),
    **_spelt("file", "file image img path rgb color relativepath"),
    **_spelt("file", "file image img frame render rgb color", "name path file filename"),
    **_spelt("name", "name"),
    **_spelt("id", "id"),
    **_spelt("subject", "subject subj identity person nameofsubject"),
    **_spelt(
        "subject", "subject subj identity person head face", "id idx index no num number name"
    ),
    **_spelt("wrapper", "camera cam params parameters calib"),
    **_spelt("cameras", "cameras cams views frames images labels"),
    **_spelt("subjects", "subjects identities people"),
}

_MATRICES: tuple[Dims, ...] = ((4, 4), (3, 4), (4, 3), (16,), (12,))
_PAIRS, _VECTORS, _FOURS = (((n,), (n, 1), (1, n)) for n in (2, 3, 4))
_NUMBERS: tuple[Dims, ...] = ((),)
SQUARES: tuple[Dims, ...] = ((3, 3), (9,))
SPHERICAL: tuple[RoleName, ...] = ("azimuth", "elevation", "distance")
BARE: tuple[Dims, ...] = (*_MATRICES, (25,))
"""What is a camera by its dimensions alone."""
ACCEPTED: dict[RoleName, tuple[Dims, ...]] = {
    "pose": (*BARE, (7,)),
    "projection": ((3, 4), (12,), (4, 4), (16,)),
    "rotation": (*SQUARES, *_VECTORS, *_FOURS),
    "quaternion": _FOURS,
    **dict.fromkeys(
        ("euler", "rodrigues", "translation", "location", "target", "forward", "up"), _VECTORS
    ),
    "matrix": (*SQUARES, *_FOURS, (4, 4), (3, 4), (16,)),
    "focal": ((), *_PAIRS),
    "focal_px": ((), *_PAIRS),
    "principal": _PAIRS,
    "resolution": (*_PAIRS, *_VECTORS, ()),
    "crop": _FOURS,
    "sensor_mm": ((), *_PAIRS),
    "shift": (*_PAIRS, ()),
    **dict.fromkeys(
        ("yaw", "pitch", "roll", "azimuth", "elevation", "distance", "fx", "fy", "cx", "cy",
         "focal_mm", "fov_x", "fov_y", "width", "height"),
        _NUMBERS,
    ),
}  # fmt: skip
"""What a value of each role may look like."""

OTHERWISE: dict[str, tuple[tuple[Dims, ...], Role]] = {
    **dict.fromkeys(("c", "p"), (_VECTORS, Role("location", {"direction": C2W}))),
    "r": (_NUMBERS, Role("distance")),
    **dict.fromkeys(("center", "centre"), (_PAIRS, Role("principal"))),
    "params": (((3,), *_FOURS), Role("matrix")),  # COLMAP's pinhole cameras
}
"""What letters hold, where their numbers are not what they mostly stand for."""

_NOISE = re.compile(r"[-_.\s]+")
_SAYING = re.compile(
    r"(wxyz|xyzw|deg|degrees|rad|radians|columnmajor|colmajor|rowmajor|opencv|opengl|blender)$"
)
_OF: dict[str, tuple[RoleName, ...]] = {
    "quaternion_order": ("quaternion", "rotation"),
    "euler_units": (
        "fov_x", "fov_y", "rotation", "euler", "yaw", "pitch", "roll", "azimuth", "elevation",
    ),
    "axes": ("pose", "rotation", "quaternion", "euler"),
}  # fmt: skip
"""Of which values alone something is said at the end of a key."""
_TAIL = re.compile(
    r"(matrix|mat|vector|vec|4x4|3x4|3x3|norm|normali[sz]ed|param|parameter|avg|average|mean|mm|px"
    r"|pix|pixel)s?$"
)
_HEAD = re.compile(r"^(camera|cam|avg|average|mean|norm|normali[sz]ed)(?=.)")
_LENGTHS: dict[str, RoleName] = {"mm": "focal_mm", "px": "focal_px", "pix": "focal_px"}


def normalise_key(key: str) -> str:
    """Leave out case and separators."""
    return _NOISE.sub("", key).lower()


_ALSO = {
    DEGREES: "deg", RADIANS: "rad",
    ROW_MAJOR: "row c", COLUMN_MAJOR: "column col colmajor f fortran",
    "opengl": "blender", "opencv_turned": "pytorch3d", "opencv_mirrored_y": "unity",
}  # fmt: skip
WORDS: Mapping[object, tuple[str, str]] = {
    spelling: (key, word)
    for key in ("quaternion_order", "euler_units", "layout", "axes")
    for word in CHOICES[key]
    for spelling in (normalise_key(word), *_ALSO.get(word, "").split())
}
"""Words that values and the ends of keys say, as the key and word of `CHOICES`."""


@lru_cache(maxsize=4096)
def role_of(key: str) -> Role | None:
    """What a key holds; None where its name is not known."""
    word = normalise_key(key)
    if len(word) > 64:
        return None
    known = _known(word)
    if known is not None:
        return known
    if (tail := _SAYING.search(word)) and (role := _known(word[: tail.start()])):
        key, said = WORDS[tail[1]]
        if role.name in _OF.get(key, (role.name,)):
            name: RoleName = "quaternion" if key == "quaternion_order" else role.name
            return Role(name, {**role.said, key: said})
    return None


def _known(word: str) -> Role | None:
    """Look a normalised key up, as it is and without words that add nothing."""
    for key in (word, word.removesuffix("s")):
        if key in _ROLES:
            return _ROLES[key]
    if (tail := _TAIL.search(word)) and (role := _known(word[: tail.start()])):
        length = _LENGTHS.get(tail[1][:3])
        return Role(length) if length and role.name == "focal" else role
    head = _HEAD.match(word)
    return _known(word[head.end() :]) if head else None


class CameraValueError(GeoGenError):
    """The value of one camera, or (without a row) of all, is not what its key says.

    `choices` are its possible readings, if it has several.
    """

    def __init__(
        self, row: int | None, expected: str, found: str, choices: Sequence[Choice] = ()
    ) -> None:
        super().__init__(f"expected {expected}, found {found}")
        self.row, self.expected, self.found, self.choices = row, expected, found, choices


class DoubtError(MetadataError, CameraError):
    """Cameras cannot be read, or in several ways: by `choices`, of which images may tell one.

    The choices are the remedy, if there are any.
    """

    def __init__(
        self, what: str, *, choices: Sequence[Choice], remedy: str | None = None, **facts: object
    ) -> None:
        self.choices = [one for at, one in enumerate(choices) if one not in choices[:at]]
        remedy = f"say it with {stated(self.choices)}" if choices else remedy
        super().__init__(what, remedy=remedy, **facts)


def stated(choices: Sequence[Choice]) -> str:
    """Choices for a message, as the option is written."""
    return f"camera_schema={' or '.join(map(json.dumps, choices[:_MOST_CHOICES]))}"


def dotted(paths: Iterable[Path], most: int = 8) -> str:
    """Paths for a message."""
    shown = [".".join(key[:40] for key in path) for path in paths]
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if shown[most:] else "")


def shape_of(value: object, depth: int = MAX_KEYS_DEEP + 1) -> Any:
    """The keys of an object with the shapes of their values, or the dimensions of numbers.

    Lists are described by their first items: `numbers` checks the others.
    """
    kind = type(value)
    if kind is dict:
        if depth == 0 or not value or len(value) > _MAX_KEYS:  # type: ignore[arg-type]
            return "{}"
        return tuple([(key, shape_of(v, depth - 1)) for key, v in value.items()])  # type: ignore[attr-defined]
    dims: Dims = ()
    inner: Any = value
    while kind is list and len(dims) < 5:
        dims = (*dims, len(inner))
        inner = inner[0] if inner else None
        kind = type(inner)
    if kind is float or kind is int:
        return dims
    if kind is str:
        if count := len(_figures(inner)):
            return dims if count == 1 else (*dims, count)
        return "[]" if len(dims) > 1 else ("s", dims[0]) if dims else "s"
    return "[]" if dims else "b" if kind is bool else "-"


def _figures(text: str) -> list[str]:
    """The numbers of a text that holds nothing else, or of what Python prints of several."""
    if len(text) > _LONGEST:
        return []
    worded = _WORDED.fullmatch(text) if text[-1:] in ")>" else None
    text = worded[1] if worded else text
    found = re.findall(_DIGITS, text) if _NUMBERS_TEXT.fullmatch(text) else []
    return found if len(found) > (2 if worded else 0) else []  # `Camera (3)` is a name


def numbers(values: Sequence[object], what: str, shapes: Sequence[Dims]) -> FloatArray:
    """Finite numbers, or text of such, of V cameras as `(V, *shape)` float64, of one of `shapes`.

    A column or a row of N numbers has the shape `(N,)`. CameraValueError for anything else, such as
    words and true/false.
    """
    array = _as_array(values)
    expected = f"{what} to be {spoken(shapes)}"
    if array is None or array.shape[1:] not in map(_in_line, shapes):
        found = repr(values[0]) if array is None else f"numbers of shape {array.shape[1:]}"
        raise CameraValueError(None, expected, found[:80])
    if not (np.abs(array) <= _MAX_NUMBER).all():
        found = f"a number that is not finite, or over {_MAX_NUMBER:g}"
        raise CameraValueError(None, expected, found)
    return array


def _as_array(values: Sequence[object]) -> FloatArray | None:
    """Numbers, or text of such, in lists of the same lengths; None for anything else."""
    if values and isinstance(values[0], str):
        values = [_plain(value) for value in values]
    dims: list[int] = []
    flat: Any = values
    while (kinds := set(map(type, flat))) == {list}:
        lengths = set(map(len, flat))
        if len(lengths) != 1 or len(dims) > 4:
            return None
        dims += lengths
        flat = list(chain.from_iterable(flat))
    if not (kinds <= {int, float} or kinds == {str}):  # numpy takes True for 1.0 among floats
        return None
    try:
        array = np.fromiter(map(float, flat) if str in kinds else flat, np.float64, len(flat))
    except (ValueError, OverflowError):
        return None
    return array.reshape(len(values), *_in_line(dims))


def _in_line(dims: Sequence[int]) -> Dims:
    """The dimensions of a column or a row of numbers as those of a plain list."""
    return (dims[0] * dims[1],) if len(dims) == 2 and 1 in dims else tuple(dims)


def _plain(value: object) -> object:
    """Text of several numbers as a list of texts."""
    if isinstance(value, str):
        words = _figures(value)
        return words if len(words) > 1 else value.strip(" \t\r\n[](),;")
    return value


def spoken(shapes: Sequence[Dims]) -> str:
    """Shapes for a message."""
    named = " or ".join("×".join(map(str, dims)) for dims in shapes if dims and 1 not in dims)
    alone = ["a finite number"] if () in shapes else []
    return " or ".join(alone + ([f"{named} finite numbers"] if named else []))


def ambiguous(what: str, paths: Sequence[Path], choices: Sequence[Choice]) -> CameraValueError:
    """Make the error that says that several columns could be the same thing."""
    return CameraValueError(None, f"one key to hold {what}", f"keys {dotted(paths)}", choices)
