"""Pictures of the benchmark: precision-recall curves, and contact sheets of maps beside people's.

Both are pure functions of what they are given, and write the same bytes for the same input.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from litesam_bench.edges.boundary_gt import BoolMap
from litesam_bench.edges.collect import Scores
from litesam_bench.edges.matching import match
from litesam_bench.records.files import write_atomic
from litesam_bench.types import ImageU8

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart by the colour-blind.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MATCHED, MISSED, FALSE = (0, 158, 115), (0, 114, 178), (213, 94, 0)


def curve_figure(curves: Mapping[str, Scores], path: Path, *, title: str) -> list[Path]:
    """Precision over recall for each named method, with lines of equal F, as SVG and PNG.

    Dots mark the ODS points. The legend is in descending order of ODS.

    Args:
        path: without suffix.

    Returns:
        the files that this changed.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "litesam-bench", "svg.fonttype": "none"}):
        figure = Figure(figsize=(5.6, 5.2), layout="constrained")
        axes = figure.add_subplot()
        for f in np.arange(1, 10) / 10:
            recall = np.linspace(f / (2 - f) + 1e-9, 1, 200)
            axes.plot(recall, f * recall / (2 * recall - f), color="#c8c8c8", lw=0.8, zorder=1)
            axes.annotate(
                f"F = {f:.1f}", (1.0, f / (2 - f)), (3, 0), textcoords="offset points",
                color="#808080", fontsize=7, va="center", annotation_clip=False,
            )  # fmt: skip
        ordered = sorted(curves.items(), key=lambda item: -item[1].ods.f)
        for k, (name, scores) in enumerate(ordered):
            colour = _COLOURS[k % len(_COLOURS)]
            seen = scores.curve[:, 1] + scores.curve[:, 2] > 0  # 0/0 where nothing is detected
            axes.plot(
                scores.curve[seen, 1], scores.curve[seen, 2], color=colour, lw=1.8, zorder=2,
                label=f"{name}: ODS {scores.ods.f:.3f}, OIS {scores.ois.f:.3f}, AP {scores.ap:.3f}",
            )  # fmt: skip
            axes.plot(scores.ods.recall, scores.ods.precision, "o", color=colour, ms=6, zorder=3)
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="recall", ylabel="precision", aspect="equal")
        axes.set_title(title, fontsize=10)
        axes.legend(loc="lower left", fontsize=7.5, framealpha=0.9)
        return _save(figure, path)


def _save(figure: Figure, path: Path) -> list[Path]:
    changed = []
    for suffix, metadata in ((".svg", {"Date": None}), (".png", {"Software": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix[1:], dpi=150, metadata=metadata)
        file = path.with_name(path.name + suffix)  # not with_suffix: names have dots
        if not file.is_file() or file.read_bytes() != buffer.getvalue():
            write_atomic(file, buffer.getvalue())
            changed.append(file)
    return changed


@dataclass(frozen=True)
class SheetRow:
    """One image of a contact sheet. image may be None where no picture is at hand.

    strength: (H, W) in [0, 1]. detected: (H, W) bool, the thinned map at `threshold`. f: its F.
    """

    image_id: str
    image: ImageU8 | None
    truths: Sequence[BoolMap]
    strength: npt.NDArray[np.float64]
    detected: BoolMap
    threshold: float
    f: float


def outcome_picture(truths: Sequence[BoolMap], detected: BoolMap, max_dist_px: float) -> ImageU8:
    """Matched, missed and false pixels in colour, (H, W, 3), on white.

    Matched (green): detected pixels that some annotator's pixel claims. False (orange): the other
    detected ones. Missed (blue): annotators' pixels without a partner; the fewer people drew the
    pixel, the paler.
    """
    claimed, missed = np.zeros(detected.shape, bool), np.zeros(detected.shape, np.float64)
    for truth in truths:
        found = match(detected, truth, max_dist_px)
        claimed |= found.matched_a
        missed += truth & ~found.matched_b
    picture = np.full((*detected.shape, 3), 255, np.float64)
    share = (missed / max(len(truths), 1))[..., None]
    picture += share * (np.array(MISSED) - picture)
    picture[claimed] = MATCHED
    picture[detected & ~claimed] = FALSE
    drawn: ImageU8 = np.rint(picture).astype(np.uint8)
    return drawn


def contact_sheet(rows: Sequence[SheetRow], path: Path, *, max_dist: float, title: str) -> None:
    """A PNG with one row per image: image, people's boundaries, map, outcome at its best threshold.

    Args:
        max_dist: largest distance of a pair, as a fraction of the diagonal.
    """
    from matplotlib.figure import Figure

    # A column is 3.4 inches wide; a row is as high as its picture then is, tall pictures capped.
    heights = [min(3.4 * r.detected.shape[0] / r.detected.shape[1], 3.8) + 0.3 for r in rows]
    figure = Figure(figsize=(14, 0.7 + sum(heights)), layout="constrained")
    figure.suptitle(
        f"{title}\nmatched: green; missed by the map: blue, paler where fewer people drew it; "
        "false: orange",
        fontsize=11,
    )
    grid = figure.subplots(len(rows), 4, squeeze=False, height_ratios=heights)
    for row, axes in zip(rows, grid, strict=True):
        people = 1 - np.mean(row.truths, axis=0)
        reach = max_dist * float(np.hypot(*row.detected.shape))
        blank = np.full((*row.detected.shape, 3), 225, np.uint8)
        axes[0].imshow(blank if row.image is None else row.image)
        axes[0].set_ylabel(f"{row.image_id}\nF {row.f:.3f}", fontsize=10)
        axes[1].imshow(people, cmap="gray", vmin=0, vmax=1, interpolation="antialiased")
        axes[1].set_title(f"{len(row.truths)} people", fontsize=9)
        axes[2].imshow(1 - row.strength, cmap="gray", vmin=0, vmax=1, interpolation="antialiased")
        axes[2].set_title("edge map", fontsize=9)
        axes[3].imshow(
            outcome_picture(row.truths, row.detected, reach), interpolation="antialiased"
        )
        axes[3].set_title(f"at threshold {row.threshold:.2f}", fontsize=9)
        for one in axes:
            one.set(xticks=[], yticks=[])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    write_atomic(path, buffer.getvalue())


def extremes(scores: Scores, count: int) -> list[str]:
    """Up to `count` image ids: the worst and the best in turn, by each image's best F."""
    ascending = sorted(scores.per_image, key=lambda image_id: scores.per_image[image_id].f)
    worst, best = ascending, ascending[::-1]
    chosen = [image_id for pair in zip(worst, best, strict=True) for image_id in pair]
    return list(dict.fromkeys(chosen))[:count]
