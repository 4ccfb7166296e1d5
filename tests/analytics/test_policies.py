"""`stowage policies` lists what there is, for people and for scripts; whoever joins a registry declares itself."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import Any, get_args

import pytest
from typer.testing import CliRunner

from analytics.auction import mechanisms
from analytics.errors import InputError
from analytics.policy_list import KINDS, list_policies
from scheduler.core import policies
from scheduler.core.balance import methods, solve
from scheduler.core.errors import StowageInputError
from scheduler.core.gpu import fragmentation_choice
from scheduler.core.packing import orders
from scheduler.core.packing.problem import Order
from scheduler.core.serverless import get_serverless_policy, serverless_policy_names
from scheduler.core.taxonomy import UNDECLARED, Taxonomy
from stowage import app


def rows_of(*words: str) -> list[dict[str, Any]]:
    result = CliRunner().invoke(app, ["policies", "--json", *words])
    assert result.exit_code == 0
    found: list[dict[str, Any]] = json.loads(result.stdout)["policies"]
    return found


def test_every_policy_of_every_registry_is_listed_with_what_it_declares() -> None:
    rows = rows_of()
    by_kind = {kind: [row["name"] for row in rows if row["kind"] == kind] for kind in KINDS}
    assert by_kind["replay"] == list(policies.policy_names())
    assert by_kind["serverless"] == list(serverless_policy_names())
    assert by_kind["balance"] == sorted(solve.METHODS)
    assert by_kind["auction"] == sorted(mechanisms.MECHANISMS)
    assert by_kind["packing"] == sorted(orders.ORDERS)
    assert by_kind["shared-gpus"] == sorted(fragmentation_choice.POLICIES)
    assert all(row["summary"] and row["class"] and row["control"] and row["method"] for row in rows)
    where = {(row["kind"], row["name"]): (row["class"], row["control"], row["method"]) for row in rows}
    assert where["replay", "packing"] == where["balance", "cp-sat"] == ("cluster", "central", "exact")
    assert where["balance", "tabu"] == where["replay", "rebalance:tabu"] == ("cluster", "central", "metaheuristic")
    assert where["flows", "ecmp"] == ("cluster", "decentralised", "greedy")
    assert where["replay", "drf"][0] == "big-data"


def test_who_joins_a_registry_and_declares_nothing_is_found() -> None:
    built_in = [policies.get_policy(name) for name in policies.policy_names() if name not in policies._installed()]
    silent = [policy.name for policy in built_in if policy.taxonomy is UNDECLARED]
    silent += [name for name in serverless_policy_names() if get_serverless_policy(name).taxonomy is UNDECLARED]
    assert silent == []
    assert set(solve.SEARCHES) == set(methods.DECLARED)
    assert set(mechanisms.MECHANISMS) == set(mechanisms.DECLARED)
    assert {*get_args(Order), "paper"} == set(orders.DECLARED)


def test_one_kind_alone_and_no_unknown_one() -> None:
    assert {row["kind"] for row in rows_of("--kind", "balance")} == {"balance"}
    with pytest.raises(InputError, match="--kind magic: choose replay, packing, balance"):
        list_policies("magic")
    with pytest.raises(StowageInputError, match="taxonomy 'fog' is none of OS-level, cluster, big-data"):
        Taxonomy(level="fog")  # type: ignore[arg-type]


def test_policies_prints_a_plain_table_when_not_on_a_terminal() -> None:
    result = CliRunner().invoke(app, ["policies"])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["name", "kind", "class", "control", "method", "summary"]
    assert [line.split()[:2] for line in lines[1:]] == [[row["name"], row["kind"]] for row in rows_of()]
    assert "\x1b" not in result.stdout


def test_a_broken_installed_policy_is_reported_and_the_others_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [row["name"] for row in rows_of("--kind", "replay")]
    point = EntryPoint(name="theirs", value="no_such_module:POLICY", group=policies.ENTRY_POINT_GROUP)
    monkeypatch.setattr(policies, "entry_points", lambda group: [point])
    result = CliRunner().invoke(app, ["policies", "--kind", "replay", "--json"])
    assert result.exit_code == 0
    assert "policy theirs from entry point" in result.stderr
    assert [row["name"] for row in json.loads(result.stdout)["policies"]] == before


def test_loading_the_command_imports_no_heavy_library() -> None:
    check = "import sys, stowage; sys.exit(bool({'numba', 'numpy', 'duckdb', 'pyarrow', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
