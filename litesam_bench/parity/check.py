"""What the harness relies on, and what the papers' authors computed, checked for one system.

Every check is one row of the result: pass, fail, or n/a with the reason. A system's own exception
is the failure of the check that met it, never the end of the others.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from litesam_bench import pipeline, protocols, weights
from litesam_bench.errors import BenchError, CapabilityError, WeightsError
from litesam_bench.everything.own import OwnEverything
from litesam_bench.metrics import rle
from litesam_bench.parity import golden_path, manifest_path
from litesam_bench.parity.documented import (
    DEFAULT_GAIN,
    SMALL_WIDE,
    documented_weights,
    hollow_weights,
    parity_image,
    parity_prompts,
    write_checkpoint,
)
from litesam_bench.parity.golden import (
    EMBEDDING_BAR,
    Golden,
    GoldenImage,
    answer_difference,
    embedding_difference,
    read_golden,
)
from litesam_bench.parity.manifest import Manifest, read_manifest
from litesam_bench.registry import System
from litesam_bench.spec import SystemSpec
from litesam_bench.types import (
    Capabilities,
    DType,
    Embedding,
    GroundTruth,
    ImageU8,
    Instance,
    LoadContext,
    MaskBatch,
    Prompts,
    Segmenter,
    SizeHW,
)

Status = Literal["pass", "fail", "n/a"]

LIGHT_PARAMETERS = 80_000_000
"""Up to this size a check may encode an image more than once on a CPU."""

_HEAVY_MODULES = ("torch", "torchvision", "timm", "transformers", "ultralytics", "numba", "cv2")


@dataclass(frozen=True, slots=True)
class Check:
    """One row: what was checked, how it went, and the figure or reason."""

    name: str
    status: Status
    detail: str = ""


@dataclass
class _Results:
    """Collects rows. `step` turns what a check raises into its failure."""

    checks: list[Check] = field(default_factory=list)

    def add(self, name: str, passed: bool, detail: str = "") -> None:
        self.checks.append(Check(name, "pass" if passed else "fail", detail))

    def not_applicable(self, name: str, reason: str) -> None:
        self.checks.append(Check(name, "n/a", reason))

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        try:
            yield
        except BenchError as error:
            self.checks.append(Check(name, "fail", error.message))
        except Exception as error:  # a newcomer's code may raise anything
            self.checks.append(Check(name, "fail", f"{type(error).__name__}: {error}"))


@dataclass(frozen=True)
class _Subject:
    """A system with what is known about it, and the checkpoint that the checks load."""

    system: System
    manifest: Manifest | None
    golden: Golden | None
    checkpoint: Path | None
    device: str

    @property
    def spec(self) -> SystemSpec:
        return self.system.spec

    @property
    def light(self) -> bool:
        return self.manifest is None or self.manifest.parameters <= LIGHT_PARAMETERS

    def load(self, dtype: DType = "fp32", device: str | None = None) -> Any:
        """The loaded system: a Segmenter, unless it does something else."""
        path = None if self.checkpoint is None else str(self.checkpoint)
        context = LoadContext(device=device or self.device, dtype=dtype, weights=path)
        return self.system.load(self.spec, context)


def check(system: System, *, device: str = "cpu") -> list[Check]:
    """All checks of one system.

    Weights are the documented ones where there is a manifest, else the system's own checkpoint if
    it lies on this machine; without either, everything that needs a model is n/a.
    """
    found = _Results()
    with found.step("imports nothing heavy"):
        _check_import(system, found)
    with found.step("SPEC"):
        _check_spec(system.spec, found)
    with found.step("undeclared prompts are refused"):
        _check_refusals(system.spec, found)

    if system.spec.weights is not None:
        with found.step("a checkpoint with code in it is refused"):
            _check_hostile_checkpoint(system, found)

    name = system.spec.name
    manifest = golden = None
    if manifest_path(name).is_file():
        with found.step("manifest"):
            manifest = read_manifest(manifest_path(name))
            _check_strict_loading(system, manifest, found)
    else:
        found.not_applicable("manifest", "there is none")
    if golden_path(name).is_file():
        with found.step("golden"):
            golden = read_golden(golden_path(name))
            _check_golden_belongs(golden, system.spec, found)

    with tempfile.TemporaryDirectory(prefix="litesam-bench-") as folder, found.step("loads"):
        checkpoint = _checkpoint(system.spec, manifest, golden, Path(folder))
        subject = _Subject(system, manifest, golden, checkpoint, device)
        if checkpoint is None and _needs_weights(system.spec):
            found.not_applicable("loads", "its weights are not here, and it has no manifest")
        else:
            _check_model(subject, found)
    return found.checks


def failures(checks: list[Check]) -> list[Check]:
    """The checks that failed."""
    return [check for check in checks if check.status == "fail"]


# --- without a model -----------------------------------------------------------------------------


def _check_import(system: System, found: _Results) -> None:
    """The adapter's file, imported alone in a new process, brings none of the heavy packages."""
    if not isinstance(system.source, Path):
        found.not_applicable("imports nothing heavy", "part of an installed package")
        return
    script = (
        "import json, sys; from pathlib import Path; from litesam_bench.registry import from_file;"
        "from_file(Path(sys.argv[1])); print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(system.source)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        found.add("imports nothing heavy", False, f"cannot be imported alone: {lines[-1]}")
        return
    brought = sorted(set(_HEAVY_MODULES) & set(json.loads(done.stdout)))
    found.add("imports nothing heavy", not brought, ", ".join(brought))


def _check_spec(spec: SystemSpec, found: _Results) -> None:
    """What the catalogue and the tables need to be able to say."""
    wrong = []
    if spec.weights is not None:
        url, digest = spec.weights.url, spec.weights.sha256
        if url and not url.startswith("https://"):
            wrong.append(f"weights are not fetched over https: {url}")
        if digest and not re.fullmatch(r"[0-9a-f]{64}", digest):
            wrong.append("sha256 is not 64 hexadecimal digits")
        if not spec.weights.licence:
            wrong.append("the weights' licence is empty")
    if spec.training == "trained" and not spec.training_data:
        wrong.append("training_data is empty")
    if spec.weights is not None and "github.com/" in spec.upstream and not spec.commit:
        wrong.append("official weights, but no commit of upstream")
    can = spec.capabilities
    if not (can.points or can.boxes or can.everything or can.edges):
        wrong.append("no capability: neither prompts, nor everything, nor edges")
    if (can.points or can.boxes) and not (can.single_mask or can.multimask):
        wrong.append("prompts without masks: declare single_mask, multimask or both")
    if can.negative_points and not can.points:
        wrong.append("negative points without points")
    found.add("SPEC", not wrong, "; ".join(wrong))


def _check_refusals(spec: SystemSpec, found: _Results) -> None:
    """A protocol that asks for what the SPEC does not declare is n/a, before anything loads."""
    can = spec.capabilities
    many = can.negative_points and (can.max_points is None or can.max_points >= 3)
    asked = {"box": can.boxes, "point": can.points, "clicks:3": can.points and many}
    wrong = []
    for prompt, declared in asked.items():
        kind = protocols.parse_prompt(prompt).kind
        protocol = protocols.get(protocols.DEFAULT_FOR_PROMPT[kind], prompt)
        selectable = can.predicted_iou or not can.multimask
        try:
            pipeline.check_capabilities(spec, protocol)
            refused = False
        except CapabilityError:
            refused = True
        if refused == (declared and selectable):
            wrong.append(f"{prompt} is {'refused' if refused else 'accepted'}")
    found.add("undeclared prompts are refused", not wrong, "; ".join(wrong))


# --- weights -------------------------------------------------------------------------------------


class _MakesFolder:
    """Reading a pickle of this with code allowed makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def _check_hostile_checkpoint(system: System, found: _Results) -> None:
    """A pickle that would run code is a WeightsError, and nothing runs."""
    name, spec = "a checkpoint with code in it is refused", system.spec
    assert spec.weights is not None
    with tempfile.TemporaryDirectory(prefix="litesam-bench-") as folder:
        trace, path = Path(folder) / "ran", Path(folder) / spec.weights.file_name
        torch.save({"model": _MakesFolder(trace)}, path)
        try:
            system.load(spec, LoadContext(weights=str(path)))
            refused = False
        except WeightsError:
            refused = True
        wrong = [] if refused else ["it is accepted"]
        if trace.exists():
            wrong.append("the code in it runs")
    found.add(name, not wrong, "; ".join(wrong))


def _check_strict_loading(system: System, manifest: Manifest, found: _Results) -> None:
    """The manifest's tensors load; one less or one more is a WeightsError."""
    spec = system.spec
    assert spec.weights is not None, f"{spec.name} has a manifest but no weights"
    state = hollow_weights(manifest)
    tolerated = {*spec.allow_missing, *spec.allow_unexpected}
    modules = tuple(name for name in tolerated if name.endswith("."))
    floating = [
        name
        for name, info in manifest.tensors.items()
        if info.is_floating and name not in tolerated and not name.startswith(modules)
    ]
    with tempfile.TemporaryDirectory(prefix="litesam-bench-") as folder:

        def load(tensors: dict[str, Tensor]) -> None:
            assert spec.weights is not None
            path = write_checkpoint(Path(folder), spec.weights.file_name, tensors, manifest.wrapper)
            system.load(spec, LoadContext(weights=str(path)))

        load(state)
        wrong = []
        for name in (floating[0], floating[len(floating) // 2], floating[-1]):
            try:
                load({key: value for key, value in state.items() if key != name})
                wrong.append(f"loads without {name}")
            except WeightsError:
                pass
        try:
            load({**state, "surely_not_a_parameter": torch.zeros(1)})
            wrong.append("loads with a key that no module has")
        except WeightsError:
            pass
    detail = f"{len(manifest.tensors)} tensors, {manifest.parameters / 1e6:.2f} M parameters"
    found.add("manifest", not wrong, "; ".join(wrong) or detail)


def _check_golden_belongs(golden: Golden, spec: SystemSpec, found: _Results) -> None:
    """A golden names its system and the commit that the SPEC names."""
    wrong = []
    if golden.system != spec.name:
        wrong.append(f"it is {golden.system}'s")
    if golden.commit != spec.commit:
        wrong.append(f"recorded at {golden.commit}, the SPEC says {spec.commit}")
    if not golden.made_by:
        wrong.append("it does not say how it was made")
    found.add("golden", not wrong, "; ".join(wrong) or f"{golden.upstream}@{golden.commit[:12]}")


def _checkpoint(
    spec: SystemSpec, manifest: Manifest | None, golden: Golden | None, folder: Path
) -> Path | None:
    """The documented weights in the form of the official file, else the official file itself."""
    if spec.weights is None:
        return None
    if manifest is not None:
        gain = golden.gain if golden is not None else DEFAULT_GAIN
        state = documented_weights(manifest, gain)
        return write_checkpoint(folder, spec.weights.file_name, state, manifest.wrapper)
    if weights.path_of(spec.weights).is_file():
        verified = weights.require(spec)
        assert verified is not None
        return verified.path
    return None


def _needs_weights(spec: SystemSpec) -> bool:
    return spec.weights is not None and spec.training == "trained"


# --- with a model --------------------------------------------------------------------------------


def _check_model(subject: _Subject, found: _Results) -> None:
    model = subject.load()
    can = subject.spec.capabilities
    found.add("loads", True, _weights_used(subject))
    if can.edges:
        with found.step("edge map"):
            _check_edges(model, found)
    if can.everything and isinstance(model, OwnEverything):
        with found.step("everything"):
            _check_everything(model, can, found)
    if can.points or can.boxes:
        with found.step("prompts"):
            _check_prompts(subject, model, found)


def _weights_used(subject: _Subject) -> str:
    if subject.checkpoint is None:
        return "no weights"
    return "documented weights" if subject.manifest is not None else str(subject.checkpoint)


def _check_edges(detector: Any, found: _Results) -> None:
    """An edge map is finite, in [0, 1], as large as the image, and the same each time."""
    image = parity_image(*SMALL_WIDE)
    strength = detector.edge_map(image)
    shaped = strength.shape == image.shape[:2]
    found.add("edge map has the image's size", shaped, str(strength.shape))
    ranged = bool(np.isfinite(strength).all() and strength.min() >= 0 and strength.max() <= 1)
    found.add("edge map is in [0, 1]", ranged, f"{strength.min():.3f} to {strength.max():.3f}")
    same = np.array_equal(strength, detector.edge_map(image))
    found.add("repeated edge map is the same", same)


def _check_everything(model: OwnEverything, can: Capabilities, found: _Results) -> None:
    """Proposals lie in the image and are the same each time."""
    image = parity_image(*SMALL_WIDE)
    truth = _some_truth(image) if can.needs_ground_truth else None
    first = model.everything(image, truth)
    sized = all(tuple(proposal.rle["size"]) == image.shape[:2] for proposal in first)
    found.add("proposals have the image's size", sized, f"{len(first)} proposals")
    again = model.everything(image, truth)
    same = [p.rle["counts"] for p in first] == [p.rle["counts"] for p in again]
    found.add("repeated proposals are the same", same)


def _some_truth(image: ImageU8) -> GroundTruth:
    """Ground truth with one instance, for the oracle."""
    height, width = image.shape[:2]
    mask = np.zeros((height, width), np.bool_)
    mask[50:200, 80:300] = True
    instance = Instance(1, 1, rle.encode(mask), (80.0, 50.0, 220.0, 150.0), float(mask.sum()))
    return GroundTruth(1, "image", "image", (height, width), (instance,))


def _check_prompts(subject: _Subject, model: Segmenter, found: _Results) -> None:
    """Parity on every image of the golden; the contract on the image that every system sees."""
    height, width, seed = SMALL_WIDE
    image = parity_image(height, width, seed)
    size_hw = (height, width)
    embedding = model.embed(image)
    golden_images = subject.golden.images if subject.golden is not None else ()
    if not golden_images:
        found.not_applicable("equal to upstream", "no golden")
    for golden in golden_images:
        name = f"equal to upstream, {golden.size_hw[1]} x {golden.size_hw[0]}"
        with found.step(name):
            shared = golden.size_hw == size_hw and golden.seed == seed
            given = embedding if shared else model.embed(parity_image(*golden.size_hw, golden.seed))
            _check_parity(model, given, golden, name, subject.spec.capabilities, found)

    prompts = _contract_prompts(subject, size_hw)
    for name, prompt in prompts.items():
        with found.step(f"answers {name}"):
            answer = model.segment(embedding, prompt)
            wrong = _malformed(answer, prompt, subject.spec.capabilities, size_hw)
            found.add(f"answers {name}", not wrong, "; ".join(wrong))
    several = _batch(prompts)
    with found.step("a batch is its prompts one by one"):
        together = model.segment(embedding, several)
        alone = [
            model.segment(embedding, several[i : i + 1]).logits.float() for i in range(len(several))
        ]
        difference = _relative(together.logits.float(), torch.cat(alone))
        found.add("a batch is its prompts one by one", difference <= 1e-4, f"{difference:.0e}")
    with found.step("a repeated call gives the same"):
        again = model.embed(image) if subject.light else embedding
        difference = _relative(
            model.segment(embedding, several).logits.float(),
            model.segment(again, several).logits.float(),
        )
        found.add("a repeated call gives the same", difference <= 1e-6, f"{difference:.0e}")
    _check_shapes(subject, model, found)
    for dtype in ("fp16", "bf16"):
        with found.step(f"{dtype} stays finite"):
            _check_half(subject, dtype, image, several, found)
    with found.step("CPU and GPU agree"):
        _check_gpu(subject, image, several, model.segment(embedding, several), found)


def _check_parity(
    model: Segmenter,
    embedding: Embedding,
    golden: GoldenImage,
    name: str,
    can: Capabilities,
    found: _Results,
) -> None:
    if golden.embedding is not None:
        difference = embedding_difference(embedding_tensor(embedding), golden.embedding)
        found.add(f"{name}: embedding", difference <= EMBEDDING_BAR, f"{difference:.0e}")
    prompts = parity_prompts(golden.size_hw, can)
    for prompt_name, answer in golden.answers.items():
        with found.step(f"{name}: {prompt_name}"):
            got = model.segment(embedding, prompts[prompt_name])
            distance = answer_difference(got, answer, golden.size_hw)
            found.add(f"{name}: {prompt_name}", distance.passed, str(distance))


def embedding_tensor(embedding: Embedding) -> Tensor:
    """The encoder's output in what `embed` returned: itself, or its `embedding` or `features`.

    Raises TypeError where there is none.
    """
    value = embedding
    while not isinstance(value, Tensor):
        inner = getattr(value, "embedding", None)
        value = getattr(value, "features", None) if inner is None else inner
        if value is None:
            raise TypeError(
                f"{type(embedding).__name__} has no tensor under .embedding or .features"
            )
    return value


def _contract_prompts(subject: _Subject, size_hw: SizeHW) -> dict[str, Prompts]:
    """Declared prompts. A box with a point counts as declared where upstream answered one: no
    capability says so."""
    can = subject.spec.capabilities
    prompts = parity_prompts(size_hw, can)
    golden = subject.golden
    mixed = golden is not None and any("box+point" in image.answers for image in golden.images)
    if not mixed:
        prompts.pop("box+point", None)
    if can.needs_ground_truth:
        return {
            name: replace(prompt, targets=tuple(_target(size_hw, i) for i in prompt.ids))
            for name, prompt in prompts.items()
        }
    return prompts


def _target(size_hw: SizeHW, number: int) -> Any:
    mask = np.zeros(size_hw, np.bool_)
    mask[10 : 60 + 20 * number, 20:90] = True
    return rle.encode(mask)


def _batch(prompts: dict[str, Prompts]) -> Prompts:
    """Three prompts of one kind: boxes where they are declared, else points."""
    if "boxes" in prompts:
        return prompts["boxes"]
    one = prompts["point"]
    assert one.points is not None and one.labels is not None
    return Prompts(
        ids=(0, 1, 2),
        points=np.concatenate([one.points, one.points * 0.5, one.points * 1.5]),
        labels=np.concatenate([one.labels] * 3),
        targets=None if one.targets is None else one.targets * 3,
    )


def _malformed(
    answer: MaskBatch, prompts: Prompts, can: Capabilities, size_hw: SizeHW
) -> list[str]:
    """What is wrong with the form of an answer."""
    wrong = []
    count, tokens = len(prompts), len(answer.tokens)
    logits, iou = answer.logits, answer.iou
    if logits.ndim != 4 or tuple(logits.shape[:2]) != (count, tokens):
        wrong.append(f"logits are {tuple(logits.shape)} for {count} prompts of {tokens} tokens")
        return wrong
    if tuple(iou.shape) != (count, tokens):
        wrong.append(f"predicted IoU is {tuple(iou.shape)}")
    if not (torch.isfinite(logits).all() and torch.isfinite(iou).all()):
        wrong.append("values are not finite")
    if not can.predicted_iou and not bool((iou == 1).all()):
        wrong.append("predicted IoU is not declared, but is not 1")
    if can.single_mask and 0 not in answer.tokens:
        wrong.append("single_mask is declared, but there is no token 0")
    if can.multimask != any(token > 0 for token in answer.tokens):
        wrong.append(f"tokens {answer.tokens} do not fit multimask={can.multimask}")
    restored = answer.to_image(logits[:, 0])
    if tuple(restored.shape) != (count, *size_hw) or restored.dtype != torch.float32:
        wrong.append(
            f"to_image gives {restored.dtype} {tuple(restored.shape)} for an image of {size_hw}"
        )
    return wrong


def _check_shapes(subject: _Subject, model: Segmenter, found: _Results) -> None:
    """Masks have the image's size for narrow, wide and tiny images, however they are prompted."""
    name = "masks have the image's size"
    if not subject.light and subject.device == "cpu":
        found.not_applicable(name, f"held to {SMALL_WIDE[1]} x {SMALL_WIDE[0]} only: a large model")
        return
    with found.step(name):
        wrong = []
        for height, width in ((97, 640), (301, 31)):
            embedding = model.embed(parity_image(height, width, 0))
            prompts = _contract_prompts(subject, (height, width))
            for asked, prompt in prompts.items():
                answer = model.segment(embedding, prompt)
                wrong += [
                    f"{width} x {height}, {asked}: {problem}"
                    for problem in _malformed(
                        answer, prompt, subject.spec.capabilities, (height, width)
                    )
                ]
        found.add(name, not wrong, "; ".join(wrong))


def _check_half(
    subject: _Subject, dtype: DType, image: ImageU8, prompts: Prompts, found: _Results
) -> None:
    """Half precision gives finite values, unless the SPEC says that it does not."""
    name = f"{dtype} stays finite"
    if dtype in subject.spec.overflows_in:
        found.not_applicable(name, "the SPEC declares that it does not")
    elif subject.checkpoint is None:
        found.not_applicable(name, "no weights")
    elif subject.device == "cpu" and (dtype == "fp16" or not subject.light):
        found.not_applicable(name, "too slow on a CPU")
    else:
        model = subject.load(dtype)
        answer = model.segment(model.embed(image), prompts)
        finite = bool(torch.isfinite(answer.logits).all() and torch.isfinite(answer.iou).all())
        found.add(name, finite)


def _check_gpu(
    subject: _Subject, image: ImageU8, prompts: Prompts, on_cpu: MaskBatch, found: _Results
) -> None:
    """The same masks from an accelerator, up to its arithmetic."""
    name = "CPU and GPU agree"
    if not torch.cuda.is_available():
        found.not_applicable(name, "no GPU here")
        return
    other = "cuda" if subject.device == "cpu" else "cpu"
    model = subject.load(device=other)
    answer = model.segment(model.embed(image), prompts)
    difference = _relative(on_cpu.logits.float().cpu(), answer.logits.float().cpu())
    found.add(name, difference <= 1e-2, f"{difference:.0e}")


def _relative(a: Tensor, b: Tensor) -> float:
    """Largest difference relative to the range of `a`; infinite for other shapes or NaN."""
    if a.shape != b.shape:
        return float("inf")
    span = float(a.max() - a.min()) or 1.0
    difference = float((a - b).abs().max()) / span
    return difference if difference == difference else float("inf")
