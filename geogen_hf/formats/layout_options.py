"""What a conversion may be told: masks, held-out views, scale, image size and mirrored copies."""

from __future__ import annotations

from dataclasses import dataclass

from geogen_hf.errors import UsageError, explain


@dataclass(frozen=True)
class LayoutOptions:
    """How scenes are laid out; `geogen convert` has options of the same names.

    Attributes:
        masks: Whether foreground masks are derived and written; None for what the format needs.
        holdout: So many views of each identity, the last ones, are held out of training; None for
            no views.
        centre: Whether the world is moved, turned and scaled so that the cameras look at its
            origin, with the format's own axis upwards.
        radius: How far the cameras then stand from the origin; None for the format's own default.
        image_size: Pixels of the longer side that images are scaled to; None for no scaling.
        mirrored: Whether a flipped copy of each image, with its camera, is added.
    """

    masks: bool | None = None
    holdout: int | None = 2
    centre: bool = False
    radius: float | None = None
    image_size: int | None = None
    mirrored: bool = False

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            UsageError: A number is out of range, or a radius is given without centring.
        """
        for name, least in (("holdout", 1), ("image_size", 8)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(
                    explain(f"{name} is too small", expected=f"at least {least}", found=value)
                )
        if self.radius is not None and not (self.centre and 0 < self.radius < float("inf")):
            raise UsageError(
                explain(
                    "a radius cannot be used",
                    expected="a positive number, together with centring",
                    found=f"radius {self.radius}, centre {self.centre}",
                    remedy="add --centre, or leave --radius out",
                )
            )
