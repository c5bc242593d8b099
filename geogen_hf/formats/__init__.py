"""Images and cameras laid out as other tools read them: EG3D, nerfstudio, NeRF, COLMAP, CO3D."""
