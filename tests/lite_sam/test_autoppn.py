"""AutoPPN: selection by hand, its rules, and embeddings of other models."""

from __future__ import annotations

import pytest
import torch

from litesam_bench.lite_sam.autoppn import (
    GROUP_REACH,
    AutoPpn,
    AutoPpnConfig,
    ProposalMaps,
    select_proposals,
)


def maps(groups: int = 1, rows: int = 4, columns: int = 6, batch: int = 1) -> ProposalMaps:
    """All logits low and equal, all distances a tenth of the frame."""
    return ProposalMaps(
        torch.full((batch, groups, rows, columns), -5.0),
        torch.full((batch, groups, 4, rows, columns), 0.1),
    )


def test_points_and_boxes_by_hand() -> None:
    predicted = maps()
    predicted.logits[0, 0, 1, 4] = 3.0
    predicted.ltrb[0, 0, :, 1, 4] = torch.tensor([0.25, 0.125, 0.5, 0.25])
    found = select_proposals(predicted, (40, 60), k=1)
    # 10-pixel cells: the centre of row 1, column 4 is (45, 15)
    assert found.points.tolist() == [[[45.0, 15.0]]]
    # left 15, top 5, right 30 (cut at 60), bottom 10
    assert found.boxes.tolist() == [[[30.0, 10.0, 60.0, 25.0]]]
    assert found.scores.item() == pytest.approx(torch.sigmoid(torch.tensor(3.0)).item())


def test_only_the_top_of_a_hill_counts() -> None:
    predicted = maps()
    predicted.logits[0, 0, 1, 1] = 3.0
    predicted.logits[0, 0, 1, 2] = 2.0  # beside the top
    predicted.logits[0, 0, 3, 5] = 1.0
    found = select_proposals(predicted, (40, 60), k=3)
    assert found.points[0, :2].tolist() == [[15.0, 15.0], [55.0, 35.0]]
    assert found.points[0, 2].tolist() != [25.0, 15.0]


def test_groups_do_not_suppress_each_other() -> None:
    predicted = maps(groups=3)
    predicted.logits[0, 0, 2, 2] = 1.0
    predicted.logits[0, 2, 2, 2] = 2.0
    found = select_proposals(predicted, (40, 60), k=2)
    assert found.groups.tolist() == [[2, 0]]
    assert found.points[0, 0].tolist() == found.points[0, 1].tolist()


def test_equal_scores_keep_the_order_of_the_map() -> None:
    predicted = maps(groups=2)
    for row, column in ((3, 5), (0, 0), (0, 3), (3, 0)):
        predicted.logits[0, :, row, column] = 1.0
    found = select_proposals(predicted, (40, 60), k=8)
    assert found.groups.tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]]
    first = [[5.0, 5.0], [35.0, 5.0], [5.0, 35.0], [55.0, 35.0]]
    assert found.points[0].tolist() == first + first


def test_nothing_is_proposed_in_the_padding() -> None:
    torch.manual_seed(0)
    predicted = ProposalMaps(torch.randn(2, 3, 16, 16), torch.rand(2, 3, 4, 16, 16))
    found = select_proposals(predicted, (160, 160), valid_hw=(90, 160), k=50)
    real = found.scores > 0
    assert real.any()
    assert (found.points[..., 1][real] < 90).all()
    assert (found.boxes[..., 3] <= 90).all()
    assert (found.boxes[..., 2:] >= found.boxes[..., :2]).all()


def test_the_best_k_do_not_depend_on_k_or_on_the_batch() -> None:
    torch.manual_seed(0)
    predicted = ProposalMaps(torch.randn(3, 3, 16, 16), torch.rand(3, 3, 4, 16, 16))
    many = select_proposals(predicted, (128, 128), k=60)
    few = select_proposals(predicted, (128, 128), k=10)
    assert (many.scores.diff(dim=1) <= 0).all()
    for all_of, part in zip(many, few, strict=True):
        assert torch.equal(all_of[:, :10], part)
    order = torch.tensor([2, 0, 1])
    shuffled = select_proposals(
        ProposalMaps(predicted.logits[order], predicted.ltrb[order]), (128, 128), k=60
    )
    for all_of, part in zip(many, shuffled, strict=True):
        assert torch.equal(all_of[order], part)


def test_more_proposals_than_cells() -> None:
    assert select_proposals(maps(), (40, 60), k=256).points.shape == (1, 24, 2)


@pytest.mark.parametrize("stem", ["mspm", "conv"])
@pytest.mark.parametrize("grouped", [True, False])
def test_all_rows_of_table_2_train(stem: str, grouped: bool) -> None:
    torch.manual_seed(0)
    network = AutoPpn(64, AutoPpnConfig(stem=stem, grouped=grouped))  # type: ignore[arg-type]
    predicted = network(torch.randn(2, 64, 5, 7))
    groups = 3 if grouped else 1
    assert predicted.logits.shape == (2, groups, 10, 14)
    assert predicted.ltrb.shape == (2, groups, 4, 10, 14)
    (predicted.logits.mean() + predicted.ltrb.mean()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def test_it_starts_rare_and_with_plausible_boxes() -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        predicted = AutoPpn(256, AutoPpnConfig())(torch.randn(1, 256, 20, 20))
    assert predicted.logits.sigmoid().mean() == pytest.approx(0.01, rel=0.5)
    for group, reach in enumerate(GROUP_REACH):
        assert predicted.ltrb[0, group].mean() == pytest.approx(reach, rel=0.5)
    assert (predicted.ltrb > 0).all()


def test_it_attaches_to_the_embedding_of_sam() -> None:
    torch.manual_seed(0)
    network = AutoPpn(256, AutoPpnConfig()).eval()
    with torch.no_grad():
        found = network.propose(torch.randn(1, 256, 64, 64), (1024, 1024), k=256)
    assert found.points.shape == (1, 256, 2)
    assert (found.scores > 0).all()
