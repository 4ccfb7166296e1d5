"""The random policy is uniform, and its only chance is the seed."""

from __future__ import annotations

from collections import Counter

import pytest
from replays import Placements, load, run_engine
from small_traces import SmallTrace, ran

from traces.schema import Trace

pytestmark = pytest.mark.usefixtures("few_slices")
FEASIBLE, TASKS = 20, 4000


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """Twenty machines of two sizes with room for everything, and twenty on which nothing fits."""
    trace = SmallTrace()
    for machine in range(1, 2 * FEASIBLE + 1):
        trace.machine(machine, cpu=10**9 * (1 + machine % 4 // 2) if machine % 2 else 1, memory=2**40)
    for index in range(TASKS):
        trace.task(ran(index // 10, index // 10, index // 10 + 3), job=1, index=index)
    return trace.write(tmp_path_factory.mktemp("random") / "trace", (0, TASKS))


def nodes(placed: Placements) -> list[int | None]:
    return [one.node for one in placed.values()]


def test_random_spreads_evenly_over_feasible_nodes(trace: Trace) -> None:
    chosen = Counter(nodes(run_engine(load(trace), "random", seed=1)[0]))
    assert set(chosen) == set(range(1, 2 * FEASIBLE, 2))
    expected = TASKS / FEASIBLE
    chi_square = sum((count - expected) ** 2 / expected for count in chosen.values())
    assert 6.84 < chi_square < 38.58  # 19 degrees of freedom: the quantiles 0.005 and 0.995


def test_random_choices_do_not_follow_one_another(trace: Trace) -> None:
    chosen = nodes(run_engine(load(trace), "random", seed=1)[0])
    pairs = Counter(zip(chosen[::2], chosen[1::2], strict=True))
    expected = TASKS / 2 / FEASIBLE**2
    chi_square = sum((count - expected) ** 2 / expected for count in pairs.values())
    chi_square += (FEASIBLE**2 - len(pairs)) * expected
    assert 331 < chi_square < 476  # 399 degrees of freedom, the same quantiles


def test_seed_decides_and_nothing_else(trace: Trace) -> None:
    given = load(trace)
    one, again, other = (nodes(run_engine(given, "random", seed=seed)[0]) for seed in (1, 1, 2))
    assert one == again
    same = sum(a == b for a, b in zip(one, other, strict=True))
    assert 130 < same < 270  # of 4,000, a twentieth by chance: five standard deviations


def test_seed_changes_nothing_for_other_policies(trace: Trace) -> None:
    given = load(trace)
    assert run_engine(given, "best-fit", seed=1)[0] == run_engine(given, "best-fit", seed=2)[0]
