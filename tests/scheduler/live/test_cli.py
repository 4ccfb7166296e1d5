"""`stowage policies` lists what there is, for people and for scripts."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest
from typer.testing import CliRunner

from scheduler.core import policies
from stowage import app

BUILT_IN = [
    "auction", "best-fit", "dot-product", "drf", "first-fit", "kube-default", "most-allocated", "packing", "random",
    "worst-fit",
]  # fmt: skip


def test_policies_prints_one_json_object_with_name_summary_and_taxonomy() -> None:
    result = CliRunner().invoke(app, ["policies", "--json"])
    assert result.exit_code == 0
    rows = json.loads(result.stdout)["policies"]
    assert [row["name"] for row in rows] == BUILT_IN
    assert all(row["summary"] for row in rows)
    assert {(row["class"], row["control"]) for row in rows} == {("cluster", "central")}
    assert {row["name"] for row in rows if row["method"] == "exact"} == {"packing"}


def test_policies_prints_a_plain_table_when_not_on_a_terminal() -> None:
    result = CliRunner().invoke(app, ["policies"])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["name", "class", "control", "method", "summary"]
    assert [line.split()[0] for line in lines[1:]] == BUILT_IN
    assert "\x1b" not in result.stdout


def test_a_broken_installed_policy_is_reported_and_the_others_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint(name="theirs", value="no_such_module:POLICY", group=policies.ENTRY_POINT_GROUP)
    monkeypatch.setattr(policies, "entry_points", lambda group: [point])
    result = CliRunner().invoke(app, ["policies", "--json"])
    assert result.exit_code == 0
    assert "policy theirs from entry point" in result.stderr
    assert [row["name"] for row in json.loads(result.stdout)["policies"]] == BUILT_IN


def test_loading_the_command_imports_no_heavy_library() -> None:
    check = "import sys, stowage; sys.exit(bool({'numba', 'numpy', 'duckdb', 'pyarrow', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
