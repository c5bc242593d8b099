"""Camera matrices: one convention, conversions to and from others, and proof of which one it is.

- `poses` defines the convention of everything this package hands out, projects points, makes
  intrinsics from a lens and keeps them true when images are resized or cropped.
- `conventions` names the conventions that stored matrices may be in, and converts to and from those
  of nerfstudio, PyTorch3D, EG3D and Blender; `validate` checks matrices.
- `proof` finds out which convention a release is in: `rigs` measures geometry, `silhouettes` and
  `hull` pictures, `trials` tries candidates on them and says what is a little wrong, `scores` holds
  what came out.

Example:
    >>> from geogen_hf.cameras import intrinsics_from_focal_mm, look_at, project
    >>> extrinsics = look_at((0, 0, 5), (0, 0, 0), (0, 1, 0))
    >>> project([[0, 0, 0]], extrinsics, intrinsics_from_focal_mm(50, 36, 512, 512))[0].tolist()
    [[256.0, 256.0]]
"""

from __future__ import annotations

from geogen_hf.cameras.conventions import (
    Convention,
    canonicalise,
    express,
    from_camera_to_world,
    from_eg3d,
    from_nerfstudio,
    from_pytorch3d,
    quaternion_from_rotation,
    rotation_from_quaternion,
    to_camera_to_world,
    to_eg3d,
    to_nerfstudio,
    to_pytorch3d,
)
from geogen_hf.cameras.poses import (
    camera_centre,
    crop_intrinsics,
    field_of_view_deg,
    intrinsics_from_focal_mm,
    intrinsics_from_fov,
    intrinsics_matrix,
    invert_rigid,
    look_at,
    mirror,
    pixel_centres,
    project,
    rays,
    resize_intrinsics,
    unproject,
)
from geogen_hf.cameras.rigs import Orbit, fit_orbit
from geogen_hf.cameras.validate import (
    is_rotation,
    nearest_rotation,
    validate_extrinsics,
    validate_intrinsics,
)

__all__ = [
    "Convention",
    "Orbit",
    "camera_centre",
    "canonicalise",
    "crop_intrinsics",
    "express",
    "field_of_view_deg",
    "fit_orbit",
    "from_camera_to_world",
    "from_eg3d",
    "from_nerfstudio",
    "from_pytorch3d",
    "intrinsics_from_focal_mm",
    "intrinsics_from_fov",
    "intrinsics_matrix",
    "invert_rigid",
    "is_rotation",
    "look_at",
    "mirror",
    "nearest_rotation",
    "pixel_centres",
    "project",
    "quaternion_from_rotation",
    "rays",
    "resize_intrinsics",
    "rotation_from_quaternion",
    "to_camera_to_world",
    "to_eg3d",
    "to_nerfstudio",
    "to_pytorch3d",
    "unproject",
    "validate_extrinsics",
    "validate_intrinsics",
]
