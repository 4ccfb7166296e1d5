"""Policies that migrate by a central balancer: overload goes, rules hold, and the same replay balances the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from small_traces import S, SmallTrace, ran

from analytics.errors import InputError
from analytics.options import ReplayOptions
from analytics.replay import run_replay
from analytics.runs import Run, read_run
from scheduler.core.balance.solve import METHODS
from scheduler.core.errors import StowageInputError
from scheduler.core.policies import get_policy, policy_names

EVERY = {"interval_us": 60 * S, "settings": (("interval_s", "60"), ("work", "0.2"))}


def crowded(folder: Path, *, apart: bool = False, use: dict[int, int] | None = None) -> Path:
    """Machine 1 has 4 cores and three recorded tasks of 2 cores; machines 2 and 3 have 2 cores free each.

    apart: the tasks are of one job with the resident of machine 2, and ask for different machines. use: millicores that
    each task of machine 1 uses.
    """
    trace = SmallTrace()
    for machine in (1, 2, 3):
        trace.machine(machine, cpu=4000, memory=8192)
    for index in range(3):
        trace.task(
            ran(0, 1, 3000, on=1), job=1, index=index, cpu=1000 if use else 2000, memory=512, different_machines=apart
        )
    trace.task(ran(0, 1, 3000, on=2), job=1, index=3, cpu=2000, memory=512, different_machines=apart)
    trace.task(ran(0, 1, 3000, on=3), job=2, cpu=2000, memory=512)
    for index, cpu in (use or {}).items():
        for at, extra in ((10, 100), (20, -100)):
            trace.used(at, at + 10, index=index, cpu=cpu + extra)
    trace.write(folder, (0, 3600))
    return folder


def replayed(trace: Path, policy: str = "rebalance:greedy", **options: Any) -> Run:
    changes: dict[str, Any] = {"policy": policy, "from_us": 10 * S, **EVERY} | options
    return read_run(run_replay(ReplayOptions(trace, trace.parent / f"run-{policy}", **changes), force=True))


def overloaded(run: Run) -> list[int]:
    column = pq.read_table(run.folder / "series.parquet")["overloaded_nodes"].to_pylist()
    return [int(value) for value in column]


def nodes_of(run: Run) -> list[int]:
    return [int(row["node"]) for row in pq.read_table(run.folder / "placements.parquet").to_pylist()]


@pytest.mark.parametrize("method", [method for method in METHODS if method != "full-scan"])
def test_every_central_method_is_a_policy_that_ends_overload(tmp_path: Path, method: str) -> None:
    run = replayed(crowded(tmp_path / "trace"), f"rebalance:{method}")
    assert overloaded(run)[0] == 1
    assert not any(overloaded(run)[2:])
    assert (run.facts.counters["migrations"], run.facts.counters["migrations_failed"]) == (1, 0)
    assert sorted(nodes_of(run)[:3]) in ([1, 1, 2], [1, 1, 3])
    assert run.summary["overloaded_node_intervals"] == sum(overloaded(run))


def test_the_family_is_all_methods_but_the_one_for_tiny_cases() -> None:
    members = [name.partition(":")[2] for name in policy_names() if name.startswith("rebalance:")]
    assert sorted(members) == sorted(set(METHODS) - {"full-scan"})
    assert all(get_policy(f"rebalance:{method}").method == method for method in members)


def test_kube_default_leaves_what_it_finds(tmp_path: Path) -> None:
    run = replayed(crowded(tmp_path / "trace"), "kube-default", settings=())
    assert run.summary["overloaded_node_intervals"] == sum(overloaded(run)) > 40
    assert run.summary["overload"]["mean"] == pytest.approx(0.5 * 2990 / 3590, rel=0.03)  # 6 cores on 4, until 3,000 s


def test_tasks_that_keep_apart_are_not_moved_together(tmp_path: Path) -> None:
    run = replayed(crowded(tmp_path / "trace", apart=True))
    assert nodes_of(run)[:4].count(2) == 1
    assert nodes_of(run)[:4].count(3) == 1


def test_the_same_replay_balances_the_same(tmp_path: Path) -> None:
    trace = crowded(tmp_path / "trace")
    first, second = replayed(trace, "rebalance:annealing"), replayed(trace, "rebalance:annealing")
    assert first.digest == second.digest
    assert first.facts == second.facts


def test_by_use_a_node_is_overloaded_that_requests_say_has_room(tmp_path: Path) -> None:
    trace = crowded(tmp_path / "trace", use={0: 3000, 1: 1500, 2: 500})
    assert not any(overloaded(replayed(trace)))
    run = replayed(trace, load="use")
    assert overloaded(run)[0] == 1
    assert not any(overloaded(run)[2:])
    assert run.facts.options["load"] == "use"
    recorded = replayed(trace, "recorded", mode="recorded", load="use", settings=())
    assert set(overloaded(recorded)) == {0, 1}
    assert recorded.summary["overload"]["mean"] == pytest.approx(0.25 * 2990 / 3590, rel=0.03)  # 5 cores used of 4


def test_a_recorded_replay_counts_against_the_limit_it_is_given(tmp_path: Path) -> None:
    trace = crowded(tmp_path / "trace")
    first = []
    for factor in (1.0, 1.25, 1.5):
        run = replayed(trace, "recorded", mode="recorded", settings=(), overcommit=(("cpu_milli", factor),))
        first.append(pq.read_table(run.folder / "series.parquet").to_pylist()[0])
    assert [row["overload"] for row in first] == pytest.approx([0.5, 0.2, 0.0])
    assert [row["overloaded_nodes"] for row in first] == [1, 1, 0]
    assert len({row["capacity_cpu_milli"] for row in first}) == 1  # what is installed stays what it is


def test_what_cannot_be_set_is_refused_with_what_can(tmp_path: Path) -> None:
    trace = crowded(tmp_path / "trace")
    with pytest.raises(StowageInputError, match=r"no parameter 'k': it has interval_s \(whole 1 to 1e\+06 s\) \[300\]"):
        replayed(trace, settings=(("k", "3"),))
    with pytest.raises(StowageInputError, match="kube-default has no parameter 'nodes': it has none"):
        replayed(trace, "kube-default", settings=(("nodes", "3"),))
    for name, value in (("nodes", "1"), ("nodes", "2.5"), ("work", "nan"), ("migration", "teleport"), ("work", "much")):
        with pytest.raises(StowageInputError, match=f"{name} is '{value}'"):
            replayed(trace, settings=((name, value),))
    run = replayed(trace, settings=(("nodes", "2"),))
    assert run.facts.options["set"] == {"nodes": "2"}


def test_use_is_refused_where_the_trace_has_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no table `usage`"):
        replayed(crowded(tmp_path / "trace"), load="use")


def test_nodes_that_fail_lose_their_tasks_once_and_come_back(tmp_path: Path) -> None:
    trace = crowded(tmp_path / "trace")
    run = replayed(trace, node_failures=1.0, node_outage_us=120 * S)
    series = pq.read_table(run.folder / "series.parquet").to_pylist()
    assert run.facts.counters["evictions"] >= 3
    assert min(row["nodes"] for row in series) < 3
    assert series[-1]["nodes"] == 3 or series[-2]["nodes"] == 3
    assert run.facts.options["node_failures"] == 1.0
    rows = pq.read_table(run.folder / "placements.parquet").to_pylist()
    assert all(row["end_us"] is not None or row["start_us"] is not None for row in rows)
    assert replayed(trace, node_failures=1.0, node_outage_us=120 * S).digest == run.digest
