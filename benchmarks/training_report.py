"""What `benchmarks.training` found: a table, ratios against the targets, and a picture."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TARGET = {True: "reached", False: "**missed**"}
HEADER = (
    "| route | images/s | batches/s | first batch, s | peak MiB | disk | wire |\n"
    "|---|---:|---:|---:|---:|---:|---:|"
)


@dataclass
class Found:
    """What was measured of one route.

    Attributes:
        name: The route's.
        ours: Whether this package reads it.
        remote: Whether it goes over the link.
        compared: Whether it has the same image bytes as the others.
        disk: Bytes on disk for one byte of PNG.
        runs: What its timed jobs printed.
        peak_mib: Most memory over all its processes.
        wire: Bytes over the link for one byte of delivered images; 0 for a local route.
    """

    name: str
    ours: bool
    remote: bool
    compared: bool
    disk: float
    runs: list[dict[str, float]] = field(default_factory=list)
    peak_mib: float = 0.0
    wire: float = 0.0

    def median(self, value: str) -> float:
        """Of a value over all timed runs."""
        return statistics.median(run[value] for run in self.runs)

    def row(self) -> str:
        """The route as a Markdown row."""
        wire = f"{self.wire:.2f}" if self.remote else "–"
        name = f"**{self.name}**" if self.ours else self.name
        return (
            f"| {name} | {self.median('images_per_s'):.0f} "
            f"| {self.median('batches_per_s'):.1f} | {self.median('first_s'):.2f} "
            f"| {self.peak_mib:.0f} | {self.disk:.2f} | {wire} |"
        )


def line(name: str, value: float, target: str, reached: bool) -> str:
    """One target as a Markdown row."""
    return f"| {name} | {value:.2f} | {target} | {TARGET[reached]} |"


def tables(found: Sequence[Found], decoders: dict[str, float], rest: Iterable[str]) -> str:
    """All as Markdown."""
    rows = [HEADER, *(route.row() for route in found)]
    for name, rate in decoders.items():
        rows.append(f"| decoder alone, 2 processes: {name} | {rate:.0f} | – | – | – | – | – |")
    targets = ["| | measured | target | |", "|---|---:|---:|---|"]
    targets += [*_rates(found, decoders), *_first_batches(found), *rest]
    return "\n".join([*rows, "", *targets])


def _rates(found: Sequence[Found], decoders: dict[str, float]) -> Iterable[str]:
    peers = [route for route in found if route.compared and not route.ours]
    for route in found:
        if not (route.ours and route.compared):
            continue
        rate = route.median("images_per_s")
        alike = [peer for peer in peers if peer.remote == route.remote]
        if alike:
            best = max(alike, key=lambda peer: peer.median("images_per_s"))
            ratio, target = rate / best.median("images_per_s"), 1.8 if route.remote else 2.5
            name = f"images/s: {route.name} / {best.name}"
            yield line(name, ratio, f"≥ {target}", ratio >= target)
        if "fast" in decoders and not route.remote:
            ratio = rate / decoders["fast"]
            yield line(f"images/s: {route.name} / decoder", ratio, "≥ 0.75", ratio >= 0.75)


def _first_batches(found: Sequence[Found]) -> Iterable[str]:
    peer = [route for route in found if route.name == "webdataset-http"]
    for route in found:
        if peer and route.ours and route.remote:
            late = route.median("first_s") - peer[0].median("first_s")
            name = f"first batch, s: {route.name} - {peer[0].name}"
            yield line(name, late, "≤ 1", late <= 1)


def draw(found: Sequence[Found], decoders: dict[str, float], path: Path) -> None:
    """Images a second as bars."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    bars = [(r.name, r.median("images_per_s"), "C1" if r.ours else "C0") for r in found]
    bars += [(f"decoder: {name}", rate, "0.7") for name, rate in decoders.items()]
    names, rates, colours = zip(*reversed(bars), strict=True)
    figure, axes = plt.subplots(figsize=(7, 0.6 + 0.27 * len(bars)), layout="constrained")
    axes.bar_label(axes.barh(names, rates, color=colours), fmt="%.0f", padding=3)
    axes.set_xlabel("decoded images a second, 2 workers (orange: geogen_hf; more is better)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.1)
    figure.savefig(path, dpi=80)
