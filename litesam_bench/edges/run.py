"""One run of `litesam-bench edges`: where the maps come from, what is measured, what is written."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from litesam_bench import pipeline, registry, weights
from litesam_bench.edges import outcome
from litesam_bench.edges.benchmark import Evaluation, Settings, evaluate
from litesam_bench.edges.boundary_gt import BoundaryData, read_boundaries
from litesam_bench.edges.collect import Scores, collect
from litesam_bench.edges.curves import figure_path, write_figure
from litesam_bench.edges.detectors import EdgeDetector, map_folder, read_image, write_maps
from litesam_bench.edges.from_masks import MaskEdges, edges_from_masks
from litesam_bench.edges.maps import Segmentations, find_map, read_map
from litesam_bench.edges.pictures import SheetRow, contact_sheet, extremes
from litesam_bench.edges.ridges import suppress
from litesam_bench.edges.thinning import thin
from litesam_bench.errors import CapabilityError, DataError, UsageError
from litesam_bench.records.files import canonical_json, sha256_file, sha256_text
from litesam_bench.records.provenance import cpu_name, environment
from litesam_bench.records.schema import Record
from litesam_bench.records.store import write_record
from litesam_bench.spec import SystemSpec
from litesam_bench.timing.device import describe_device, pick_device
from litesam_bench.types import LoadContext

Advance = Callable[[str, bool], None]


@dataclass(frozen=True)
class MapsSource:
    """A folder of maps and what a record says about where they come from.

    variant: how maps were made of masks, as it stands in the protocol id; "" for all others.
    nms: the edge NMS that the benchmark is to apply; "none" where the maps have had theirs.
    """

    folder: Path
    system: dict[str, Any]
    environment: dict[str, Any]
    footnotes: list[str] = field(default_factory=list)
    knobs: dict[str, Any] = field(default_factory=dict)
    variant: str = ""
    nms: str = "none"
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """How a system is run. sampler and border_px concern promptable systems only.

    nms: None for the system's own: none for classical detectors, "dollar-r1" for all others.
    """

    device: str = "auto"
    dtype: str = "fp32"
    batch: int = 64
    threads: int = 1
    allow_unverified_weights: bool = False
    sampler: str = "grid:16"
    nms: str | None = None
    border_px: int = 0


@dataclass(frozen=True)
class Result:
    """What was measured and which files hold it."""

    evaluation: Evaluation
    scores: Scores
    record: Record
    files: tuple[Path, ...]

    @property
    def document(self) -> dict[str, Any]:
        """What `--json` prints."""
        return outcome.document(self.record, self.scores)


def from_folder(folder: Path, name: str | None = None, nms: str | None = None) -> MapsSource:
    """Maps that exist already. A name that a paper's table uses ("edter") fills the row there.

    Raises DataError without such a folder, UsageError for an edge NMS that needs more than maps.
    """
    _check_nms(nms)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder of edge maps", fix="check --from-maps")
    called = name or folder.resolve().name
    system = {
        "name": called,
        "display": called,
        "family": "maps",
        "training": "unknown",
        "published": name or "",
        "weights": "unknown",
    }
    return MapsSource(
        folder,
        system,
        environment("cpu", cpu_name(), "fp32"),
        ["maps made elsewhere"],
        nms=nms or "none",
    )


def from_system(
    name: str,
    data: BoundaryData,
    folder: Path | None,
    runs_root: Path,
    options: ModelOptions,
    *,
    advance: Advance = lambda image_id, resumed: None,
) -> MapsSource:
    """Make the maps of a registered system, or those that are still missing.

    Args:
        folder: where to keep them; default: a folder of the runs, named by what made them.

    Raises:
        UsageError: no such system, or several; the folder holds other maps.
        CapabilityError: the system neither finds edges nor makes masks from points.
        WeightsError: the checkpoint is missing.
    """
    found = registry.resolve(name)
    if len(found) != 1:
        raise UsageError(f"--model {name} names {len(found)} systems", fix="name one")
    (system,) = found
    spec = system.spec
    mask_edges = _mask_edges(spec, options)
    verified = weights.require(spec, allow_unverified=options.allow_unverified_weights)
    own_map = mask_edges is None
    if own_map:
        _check_nms(options.nms)
    device = "cpu" if own_map and spec.weights is None else pick_device(options.device)
    entry = pipeline.system_entry(system, verified, seed=0)
    identity = {
        "system": spec.name,
        "code": entry["code"],
        "edge_code": _edge_code(),
        "weights": entry["weights"],
        "knobs": mask_edges.knobs() if mask_edges else {},
        "device": device.partition(":")[0],
        "dtype": options.dtype,
        "images": _images_digest(data),
    }
    default = runs_root / f"edge-maps-{sha256_text(canonical_json(identity))[:16]}"
    kept = map_folder(folder or default, identity)

    def load() -> EdgeDetector:
        context = LoadContext(
            device=device,
            dtype=pipeline.parse_dtype(options.dtype),
            weights=str(verified.path) if verified else None,
        )
        loaded = system.load(spec, context)
        if mask_edges is not None:
            return edges_from_masks(loaded, mask_edges)
        if not isinstance(loaded, EdgeDetector):
            raise UsageError(
                f"{system.source}: {spec.name} declares edges but has no edge_map(image)",
                fix="give the loaded system that method, or leave Capabilities.edges False",
            )
        return loaded

    # Threads help where the work is OpenCV's or numba's; a network uses all cores by itself.
    threads = options.threads if own_map and spec.weights is None else 1
    begin = time.perf_counter()
    write_maps(load, data.images, kept, threads=threads, advance=advance)
    return MapsSource(
        folder=kept,
        system=entry,
        environment=environment(device, describe_device(device), options.dtype),
        footnotes=_footnotes(spec, data, device, mask_edges),
        knobs=identity["knobs"],
        variant=mask_edges.variant if mask_edges else "",
        nms=options.nms or ("dollar-r1" if spec.weights else "none") if own_map else "none",
        seconds=time.perf_counter() - begin,
    )


def measure(
    source: MapsSource,
    data: BoundaryData,
    settings: Settings,
    runs_root: Path,
    results_root: Path,
    *,
    workers: int = 1,
    advance: Advance = lambda image_id, resumed: None,
) -> Result:
    """Evaluate the maps; write the record and the counts. Raises as `benchmark.evaluate`."""
    begin = time.perf_counter()
    found = evaluate(data, source.folder, settings, runs_root, workers=workers, advance=advance)
    scores = collect(found.counts, found.thresholds)
    timing = {"benchmark": round(time.perf_counter() - begin, 3)}
    if source.seconds:
        timing["edge_maps"] = round(source.seconds, 3)
    record = outcome.make_record(
        found,
        scores,
        data,
        settings,
        system=source.system,
        environment=source.environment,
        variant=source.variant,
        map_knobs=source.knobs,
        passed={**asdict(settings), "workers": workers},
        timing_s=timing,
        footnotes=source.footnotes,
    )
    counts = outcome.counts_path(results_root, record)
    outcome.write_counts(counts, found, scores, record)
    return Result(found, scores, record, (write_record(results_root, record), counts))


def draw(
    result: Result,
    source: MapsSource,
    data: BoundaryData,
    settings: Settings,
    results_root: Path,
    gallery: int | None = None,
) -> Iterator[Path]:
    """Draw the curves of all systems measured alike, and a contact sheet if asked for."""
    below = result.files[1].relative_to(results_root / "counts" / "edges").parent
    write_figure(results_root, result.record)
    figure = figure_path(results_root, result.record)
    if figure.is_file():
        yield figure
    if gallery:
        system = below / f"{result.files[1].name.removesuffix('.json.gz')}.png"
        path = results_root / "galleries" / system
        images = {image.image_id: image for image in data.images}
        rows = []
        for image_id in extremes(result.scores, gallery):
            image, best = images[image_id], result.scores.per_image[image_id]
            map_path = find_map(source.folder, image_id)
            assert map_path is not None, "the image was evaluated"
            edge_map = read_map(map_path)
            assert best.threshold is not None, "a point of an image's own curve"
            if isinstance(edge_map, Segmentations):
                strength = np.mean(edge_map.boundaries, axis=0)
                detected = edge_map.boundaries[round(best.threshold) - 1]
            else:
                strength = suppress(edge_map.strength, settings.nms)
                detected = strength >= best.threshold
            rows.append(
                SheetRow(
                    image_id=image_id,
                    image=read_image(image) if image.image_path else None,
                    truths=read_boundaries(image.truth_path),
                    strength=strength,
                    detected=thin(detected) if settings.thin else detected,
                    threshold=best.threshold,
                    f=best.f,
                )
            )
        contact_sheet(
            rows,
            path,
            max_dist=settings.max_dist,
            title=f"{result.record.system['display']} on {data.name}: worst and best by turns",
        )
        yield path


def _mask_edges(spec: SystemSpec, options: ModelOptions) -> MaskEdges | None:
    """How edges are made of the system's masks; None where it finds edges by itself."""
    can = spec.capabilities
    if can.edges:
        return None
    if not (can.points and can.multimask) or can.needs_ground_truth:
        raise CapabilityError(
            f"{spec.name} neither finds edges nor makes several masks from a point",
            fix=f"litesam-bench models show {spec.name} lists what it can do; try sobel",
        )
    return MaskEdges(options.sampler, options.nms or "dollar-r1", options.border_px, options.batch)


def _check_nms(nms: str | None) -> None:
    if nms == "canny":
        raise UsageError(
            "--edge-nms canny follows the gradient of masks; finished maps have none",
            fix="use dollar-r1, dollar-r2 or none",
        )


def _images_digest(data: BoundaryData) -> str:
    """sha256 over the images' ids and files; a missing file is met when it is read."""
    files = {
        image.image_id: sha256_file(image.image_path) if image.image_path else ""
        for image in data.images
    }
    return sha256_text(canonical_json(files))


def _edge_code() -> str:
    """sha256 over the code that makes maps, so that an edit makes them anew."""
    folder = Path(__file__).parent
    files = [folder / f for f in ("classical.py", "from_masks.py", "ridges.py", "detectors.py")]
    files += sorted((folder.parent / "everything").glob("*.py"))
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()


def _footnotes(
    spec: SystemSpec, data: BoundaryData, device: str, mask_edges: MaskEdges | None
) -> list[str]:
    notes = [f"edges of masks: {mask_edges.variant}"] if mask_edges else []
    if spec.training == "untrained":
        notes.append("untrained: random weights, not a result")
    if data.name.partition("-")[0] in spec.not_zero_shot_on:
        notes.append("not zero-shot: the training data has this dataset's domain")
    if device == "cpu" and mask_edges:
        notes.append("CPU")
    return notes
