"""Every metric against a plain-Python recomputation or a number worked out by hand."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from builders import S, a_run, a_sample, an_attempt, some_facts, some_tables

from analytics import metrics, runs
from analytics.cost import CostModel
from analytics.errors import InputError
from analytics.runs import read_run

CLOSES_S = 1000


def summary_of(tmp_path: Path, placements: list[dict[str, Any]], **tables: Any) -> dict[str, Any]:
    return read_run(a_run(tmp_path / "run", placements, **tables)).summary


def random_attempts(seed: int, count: int = 400) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    rows = []
    for task in range(count):
        submit_s = draw.randint(0, 900)
        delay_s = draw.choice([0, 0, 1, draw.randint(0, 300)])
        start_s = submit_s + delay_s if submit_s + delay_s < CLOSES_S and draw.random() < 0.9 else None
        ended = draw.random() < 0.5
        end_s = min((start_s or submit_s) + draw.randint(1, 300), CLOSES_S) if ended else None
        rows.append(
            an_attempt(
                task,
                submit_s,
                start_s,
                end_s,
                job=task // 5,
                tenant=draw.choice("abcd"),
                priority=draw.choice([0, 1, 4, 9, 25]),
                cpu_milli=draw.randint(1, 4000),
                memory_mib=draw.randint(1, 9000),
                evictions=draw.choice([0, 0, 2]),
                preemptions=draw.choice([0, 0, 1]),
                initial=start_s == submit_s == 0,
            )
        )
    return rows


def nearest_rank(values: list[float], percent: int) -> float:
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


def kaplan_meier(waits: list[tuple[float, bool]], percent: int) -> float | None:
    """The first time by which `percent` are estimated to have started, from (wait, did it start)."""
    still_waiting = 1.0
    for time in sorted({wait for wait, _ in waits}):
        at_risk = sum(wait >= time for wait, _ in waits)
        started = sum(wait == time and start for wait, start in waits)
        still_waiting *= 1 - started / at_risk
        if started and still_waiting <= 1 - percent / 100 + 1e-9:
            return time
    return None


def tier_of(priority: int) -> str:
    return {0: "free", 1: "free", 4: "middle", 9: "production"}.get(priority, "other")


def wait_of(row: dict[str, Any]) -> float:
    until_us = row["start_us"] if row["start_us"] is not None else row["end_us"]
    return ((CLOSES_S * S if until_us is None else until_us) - row["submit_us"]) / S


@pytest.mark.parametrize("seed", range(3))
def test_delays_and_counts_equal_plain_python(tmp_path: Path, seed: int) -> None:
    rows = random_attempts(seed)
    summary = summary_of(tmp_path, rows)
    for tier in ("free", "middle", "production", "other", "all"):
        mine = [row for row in rows if tier in ("all", tier_of(row["priority"]))]
        waiting = [row for row in mine if not row["initial"]]
        delays = [wait_of(row) for row in waiting if row["start_us"] is not None]
        found = summary["delay_s"][tier]
        assert [found["p50"], found["p90"], found["p99"]] == [nearest_rank(delays, p) for p in (50, 90, 99)]
        assert found["mean"] == pytest.approx(sum(delays) / len(delays))
        assert found["started"] == len(delays)
        waits = [(wait_of(row), row["start_us"] is not None) for row in waiting]
        assert summary["delay_censored_s"][tier] == {f"p{p}": kaplan_meier(waits, p) for p in (50, 90, 99)}
        late = sum(wait > 60 if started else wait >= 60 for wait, started in waits)
        known = sum(started or wait >= 60 for wait, started in waits)
        assert summary["startup_misses"]["tiers"][tier] == {"known": known, "missed": late, "share": late / known}
        outcome = summary["outcomes"][tier]
        assert outcome["never_placed"] == sum(row["start_us"] is None for row in mine)
        assert outcome["evictions"] == sum(row["evictions"] for row in mine)
        assert outcome["preemptions"] == sum(row["preemptions"] for row in mine)
    assert summary["never_placed"] == summary["outcomes"]["all"]["never_placed"]


def test_without_censoring_both_delays_agree(tmp_path: Path) -> None:
    rows = [an_attempt(task, 0, task % 97) for task in range(1000)]
    summary = summary_of(tmp_path, rows)
    plain = {name: summary["delay_s"]["all"][name] for name in ("p50", "p90", "p99")}
    assert summary["delay_censored_s"]["all"] == plain


def test_never_started_attempts_push_the_censored_delay_beyond_what_was_seen(tmp_path: Path) -> None:
    rows = [an_attempt(task, 0, 1) for task in range(98)] + [an_attempt(task, 0, None) for task in (98, 99)]
    summary = summary_of(tmp_path, rows)
    assert summary["delay_s"]["all"]["p99"] == 1
    assert summary["delay_censored_s"]["all"] == {"p50": 1, "p90": 1, "p99": None}


def test_task_counts_as_never_placed_only_if_no_attempt_started(tmp_path: Path) -> None:
    rows = [
        an_attempt(1, 0, None, 5),
        an_attempt(1, 5, 6, attempt=1),
        an_attempt(2, 0, None),
        an_attempt(3, 0, 0),
    ]
    summary = summary_of(tmp_path, rows)
    assert (summary["never_placed"], summary["tasks_never_placed"]) == (2, 1)
    assert summary["outcomes"]["free"]["cancelled"] == 1


def test_copies_of_a_task_are_tasks_of_their_own(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, [an_attempt(1, 0, 0), an_attempt(1, 0, None, copy=1)])
    assert summary["tasks_never_placed"] == 1


def test_tier_named_all_is_not_counted_twice(tmp_path: Path) -> None:
    everything = type(some_facts().tiers[0])("all", 0, 0)
    summary = summary_of(tmp_path, [an_attempt(1, 0, 3), an_attempt(2, 0, 4, priority=7)], tiers=(everything,))
    assert summary["delay_s"]["all"]["started"] == 2
    assert set(summary["outcomes"]) == {"all", "other"}


def test_empty_window_has_metrics_too(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, [])
    assert summary["delay_s"] == {}
    assert summary["never_placed"] == 0
    assert summary["fairness"]["jain_slowdown"] is None


def test_shares_are_weighted_by_time_and_capacity(tmp_path: Path) -> None:
    series = [
        a_sample(0, capacity_cpu_milli=1000, requested_cpu_milli=1000, used_cpu_milli=500, stranded_cpu_milli=0),
        a_sample(300, capacity_cpu_milli=3000, requested_cpu_milli=300, stranded_cpu_milli=600),
    ]
    summary = summary_of(tmp_path, [], series=series)
    offered = 1000 * 300 + 3000 * 700  # the second sample stands for the 700 s until the window ends
    assert summary["utilisation"]["cpu"] == pytest.approx((1000 * 300 + 300 * 700) / offered)
    assert summary["stranded"]["cpu"] == pytest.approx(600 * 700 / offered)
    assert summary["used"]["cpu"] == pytest.approx(0.5)  # only where there is usage
    assert summary["used"]["memory"] is None
    assert summary["peak_utilisation"]["cpu"] == 1.0


def test_fragmentation_is_the_unusable_share_a_common_request_meets(tmp_path: Path) -> None:
    def a_shape(time_s: int, weight: float, unusable: int) -> dict[str, Any]:
        shape = {"cpu_milli": 1, "memory_mib": 1, "disk_mib": 0, "gpu_milli": 0, "fits": 1}
        return shape | {
            "time_us": time_s * S,
            "weight": weight,
            "unusable_cpu_milli": unusable,
            "unusable_memory_mib": 0,
        }

    series = [a_sample(time_s) for time_s in (0, 300, 600, 900)]  # 4,000 millicores each
    shapes = [a_shape(0, 0.75, 400), a_shape(0, 0.25, 2000), a_shape(600, 0.75, 0), a_shape(600, 0.25, 800)]
    summary = summary_of(tmp_path, [], series=series, shapes=shapes)
    assert summary["fragmented"]["cpu"] == pytest.approx((0.75 * 400 + 0.25 * 2000 + 0.25 * 800) / (2 * 4000))


def test_cost_and_energy_are_split_into_useful_stranded_and_idle(tmp_path: Path) -> None:
    # 10 cores for 1,000 s: 6 requested of which 4 busy, 1 stranded, 3 idle; no memory
    series = [
        a_sample(
            capacity_cpu_milli=10_000,
            requested_cpu_milli=6_000,
            used_cpu_milli=4_000,
            stranded_cpu_milli=1_000,
            capacity_memory_mib=0,
            requested_memory_mib=0,
            stranded_memory_mib=0,
        )
    ]
    run = read_run(a_run(tmp_path / "run", [], series=series))
    model = CostModel(core_hour_usd=3.6, gib_hour_usd=0, core_idle_w=2, core_peak_w=5)
    cost = metrics.summarise(run.folder, run.facts, model)["cost"]
    assert cost["usd"] == pytest.approx({"useful": 6.0, "stranded": 1.0, "idle": 3.0, "total": 10.0})
    joules = {"useful": 6 * 2_000 + 4 * 3_000, "stranded": 2_000, "idle": 6_000, "total": 32_000}
    assert cost["joules"] == pytest.approx(joules)


def test_overcommitted_cluster_costs_no_more_than_it_has(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, [], series=[a_sample(requested_cpu_milli=9_000, stranded_cpu_milli=0)])
    assert summary["utilisation"]["cpu"] == 2.25
    assert summary["cost"]["joules"]["idle"] == 0
    assert summary["cost"]["joules"]["useful"] == pytest.approx(4 * 4.0 * CLOSES_S)


def test_fairness_by_hand(tmp_path: Path) -> None:
    # capacity 4 cores and 4 GiB for 1,000 s
    rows = [
        an_attempt(1, 0, 0, 100, tenant="a", cpu_milli=4000, memory_mib=1024),  # never waits: slowdown 1
        an_attempt(2, 0, 100, 200, tenant="b", cpu_milli=1000, memory_mib=4096),  # waits as long as it runs: 2
    ]
    run = read_run(a_run(tmp_path / "run", rows))
    first, second = metrics.tenants(run.folder, run.facts).to_pylist()
    assert (first["dominant_resource"], second["dominant_resource"]) == ("cpu_milli", "memory_mib")
    assert (first["dominant_share"], second["dominant_share"]) == (0.1, 0.1)
    assert (first["served_share"], second["served_share"]) == (1.0, 0.5)
    assert (first["mean_slowdown"], second["mean_slowdown"]) == (1.0, 2.0)
    fairness = run.summary["fairness"]
    assert fairness["jain_slowdown"] == pytest.approx((1 + 2) ** 2 / (2 * (1 + 4)))
    assert fairness["jain_served_share"] == pytest.approx(1.5**2 / (2 * 1.25))
    assert fairness["jain_dominant_share"] == pytest.approx(1.0)
    assert fairness["min_served_share"] == 0.5
    assert fairness["tenants"] == 2


def with_lost_work() -> list[dict[str, Any]]:
    """Quarters of the cluster over 1,000 s; kept, lost and waited seconds are in the comments."""
    return [
        an_attempt(1, 0, 0, 100, tenant="a"),  # 100, 0, 0
        an_attempt(2, 0, 100, 600, tenant="a", priority=9, last_start_us=400 * S, preemptions=1),  # 200, 300, 100
        an_attempt(3, 0, 0, 200, tenant="b", end="EVICT", evictions=1),  # 0, 200, 0
        an_attempt(4, 500, None, tenant="b"),  # 0, 0, 500
        an_attempt(5, 0, 0, tenant="c", last_start_us=None, preemptions=1),  # 0, 1000, 0: waits again at the end
    ]


def test_welfare_counts_the_work_that_was_not_lost_by_its_worth(tmp_path: Path) -> None:
    welfare = summary_of(tmp_path, with_lost_work())["welfare"]
    assert welfare["kept"] == pytest.approx(0.25 * (100 + 4 * 200) / 3600)
    assert welfare["lost"] == pytest.approx(0.25 * (4 * 300 + 200 + 1000) / 3600)
    assert welfare["waiting"] == pytest.approx(0.25 * (4 * 100 + 500) / 3600)


def test_kept_share_of_a_tenant_is_what_it_got_of_what_it_wanted(tmp_path: Path) -> None:
    run = read_run(a_run(tmp_path / "run", with_lost_work()))
    shares = [row["kept_share"] for row in metrics.tenants(run.folder, run.facts).to_pylist()]
    assert shares == pytest.approx([300 / 700, 0, 0])
    fairness = run.summary["fairness"]
    assert fairness["jain_kept_share"] == pytest.approx(1 / 3)
    assert (fairness["min_kept_share"], fairness["low_kept_share"]) == (0, 0)


def test_short_tasks_do_not_decide_the_slowdown(tmp_path: Path) -> None:
    run = read_run(a_run(tmp_path / "run", [an_attempt(1, 0, 20, 21)]))
    assert metrics.tenants(run.folder, run.facts).to_pylist()[0]["mean_slowdown"] == 3.0  # 1 + 20 s / 10 s


def test_tenant_that_was_never_served_has_share_zero(tmp_path: Path) -> None:
    run = read_run(a_run(tmp_path / "run", [an_attempt(1, 0, None, tenant="z")]))
    tenant = metrics.tenants(run.folder, run.facts).to_pylist()[0]
    assert (tenant["served_share"], tenant["mean_delay_s"], tenant["mean_slowdown"]) == (0.0, None, None)


def test_initial_attempts_count_as_load_but_not_as_delay(tmp_path: Path) -> None:
    rows = [an_attempt(1, 0, 0, initial=True), an_attempt(2, 10, 20)]
    summary = summary_of(tmp_path, rows)
    assert summary["delay_s"]["all"]["started"] == 1
    assert summary["outcomes"]["all"]["initial"] == 1


def test_delay_over_time_bins_by_submission(tmp_path: Path) -> None:
    rows = [an_attempt(1, 10, 11), an_attempt(2, 290, 390), an_attempt(3, 300, 307), an_attempt(4, 301, None)]
    run = read_run(a_run(tmp_path / "run", rows))
    bins = metrics.delay_over_time(run.folder, run.facts, bin_us=300 * S).to_pylist()
    assert [(row["time_us"], row["attempts"], row["never_placed"], row["p99"]) for row in bins] == [
        (0, 2, 0, 100.0),
        (300 * S, 2, 1, 7.0),
    ]


def test_node_spread_and_idle_nodes(tmp_path: Path) -> None:
    nodes = [{"node": n, "busy_s": float(n), "share_cpu_milli": n / 10, "share_memory_mib": 0.5} for n in range(10)]
    summary = summary_of(tmp_path, [], nodes=nodes)
    assert summary["nodes"] == {"nodes": 10, "idle": 1}
    assert summary["node_spread"]["cpu"] == {"p10": 0.0, "p50": 0.4, "p90": 0.8}


def test_metrics_do_not_depend_on_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "ROW_GROUP_ROWS", 500)  # many row groups, so that threads share the work
    run = read_run(a_run(tmp_path / "run", random_attempts(7, count=20_000)))
    one, two = (metrics.summarise(run.folder, run.facts, threads=threads) for threads in (1, 2))
    assert one == two == run.summary
    assert metrics.tenants(run.folder, run.facts, threads=1).equals(metrics.tenants(run.folder, run.facts, threads=2))


def test_flatten_names_numbers_and_leaves_settings_out(tmp_path: Path) -> None:
    flat = metrics.flatten(summary_of(tmp_path, [an_attempt(1, 0, 3)]))
    assert flat["delay_s.free.p99"] == 3.0
    assert flat["utilisation.cpu"] == 0.5
    assert not [name for name in flat if "model" in name or "limit_s" in name]


def test_tables_of_a_wrong_type_are_refused(tmp_path: Path) -> None:
    tables = some_tables([an_attempt(1)])
    with pytest.raises(InputError, match="needs the table nodes"):
        runs.write_run(tmp_path / "run", some_facts(), {k: v for k, v in tables.items() if k != "nodes"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("core_hour_usd = -1", "at least 0"),
        ("core_hour_usd = 'x'", "a number"),
        ("core_hour = 1", "not core_hour"),
        ("core_idle_w = 9", "peak power"),
        ("=", "TOML"),
    ],
)
def test_broken_cost_model_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "model.toml").write_text(text)
    with pytest.raises(InputError, match=words):
        CostModel.read(tmp_path / "model.toml")


def test_cost_model_reads_what_it_names_and_keeps_the_rest(tmp_path: Path) -> None:
    (tmp_path / "model.toml").write_text("core_hour_usd = 1")
    assert CostModel.read(tmp_path / "model.toml") == CostModel(core_hour_usd=1)
    assert json.dumps(CostModel().to_json())


def test_overload_counts_intervals_and_their_length(tmp_path: Path) -> None:
    series = [
        a_sample(0, nodes=2, overloaded_nodes=2, overload=0.5),
        a_sample(300, nodes=4, overloaded_nodes=1, overload=0.1),
        a_sample(1000, nodes=4, overloaded_nodes=4, overload=9.0),  # where the window ends: no time
    ]
    found = read_run(a_run(tmp_path / "run", series=series)).summary
    assert found["overloaded_node_intervals"] == 3
    assert found["overload"]["mean"] == pytest.approx((0.5 * 300 + 0.1 * 700) / 1000)
    assert found["overload"]["share"] == pytest.approx((2 * 300 + 700) / (2 * 300 + 4 * 700))


def test_a_run_of_an_earlier_version_has_no_overload(tmp_path: Path) -> None:
    run = read_run(a_run(tmp_path / "run"))
    series = pq.read_table(run.folder / "series.parquet").drop_columns(["overload", "overloaded_nodes"])
    pq.write_table(series, run.folder / "series.parquet")
    found = metrics.summarise(run.folder, run.facts)
    assert found["overloaded_node_intervals"] is None
