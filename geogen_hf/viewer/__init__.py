"""The viewer in the browser: an identity's pictures at the poses of their cameras.

`geogen_hf.view` and the command `geogen view` live here. `server` runs the viewer on viser,
`frustums` computes where each picture stands, `panel` writes the text beside the scene and `page`
writes one self-contained HTML file.
"""
