import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from analytics.packing_bench import (
    Answer,
    ResultsFile,
    count_by_priority,
    find_breaches,
    judge,
    make_case,
    run_grid,
    select_methods,
)
from analytics.packing_default import PENDING
from analytics.packing_instances import Cell, PackingInstance
from stowage import app

CELL = Cell(4, 4, 4, 95)


def an_instance(demand: list[int], priority: list[int], capacity: int = 10, nodes: int = 2) -> PackingInstance:
    cell = Cell(nodes, 1, max(priority), 100)
    return PackingInstance(
        cell,
        0,
        np.array([capacity, capacity]),
        np.array([[d, d] for d in demand]),
        np.array(priority),
        np.arange(len(demand)),
    )


def breaches(instance: PackingInstance, start: list[int], plan: list[int], method: str = "no-harm") -> str:
    return " ".join(find_breaches(instance, np.array(start), np.array(plan), method))


def test_a_lawful_plan_has_no_breaches() -> None:
    assert breaches(an_instance([6, 4, 6], [1, 1, 1]), [0, 1, PENDING], [0, 0, 1]) == ""


def test_an_overfull_node_is_a_breach() -> None:
    assert "node 0 holds [12, 12]" in breaches(an_instance([6, 6], [1, 1]), [0, PENDING], [0, 0])


def test_a_node_that_does_not_exist_is_a_breach() -> None:
    assert "does not exist" in breaches(an_instance([6], [1]), [PENDING], [2])


def test_moving_a_more_important_pod_for_a_less_important_one_is_a_breach_unless_the_order_allows_it() -> None:
    instance = an_instance([4, 4, 6], [2, 1, 1])
    assert "1 running pods of priority 2" in breaches(instance, [0, 1, PENDING], [1, 1, 0])
    assert breaches(instance, [0, 1, PENDING], [1, 1, 0], "max-pack") == ""


def test_a_more_important_pod_may_move_for_its_equal() -> None:
    assert breaches(an_instance([4, 4, 6], [2, 2, 2]), [0, 1, PENDING], [1, 1, 0]) == ""


def test_losing_a_running_pod_of_the_top_tiers_is_a_breach() -> None:
    assert "0 pods of priority 2" in breaches(an_instance([6, 6], [2, 1]), [0, PENDING], [PENDING, 0])


def test_placed_pods_are_counted_from_the_highest_priority_down() -> None:
    assert count_by_priority(an_instance([1, 1, 1], [1, 3, 3]), np.array([0, 1, PENDING])) == (1, 0, 1)


def test_an_unplaced_answer_keeps_the_start_and_is_a_failure() -> None:
    case = make_case(CELL, 102)
    assert max(case.pending) > 0
    outcome = judge(case, "paper", 1.0, Answer(None, "UNKNOWN", False, False, 0.8))
    assert (outcome.klass, outcome.placed, outcome.moved) == ("failed", outcome.start, 0)


def test_finished_runs_are_not_run_again_and_a_cut_line_is(tmp_path: Path) -> None:
    calls = []

    def method(instance: PackingInstance, start: np.ndarray, limit_s: float, workers: int | None) -> Answer:
        calls.append(instance.seed)
        return Answer(start, "FEASIBLE", False, False, 0.1)

    def run() -> int:
        return sum(len(o) for o in run_grid([CELL], [102, 103], {"no-harm": method}, 1.0, ResultsFile(path)))

    path = tmp_path / "results.jsonl"
    assert run() == 2
    first = list(calls)
    assert run() == 2
    assert calls == first
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:40]]))
    assert run() == 2
    assert len(calls) == len(first) + 1


def test_another_limit_or_start_is_another_run(tmp_path: Path) -> None:
    results = ResultsFile(tmp_path / "results.jsonl")
    methods = select_methods(["paper"])
    cell = Cell(4, 4, 1, 100)
    for limit_s, preempting in ((0.5, False), (0.5, True), (0.4, False)):
        list(run_grid([cell], [101], methods, limit_s, results, workers=1, preempting_start=preempting))
    assert len(results.done) == 3


def test_the_command_prints_one_json_object_and_a_row_per_run(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    answer = CliRunner().invoke(
        app,
        ["bench", "packing", "--methods", "paper", "--nodes", "4", "--pods-per-node", "4", "--usage", "100",
         "--seeds", "2", "--limit", "500ms", "--workers", "1", "--json", "--csv", str(rows), "--quiet"],
    )  # fmt: skip
    assert answer.exit_code == 0, answer.output
    result = json.loads(answer.stdout)
    assert result["methods"]["paper"]["instances"] == 2
    assert result["machine"]["cores"] >= 1
    assert len(rows.read_text().splitlines()) == 3


def test_the_table_shows_the_published_row_beside_ours(shared_data: Callable[[str], Path]) -> None:
    shared_data("packing")
    answer = CliRunner().invoke(
        app,
        ["bench", "packing", "--methods", "paper", "--nodes", "4", "--pods-per-node", "4", "--seeds", "1",
         "--workers", "1", "--quiet"],
    )  # fmt: skip
    assert answer.exit_code == 0, answer.output
    assert "published" in answer.stdout
    assert "improved/proven by usage_pct" in answer.stdout


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--methods", "gurobi", "methods are"),
        ("--methods", "", "methods are"),
        ("--limit", "fast", "--limit takes a time"),
        ("--limit", "0s", "--limit takes a time"),
        ("--nodes", "4,x", "--nodes takes whole numbers"),
        ("--usage", "0", "--usage must be at least 1"),
        ("--seeds", "many", "seeds are a count"),
    ],
)
def test_bad_options_name_the_rule(option: str, value: str, message: str) -> None:
    answer = CliRunner().invoke(app, ["bench", "packing", option, value])
    assert message in str(answer.exception)
    assert answer.exception is not None
    assert answer.exception.exit_code == 2  # type: ignore[attr-defined]


def test_rows_are_not_written_over_without_force(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("mine")
    answer = CliRunner().invoke(app, ["bench", "packing", "--csv", str(rows)])
    assert "--force" in str(answer.exception)
    assert rows.read_text() == "mine"
