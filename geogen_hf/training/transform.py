"""Turn rows with encoded images into rows of tensors, and keep the cameras right.

Open this module to change what happens to an image between its bytes and its tensor (cutting,
scaling, flipping), or which forms of the cameras can be had. Maps of rays follow the maths of
`geogen_hf.cameras.rays`, on any device.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from geogen_hf.cameras.conventions import to_camera_to_world, to_eg3d
from geogen_hf.cameras.poses import FloatArray, crop_intrinsics, mirror, resize_intrinsics
from geogen_hf.errors import ImageError, UsageError
from geogen_hf.images import ImageHeader, Pixels, Size, decode_rgb, read_header
from geogen_hf.training.choices import AllViews, Epoch, Indices, ViewChoice, draw
from geogen_hf.training.shared_memory import image_memory


@dataclass(frozen=True, eq=False)
class _Row:
    """One row of `sequences` with V views, or of `views` with one; images are still encoded."""

    subject_id: str
    view_ids: NDArray[np.int64]
    images: list[bytes]
    extrinsics: FloatArray
    intrinsics: FloatArray

    @classmethod
    def of(cls, batch: dict[str, Any], index: int) -> _Row:
        """Take one row out of columns."""
        row = {name: column[index] for name, column in batch.items()}
        if not row.keys() & {"image", "images"}:
            expected, found = "rows of the config 'sequences' or 'views'", ", ".join(row)
            raise UsageError("the rows have no images", expected=expected, found=found)
        if "images" not in row:  # a row of `views`
            row = {name: [value] for name, value in row.items()} | {
                "subject_id": row["subject_id"],
                "images": [row["image"]],
                "view_ids": [row["view_id"]],
            }
        return cls(
            row["subject_id"],
            np.asarray(row["view_ids"], np.int64),
            [_encoded_bytes(image) for image in row["images"]],
            np.asarray(row["extrinsics"], np.float64),
            np.asarray(row["intrinsics"], np.float64),
        )

    def select(self, chosen: Indices) -> _Row:
        """Keep some views, in the order given."""
        return _Row(
            self.subject_id,
            self.view_ids[chosen],
            [self.images[index] for index in chosen],
            self.extrinsics[chosen],
            self.intrinsics[chosen],
        )

    def where(self, index: int) -> str:
        """Name a view, for messages."""
        return f"{self.subject_id}, view {self.view_ids[index]}"


def _encoded_bytes(image: Any) -> bytes:
    if not isinstance(image, dict) or not isinstance(image.get("bytes"), bytes):
        raise UsageError(
            "images are to come encoded",
            expected="{'bytes': …, 'path': …}",
            found=type(image).__name__,
            remedy="load with `undecoded(dataset)`, or use `as_tensors`",
        )
    data: bytes = image["bytes"]
    return data


@dataclass(frozen=True, eq=False)
class _Plan:
    """A row whose headers are checked, and what is done to its images: cut, scale, flip."""

    row: _Row
    headers: list[ImageHeader]
    corners: list[list[int]]  # columns and rows cut off on the left and above, for each view
    crops_wh: list[Size]
    size_wh: Size
    flip: bool

    def decode(self, out: NDArray[np.uint8]) -> None:
        """Write the images into `(V, height, width, 3)`.

        Scaling is bilinear over a support that grows with the factor, so that nothing aliases, and
        keeps the image's edges where they are.
        """
        for index, (left, top) in enumerate(self.corners):
            data, where, header = self.row.images[index], self.row.where(index), self.headers[index]
            width, height = self.crops_wh[index]
            pixels = decode_rgb(data, where=where, header=header)
            pixels = pixels[top : top + height, left : left + width]
            if (width, height) != self.size_wh:
                pixels = _resized(pixels, self.size_wh)
            out[index] = pixels[:, ::-1] if self.flip else pixels

    def cameras(self, mirror_normal: tuple[float, ...]) -> tuple[FloatArray, FloatArray]:
        """Extrinsics, of the mirrored world where the images are flipped, and intrinsics."""
        left, top = np.transpose(self.corners)
        intrinsics = crop_intrinsics(self.row.intrinsics, left, top)
        for view, crop_wh in enumerate(self.crops_wh):
            if crop_wh != self.size_wh:
                intrinsics[view] = resize_intrinsics(intrinsics[view], crop_wh, self.size_wh)
        if self.flip:
            return mirror(self.row.extrinsics, intrinsics, self.size_wh[0], mirror_normal)
        return self.row.extrinsics, intrinsics


def _resized(pixels: Pixels, size_wh: Size) -> Pixels:
    # Shaped (1, 3, H, W) over memory in (H, W, 3) order, which PyTorch scales without rearranging.
    image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    scaled = interpolate(image, size_wh[::-1], mode="bilinear", antialias=True)
    return np.asarray(scaled[0].permute(1, 2, 0).numpy())


CameraForm = Literal["camera_to_world", "eg3d", "rays", "plucker"]
"""What can be had beside `extrinsics` and `intrinsics`."""


@dataclass(frozen=True)
class ToTensors:
    """Turns a batch of rows, images still encoded, into rows of tensors; picklable.

    `as_tensors` applies it. A row of `sequences` gives V views, a row of `views` one.

    What is drawn (views, crops, flips) depends on `seed`, the epoch and the subject's id alone: on
    nothing that differs between workers, nodes or runs. Cutting comes first, in pixels of the
    stored image, then scaling, then flipping. A flipped image shows the mirrored world, and its
    camera stands there (`geogen_hf.cameras.mirror`); all views of an identity are flipped
    together, so that they still show one world.

    Attributes:
        views: Which views of a row.
        crop_wh: Width and height of what is cut out; None for all of it.
        crop_at: Cut out the middle, or anywhere, each view elsewhere.
        size_wh: Width and height after scaling; None not to scale.
        flip_chance: How often left and right are exchanged, 0 to 1.
        mirror_normal: World direction from left to right of a head.
        cameras: Further forms of the cameras.
        dtype: Of `images`: `"uint8"`, or `"float32"` in [0, 1].
        stored_wh: Width and height that every stored image must have; None for any.
        seed: Another one draws otherwise.
        epoch: The current epoch, see `set_epoch`.

    Example:
        >>> import geogen
        >>> from geogen_hf.training import as_tensors
        >>> stream = geogen.load(split="train", data_dir="parts", streaming=True)
        >>> row = next(iter(as_tensors(stream, ToTensors(size_wh=(16, 16), cameras=("eg3d",)))))
        >>> row["images"].shape, row["intrinsics"].shape, row["eg3d"].shape
        (torch.Size([7, 3, 16, 16]), torch.Size([7, 3, 3]), torch.Size([7, 25]))
    """

    views: ViewChoice = field(default_factory=AllViews)
    crop_wh: Size | None = None
    crop_at: Literal["centre", "random"] = "centre"
    size_wh: Size | None = None
    flip_chance: float = 0.0
    mirror_normal: tuple[float, float, float] = (1.0, 0.0, 0.0)
    cameras: tuple[CameraForm, ...] = ()
    dtype: Literal["uint8", "float32"] = "uint8"
    stored_wh: Size | None = None
    seed: int = 0
    epoch: Epoch = field(default_factory=Epoch, compare=False)

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("crop_at", (self.crop_at,), ("centre", "random")),
            ("cameras", self.cameras, get_args(CameraForm)),
            ("dtype", (self.dtype,), ("uint8", "float32")),
        ):
            if isinstance(value, str) or set(value) - set(choices):
                expected = f"of {', '.join(choices)}"
                raise UsageError(f"bad {name}", expected=expected, found=repr(value))
        if not hasattr(self.views, "choose"):
            found = repr(self.views)
            remedy = f"pass views=RandomViews({found})" if found.isdigit() else None
            expected = "AllViews(), RandomViews(…) or SourceTargetViews(…)"
            raise UsageError("bad views", expected=expected, found=found, remedy=remedy)
        for name in ("crop_wh", "size_wh", "stored_wh"):
            size = getattr(self, name)
            if size is not None and not _is_size(size):
                remedy = f"pass {name}=({size}, {size})" if isinstance(size, int) else None
                expected = "(width, height), integers of 1 or more"
                found = repr(size)
                raise UsageError(f"bad {name}", expected=expected, found=found, remedy=remedy)
        chance = self.flip_chance
        if not isinstance(chance, (int, float)) or not 0 <= chance <= 1:
            raise UsageError("bad flip_chance", expected="0 to 1", found=repr(chance))

    def set_epoch(self, epoch: int) -> None:
        """Draw other views, crops and flips, also in workers that are running.

        For a map-style `Dataset`; the `set_epoch` of a stream calls this.
        """
        self.epoch.set(epoch)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Turn rows into tensors.

        Args:
            batch: Columns of `sequences` or of `views`, with images as `{"bytes": …, "path": …}`.

        Returns:
            Columns, an entry a row: `images` `(V, 3, H, W)` (in memory `(V, H, W, 3)`, PyTorch's
            `channels_last`), `extrinsics` `(V, 4, 4)` float32 world-to-camera with OpenCV axes,
            `intrinsics` `(V, 3, 3)` float32 in pixels of the image returned, `view_ids` `(V,)`
            int64, `subject_id` string; and as asked for `camera_to_world` `(V, 4, 4)`, `eg3d`
            `(V, 25)`, `ray_origins` and `ray_directions` `(V, 3, H, W)`, `plucker`
            `(V, 6, H, W)`, all float32.

        Raises:
            ImageError: An image is damaged or has the wrong size; none is decoded before the
                headers of its row are checked.
            UsageError: The rows have no encoded images, or too few views.
        """
        if not batch["subject_id"]:
            return {}
        plans = [self._plan(_Row.of(batch, i)) for i in range(len(batch["subject_id"]))]
        memories = image_memory([(len(plan.corners), plan.size_wh) for plan in plans])
        rows = [self._tensors(plan, *memory) for plan, memory in zip(plans, memories, strict=True)]
        return {name: [row[name] for row in rows] for name in rows[0]}

    def _draw(self, subject_id: str, purpose: str) -> np.random.Generator:
        return draw(self.seed, int(self.epoch), subject_id, purpose)

    def _plan(self, row: _Row) -> _Plan:
        row = row.select(self.views.choose(len(row.images), self._draw(row.subject_id, "views")))
        headers = [
            read_header(data, where=row.where(index), expected_wh=self.stored_wh)
            for index, data in enumerate(row.images)
        ]
        corners = []
        crops_wh = [self.crop_wh or header.size_wh for header in headers]
        sizes_wh = [self.size_wh or crop_wh for crop_wh in crops_wh]
        for index, (header, crop_wh) in enumerate(zip(headers, crops_wh, strict=True)):
            room = np.subtract(header.size_wh, crop_wh)
            if room.min() < 0:
                raise ImageError(
                    "an image is smaller than what is to be cut out",
                    where=row.where(index),
                    expected=f"{crop_wh[0]} x {crop_wh[1]} pixels or more",
                    found=f"{header.size_wh[0]} x {header.size_wh[1]}",
                )
            if self.crop_at == "random":
                chance = self._draw(row.subject_id, f"crop {row.view_ids[index]}")
                corners.append(chance.integers(room, endpoint=True).tolist())
            else:
                corners.append((room // 2).tolist())
            first, found = sizes_wh[0], sizes_wh[index]
            if found != first:
                raise ImageError(
                    "the views of a row differ in size",
                    where=row.where(index),
                    expected=f"{first[0]} x {first[1]} pixels, as the first",
                    found=f"{found[0]} x {found[1]}",
                    remedy="pass size_wh or crop_wh",
                )
        flip = bool(self._draw(row.subject_id, "flip").random() < self.flip_chance)
        return _Plan(row, headers, corners, crops_wh, sizes_wh[0], flip)

    def _tensors(self, plan: _Plan, images: Tensor, pixels: NDArray[np.uint8]) -> dict[str, Any]:
        plan.decode(pixels)
        images = images.permute(0, 3, 1, 2)
        extrinsics, intrinsics = plan.cameras(self.mirror_normal)
        return {
            "subject_id": plan.row.subject_id,
            "view_ids": torch.from_numpy(plan.row.view_ids),
            "images": images if self.dtype == "uint8" else images.to(torch.float32).div_(255),
            "extrinsics": _float32(extrinsics),
            "intrinsics": _float32(intrinsics),
            **self._camera_forms(extrinsics, intrinsics, plan.size_wh),
        }

    def _camera_forms(
        self, extrinsics: FloatArray, intrinsics: FloatArray, size_wh: Size
    ) -> dict[str, Tensor]:
        forms: dict[str, Tensor] = {}
        if "camera_to_world" in self.cameras:
            forms["camera_to_world"] = _float32(to_camera_to_world(extrinsics))
        if "eg3d" in self.cameras:
            forms["eg3d"] = _float32(to_eg3d(extrinsics, intrinsics, *size_wh))
        matrices = _float32(extrinsics), _float32(intrinsics)
        if "rays" in self.cameras:
            origins, forms["ray_directions"] = ray_maps(*matrices, size_wh)
            forms["ray_origins"] = origins.contiguous()
        if "plucker" in self.cameras:
            forms["plucker"] = plucker_maps(*matrices, size_wh)
        return forms


def _is_size(value: Any) -> bool:
    pair = isinstance(value, tuple) and len(value) == 2
    return pair and all(isinstance(side, int) and side >= 1 for side in value)


def _float32(matrices: FloatArray) -> Tensor:
    return torch.from_numpy(matrices.astype(np.float32))


def ray_maps(
    extrinsics: Tensor, intrinsics: Tensor, size_wh: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Compute the world rays through the centres of all pixels.

    Args:
        extrinsics: `(..., 4, 4)` float world-to-camera, OpenCV axes.
        intrinsics: `(..., 3, 3)` float, pixels.
        size_wh: Width and height of the image, pixels.

    Returns:
        origins (the camera centre, an expanded view) and unit directions, both `(..., 3, H, W)`,
        world frame, of the dtype and on the device of `extrinsics`.

    Example:
        >>> identity, intrinsics = torch.eye(4), torch.tensor([[2.0, 0, 1], [0, 2, 1], [0, 0, 1]])
        >>> origins, directions = ray_maps(identity, intrinsics, (3, 2))
        >>> origins.shape, directions[:, 0, 0]
        (torch.Size([3, 2, 3]), tensor([-0.2357, -0.2357,  0.9428]))
    """
    width, height = size_wh
    like = {"dtype": extrinsics.dtype, "device": extrinsics.device}
    x_px = torch.arange(width, **like) + 0.5  # type: ignore[call-overload]
    y_px = torch.arange(height, **like) + 0.5  # type: ignore[call-overload]
    rotation_t = extrinsics[..., :3, :3].mT
    # Pixel (x, y) has the direction columns[0] x + columns[1] y + columns[2], before scaling.
    columns = (rotation_t @ torch.linalg.inv(intrinsics))[..., None, None, :]
    directions = columns[..., 0] * x_px + columns[..., 1] * y_px[:, None] + columns[..., 2]
    directions = directions / torch.linalg.vector_norm(directions, dim=-3, keepdim=True)
    origins = -(rotation_t @ extrinsics[..., :3, 3:])[..., None]
    return origins.expand_as(directions), directions


def plucker_maps(extrinsics: Tensor, intrinsics: Tensor, size_wh: tuple[int, int]) -> Tensor:
    """Compute Pluecker coordinates of the same rays: direction `d`, then moment `o x d`.

    The order of Light Field Networks (Sitzmann et al. 2021). Others put the moment first.

    Args:
        extrinsics: As for `ray_maps`.
        intrinsics: As for `ray_maps`.
        size_wh: As for `ray_maps`.

    Returns:
        `(..., 6, H, W)`; the moment has the world's unit of length.

    Example:
        >>> plucker_maps(torch.eye(4), torch.eye(3), (3, 2)).shape
        torch.Size([6, 2, 3])
    """
    origins, directions = ray_maps(extrinsics, intrinsics, size_wh)
    moments = torch.linalg.cross(origins, directions, dim=-3)
    return torch.cat([directions, moments], dim=-3)
