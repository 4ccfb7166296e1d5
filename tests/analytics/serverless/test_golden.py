"""The published sample of Azure 2019: cold starts and idle memory of fixed keep-alive, counted two ways."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from azure_sample import sample_rows

from analytics.serverless.options import PolicySpec, ServerlessOptions
from analytics.serverless.replay import replay
from traces.schema import open_trace

MINUTES = (1, 5, 10, 20, 60, 120, 240)
# Of ../shared/data/azure_functions/README.md: cold starts and idle GB h of sample 500, by keep-alive.
GOLDEN_500 = (
    (19_668, 27.92),
    (4_077, 81.17),
    (2_488, 98.94),
    (1_388, 117.08),
    (637, 153.61),
    (546, 166.41),
    (509, 179.73),
)
GOLDEN_100 = ((4_215, 5.88), (734, 15.30), (481, 17.98), (248, 20.89), (123, 27.21), (111, 29.89), (103, 32.85))


def replayed(trace: Path) -> list[tuple[int, float]]:
    specs = [PolicySpec.parse(f"fixed:keep-alive={minutes}m") for minutes in MINUTES]
    outcomes = replay(open_trace(trace), specs, ServerlessOptions()).outcomes
    return [(int(outcome.cold_starts.sum()), round(outcome.idle_gb_h, 2)) for outcome in outcomes]


def counted(sample: Path, keep_alive: int) -> tuple[int, float]:
    """The same from the published rows, minute by minute, with nothing of ours."""
    calls, _, memory = sample_rows(sample)
    cold, idle_mib_min = 0, 0.0
    for row in calls:
        warm_minutes, has_run = 0, False
        for count in (int(value) for minute, value in row.items() if minute.isdigit()):
            if count:
                cold += not has_run or warm_minutes <= 0
                has_run, warm_minutes = True, keep_alive
            elif has_run and warm_minutes > 0:
                warm_minutes -= 1
                idle_mib_min += float(memory[row["HashFunction"]]["AverageAllocatedMb"])
    return cold, round(idle_mib_min / 1024 / 60, 2)


def test_fixed_keep_alive_on_sample_500_gives_the_golden_table(azure_sample: Callable[[int], Path]) -> None:
    assert replayed(azure_sample(500)) == list(GOLDEN_500)


def test_fixed_keep_alive_on_sample_100_agrees_with_a_plain_count(
    azure_sample: Callable[[int], Path], shared_data: Callable[[str], Path]
) -> None:
    sample = shared_data("azure_functions/2019_invitro_sample/100")
    found = replayed(azure_sample(100))
    assert found == list(GOLDEN_100)
    assert found == [counted(sample, minutes) for minutes in MINUTES]


@pytest.mark.parametrize(("size", "calls"), [(100, 339_657), (500, 3_037_902)])
def test_no_call_is_lost(azure_sample: Callable[[int], Path], size: int, calls: int) -> None:
    outcome = replay(open_trace(azure_sample(size)), [PolicySpec("fixed")], ServerlessOptions()).outcomes[0]
    assert outcome.invocations.sum() == calls
