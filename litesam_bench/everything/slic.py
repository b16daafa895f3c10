"""SLIC superpixels and their merges: segment-everything without weights or prompts.

Pixels are clustered by colour and place (Achanta et al., "SLIC Superpixels Compared to
State-of-the-Art Superpixel Methods", TPAMI 2012). Then the two neighbours that are most alike merge
until one region is left, by Ward's criterion: the least growth of the colours' squared error. Every
region on the way is a proposal, so N superpixels give 2 N - 1 of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from litesam_bench.metrics import rle
from litesam_bench.metrics._jit import kernel
from litesam_bench.types import GroundTruth, ImageU8, Rle

if TYPE_CHECKING:
    from litesam_bench.everything.proposals import Proposal

FloatMap = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int32]


@dataclass(frozen=True)
class SlicMerges:
    """Superpixels of an image and their merges, coarse regions first.

    count: superpixels asked for; as many come out as the image's colours leave connected.
    compactness: weight of place against colour, the paper's m, in units of CIE L*a*b*.
    iterations: of the clustering.
    """

    count: int = 500
    compactness: float = 10.0
    iterations: int = 10

    def everything(self, image: ImageU8, truth: GroundTruth | None) -> tuple[Proposal, ...]:
        """All regions as proposals: the whole image, then merges from the last to the first."""
        from litesam_bench.everything.own import proposals_of

        labels = superpixels(image, self.count, self.compactness, self.iterations)
        codes = merged_masks(labels, merges(labels, lab(image)))
        ranks = [1 - i / len(codes) for i in range(len(codes))]
        return proposals_of(codes, ranks, (image.shape[0], image.shape[1]))


def lab(image: ImageU8) -> FloatMap:
    """(H, W, 3) RGB uint8 to CIE L*a*b*, (H, W, 3): L from 0 to 100."""
    import cv2

    return cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).astype(np.float64)


def superpixels(image: ImageU8, count: int, compactness: float, iterations: int = 10) -> Labels:
    """SLIC: connected superpixels of similar colour, (H, W) labels 0, 1, 2, ...

    Pieces of a cluster that are smaller than a quarter of the mean superpixel join a neighbour.
    """
    height, width = image.shape[:2]
    step = max(1.0, float(np.sqrt(height * width / count)))
    rows, columns = max(1, round(height / step)), max(1, round(width / step))
    y = (np.arange(rows) + 0.5) * height / rows
    x = (np.arange(columns) + 0.5) * width / columns
    centres = np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1).reshape(-1, 2)
    colours = lab(image)
    clusters = _cluster(colours, centres, step, compactness / step, iterations)
    return _connect(clusters, int(height * width / len(centres) / 4))


@kernel
def _cluster(
    colours: FloatMap, centres: FloatMap, step: float, place_weight: float, iterations: int
) -> Labels:
    """Each pixel's nearest cluster in colour and place; centres (K, 2) are y, x of pixel centres.

    A cluster is asked only by the pixels within one step of its centre. That leaves no pixel out:
    a pixel keeps its first cluster, that of its grid cell, until another is nearer.
    """
    height, width = colours.shape[:2]
    n = len(centres)
    labels = np.zeros((height, width), np.int32)
    means = np.empty((n, 5))
    for k in range(n):
        cy, cx = int(centres[k, 0]), int(centres[k, 1])
        means[k, :3] = colours[min(cy, height - 1), min(cx, width - 1)]
        means[k, 3:] = centres[k]
    for _ in range(iterations):
        nearest = np.full((height, width), np.inf)
        for k in range(n):
            y0, y1 = max(0, int(means[k, 3] - step)), min(height, int(means[k, 3] + step) + 1)
            x0, x1 = max(0, int(means[k, 4] - step)), min(width, int(means[k, 4] + step) + 1)
            for y in range(y0, y1):
                dy = (y + 0.5 - means[k, 3]) * place_weight
                for x in range(x0, x1):
                    dx = (x + 0.5 - means[k, 4]) * place_weight
                    distance = dy * dy + dx * dx
                    for c in range(3):
                        d = colours[y, x, c] - means[k, c]
                        distance += d * d
                    if distance < nearest[y, x]:
                        nearest[y, x] = distance
                        labels[y, x] = k
        sums = np.zeros((n, 5))
        counts = np.zeros(n, np.int64)
        for y in range(height):
            for x in range(width):
                k = labels[y, x]
                counts[k] += 1
                for c in range(3):
                    sums[k, c] += colours[y, x, c]
                sums[k, 3] += y + 0.5
                sums[k, 4] += x + 0.5
        for k in range(n):
            if counts[k]:
                means[k] = sums[k] / counts[k]
    return labels


@kernel
def _connect(clusters: Labels, smallest_px: int) -> Labels:
    """Connected pieces (of 4 neighbours) of the clusters, numbered row by row; a piece of fewer
    pixels joins the piece that lies before its first pixel."""
    height, width = clusters.shape
    labels = np.full((height, width), -1, np.int32)
    stack = np.empty((height * width, 2), np.int32)
    count = 0
    for top in range(height):
        for left in range(width):
            if labels[top, left] >= 0:
                continue
            before = -1
            if left > 0:
                before = labels[top, left - 1]
            elif top > 0:
                before = labels[top - 1, left]
            stack[0, 0], stack[0, 1] = top, left
            labels[top, left] = count
            size = 1
            at = 0
            while at < size:
                y, x = stack[at, 0], stack[at, 1]
                at += 1
                for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                    v, u = y + dy, x + dx
                    inside = 0 <= v < height and 0 <= u < width
                    if inside and labels[v, u] < 0 and clusters[v, u] == clusters[y, x]:
                        labels[v, u] = count
                        stack[size, 0], stack[size, 1] = v, u
                        size += 1
            if size < smallest_px and before >= 0:
                for i in range(size):
                    labels[stack[i, 0], stack[i, 1]] = before
            else:
                count += 1
    return labels


def merges(labels: Labels, colours: FloatMap) -> IntArray:
    """The N - 1 merges of N neighbouring regions, (N - 1, 2): merge i makes region N + i.

    Args:
        labels: (H, W), connected regions 0 to N - 1. colours: (H, W, C).
    """
    n = int(labels.max()) + 1
    flat = labels.ravel()
    sizes = np.bincount(flat, minlength=n).astype(np.float64)
    sums = [np.bincount(flat, c, minlength=n) for c in colours.reshape(-1, colours.shape[-1]).T]
    means = np.stack(sums, axis=1) / sizes[:, None]
    neighbours = np.zeros((n, n), np.bool_)
    for a, b in ((labels[:, 1:], labels[:, :-1]), (labels[1:], labels[:-1])):
        neighbours[a, b] = neighbours[b, a] = True
    np.fill_diagonal(neighbours, False)
    return ward(sizes, means, neighbours)


@kernel
def ward(sizes: FloatMap, means: FloatMap, neighbours: npt.NDArray[np.bool_]) -> IntArray:
    """Merge neighbours by the least growth of the squared error; (N - 1, 2) region numbers.

    Args:
        sizes: (N,). means: (N, C). neighbours: (N, N), symmetric; the graph must be connected.
    """
    n = len(sizes)
    sizes, means, near = sizes.copy(), means.copy(), neighbours.copy()
    names = np.arange(n)
    cost = np.full((n, n), np.inf)
    best = np.zeros(n, np.int64)  # the cheapest partner of each region
    for a in range(n):
        for b in range(n):
            if near[a, b]:
                cost[a, b] = _growth(sizes, means, a, b)
        best[a] = cost[a].argmin()
    alive = np.ones(n, np.bool_)
    found = np.empty((n - 1, 2), np.int64)
    for i in range(n - 1):
        a = -1
        for k in range(n):
            if alive[k] and (a < 0 or cost[k, best[k]] < cost[a, best[a]]):
                a = k
        b = best[a]
        found[i, 0], found[i, 1] = names[a], names[b]
        means[a] = (sizes[a] * means[a] + sizes[b] * means[b]) / (sizes[a] + sizes[b])
        sizes[a] += sizes[b]
        names[a] = n + i
        alive[b] = False
        for k in range(n):
            if not alive[k] or k == a:
                continue
            near[a, k] |= near[b, k]
            near[k, a] = near[a, k]
            cost[k, b] = np.inf
            touched = near[a, k]
            if touched:
                cost[a, k] = cost[k, a] = _growth(sizes, means, a, k)
            if touched or best[k] == b:
                best[k] = cost[k].argmin()
        cost[a, b] = np.inf
        best[a] = cost[a].argmin()
    return found


@kernel
def _growth(sizes: FloatMap, means: FloatMap, a: int, b: int) -> float:
    """What merging two regions adds to the sum of squared distances from their means."""
    total = 0.0
    for c in range(means.shape[1]):
        d = means[a, c] - means[b, c]
        total += d * d
    grows: float = total * sizes[a] * sizes[b] / (sizes[a] + sizes[b])
    return grows


def merged_masks(labels: Labels, pairs: IntArray) -> list[Rle]:
    """The masks of all regions: merges from the last to the first, then the N given regions.

    A region is a run of neighbouring leaves in the tree of merges; with the labels renumbered in
    the tree's order it is a range of labels.
    """
    n = len(pairs) + 1
    begin, end = _ranges(pairs)
    ranks = begin[:n][labels].astype(np.int32)
    corners = np.zeros((2 * n - 1, 4), np.int64)  # y0, x0, y1, x1
    for label, part in enumerate(ndimage.find_objects(labels + 1)):
        corners[label] = [part[0].start, part[1].start, part[0].stop, part[1].stop]
    for i, (a, b) in enumerate(pairs.tolist()):
        corners[n + i, :2] = np.minimum(corners[a, :2], corners[b, :2])
        corners[n + i, 2:] = np.maximum(corners[a, 2:], corners[b, 2:])
    canvas = np.zeros((1, *labels.shape), np.bool_)
    found = []
    for region in range(2 * n - 2, -1, -1):
        y0, x0, y1, x1 = corners[region]
        part = ranks[y0:y1, x0:x1]
        canvas[0, y0:y1, x0:x1] = (part >= begin[region]) & (part < end[region])
        found += rle.encode_many(canvas)
        canvas[0, y0:y1, x0:x1] = False
    return found


def _ranges(pairs: IntArray) -> tuple[IntArray, IntArray]:
    """First and last + 1 place of every region's leaves in the tree's order; (2 N - 1,) each."""
    n = len(pairs) + 1
    leaves = np.ones(2 * n - 1, np.int64)
    for i, (a, b) in enumerate(pairs.tolist()):
        leaves[n + i] = leaves[a] + leaves[b]
    begin = np.zeros(2 * n - 1, np.int64)
    for i in range(n - 2, -1, -1):
        a, b = pairs[i]
        begin[a] = begin[n + i]
        begin[b] = begin[n + i] + leaves[a]
    return begin, begin + leaves
