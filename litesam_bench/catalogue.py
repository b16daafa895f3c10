"""What can be said of a system without loading it, for listings.

Nothing here imports torch: sizes come from the checkpoint's manifest, or from the header of the
weights that come with the package.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from litesam_bench.parity import manifest_path, standing
from litesam_bench.parity.manifest import read_manifest
from litesam_bench.registry import System
from litesam_bench.spec import SystemSpec
from litesam_bench.tables.published import PublishedTable, all_tables
from litesam_bench.types import Capabilities
from litesam_bench.weights import licence_notice, model_card, path_of, state


def entries(systems: Sequence[System], known: Sequence[System]) -> list[dict[str, Any]]:
    """One entry per system.

    Args:
        known: every registered system, among which the variants of a family are found.
    """
    tables = all_tables()
    families: dict[str, list[str]] = {}
    for system in known:
        families.setdefault(system.spec.family, []).append(system.spec.name)
    return [_entry(system, families.get(system.spec.family, []), tables) for system in systems]


def parameters(spec: SystemSpec) -> int | None:
    """Parameters of a system's checkpoint; None where neither manifest nor file says it."""
    if manifest_path(spec.name).is_file():
        return read_manifest(manifest_path(spec.name)).parameters
    if spec.weights is not None and not spec.weights.url:
        return _values_in(path_of(spec.weights))
    return None


def prompts_text(can: Capabilities) -> str:
    """What a system can be asked for, in a few words: `points, boxes`; what it gives without
    prompts is named too."""
    words = {
        "points": can.points,
        "negative points": can.negative_points,
        "boxes": can.boxes,
        "masks": can.mask_prompt,
        "proposals": can.propose,
        "everything": can.everything,
        "edges": can.edges,
    }
    limit = ""
    if can.max_points is not None:
        limit = " (one point)" if can.max_points == 1 else f" (at most {can.max_points} points)"
    return ", ".join(word for word, able in words.items() if able) + limit


def _entry(
    system: System, variants: Sequence[str], tables: Sequence[PublishedTable]
) -> dict[str, Any]:
    spec = system.spec
    count = parameters(spec)
    found = standing(spec)
    return {
        **asdict(spec),
        "source": str(system.source),
        "variants": list(variants),
        "parameters_m": None if count is None else round(count / 1e6, 2),
        "weights_state": state(spec),
        "weights_path": str(path_of(spec.weights)) if spec.weights else None,
        "restriction": licence_notice(spec),
        "proven": found.proven,
        "proven_reason": found.reason,
        "published_numbers": _published(spec, tables),
        "model_card": model_card(spec),
    }


def _published(spec: SystemSpec, tables: Sequence[PublishedTable]) -> dict[str, dict[str, str]]:
    """What papers print of a system: `paper/table` (and the row's variant) to printed cells."""
    return {
        table.ref + (f" ({row.variant})" if row.variant else ""): {
            key: cell.text for key, cell in row.cells.items() if cell.value is not None
        }
        for table in tables
        for row in table.rows
        if spec.published and row.system == spec.published
    }


def _values_in(path: Path) -> int | None:
    """Numbers in a safetensors file, from its header; None if the file is not there."""
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    with path.open("rb") as file:
        header: dict[str, Any] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    fixed = ("running_mean", "running_var", "num_batches_tracked", "gaussian_matrix")
    return sum(
        int(math.prod(tensor["shape"]))
        for name, tensor in header.items()
        if name != "__metadata__" and not name.endswith(fixed)
    )
