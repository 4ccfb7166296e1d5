from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ortools.linear_solver import pywraplp

from scheduler.core.errors import StowageInputError
from scheduler.core.serverless.shaving import least_peak_in_blocks, least_peak_with_delay, shave

loads = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=12)


def arrays(load: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([f for f, _ in load], float), np.array([m for _, m in load], float)


def by_linear_program(fixed: np.ndarray, movable: np.ndarray, steps_of: list[list[int]]) -> float:
    """The least peak when the work of step t may run in steps_of[t]."""
    solver = pywraplp.Solver.CreateSolver("GLOP")
    peak = solver.NumVar(0, solver.infinity(), "peak")
    at: list[list[pywraplp.Variable]] = [[] for _ in fixed]
    for step, steps in enumerate(steps_of):
        parts = [solver.NumVar(0, solver.infinity(), "") for _ in steps]
        solver.Add(sum(parts) == float(movable[step]))
        for part, where in zip(parts, steps, strict=True):
            at[where].append(part)
    for step, parts in enumerate(at):
        solver.Add(sum(parts) + float(fixed[step]) <= peak)
    solver.Minimize(peak)
    assert solver.Solve() == pywraplp.Solver.OPTIMAL
    return float(peak.solution_value())


@given(loads, st.integers(0, 4))
def test_the_bound_with_a_delay_is_the_linear_programs(load: list[tuple[int, int]], delay: int) -> None:
    fixed, movable = arrays(load)
    steps = [list(range(t, min(t + delay + 1, len(fixed)))) for t in range(len(fixed))]
    assert least_peak_with_delay(fixed, movable, delay) == pytest.approx(by_linear_program(fixed, movable, steps))


@given(loads, st.integers(1, 5))
def test_the_bound_in_blocks_is_the_linear_programs(load: list[tuple[int, int]], block: int) -> None:
    fixed, movable = arrays(load)
    steps = [list(range(t // block * block, min((t // block + 1) * block, len(fixed)))) for t in range(len(fixed))]
    assert least_peak_in_blocks(fixed, movable, block) == pytest.approx(by_linear_program(fixed, movable, steps))


@given(loads, st.integers(0, 4))
def test_shaving_runs_everything_in_time_and_never_beats_the_bound(load: list[tuple[int, int]], delay: int) -> None:
    fixed, movable = arrays(load)
    found = shave(fixed, movable, delay)
    assert found.running.sum() == pytest.approx(fixed.sum() + movable.sum())
    assert (found.running >= fixed - 1e-9).all()
    bound = least_peak_with_delay(fixed, movable, delay)
    assert bound - 1e-6 <= found.peak <= (fixed + movable).sum() + 1e-6
    done, asked = np.cumsum(found.running - fixed), np.cumsum(movable)
    assert (done <= asked + 1e-6).all()
    late = asked[:-delay] if delay else asked
    assert (done[delay:] >= late - 1e-6).all()


def test_without_delay_nothing_is_shaved() -> None:
    fixed, movable = np.array([1.0, 5.0]), np.array([4.0, 1.0])
    assert least_peak_with_delay(fixed, movable, 0) == pytest.approx(6)
    assert shave(fixed, movable, 0).running.tolist() == [5.0, 6.0]
    assert shave(fixed, movable, 0).waited == 0


@pytest.mark.parametrize(
    ("fixed", "movable", "message"),
    [
        ([1.0], [1.0, 2.0], "differ in length"),
        ([-1.0], [1.0], "fixed work of step 0 is -1.0"),
        ([1.0], [np.nan], "nan"),
    ],
)
def test_broken_loads_are_refused(fixed: list[float], movable: list[float], message: str) -> None:
    with pytest.raises(StowageInputError, match=message):
        shave(np.array(fixed), np.array(movable), 1)
