"""Comparisons: what is grouped, what is refused, and intervals that mean what they say."""

from __future__ import annotations

import csv
import io
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import a_run, a_sample, an_attempt
from typer.testing import CliRunner

import stowage
from analytics import bootstrap
from analytics.compare import compare
from analytics.errors import InputError
from analytics.facts import TraceFacts
from analytics.metrics import flatten
from analytics.runs import read_run


def jobs_waiting(delays_s: list[float], tasks: int = 4) -> list[dict[str, Any]]:
    """One job per delay, all of whose tasks wait that long."""
    return [
        an_attempt(job * tasks + n, 0, delay, job=job, task_index=n)
        for job, delay in enumerate(delays_s)
        for n in range(tasks)
    ]


def hours(requested_milli: list[int]) -> list[dict[str, Any]]:
    return [a_sample(3600 * n, requested_cpu_milli=value) for n, value in enumerate(requested_milli)]


def test_identical_runs_do_not_differ(tmp_path: Path) -> None:
    rows = jobs_waiting([1, 5, 10, 50, 100, 200])
    first, second = a_run(tmp_path / "a", rows), a_run(tmp_path / "b", rows, policy="worst-fit")
    comparison = compare([first, second])
    assert comparison.groups == {"best-fit": ["a"], "worst-fit": ["b"]}
    for metric in ("delay_s.all.p50", "delay_s.free.p99", "never_placed"):
        found = comparison.differences[metric]["worst-fit"]
        assert (found.difference, found.low, found.high, found.method) == (0, 0, 0, "jobs")


def test_constant_shift_is_certain(tmp_path: Path) -> None:
    delays = [float(n) for n in range(1, 60)]
    first = a_run(tmp_path / "a", jobs_waiting(delays))
    second = a_run(tmp_path / "b", jobs_waiting([delay + 10 for delay in delays]), policy="worst-fit")
    comparison = compare([first, second])
    for name in ("p50", "p90", "p99", "mean"):
        found = comparison.differences[f"delay_s.free.{name}"]["worst-fit"]
        assert (found.difference, found.low, found.high) == pytest.approx((10, 10, 10))


def test_rounding_of_delays_does_not_move_an_interval(tmp_path: Path) -> None:
    first = a_run(tmp_path / "a", jobs_waiting([1.231] * 20))
    second = a_run(tmp_path / "b", jobs_waiting([1.234] * 20), policy="worst-fit")  # 1.23 both, to the bootstrap
    found = compare([first, second]).differences["delay_s.free.p99"]["worst-fit"]
    assert (found.difference, found.low, found.high) == pytest.approx((0.003, 0.003, 0.003))


def test_jobs_are_drawn_whole(tmp_path: Path) -> None:
    draw = random.Random(5)
    base = [0.0] * 40
    slower = [draw.choice([0.0, 20.0]) for _ in base]

    def width(tasks: int, as_one_job: bool, name: str) -> float:
        rows = [jobs_waiting(base, tasks), jobs_waiting(slower, tasks)]
        for row in (row for side in rows for row in side):
            row["job"] = row["job"] if as_one_job else row["task"]
        runs = [a_run(tmp_path / f"{name}{n}", side, policy=f"p{n}") for n, side in enumerate(rows)]
        found = compare(runs).differences["delay_s.free.mean"]["p1"]
        assert found.low is not None
        assert found.high is not None
        return found.high - found.low

    whole, apart = width(25, True, "whole"), width(25, False, "apart")
    assert whole > 3 * apart  # sqrt(25) = 5 times, if every task were evidence of its own


def test_seeds_are_paired_repetitions(tmp_path: Path) -> None:
    runs = []
    for seed, level in enumerate([10, 400, 900]):  # seeds differ far more than the policies do
        for policy, delay in (("random", level), ("best-fit", level + 5)):
            rows = jobs_waiting([delay] * 6)
            runs.append(a_run(tmp_path / f"{policy}{seed}", rows, policy=policy, seed=seed))
    comparison = compare(runs)
    assert comparison.groups == {policy: [f"{policy}{seed}" for seed in range(3)] for policy in ("random", "best-fit")}
    found = comparison.differences["delay_s.free.p50"]["best-fit"]
    assert (found.difference, found.low, found.high) == pytest.approx((5, 5, 5))
    assert (found.method, found.repetitions) == ("seeds", 3)


def test_single_base_stands_against_every_seed(tmp_path: Path) -> None:
    base = a_run(tmp_path / "recorded", jobs_waiting([100] * 6), mode="recorded", policy="recorded", seed=0)
    others = [a_run(tmp_path / f"r{s}", jobs_waiting([100 + s] * 6), policy="random", seed=s) for s in (1, 2, 3)]
    found = compare([base, *others]).differences["delay_s.free.p50"]["random"]
    assert found.difference == pytest.approx(2)
    assert found.low is not None
    assert 1 <= found.low < 2 < (found.high or 0) <= 3


def test_utilisation_is_resampled_by_the_hour(tmp_path: Path) -> None:
    window = (0, 8 * 3_600_000_000)
    first = a_run(tmp_path / "a", series=hours([1000] * 8), window_us=window)
    second = a_run(tmp_path / "b", series=hours([1400, 1800] * 4), window_us=window, policy="worst-fit")
    found = compare([first, second]).differences["utilisation.cpu"]["worst-fit"]
    assert found.difference == pytest.approx(0.15)
    assert found.method == "hours"
    assert found.low is not None
    assert 0.1 <= found.low < 0.15 < (found.high or 0) <= 0.2


def test_overload_is_resampled_by_the_hour(tmp_path: Path) -> None:
    window = (0, 8 * 3_600_000_000)
    busy = [row | {"nodes": 4, "overloaded_nodes": 2, "overload": 0.5} for row in hours([1000] * 8)]
    calm = [row | {"nodes": 4, "overloaded_nodes": n % 2, "overload": 0.2} for n, row in enumerate(hours([1000] * 8))]
    first = a_run(tmp_path / "a", series=busy, window_us=window)
    second = a_run(tmp_path / "b", series=calm, window_us=window, policy="worst-fit")
    compared = compare([first, second])
    found = compared.differences["overloaded_node_intervals"]["worst-fit"]
    assert (found.difference, found.method) == (-12, "hours")
    assert -16 <= (found.low or 0) < -12 < (found.high or 0) <= -8
    assert compared.differences["overload.mean"]["worst-fit"].difference == pytest.approx(-0.3)
    assert compared.metrics["overload.share"] == {"a": 0.5, "b": 0.125}


def test_too_few_hours_give_no_interval(tmp_path: Path) -> None:
    first, second = a_run(tmp_path / "a"), a_run(tmp_path / "b", policy="worst-fit")
    found = compare([first, second]).differences["utilisation.cpu"]["worst-fit"]
    assert (found.difference, found.low, found.high, found.method) == (0, None, None, None)


def test_same_seed_gives_the_same_intervals(tmp_path: Path) -> None:
    draw = random.Random(1)
    delays = {name: jobs_waiting([draw.uniform(0, 900) for _ in range(30)]) for name in ("a", "b")}
    runs = [a_run(tmp_path / name, rows, policy=name) for name, rows in delays.items()]
    assert compare(runs, seed=3).to_json() == compare(runs, seed=3).to_json()
    assert compare(runs, seed=3).to_json() != compare(runs, seed=4).to_json()


def test_options_that_differ_make_groups(tmp_path: Path) -> None:
    same = {"scale_load": 1.0}
    runs = [a_run(tmp_path / f"n{nodes}", options=same | {"nodes": nodes}) for nodes in ("x1", "x0.9")]
    assert list(compare(runs).groups) == ["best-fit nodes=x1", "best-fit nodes=x0.9"]


def test_repeated_runs_are_told_apart_by_name(tmp_path: Path) -> None:
    runs = [a_run(tmp_path / name) for name in ("monday", "tuesday")]
    assert list(compare(runs).groups) == ["best-fit (monday)", "best-fit (tuesday)"]


@pytest.mark.parametrize(
    ("change", "words"),
    [({"trace": TraceFacts("tiny", "1" * 64)}, "another trace"), ({"window_us": (0, 10)}, "covers 0 h to")],
)
def test_runs_of_another_trace_or_window_are_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    runs = [a_run(tmp_path / "a"), a_run(tmp_path / "b", policy="worst-fit", **change)]
    with pytest.raises(InputError, match=words):
        compare(runs)
    comparison = compare(runs, force=True)
    assert words in comparison.notes[0]


def test_one_run_or_the_same_run_twice_is_refused(tmp_path: Path) -> None:
    run = a_run(tmp_path / "a")
    with pytest.raises(InputError, match="at least two"):
        compare([run])
    with pytest.raises(InputError, match="given twice"):
        compare([run, run])


def test_command_prints_table_json_and_csv(tmp_path: Path) -> None:
    runs = [
        str(a_run(tmp_path / "a", jobs_waiting([1] * 6))),
        str(a_run(tmp_path / "b", jobs_waiting([3] * 6), policy="worst-fit")),
    ]
    table = CliRunner().invoke(stowage.app, ["compare", *runs, "--csv", str(tmp_path / "out.csv")])
    assert table.exit_code == 0, table.output
    assert "3 (+2 [2, 2])" in table.output
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text())))
    assert {"metric": "delay_s.free.p50", "group": "worst-fit", "difference": "2.0"}.items() <= next(
        row for row in rows if row["metric"] == "delay_s.free.p50" and row["group"] == "worst-fit"
    ).items()
    found = json.loads(CliRunner().invoke(stowage.app, ["compare", *runs, "--json"]).output)
    assert found["runs"] == ["a", "b"]
    assert found["metrics"]["delay_s.free.p50"] == {"a": 1.0, "b": 3.0}
    assert found["differences"]["delay_s.free.p50"]["worst-fit"]["low"] == 2.0


def test_any_run_answers_sql(tmp_path: Path) -> None:
    run = str(a_run(tmp_path / "a", jobs_waiting([1, 2])))
    question = "select tier, count(*) as n from attempts group by tier"
    found = CliRunner().invoke(stowage.app, ["sql", run, question, "--json"])
    assert json.loads(found.output) == {"columns": ["tier", "n"], "rows": [["free", 8]]}
    assert "free" in CliRunner().invoke(stowage.app, ["sql", run, question]).output
    broken = CliRunner().invoke(stowage.app, ["sql", run, "select nonsense"])
    assert isinstance(broken.exception, InputError)


def test_a_recording_has_no_options_to_differ_by(tmp_path: Path) -> None:
    decided = {"overcommit": {"cpu_milli": 1.25}, "nodes": "x1"}
    runs = [a_run(tmp_path / "r", policy="recorded", mode="recorded"), a_run(tmp_path / "b", options=decided)]
    assert list(compare(runs).groups) == ["recorded", "best-fit"]
    assert compare(runs).notes == [
        "overload is counted by limits that differ (--overcommit), so do not compare it. "
        "r: beyond what is installed; b: beyond cpu_milli x 1.25"
    ]
    assert compare([runs[1], a_run(tmp_path / "c", options=decided, policy="worst-fit")]).notes == []
    other = a_run(tmp_path / "w", options=decided | {"overcommit": {"cpu_milli": 1.5}})
    assert list(compare([*runs, other]).groups) == [
        "recorded", "best-fit overcommit=cpu_milli=1.25", "best-fit overcommit=cpu_milli=1.5"
    ]  # fmt: skip


def test_welfare_and_tenants_shares_are_resampled_by_job_as_they_are_reported(tmp_path: Path) -> None:
    """The statistic that is resampled, with every job once, is the run's own figure."""
    rows = [
        an_attempt(task, task, task + 5 * (task % 4), task + 90, job=task // 3, tenant="abcde"[task % 5])
        for task in range(60)
    ]
    run = read_run(a_run(tmp_path / "a", rows))
    table = bootstrap._JobTable.read(run)
    found = table.statistic(table.jobs)(np.ones(len(table.jobs), np.int64))
    summary = flatten(run.summary)
    for name in ("welfare.kept", *(f"fairness.{which}_kept_share" for which in ("jain", "min", "low"))):
        assert found[name] == pytest.approx(summary[name], rel=1e-6)


def test_welfare_has_an_interval_over_jobs(tmp_path: Path) -> None:
    rows = [an_attempt(task, 0, task % 7, 100, tenant="ab"[task % 2]) for task in range(40)]
    later = [an_attempt(task, 0, 10 + task % 7, 100, tenant="ab"[task % 2]) for task in range(40)]
    comparison = compare([a_run(tmp_path / "a", rows), a_run(tmp_path / "b", later, policy="worst-fit")])
    found = comparison.differences["welfare.kept"]["worst-fit"]
    assert found.method == "jobs"
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.difference <= found.high < 0
