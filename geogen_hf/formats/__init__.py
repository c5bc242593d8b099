"""Images and cameras laid out as other tools read them: EG3D, nerfstudio, NeRF, COLMAP, CO3D."""

from typing import Literal

FormatName = Literal["eg3d", "nerfstudio", "blender", "colmap", "co3d"]
