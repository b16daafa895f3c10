"""The decoder benchmark agrees with itself at a tiny size; its speeds are not a test."""

from __future__ import annotations

import torch

from litesam_bench.bench import decoder
from litesam_bench.bench.decoder import make_problem
from litesam_bench.bench.proposals import make_pairs, reference, streamed
from litesam_bench.metrics.proposal_recall import proposal_recall
from litesam_bench.sam.fast_decoder import FastMaskDecoder


@torch.inference_mode()
def test_both_ways_give_the_same_masks() -> None:
    problem = make_problem(4, "cpu", "fp32")
    plain = problem.plain(2, problem.threshold)
    fast = problem.fast(FastMaskDecoder(problem.decoder), problem.threshold)
    assert torch.equal(plain[1], fast[1])
    assert 0 < len(torch.unique(plain[1][:, 0])) < 4  # some prompts pass, some do not
    spread = plain[0].max() - plain[0].min()
    assert (plain[0] - fast[0]).abs().max() < 1e-4 * spread


def test_both_evaluators_give_the_same_numbers() -> None:
    pairs = make_pairs(2, 20)
    ours = proposal_recall(pairs).recall
    assert (ours == reference(pairs)).all()
    assert (ours[:, 0] >= 0).all()


def test_a_stream_repeats_the_images() -> None:
    pairs = make_pairs(2, 20)
    once = proposal_recall(pairs)
    many = proposal_recall(streamed(pairs, 40))
    assert (many.n_images, many.n_proposals) == (40, 20 * once.n_proposals)
    assert many.recall.tolist() == once.recall.tolist()


@torch.inference_mode()
def test_the_plain_decoder_may_be_given_fewer_prompts() -> None:
    result = decoder.run(8, repeats=1, plain_prompts=4)
    assert (result["prompts"], result["plain_prompts"]) == (8, 4)
    assert result["filtered"]["prompts"] == {"plain_64": 4, "plain_best": 4, "fast": 8}
    for part in (result["filtered"], result["unfiltered"]):
        assert part["same_masks"]
        assert part["largest_difference"] < 1e-4
    assert result["unfiltered"]["masks"] == 16
