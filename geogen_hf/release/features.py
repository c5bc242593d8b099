"""The columns of every config, and the facts about the data set that cards and builders state.

Open this to see or change what a row holds; `geogen_hf.release.rows` fills the rows.
"""

from __future__ import annotations

from datasets import Array2D, Array3D, DatasetInfo, Features, Image, Sequence, Value

HOMEPAGE = "https://github.com/microsoft/GeoGen"
LICENSE_NAME = "r-uda-1.0"
LICENSE_URL = "https://github.com/microsoft/GeoGen/blob/main/LICENSE"
DESCRIPTION = (
    "GeoGen: renders of 10,000 synthetic heads, seven views each over the full circle, with camera "
    "extrinsics (world-to-camera, OpenCV axes) and intrinsics (pixels of the stored image)."
)
CITATION = """\
@inproceedings{esposito2024geogen,
    author = {Esposito, Salvatore and Xu, Qingshan and Kania, Kacper and Hewitt, Charlie and \
Mariotti, Octave and Petikam, Lohit and Valentin, Julien and Onken, Arno and Mac Aodha, Oisin},
    title = {GeoGen: Geometry-Aware Generative Modeling via Signed Distance Functions},
    booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition \
(CVPR) Workshops},
    month = {June},
    year = {2024},
    pages = {7479-7488}
}
"""

_ID = {"subject_id": Value("string"), "view_id": Value("int32")}
_CAMERA = {"extrinsics": Array2D((4, 4), "float32"), "intrinsics": Array2D((3, 3), "float32")}

FEATURES = {
    "sequences": Features(
        {
            "subject_id": Value("string"),
            "images": Sequence(Image()),
            "view_ids": Sequence(Value("int32")),
            "extrinsics": Array3D((None, 4, 4), "float32"),
            "intrinsics": Array3D((None, 3, 3), "float32"),
        }
    ),
    "views": Features({**_ID, "image": Image(), **_CAMERA}),
    "cameras": Features({**_ID, **_CAMERA, "width": Value("int32"), "height": Value("int32")}),
    "metadata": Features({"subject_id": Value("string"), "metadata": Value("string")}),
}
"""The columns of every config, in order. `COLUMNS` says what they hold."""

COLUMNS = {
    "subject_id": "The identity, as the publisher names it.",
    "view_id": "The number in the image's file name.",
    "view_ids": "The number in each image's file name, ascending.",
    "image": "The render; PNG bytes as published, unless the export says otherwise.",
    "images": "The renders, in the order of `view_ids`.",
    "extrinsics": "World-to-camera 4 x 4, OpenCV axes (x right, y down, z into the scene), in the "
    "publisher's unit of length; of a sequence, one for each view.",
    "intrinsics": "3 x 3, in pixels of the stored image, where pixel (0, 0) covers [0, 1) x "
    "[0, 1); of a sequence, one for each view.",
    "width": "Of the stored image, pixels.",
    "height": "Of the stored image, pixels.",
    "metadata": "The identity's JSON as published.",
}
"""What every column holds, whatever the config."""

IMAGE_CONFIGS = ("sequences", "views")
"""The configs that hold images. The rows of the others are small."""


def dataset_info(config: str) -> DatasetInfo:
    """Describe a config to `datasets`."""
    return DatasetInfo(
        description=DESCRIPTION,
        features=FEATURES[config],
        homepage=HOMEPAGE,
        license=LICENSE_URL,
        citation=CITATION,
    )
