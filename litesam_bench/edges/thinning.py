"""Morphological thinning to convergence, 64 pixels at a time.

The rule is Guo and Hall's parallel thinning with two sub-iterations as Lam, Lee and Suen state it
(conditions G1, G2, G3 and G3'); MATLAB's `bwmorph(., 'thin', inf)`, which the official benchmark
calls, and `skimage.morphology.thin` apply the same rule by a table of 256 neighbourhoods. Here a
row of 64 pixels is one machine word, each of the eight neighbours is a shift of a word, and the
conditions are Boolean algebra on words. Only rows whose neighbourhood changed are looked at again,
so late iterations, which nibble at a few thick spots, cost next to nothing.
"""

from __future__ import annotations

import numba as nb
import numpy as np
import numpy.typing as npt

BoolMap = npt.NDArray[np.bool_]


def thin(edge_map: npt.ArrayLike) -> BoolMap:
    """Thin a binary map until nothing changes.

    Args:
        edge_map: (H, W); every non-zero value is foreground. Outside the map is background.

    Returns:
        (H, W) bool, a subset of the foreground, equal to `skimage.morphology.thin(edge_map)`.
    """
    mask = np.ascontiguousarray(np.asarray(edge_map) != 0)
    if mask.ndim != 2:
        raise ValueError(f"an edge map has two dimensions, not {mask.ndim}")
    height, width = mask.shape
    n_words = (width + 63) // 64
    # A frame of empty words and rows spares the inner loop every border case.
    octets = np.zeros((height + 2, 8 * (n_words + 2)), np.uint8)
    octets[1:-1, 8 : 8 + (width + 7) // 8] = np.packbits(mask, axis=1, bitorder="little")
    words = octets.view("<u8").astype(np.uint64)
    _thin_words(words)
    octets = words.astype("<u8").view(np.uint8)[1:-1, 8:-8]
    return np.unpackbits(octets, axis=1, count=width, bitorder="little").view(np.bool_)


@nb.njit(cache=True, nogil=True)
def _thin_words(rows: npt.NDArray[np.uint64]) -> None:
    """Thin in place; `rows` is (H + 2, words + 2) with an empty frame, lowest bit leftmost."""
    height, n_words = rows.shape[0] - 2, rows.shape[1] - 2
    above = np.zeros(n_words + 2, np.uint64)  # the row above as it was before this sub-iteration
    current = np.zeros(n_words + 2, np.uint64)
    # A sub-iteration must look at a row only if the 3-row neighbourhood changed since that same
    # sub-iteration last saw it.
    stale = np.ones((2, height + 2), np.bool_)
    touched = np.zeros(height + 2, np.bool_)
    changed = True
    while changed:
        changed = False
        for phase in range(2):
            above[:] = 0
            for y in range(1, height + 1):
                current[:] = rows[y]
                if stale[phase, y]:
                    stale[phase, y] = False
                    row_changed = np.uint64(0)
                    for i in range(1, n_words + 1):
                        if current[i] == 0:
                            continue
                        remove = _removable(above, current, rows[y + 1], i, phase)
                        rows[y, i] = current[i] & ~remove
                        row_changed |= remove
                    if row_changed != 0:
                        touched[y] = True
                above, current = current, above
            # Only now: a row marked above could be cleared by its own visit, which saw old pixels.
            for y in range(1, height + 1):
                if touched[y]:
                    touched[y] = False
                    changed = True
                    stale[:, y - 1 : y + 2] = True


@nb.njit(inline="always")
def _removable(
    above: npt.NDArray[np.uint64],
    current: npt.NDArray[np.uint64],
    below: npt.NDArray[np.uint64],
    i: int,
    phase: int,
) -> np.uint64:
    """The pixels of word `i` that one sub-iteration deletes."""
    one, last = np.uint64(1), np.uint64(63)
    # Neighbours counter-clockwise from east, as the paper numbers them.
    x1 = (current[i] >> one) | (current[i + 1] << last)
    x2 = (above[i] >> one) | (above[i + 1] << last)
    x3 = above[i]
    x4 = (above[i] << one) | (above[i - 1] >> last)
    x5 = (current[i] << one) | (current[i - 1] >> last)
    x6 = (below[i] << one) | (below[i - 1] >> last)
    x7 = below[i]
    x8 = (below[i] >> one) | (below[i + 1] << last)
    # G1: exactly one of the four corners is a crossing.
    b1, b2, b3, b4 = ~x1 & (x2 | x3), ~x3 & (x4 | x5), ~x5 & (x6 | x7), ~x7 & (x8 | x1)
    some, many = b1 | b2, b1 & b2
    many |= some & b3
    some |= b3
    many |= some & b4
    some |= b4
    remove: np.uint64 = current[i] & some & ~many
    # G2: the smaller of two counts of neighbour pairs is 2 or 3.
    p1, p2, p3, p4 = x1 | x2, x3 | x4, x5 | x6, x7 | x8
    q1, q2, q3, q4 = x2 | x3, x4 | x5, x6 | x7, x8 | x1
    remove &= (p1 & p2) | (p3 & p4) | ((p1 | p2) & (p3 | p4))
    remove &= (q1 & q2) | (q3 & q4) | ((q1 | q2) & (q3 | q4))
    remove &= ~(p1 & p2 & p3 & p4 & q1 & q2 & q3 & q4)
    # G3 in the first sub-iteration, its rotation by 180 degrees in the second.
    if phase == 0:
        remove &= ~((x2 | x3 | ~x8) & x1)
    else:
        remove &= ~((x6 | x7 | ~x4) & x5)
    return remove
