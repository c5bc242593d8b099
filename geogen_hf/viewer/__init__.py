"""The viewer in the browser: an identity's pictures at the poses of their cameras.

`geogen_hf.view` and the command `geogen view` live here. `server` runs the viewer on viser,
`frustums` computes where each picture stands, `drawing` puts it into the scene and `page` writes
the text beside the scene, and one self-contained HTML file.
"""
