"""kube-default and most-allocated give what kube-scheduler gives: by hand, as recorded, and by its own code."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.policies import get_policy
from tests.scheduler.core.kube_reference.cases import MIB, RECORDED, Row, ask_kubernetes, random_cases

LEAST = "least_allocated.go"
BALANCED = "balanced_allocation.go"
ALLOCATION = "resource_allocation.go"


@dataclass(frozen=True)
class ByHand:
    """One node, one pod, and the scores worked out on paper. CPU in millicores, memory in MiB."""

    source: str  # of Kubernetes v1.36.2, pkg/scheduler/framework/plugins/noderesources
    node: tuple[int, int]
    pod: tuple[int, int]
    least: int
    balanced: int
    most: int
    requested: tuple[int, int] = (0, 0)
    requested_nonzero: tuple[int, int] | None = None  # where it differs from requested
    pod_nonzero: tuple[int, int] | None = None  # where it differs from pod
    extended: tuple[int, int, int] | None = None  # allocatable, requested, demand of one extended resource


BY_HAND = {
    # cpu (4000-100)*100/4000 = 97, memory (10000-200)*100/10000 = 98, mean 97; a best-effort pod is not balanced
    "a pod that asks for nothing counts as 100 millicores and 200 MiB and is not balanced": ByHand(
        f"{ALLOCATION} calculatePodResourceRequest, {BALANCED} PreScore; util/pod_resources.go",
        (4000, 10000),
        (0, 0),
        pod_nonzero=(100, 200),
        least=97,
        balanced=0,
        most=2,
    ),
    # every resource is left out, the weights sum to 0; balance: no fraction, no deviation, no change
    "a node without any capacity scores 0 for least and an unchanged balance": ByHand(
        f"{LEAST} leastResourceScorer weightSum == 0, {BALANCED} balancedResourceScore",
        (0, 0),
        (100, 100),
        least=0,
        balanced=75,
        most=0,
    ),
    # cpu (4000-2000)*100/4000 = 50 alone; one fraction has no deviation
    "a resource the node lacks has no weight": ByHand(
        f"{LEAST} leastResourceScorer allocable[i] == 0",
        (4000, 0),
        (1000, 500),
        requested=(1000, 0),
        least=50,
        balanced=75,
        most=50,
    ),
    # as memory alone: (1000-250)*100/1000 = 75
    "the other resource the node lacks has no weight either": ByHand(
        f"{LEAST} leastResourceScorer allocable[i] == 0",
        (0, 1000),
        (10, 250),
        least=75,
        balanced=75,
        most=25,
    ),
    # only cpu and memory are scored by default: the GPUs change nothing, and the pod is best-effort to the balance
    "a pod that asks only for an extended resource is scored like one that asks for nothing": ByHand(
        f"{BALANCED} PreScore isBestEffortPod; apis/config/v1/defaults.go defaultResourceSpec",
        (4000, 10000),
        (0, 0),
        pod_nonzero=(100, 200),
        extended=(8, 3, 4),
        least=97,
        balanced=0,
        most=2,
    ),
    "an extended resource changes no score of a pod that asks for cpu and memory": ByHand(
        "apis/config/v1/defaults.go defaultResourceSpec",
        (4000, 10000),
        (1000, 2500),
        extended=(8, 8, 0),
        least=75,
        balanced=75,
        most=25,
    ),
    # cpu 2*100/3 = 66, memory 4*100/7 = 57, mean 61; balance: shares 1/3 and 3/7 give 95, before 100,
    # 50+(50+95-100)/2 = 72
    "every division rounds down": ByHand(
        f"{LEAST} leastRequestedScore, {BALANCED} balancedResourceScorer",
        (3, 7),
        (1, 3),
        least=61,
        balanced=72,
        most=37,
    ),
    # cpu 6000 > 4000 scores 0, memory 100, mean 50; balance: shares 1 (cut) and 0 give 50, before 0.75 and 0 give 62,
    # 50+(50+50-62)/2 = 69
    "asking for more than there is scores 0 for that resource, and its share is cut to 1": ByHand(
        f"{LEAST} leastRequestedScore requested > capacity, {BALANCED} fraction > 1; least_allocated_test.go "
        "'requested resources exceed node capacity'",
        (4000, 10000),
        (3000, 0),
        requested=(3000, 0),
        least=50,
        balanced=69,
        most=50,
    ),
    # cpu 1000+100 > 1000: 0; memory (1000-200)*100/1000 = 80; mean 40. most: 100 (cut), 20
    "a non-zero default can ask for more than a full node has": ByHand(
        f"{LEAST} leastRequestedScore, most_allocated.go mostRequestedScore requested > capacity",
        (1000, 1000),
        (0, 0),
        requested=(1000, 0),
        pod_nonzero=(100, 200),
        least=40,
        balanced=0,
        most=60,
    ),
    "a full node scores 0 for least and 100 for most": ByHand(
        f"{LEAST} leastRequestedScore, most_allocated.go mostRequestedScore",
        (4000, 8000),
        (1000, 2000),
        requested=(3000, 6000),
        least=0,
        balanced=75,
        most=100,
    ),
    # shares 0.8 and 0.8: 100; before 0.8 and 0: 60; 50+(50+100-60)/2 = 95. cpu and memory 20 each
    "a pod that evens out a node is rewarded": ByHand(
        f"{BALANCED} balancedResourceScorer scoreWithPod-scoreWithoutPod",
        (10000, 10000),
        (0, 8000),
        requested=(8000, 0),
        least=20,
        balanced=95,
        most=80,
    ),
    # shares 1 and 0: 50, before 0 and 0: 100, 50+(50+50-100)/2 = 50; cpu 0, memory 100
    "the worst imbalance scores 50": ByHand(
        f"{BALANCED} balancedResourceScorer",
        (1000, 1000),
        (1000, 0),
        least=50,
        balanced=50,
        most=50,
    ),
    # shares 0.5 and 0.5: 100; before 0.5 and 0: 75; 50+(50+100-75)/2 = 87 (87.5)
    "half a point of improvement rounds down": ByHand(
        f"{BALANCED} balancedResourceScorer",
        (10, 10),
        (0, 5),
        requested=(5, 0),
        least=50,
        balanced=87,
        most=50,
    ),
    # least counts ten silent pods as 1000 and 2000: (4000-2000)/4000 and (8000-4000)/8000; balance does not count them
    "pods that ask for nothing weigh on least and not on the balance": ByHand(
        f"{ALLOCATION} calculateResourceAllocatableRequest GetNonZeroRequested, useRequested",
        (4000, 8000),
        (1000, 2000),
        requested_nonzero=(1000, 2000),
        least=50,
        balanced=75,
        most=50,
    ),
    # used shares 0.6 and 0.8: (1-0.1)*100 is 90 on paper and 89.99999999999999 in floating point, there as here
    "the balance truncates what floating point leaves": ByHand(
        f"{BALANCED} balancedResourceScore int64((1 - std) * float64(MaxNodeScore))",
        (10, 10),
        (6, 8),
        least=30,
        balanced=69,
        most=70,
    ),
    # cpu (3-2)*100/3 = 33, memory 100; mean 66 (66.5)
    "the mean of the resources rounds down": ByHand(
        f"{LEAST} leastResourceScorer nodeScore / weightSum",
        (3, 3),
        (2, 0),
        least=66,
        balanced=58,
        most=33,
    ),
}


@pytest.mark.parametrize("case", BY_HAND.values(), ids=BY_HAND.keys())
def test_scores_equal_those_worked_out_by_hand(case: ByHand) -> None:
    arguments = _arguments(
        case.node,
        case.requested,
        case.requested_nonzero or case.requested,
        case.pod,
        case.pod_nonzero or case.pod,
        case.extended,
    )
    assert get_policy("kube-default").score(*arguments) == case.least + case.balanced
    assert get_policy("most-allocated").score(*arguments) == case.most


def test_scores_equal_those_recorded_from_the_real_plugins() -> None:
    rows = _recorded()
    assert len(rows) == 400
    assert _mismatches(rows, unit=1) == []


def test_whole_mebibytes_score_exactly_as_bytes() -> None:
    whole = [row for row in _recorded() if _is_whole(row)]
    assert len(whole) > 150
    assert _mismatches(whole, unit=MIB) == []


def test_a_node_of_broken_mebibytes_can_score_a_point_off() -> None:
    # One MiB of 3 MiB less one byte: 66 % are left. Rounded down to 2 MiB: 50 %.
    assert _least_of(memory_size=3 * MIB - 1, demand=MIB, unit=1) == 66
    assert _least_of(memory_size=2 * MIB, demand=MIB, unit=MIB) == 50


def test_rounding_to_mebibytes_moves_few_scores_of_real_sized_nodes_and_by_little() -> None:
    big = [row for row in _recorded() if not _is_whole(row) and row.memory_size > 2**32]
    policy = get_policy("kube-default")
    off = [policy.score(*_row_arguments(row, MIB)) - row.default for row in big]
    assert len(big) > 50
    assert max(abs(one) for one in off) <= 1
    assert np.count_nonzero(off) <= 0.05 * len(big)


@given(
    size=st.tuples(*[st.integers(0, 2**56)] * 2),
    requested=st.tuples(*[st.integers(0, 2**56)] * 2),
    extra=st.tuples(*[st.integers(0, 2**40)] * 2),
    demand=st.tuples(*[st.one_of(st.just(0), st.integers(0, 2**54))] * 2),
)
def test_scores_equal_the_published_formula_at_any_size(
    size: tuple[int, int], requested: tuple[int, int], extra: tuple[int, int], demand: tuple[int, int]
) -> None:
    nonzero = (requested[0] + extra[0], requested[1] + extra[1])
    demand_nonzero = (demand[0] or 100, demand[1] or 200)
    arguments = _arguments(size, requested, nonzero, demand, demand_nonzero)
    least, most = _formulas(size, (nonzero[0] + demand_nonzero[0], nonzero[1] + demand_nonzero[1]))
    after = (requested[0] + demand[0], requested[1] + demand[1])
    balanced = 50 + (50 + _balance(size, after) - _balance(size, requested)) // 2 if any(demand) else 0
    assert get_policy("kube-default").score(*arguments) == least + balanced
    assert get_policy("most-allocated").score(*arguments) == most


@given(capacity=st.integers(1, 2**47), percent=st.integers(0, 100), off=st.integers(-3, 3))
def test_no_quotient_next_to_a_whole_percentage_is_rounded_across_it(capacity: int, percent: int, off: int) -> None:
    free = min(max(capacity * percent // 100 + off, 0), capacity)
    arguments = _arguments((capacity, 0), (0, 0), (0, 0), (0, 0), (capacity - free, 0))
    assert get_policy("kube-default").score(*arguments) == free * 100 // capacity


def test_scores_equal_those_of_the_real_plugins(tmp_path: Path) -> None:
    """Several thousand random cases through kube-scheduler's own code; the first build takes minutes."""
    if not os.environ.get("STOWAGE_GO_TESTS"):
        pytest.skip("set STOWAGE_GO_TESTS=1 to compare with kube-scheduler's own code")
    if shutil.which("go") is None:
        pytest.skip("go is not installed")
    binary = tmp_path / "kube_reference"
    offline = {**os.environ, "GOPROXY": "off", "GOFLAGS": "-mod=readonly -buildvcs=false"}
    build = ["go", "build", "-o", str(binary), "."]
    built = subprocess.run(build, cwd=RECORDED.parent, env=offline, capture_output=True, text=True, check=False)
    if built.returncode:
        pytest.skip(f"the modules of kube_reference are not here (go mod download brings them): {built.stderr[:200]}")
    rows = ask_kubernetes(binary, random_cases(5000, seed=20260101))
    assert _mismatches(rows, unit=1) == []
    assert _mismatches([row for row in rows if _is_whole(row)], unit=MIB) == []


def _recorded() -> list[Row]:
    with RECORDED.open(newline="") as file:
        return [Row(**{key: int(value) for key, value in row.items()}) for row in csv.DictReader(file)]


def _is_whole(row: Row) -> bool:
    return all(getattr(row, name) % MIB == 0 for name in Row._fields if name.startswith("memory"))


def _row_arguments(row: Row, unit: int) -> tuple[object, ...]:
    return _arguments(
        (row.cpu_size, row.memory_size // unit),
        (row.cpu_requested, row.memory_requested // unit),
        (row.cpu_requested_nonzero, row.memory_requested_nonzero // unit),
        (row.cpu_demand, row.memory_demand // unit),
        (row.cpu_demand_nonzero, row.memory_demand_nonzero // unit),
    )


def _mismatches(rows: list[Row], unit: int) -> list[tuple[Row, float, float]]:
    default, most = get_policy("kube-default").score, get_policy("most-allocated").score
    scored = [(row, default(*_row_arguments(row, unit)), most(*_row_arguments(row, unit))) for row in rows]
    return [one for one in scored if one[1:] != (one[0].default, one[0].most)]


def _least_of(memory_size: int, demand: int, unit: int) -> float:
    node = (0, memory_size // unit)
    return get_policy("kube-default").score(*_arguments(node, (0, 0), (0, 0), (0, 0), (0, demand // unit)))


def _formulas(size: tuple[int, int], requested: tuple[int, int]) -> tuple[int, int]:
    present = [(asked, capacity) for asked, capacity in zip(requested, size, strict=True) if capacity]
    if not present:
        return 0, 0
    least = [(capacity - asked) * 100 // capacity if asked <= capacity else 0 for asked, capacity in present]
    most = [min(asked, capacity) * 100 // capacity for asked, capacity in present]
    return sum(least) // len(present), sum(most) // len(present)


def _balance(size: tuple[int, int], requested: tuple[int, int]) -> int:
    present = [(float(asked), float(capacity)) for asked, capacity in zip(requested, size, strict=True) if capacity]
    shares = [min(asked / capacity, 1.0) for asked, capacity in present]
    return int((1 - (abs((shares[0] - shares[1]) / 2) if len(shares) == 2 else 0.0)) * 100.0)


def _arguments(
    size: tuple[int, int],
    requested: tuple[int, int],
    requested_nonzero: tuple[int, int],
    demand: tuple[int, int],
    demand_nonzero: tuple[int, int],
    extended: tuple[int, int, int] | None = None,
) -> tuple[object, ...]:
    """The arguments of a score; the node is row 1, behind a row of ones that must not matter."""
    some = extended or (0, 0, 0)
    wide = [np.array([*pair, 0, 0, more]) for pair, more in zip((size, requested, demand), some, strict=True)]
    allocatable, asked = (np.stack([np.ones_like(row), row]) for row in wide[:2])
    nonzero = np.array([[1, 1], requested_nonzero])
    return wide[2], np.array(demand_nonzero), allocatable, asked, nonzero, 1, 0
