"""How long the networks alone take, from random weights: encoder, and one prompt's decoding.

Pixels are on the device already and logits stay there; what a user waits for, from pixels to masks,
is `litesam-bench latency`, which needs the weights. Here any system can be timed before they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from litesam_bench.errors import CapabilityError
from litesam_bench.records.provenance import environment
from litesam_bench.records.schema import Coverage, Record
from litesam_bench.registry import System
from litesam_bench.sam.segmenter import TORCH_DTYPES
from litesam_bench.timing.latency import PhaseTimer, Timed, Timings, machine_state, measure
from litesam_bench.timing.runs import metrics_of
from litesam_bench.types import DType

ENCODER, DECODER = "encoder", "1-point"


class RandomNetwork:
    """A system's network with random weights, an input of its size, and one point prompt."""

    def __init__(self, system: System, device: str, dtype: DType) -> None:
        """Raises CapabilityError where the adapter defines no `network(spec)`."""
        if system.network is None:
            raise CapabilityError(f"{system.spec.name} has no network to time")
        size = system.spec.input.size
        kind = TORCH_DTYPES[dtype]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.model: Any = system.network(system.spec).eval().to(device=device, dtype=kind)
            self.image = torch.randn(1, 3, size, size).to(device=device, dtype=kind)
        self.frame_hw = (size, size)
        self.point = torch.full((1, 1, 2), size / 2, device=device)
        self.label = torch.ones(1, 1, dtype=torch.int64, device=device)
        self.features: Any = None

    def calls(self) -> dict[str, Timed[None]]:
        """What is timed, by variant. The decoding uses what the encoder left last."""
        if not hasattr(self.model, "decode"):
            return {ENCODER: self.encode}
        return {ENCODER: self.encode, DECODER: self.decode}

    @torch.inference_mode()
    def encode(self, _: None, timer: PhaseTimer) -> Mapping[str, float]:
        with timer.phase("encode"):
            if hasattr(self.model, "encode"):
                self.features = self.model.encode(self.image)
            else:
                self.features = self.model(self.image)
        return {"prompts": 0}

    @torch.inference_mode()
    def decode(self, _: None, timer: PhaseTimer) -> Mapping[str, float]:
        with timer.phase("decode"):
            self.model.decode(self.features, self.frame_hw, points=self.point, labels=self.label)
        return {"prompts": 1}


def time_networks(
    systems: Sequence[System], device: str, dtype: DType, repeats: int
) -> dict[tuple[str, str], Timings]:
    """Time networks against each other, `repeats` times, by system name and variant.

    Raises:
        CapabilityError: a system has no network.
    """
    calls: dict[str, Timed[None]] = {}
    keys: dict[str, tuple[str, str]] = {}
    for system in systems:
        for variant, call in RandomNetwork(system, device, dtype).calls().items():
            name = f"{system.spec.name} {variant}"
            calls[name], keys[name] = call, (system.spec.name, variant)
    timings = measure(calls, [None], device=device, repeats=repeats)
    return {keys[name]: found for name, found in timings.items()}


def latency_records(
    systems: Sequence[System],
    timings: Mapping[tuple[str, str], Timings],
    device: str,
    device_name: str,
    dtype: DType,
) -> list[Record]:
    """One record per system and variant; ratios are against the first."""
    by_name = {system.spec.name: system.spec for system in systems}
    first_key = next(iter(timings))
    state = machine_state(device)
    records = []
    for (name, variant), found in timings.items():
        spec = by_name[name]
        protocol = f"network-latency/{variant}@1"
        summary = found.summary()
        records.append(
            Record(
                kind="timing",
                status="complete",
                system={
                    "name": name,
                    "display": spec.display,
                    "family": spec.family,
                    "published": spec.published,
                    "weights": "random",
                },
                protocol={"id": protocol, "what": "the network alone, one image, random weights"},
                data={"name": "random-pixels", "digest": "none", "n_images": 1},
                coverage=Coverage(expected=1, done=1, failed=0),
                metrics=metrics_of(found, timings[first_key], protocol),
                timing_s={k: round(v, 6) for k, v in found.phase_medians_s().items()},
                environment=environment(
                    device,
                    device_name,
                    dtype,
                    state=state,
                    ratio_against=" ".join(first_key),
                    **{k: summary[k] for k in ("samples_ms", "warm_up", "facts", "unaccounted")},
                ),
            )
        )
    return records
