"""Pods of a serverless run on nodes: against plain Python, against the replay without nodes, and rule by rule."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from azure_sample import write_trace
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_placing import Naive, NaiveLinks
from naive_replay import Brain
from typer.testing import CliRunner

from analytics.errors import InputError
from analytics.serverless.options import PolicySpec, ServerlessOptions
from analytics.serverless.placing import world as state
from analytics.serverless.placing.fleet import Fleet, read_requests
from analytics.serverless.placing.place import Placed, PlacingOptions, place
from analytics.serverless.replay import replay
from analytics.serverless_place_cli import mount
from scheduler.core.errors import StowageInputError
from scheduler.core.serverless import get_serverless_policy
from traces.schema import open_trace

SECOND_US, MINUTE_US = 1_000_000, 60_000_000
POLICIES = ("fixed:keep-alive=0s", "fixed:keep-alive=20s", "fixed", "timers", "hybrid", "hazard")
LARGE = Fleet.parse("40x64cpu,256Gi")

Call = tuple[float, int, float]


def a_trace(folder: Path, functions: list[dict[str, Any]], calls: list[Call], end_s: float = 0) -> Any:
    """functions: columns beside those filled in here; calls: (seconds, function, seconds it runs)."""
    table = [
        {"function": n, "name": f"f{n}", "memory_mib": 1024.0, "limit_mib": 1024, "cpu_milli": 1000,
         "duration_us": SECOND_US, "max_duration_us": 3 * SECOND_US, **columns}
        for n, columns in enumerate(functions)
    ]  # fmt: skip
    rows = [
        {"start_us": round(at * 1e6), "window_us": 0, "function": n, "count": 1, "duration_us": round(runs * 1e6)}
        for at, n, runs in sorted(calls)
    ]
    if end_s:  # a window without calls ends the recording
        rows.append({"start_us": round(end_s * 1e6), "window_us": 0, "function": 0, "count": 0})
    return open_trace(write_trace(folder, table, rows))


def run(
    trace: Any, fleet: str, policy: str = "fixed:keep-alive=1m", placement: str = "best-fit", **options: Any
) -> Placed:
    replayed = ServerlessOptions(grain="event", concurrency=options.pop("concurrency", None))
    chosen = PlacingOptions((PolicySpec.parse(policy),), (placement,), (Fleet.parse(fleet),), **options)
    return place(trace, chosen, replayed).rows[0]


functions = st.lists(
    st.builds(
        lambda cpu, mib, cold_s, trigger: {
            "cpu_milli": cpu, "limit_mib": mib, "max_duration_us": SECOND_US * (1 + cold_s), "trigger": trigger
        },
        st.sampled_from([300, 1000, 2500]), st.sampled_from([128, 700, 3000]), st.sampled_from([0, 2, 30]),
        st.sampled_from(["timer", "http"]),
    ),
    min_size=1, max_size=4,
)  # fmt: skip
# Few different times, so that ends, arrivals and windows fall together; bursts, so that nodes are full.
some_calls = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 40), st.integers(0, 600), st.sampled_from([60, 120, 180, 240, 300, 3600, 7200])),
        st.integers(0, 3), st.sampled_from([0, 1, 5, 20, 60]),
    ),
    min_size=1, max_size=40,
)  # fmt: skip


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=30)
@given(
    functions=functions, calls=some_calls,
    fleet=st.sampled_from(["1x3cpu,4Gi", "2x2600mcpu,4Gi", "3x1cpu,1Gi+1x4cpu,2Gi"]),
    placement=st.sampled_from(["best-fit", "kube-default", "worst-fit"]), concurrency=st.integers(1, 2),
    wait_s=st.sampled_from([0, 10, 600]), chain_s=st.sampled_from([None, 2, 30]),
)  # fmt: skip
def test_agrees_with_plain_python(
    policy: str, functions: Any, calls: Any, fleet: str, placement: str, concurrency: int, wait_s: int,
    chain_s: int | None,
) -> None:  # fmt: skip
    calls = [(at, n % len(functions), runs) for at, n, runs in calls]
    with tempfile.TemporaryDirectory() as folder:
        trace = a_trace(Path(folder) / "trace", functions, calls)
        chain_us = None if chain_s is None else chain_s * SECOND_US
        found = run(
            trace, fleet, policy, placement, concurrency=concurrency, wait_us=wait_s * SECOND_US, chain_us=chain_us
        )
        requests, _ = read_requests(trace, found.subjects, 100)
    spec = PolicySpec.parse(policy)
    brain = Brain(get_serverless_policy(spec.name), dict(spec.given), found.subjects.facts)
    naive = Naive(brain, requests, Fleet.parse(fleet).allocatable, placement, concurrency, wait_s * SECOND_US)
    if chain_us is not None:
        naive.links = NaiveLinks(chain_us, 0.5)
    single = [(at * SECOND_US, n, (runs or 1) * SECOND_US) for at, n, runs in sorted(calls)]
    end_us = max(at for at, _, _ in single) + 1
    # The trace begins at its first call; nothing was used before.
    naive.now = single[0][0]
    naive.run(sorted(single, key=lambda call: call[:2]), end_us)
    np.testing.assert_array_equal(found.world.account, naive.account)
    at = found.world.at
    assert (at[state.WAITED], at[state.WAITED_US], at[state.DROPPED], at[state.MOST_NODES]) == (
        naive.waited, naive.waited_us, naive.dropped, naive.most_nodes,
    )  # fmt: skip
    assert (at[state.SHORTENED], at[state.SAVED_US]) == (naive.shortened, naive.saved_us)
    assert found.world.spent[state.NODE_US] == naive.node_us
    assert found.world.spent[state.CPU_US] == naive.cpu_us


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=25)
@given(functions=functions, calls=some_calls, concurrency=st.integers(1, 3))
def test_with_room_for_all_it_counts_what_the_replay_without_nodes_does(
    policy: str, functions: Any, calls: Any, concurrency: int
) -> None:
    calls = [(at, n % len(functions), runs) for at, n, runs in calls]
    with tempfile.TemporaryDirectory() as folder:
        trace = a_trace(Path(folder) / "trace", functions, calls)
        placed = run(trace, str(LARGE), policy, concurrency=concurrency)
        free = replay(trace, [PolicySpec.parse(policy)], ServerlessOptions(grain="event", concurrency=concurrency))
    outcome = free.outcomes[0]
    expected = np.stack([outcome.cold_starts, outcome.idle_us, outcome.loads], axis=1)
    np.testing.assert_array_equal(placed.world.account[:, :3], expected)
    assert placed.world.account[:, 3:].sum() == 0


def a_chain(folder: Path, rounds: int, lag_s: float, every_s: int = 600) -> Any:
    """Function 0 is called every ten minutes, 1 and 2 follow it one after the other; cold starts take 2 s."""
    calls = [(every_s * n + k * lag_s, k, 0.1) for n in range(rounds) for k in range(3)]
    return a_trace(folder, [{}, {}, {}], calls, end_s=every_s * rounds)


def test_what_follows_is_loaded_when_the_chain_begins(tmp_path: Path) -> None:
    trace = a_chain(tmp_path / "t", 10, lag_s=3)
    without = run(trace, str(LARGE), "fixed:keep-alive=10s").figures()
    found = run(trace, str(LARGE), "fixed:keep-alive=10s", chain_us=10 * SECOND_US)
    # Three rounds show who follows whom; in the seven after them only the first function is cold.
    assert without["cold_starts"] == 30
    assert found.world.account[:, state.COLD].tolist() == [10, 3, 3]
    assert found.figures()["shortened"] == 0
    assert found.figures()["mean_delay_s"] == pytest.approx(2 * 16 / 30)


def test_a_follower_that_comes_soon_waits_for_the_rest_of_its_pod(tmp_path: Path) -> None:
    figures = run(a_chain(tmp_path / "t", 10, lag_s=0.5), str(LARGE), "fixed:keep-alive=10s", chain_us=5 * SECOND_US)
    found = figures.figures()
    # Loading begins with the first call: 1.5 s are left when 1 is called, 1 s when 2 is.
    assert (found["cold_starts"], found["shortened"]) == (30, 14)
    assert found["mean_delay_s"] == pytest.approx((10 * 2 + 3 * (2 + 2) + 7 * (1.5 + 1)) / 30)


def test_an_idle_pod_makes_way_the_longest_idle_first(tmp_path: Path) -> None:
    # Pods of 0 and 1 fill the node and fall idle at 3 s and 7 s; a pod of 2 comes, then 1 is called again.
    trace = a_trace(tmp_path / "t", [{}, {}, {}], [(0, 0, 1), (4, 1, 1), (20, 2, 1), (30, 1, 1)])
    found = run(trace, "1x2cpu,2Gi")
    assert found.world.account[:, state.COLD].tolist() == [1, 1, 1]
    assert found.world.account[:, state.EARLY].tolist() == [1, 0, 0]
    assert found.world.account[0, state.IDLE_US] == 17 * SECOND_US


def test_a_call_waits_for_a_busy_node_and_is_served_in_its_turn(tmp_path: Path) -> None:
    # The pod of 0 is busy until 12 s; 1 waits from 5 s on and then loads for 2 s.
    trace = a_trace(tmp_path / "t", [{}, {}], [(0, 0, 10), (5, 1, 1)], end_s=60)
    figures = run(trace, "1x1cpu,1Gi").figures()
    assert (figures["waited"], figures["refused"], figures["cold_starts"]) == (1, 0, 2)
    assert figures["wait_s"]["longest"] == 7
    assert figures["mean_delay_s"] == (2 + 2 + 7) / 2


def test_a_call_is_refused_when_its_patience_ends(tmp_path: Path) -> None:
    trace = a_trace(tmp_path / "t", [{}, {}], [(0, 0, 10), (5, 1, 1)], end_s=60)
    figures = run(trace, "1x1cpu,1Gi", wait_us=6 * SECOND_US).figures()
    assert (figures["waited"], figures["refused"], figures["cold_starts"]) == (0, 1, 1)
    assert run(trace, "1x1cpu,1Gi", wait_us=0).figures()["refused"] == 1


def test_a_pod_larger_than_every_node_is_refused_at_once(tmp_path: Path) -> None:
    trace = a_trace(tmp_path / "t", [{"cpu_milli": 9000}, {}], [(0, 0, 1), (1, 1, 1)])
    figures = run(trace, "2x4cpu,8Gi").figures()
    assert (figures["refused"], figures["refused_too_large"], figures["cold_starts"]) == (1, 1, 1)


def test_packing_is_what_pods_request_of_the_nodes_in_use(tmp_path: Path) -> None:
    # One pod of 1 of 4 CPUs from 0 to 4 s, when the recording ends; the second node is never used.
    trace = a_trace(tmp_path / "t", [{}], [(0, 0, 1)], end_s=3.999999)
    figures = run(trace, "2x4cpu,2Gi").figures()
    assert figures["nodes_used"] == {"peak": 1, "mean": 1.0}
    assert figures["packed"] == {"cpu": 0.25, "memory": 0.5}
    assert figures["in_use"] == {"cpu": 0.125, "memory": 0.25}


def test_best_fit_fills_a_node_and_worst_fit_spreads(tmp_path: Path) -> None:
    trace = a_trace(tmp_path / "t", [{}] * 4, [(n, n, 30) for n in range(4)], end_s=60)
    peaks = [
        run(trace, "4x4cpu,4Gi", placement=name).figures()["nodes_used"]["peak"] for name in ("best-fit", "worst-fit")
    ]
    assert peaks == [1, 4]


def test_calls_counted_per_minute_come_in_order_of_time(tmp_path: Path) -> None:
    # Each function has three calls spread over the same minute: at 0, 20 and 40 s.
    table = [
        {"function": n, "name": f"f{n}", "memory_mib": 1.0, "duration_us": 1, "max_duration_us": 1} for n in range(2)
    ]
    rows = [{"start_us": 0, "window_us": MINUTE_US, "function": n, "count": 3} for n in range(2)]
    trace = open_trace(write_trace(tmp_path / "t", table, rows))
    # One pod fits, so the two functions take turns: six cold starts, were order by function only two.
    assert run(trace, "1x100mcpu,1Gi").figures()["cold_starts"] == 6


def test_what_a_pod_requests_is_the_limit_else_what_was_measured(tmp_path: Path) -> None:
    functions = [
        {"cpu_milli": 300, "request_milli": 100}, {"cpu_milli": 300}, {"cpu_milli": None, "limit_mib": None,
         "memory_mib": 57.2},
    ]  # fmt: skip
    trace = a_trace(tmp_path / "t", functions, [(0, 0, 1)])
    found = run(trace, "1x4cpu,4Gi")
    requests, notes = read_requests(trace, found.subjects, 250)
    assert requests.tolist() == [[100, 1024], [300, 1024], [250, 58]]
    assert any("250 millicores assumed" in note for note in notes)


@pytest.mark.parametrize(
    "text", ["", "20", "20x16", "0x1cpu,1Gi", "3x0cpu,1Gi", "2x1cpu,64", "1x1cpu,1Gi+", "999999x1cpu,1Gi"]
)
def test_nodes_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        Fleet.parse(text)


@pytest.mark.parametrize("text", ["20x16cpu,64Gi", "3x500mcpu,700Mi"])
def test_a_fleet_is_written_as_it_is_read(text: str) -> None:
    assert Fleet.parse(str(Fleet.parse(text))) == Fleet.parse(text)


@pytest.mark.parametrize(
    ("policy", "placement", "words"),
    [("oracle", "best-fit", "knows the future"), ("greedy-dual", "best-fit", "cache"),
     ("fixed", "packing", "not a score"), ("fixed", "drf", "not a score")],
)  # fmt: skip
def test_what_cannot_be_placed_is_refused(policy: str, placement: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        PlacingOptions((PolicySpec.parse(policy),), (placement,), (LARGE,))


def test_the_command_prints_a_row_per_combination_and_the_same_each_time(tmp_path: Path) -> None:
    trace = a_trace(tmp_path / "t", [{}, {}], [(n, n % 2, 30) for n in range(20)], end_s=300).folder
    app = typer.Typer()
    mount(app)
    words = [
        str(trace), "--keep-alive", "10s", "--keep-alive", "1m", "--nodes", "2x4cpu,8Gi", "--nodes",
        "4x4cpu,8Gi", "--placement", "random", "--seed", "7", "--plot", str(tmp_path / "p.svg"), "--force", "--json",
    ]  # fmt: skip
    outputs = [CliRunner().invoke(app, words, catch_exceptions=False) for _ in range(2)]
    rows = [json.loads(output.stdout)["rows"] for output in outputs]
    assert [(row["policy"], row["nodes"]) for row in rows[0]] == [
        (f"fixed:keep-alive={time}", nodes) for time in ("10s", "1m") for nodes in (2, 4)
    ]
    for each in (*rows[0], *rows[1]):
        del each["cpu_s"]
    assert rows[0] == rows[1]
    assert "<svg" in (tmp_path / "p.svg").read_text()
    with pytest.raises(StowageInputError):
        CliRunner().invoke(app, [str(trace), "--nodes", "1x1cpu,1Gi", "--placement", "nobody"], catch_exceptions=False)
