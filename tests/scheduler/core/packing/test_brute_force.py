"""Random small clusters with every constraint mixed: the search finds and proves what trying everything finds.

PACKING_EXAMPLES sets how many instances are tried (10,000 and 2,000 for the full check; a few dozen by default).
"""

from __future__ import annotations

import os

import pytest

from scheduler.core.packing import Budget, solve
from scheduler.core.packing.from_snapshot import make_packing
from scheduler.core.packing.plan import make_plan
from scheduler.core.packing.validator import find_violations
from tests.scheduler.core.packing.builders import exhaustive_best, random_snapshot, value_of

EXAMPLES = int(os.environ.get("PACKING_EXAMPLES", "0"))


@pytest.mark.parametrize("chunk", range(4))
def test_search_agrees_with_trying_every_placement(chunk):
    each = max(10, EXAMPLES // 4)
    for seed in range(chunk * each, (chunk + 1) * each):
        snapshot = random_snapshot(seed, 6 if seed % 5 == 0 else 5, 3, 0.6 if seed % 2 else 0.85)
        packing = make_packing(snapshot)
        for order in ("no-harm", "max-pack"):
            result = solve(packing.problem, order, Budget(5.0), seed)
            after = make_plan(packing, result).placements
            assert find_violations(snapshot, after) == [], (seed, order)
            assert result.verdict == result.moves_verdict == "optimal", (seed, order, result.stages)
            assert value_of(snapshot, after, order) == exhaustive_best(snapshot, order), (seed, order)


@pytest.mark.parametrize("chunk", range(2))
def test_validator_accepts_every_plan_of_larger_clusters(chunk):
    each = max(15, min(EXAMPLES, 2000) // 2)
    for seed in range(50_000 + chunk * each, 50_000 + (chunk + 1) * each):
        snapshot = random_snapshot(seed, 30, 8, 0.8)
        packing = make_packing(snapshot)
        result = solve(packing.problem, "no-harm" if seed % 2 else "max-pack", Budget(0.15), seed)
        after = make_plan(packing, result).placements
        assert find_violations(snapshot, after) == [], seed
        before = {p.key: p.node for p in snapshot.pods}
        assert value_of(snapshot, after, result.order) >= value_of(snapshot, before, result.order), seed
