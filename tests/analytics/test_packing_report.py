from collections.abc import Callable
from pathlib import Path

import pytest

from analytics.packing_instances import Cell, published_seeds
from analytics.packing_report import (
    Outcome,
    Share,
    classify,
    compare_head_to_head,
    load_published,
    mean_with_interval,
    published_shares,
    report,
    summarise,
)

GRID_P4 = [Cell(n, k, 4, u) for n in (4, 8, 16, 32) for k in (4, 8) for u in (90, 95, 100, 105)]


@pytest.mark.parametrize(
    ("placed", "optimal", "expected"),
    [
        ((2, 3), True, "better_optimal"),
        ((2, 3), False, "better"),
        ((2, 2), True, "certified"),
        ((2, 2), False, "failed"),  # equal without proof
        ((2, 1), True, "failed"),  # "optimal" in its order, yet below the baseline
        ((1, 9), True, "failed"),  # the top priority counts first
        ((3, 0), False, "better"),
        (None, False, "failed"),
    ],
)
def test_a_run_is_classed_against_the_baseline(placed: tuple[int, ...] | None, optimal: bool, expected: str) -> None:
    assert classify(placed, (2, 2), optimal=optimal, pending=(1, 1)) == expected


def test_nothing_pending_in_both_runs_is_no_call() -> None:
    assert classify((2, 2), (2, 2), optimal=True, pending=(0, 0)) == "no_call"
    assert classify((2, 2), (2, 1), optimal=True, pending=(1, 0)) == "better_optimal"


def test_the_headline_of_the_paper_follows_from_its_table(shared_data: Callable[[str], Path]) -> None:
    shared_data("packing")
    one, ten = published_shares(GRID_P4, 1), published_shares(GRID_P4, 10)
    assert one is not None
    assert ten is not None
    assert [round(one[k], 1) for k in ("improved", "certified", "failed")] == [44.2, 19.1, 36.7]
    assert [round(ten[k], 1) for k in ("improved", "certified", "failed")] == [73.6, 19.8, 6.5]
    assert one["cells"] == 31


def test_limits_and_cells_the_paper_has_not_are_left_out() -> None:
    assert published_shares(GRID_P4, 2) is None
    assert published_shares(GRID_P4, 0.5) is None
    assert published_shares([Cell(100, 10, 4, 95)], 1) is None


def test_the_published_table_has_its_93_cells_at_two_limits(shared_data: Callable[[str], Path]) -> None:
    shared_data("packing")
    assert len(load_published()) == 2 * 93


def test_without_the_published_files_seeds_are_refused_and_the_table_is_ours_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOWAGE_PACKING_DATA", str(tmp_path))
    assert published_shares(GRID_P4, 1) is None
    with pytest.raises(ValueError, match="STOWAGE_PACKING_DATA"):
        published_seeds()


def test_shares_carry_a_wilson_interval() -> None:
    assert Share(5, 10).interval == pytest.approx((23.66, 76.34), abs=0.01)
    assert Share(10, 10).interval == pytest.approx((72.25, 100), abs=0.01)
    assert Share(0, 0).as_dict()["percent"] is None


def test_a_mean_has_its_interval_and_repeats_itself() -> None:
    first = mean_with_interval([1.0, 2.0, 3.0, 4.0])
    assert first == mean_with_interval([1.0, 2.0, 3.0, 4.0])
    assert first["low"] < first["mean"] == 2.5 < first["high"]  # type: ignore[operator]
    assert mean_with_interval([])["mean"] is None


def test_no_calls_do_not_count_and_moves_are_of_improved_runs() -> None:
    figures = summarise(
        [
            an_outcome(klass="no_call"),
            an_outcome(klass="better", moved=4, proven=True),
            an_outcome(klass="failed", moved=9),
        ]
    )
    assert figures["called"] == 2
    assert figures["improved"]["percent"] == 50
    assert figures["placement_proven"]["percent"] == 50
    assert figures["moved_percent"]["mean"] == 25  # 4 of 16 pods


def test_worse_breaches_and_late_answers_are_counted() -> None:
    figures = summarise([an_outcome(placed=(1, 9), seconds=1.3, breaches=("node 0 is overfull",)), an_outcome()])
    assert figures["worse_than_start"] == figures["breaches"] == figures["over_deadline"] == 1


def test_methods_are_compared_instance_by_instance() -> None:
    ours = [an_outcome(seed=1, placed=(3, 0)), an_outcome(seed=2), an_outcome(seed=3, placed=(1, 9))]
    theirs = [an_outcome(seed=seed, method="paper") for seed in (1, 2, 3)]
    verdict = compare_head_to_head(ours, theirs)
    assert verdict == {"more": 1, "equal": 1, "fewer": 1, "fewer_pods": 1}
    assert report([*theirs, *ours], [Cell(4, 4, 2, 95)], 1)["methods"]["no-harm"]["against_paper"] == verdict


def an_outcome(
    *,
    klass: str = "better",
    seed: int = 1,
    method: str = "no-harm",
    placed: tuple[int, ...] = (2, 2),
    moved: int = 0,
    proven: bool = False,
    seconds: float = 0.5,
    breaches: tuple[str, ...] = (),
) -> Outcome:
    return Outcome(
        cell=Cell(4, 4, 2, 95),
        seed=seed,
        method=method,
        limit_s=1,
        klass=klass,
        status="FEASIBLE",
        placement_proven=proven,
        moves_proven=False,
        baseline=(2, 1),
        start=(2, 1),
        placed=placed,
        bound=None,
        moved=moved,
        evicted=0,
        seconds=seconds,
        budget_s=1,
        load=0,
        breaches=breaches,
    )
