"""Dominant resource fairness as a queue: the paper's example, and who is served before whom."""

from __future__ import annotations

from pathlib import Path

import pytest
from replays import decide, load, run_engine
from small_traces import SmallTrace, ran

pytestmark = pytest.mark.usefixtures("few_slices")


def test_the_example_of_the_paper(tmp_path: Path) -> None:
    """9 CPUs and 18 GB; A's tasks ask for 1 CPU and 4 GB, B's for 3 CPUs and 1 GB: three of A run, and two of B."""
    trace = SmallTrace()
    trace.machine(1, cpu=9000, memory=18 * 1024)
    for index in range(8):
        trace.task(ran(5, 5, 90), job=1, index=index, cpu=1000, memory=4 * 1024, tenant="A")
        trace.task(ran(5, 5, 90), job=2, index=index, cpu=3000, memory=1024, tenant="B")
    placed = decide(tmp_path, trace, until=50, policy="drf")
    rows = {row: task.tenant for row, task in enumerate(trace.sorted_tasks())}
    running = [rows[row] for (row, _), one in placed.items() if one.start_us is not None]
    assert (running.count("A"), running.count("B")) == (3, 2)


def contended() -> SmallTrace:
    """Two cores, both held by tenant `many` until 10 s and 20 s, who wants more; `few` comes last and wants one."""
    trace = SmallTrace()
    trace.machine(1, cpu=2000, memory=65536)
    trace.task(ran(0, 0, 10), tenant="many", priority=9)
    trace.task(ran(0, 0, 20), tenant="many", priority=9)
    trace.task(ran(1, 30, 50), tenant="many", priority=0)
    trace.task(ran(2, 30, 50), tenant="many", priority=9)
    trace.task(ran(3, 30, 50), tenant="few", priority=0)
    return trace


@pytest.mark.parametrize(("policy", "starts"), [("kube-default", [20, 10, 30]), ("drf", [30, 20, 10])])
def test_who_holds_least_goes_first_whatever_the_priority(tmp_path: Path, policy: str, starts: list[int]) -> None:
    placed = decide(tmp_path, contended(), policy=policy)
    assert [placed[row, 0].start_us for row in (2, 3, 4)] == [second * 10**6 for second in starts]


def test_equal_shares_go_by_priority_then_arrival(tmp_path: Path) -> None:
    trace = SmallTrace()
    trace.machine(1, cpu=1000, memory=65536)
    trace.task(ran(0, 0, 10), tenant="a")
    for submit, tenant, priority in ((1, "b", 0), (2, "c", 5), (3, "d", 5)):
        trace.task(ran(submit, 30, 40), tenant=tenant, priority=priority)
    placed = decide(tmp_path, trace, policy="drf")
    assert [placed[row, 0].start_us for row in (1, 2, 3)] == [30 * 10**6, 10 * 10**6, 20 * 10**6]


def test_a_machine_that_comes_makes_shares_smaller(tmp_path: Path) -> None:
    """Memory is a's dominant resource until a machine with much memory comes; then b holds the larger share."""
    trace = SmallTrace()
    trace.machine(1, cpu=4000, memory=4096)
    trace.machine(2, 5, cpu=500, memory=65536)
    trace.task(ran(0, 0, 50), tenant="a", cpu=1000, memory=3072)
    trace.task(ran(0, 0, 50), tenant="b", cpu=1500, memory=512)
    trace.task(ran(0, 0, 20), tenant="c", cpu=1500, memory=512)
    trace.task(ran(6, 60, 70), tenant="b", cpu=1500, memory=256)
    trace.task(ran(7, 60, 70), tenant="a", cpu=1500, memory=256)
    placed = decide(tmp_path, trace, policy="drf")
    assert [placed[row, 0].start_us for row in (3, 4)] == [30 * 10**6, 20 * 10**6]


def test_a_tenant_without_a_name_is_a_tenant(tmp_path: Path) -> None:
    trace = SmallTrace()
    trace.machine(1)
    for tenant in ("b", "", "a", "b"):
        trace.task(ran(0, 0, 10), tenant=tenant)
    given = load(trace.write(tmp_path / "t", (0, 100)), by_tenant=True)
    assert given.tenants == ("", "a", "b")
    assert given.tasks.tenant_of_group[given.tasks.group].tolist() == [2, 0, 1, 2]


def test_the_same_replay_gives_the_same(tmp_path: Path) -> None:
    given = load(contended().write(tmp_path / "t", (0, 100)), by_tenant=True)
    assert run_engine(given, "drf")[0] == run_engine(given, "drf")[0]
