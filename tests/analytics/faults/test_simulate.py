from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.errors import InputError
from analytics.faults.history import History
from analytics.faults.recovery import PRESETS, Recovery
from analytics.faults.simulate import Outcome, Placement, simulate
from scheduler.core.gpu.hazard import MEASURED
from tests.analytics.faults.histories import a_history, a_random_history

RECOVERY = Recovery(detect_h=0.5, diagnose_h=1.0, restart_h=0.25, checkpoint_h=1.0)


def blind(seed: int = 0) -> Placement:
    return Placement(None, seed)


def hours(outcome: Outcome, wall_h: float) -> dict[str, float]:
    """The parts in hours, and what was productive."""
    found = {part: round(share * wall_h, 6) for part, share in outcome.parts.items() if share}
    return {"productive": round(outcome.ettr * wall_h, 6), **found}


def placed_on_the_first(
    nodes: int, fleet: int, *outages: tuple[int, float, float]
) -> tuple[History, Recovery, Placement]:
    """A fleet whose other nodes were repaired a minute ago, and a placement that minds: gangs begin on the first."""
    history = a_history(fleet, 20.0, *outages)
    age_h = np.where(np.arange(fleet) < nodes, np.inf, 1 / 60)
    return dataclasses.replace(history, age_h=age_h), RECOVERY, Placement(MEASURED, 0)


def test_a_fault_costs_each_phase_and_the_work_since_the_checkpoint() -> None:
    outcome = simulate(*placed_on_the_first(1, 2, (0, 10.25, 19.0)), [1])
    assert hours(outcome, 20) == {
        "productive": 18.0, "lost_work": 0.25, "detection": 0.5, "diagnosis": 1.0, "restart": 0.25,
    }  # fmt: skip


def test_without_another_node_the_gang_waits_for_the_repair() -> None:
    history = a_history(2, 20.0, (0, 10.25, 19.0), (1, 10.25, 19.0))
    assert hours(simulate(history, RECOVERY, blind(), [1]), 20) == {
        "productive": 10.75, "lost_work": 0.25, "detection": 0.5, "diagnosis": 1.0, "restart": 0.25, "waiting": 7.25,
    }  # fmt: skip


def test_nodes_that_fail_together_are_replaced_together() -> None:
    failing = [(node, 10.0, 100.0) for node in range(3)]
    outcome = simulate(*placed_on_the_first(3, 6, *failing), [3])
    assert (outcome.hits, outcome.stops, outcome.parts["waiting"]) == (3, 1, 0)
    assert outcome.allocation == pytest.approx(0.5)


def test_a_fault_during_diagnosis_joins_it_and_one_during_the_restart_begins_anew() -> None:
    joined = simulate(a_history(2, 20.0, (0, 10.0, 10.1), (1, 11.0, 11.1)), RECOVERY, blind(), [2])
    assert hours(joined, 20) == {"productive": 18.25, "detection": 0.5, "diagnosis": 1.0, "restart": 0.25}
    again = simulate(a_history(2, 20.0, (0, 10.0, 10.1), (1, 11.6, 11.7)), RECOVERY, blind(), [2])
    assert hours(again, 20) == {"productive": 16.65, "detection": 1.0, "diagnosis": 2.0, "restart": 0.35}
    assert (again.hits, again.stops) == (2, 1)


def test_a_gang_that_waits_gets_its_own_node_back_before_others() -> None:
    """Fleet of 3, gangs of 2 and 1: the first to lose a node waits for that node, the other keeps its own."""
    outcome = simulate(a_history(3, 20.0, (0, 5.0, 9.0), (1, 5.0, 9.0), (2, 5.0, 9.0)), RECOVERY, blind(), [2, 1])
    assert hours(outcome, 20)["waiting"] == pytest.approx(2.5)
    assert outcome.stops == 2


def test_a_gang_that_finds_too_few_nodes_starts_when_they_are_back() -> None:
    outcome = simulate(a_history(2, 20.0, (0, 0.0, 5.0)), RECOVERY, blind(), [2])
    assert outcome.started_late == 1
    assert outcome.node_h == pytest.approx(30.0)
    assert outcome.ettr == 1.0


def test_saving_takes_time_and_saves_work() -> None:
    recovery = Recovery(0.0, 0.0, 0.0, checkpoint_h=1.0, save_h=0.25)
    outcome = simulate(a_history(2, 10.0, (0, 5.5, 100.0), (1, 5.5, 5.5)), recovery, blind(), [1])
    # Four saved cycles of 1.25 h and half an hour of work lost; then 4.5 h: three cycles and 0.75 h.
    assert hours(outcome, 10) == {"productive": 7.75, "lost_work": 0.5, "saving": 1.75}


def test_without_checkpoints_everything_since_the_start_is_lost() -> None:
    recovery = Recovery(0.0, 0.0, 0.0, checkpoint_h=math.inf)
    outcome = simulate(a_history(2, 10.0, (0, 4.0, 4.5), (1, 4.0, 4.5)), recovery, blind(), [1])
    assert hours(outcome, 10) == {"productive": 5.5, "lost_work": 4.0, "waiting": 0.5}


def test_finished_gangs_are_followed_by_others_of_their_size() -> None:
    outcome = simulate(a_history(5, 10.0), RECOVERY, blind(), [2, 1], lambda slot: itertools.repeat(2.5))
    assert (outcome.gangs, outcome.finished, outcome.ettr) == (8, 6, 1.0)
    assert outcome.allocation == pytest.approx(0.6)


def test_the_formula_and_the_replay_agree_where_the_formula_holds() -> None:
    """Faults one by one at a constant rate, and so many nodes that none comes back while it is dangerous."""
    history = a_random_history(60, 20_000.0, seed=5, mtbf_h=1500.0, repeat=0.0, down_h=1.0)
    mtbf_h = history.fleet * history.length_h / history.node.size / 40
    for recovery in PRESETS.values():
        outcome = simulate(history, recovery, blind(), [40])
        assert outcome.ettr == pytest.approx(recovery.expected_ettr(mtbf_h), abs=0.01)


def lengths(slot: int) -> Iterator[float]:
    rng = np.random.default_rng(slot)
    while True:
        yield float(rng.exponential(30.0))


def test_placement_by_risk_is_hit_less_at_the_same_allocation() -> None:
    held, hits = [], []
    for hazard in (None, MEASURED):
        outcomes = [
            simulate(
                a_random_history(60, 2000.0, seed, mtbf_h=1500, repeat=0.6), PRESETS["automated"],
                Placement(hazard, seed), [16, 16, 8, 4, 1], lengths,
            )
            for seed in range(3)
        ]  # fmt: skip
        held.append(sum(outcome.allocation for outcome in outcomes) / 3)
        hits.append(sum(outcome.hits for outcome in outcomes))
    assert held[0] == pytest.approx(held[1], rel=1e-9)
    assert hits[1] < 0.7 * hits[0]


@given(st.integers(0, 10_000), st.lists(st.integers(1, 5), min_size=1, max_size=4), st.booleans())
def test_every_hour_of_every_gang_is_booked_once(seed: int, sizes: list[int], is_aware: bool) -> None:
    history = a_random_history(20, 300.0, seed, mtbf_h=60, repeat=0.4, down_h=20)
    outcome = simulate(history, RECOVERY, Placement(MEASURED if is_aware else None, seed), sizes, lengths)
    assert outcome.ettr + sum(outcome.parts.values()) == pytest.approx(1)
    assert min(outcome.parts.values()) >= 0
    assert outcome.hits >= outcome.stops
    assert outcome.node_h <= sum(sizes) * 300 + 1e-6
    if outcome.started_late == 0:
        assert outcome.node_h == pytest.approx(sum(sizes) * 300)


def test_the_same_seed_gives_the_same_replay() -> None:
    history = a_random_history(20, 500.0, 1, mtbf_h=60)
    assert simulate(history, RECOVERY, blind(3), [5, 3], lengths) == simulate(
        history, RECOVERY, blind(3), [5, 3], lengths
    )


def test_presets_are_the_stated_ones() -> None:
    manual, automated = PRESETS["manual"], PRESETS["automated"]
    assert manual.loss_per_fault_h() == pytest.approx(3.75)
    assert automated.loss_per_fault_h() <= 13 / 60
    assert manual.expected_ettr(19.0) == pytest.approx(0.835, abs=5e-4)
    assert automated.expected_ettr(19.0) >= 0.988


def test_what_cannot_be_replayed_is_refused() -> None:
    with pytest.raises(InputError, match="do not fit a fleet of 2"):
        simulate(a_history(2, 1.0), RECOVERY, blind(), [2, 1])
    with pytest.raises(InputError, match="no gang ever found"):
        simulate(a_history(2, 10.0, (0, 0.0, 20.0)), RECOVERY, blind(), [2])
    with pytest.raises(InputError, match="phases of a recovery"):
        Recovery(-1.0, 0.0, 0.0, 1.0)
    with pytest.raises(InputError, match="checkpoints"):
        Recovery(1.0, 0.0, 0.0, 0.0)
