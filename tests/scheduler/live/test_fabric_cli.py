"""`stowage fabric`: what a job is told, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


def run(*words: str, given: Any = None) -> subprocess.CompletedProcess[str]:
    text = given if isinstance(given, str) else json.dumps(given)
    return subprocess.run(
        [sys.executable, str(ROOT / "stowage.py"), "fabric", *words], input=text, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip


def a_fabric(**more: Any) -> dict[str, Any]:
    """Two leaves, two spines, four connections from one to the other."""
    connections = [{"name": f"rank{i}->rank{i + 4}", "source": 0, "target": 1} for i in range(4)]
    return {"leaves": 2, "spines": 2, "connections": connections, **more}


def test_every_connection_is_told_its_spine_and_a_source_port_that_leads_there() -> None:
    catalogue = [{"source": 0, "target": 1, "spine": k, "port": 50_000 + 10 * k + i} for k in (0, 1) for i in (0, 1)]
    done = run("-", "--json", given=a_fabric(catalogue=catalogue))
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["max_load"], told["ideal"], told["ratio"], told["split_flows"]) == (2.0, 2.0, 1.0, 0)
    assert sorted(one["port"] for one in told["paths"]) == [50_000, 50_001, 50_010, 50_011]
    assert all(one["port"] // 10 % 10 == one["spine"] for one in told["paths"])
    assert told["beside"]["ecmp_1"] > told["beside"]["ecmp_8"] >= told["ideal"]


def test_a_link_that_is_down_is_not_used() -> None:
    done = run("-", "--json", given=a_fabric(links=[{"leaf": 1, "spine": 0}]))
    told = json.loads(done.stdout)
    assert {one["spine"] for one in told["paths"]} == {1}
    assert told["ideal"] == told["max_load"] == 4.0


def test_the_table_says_what_is_compared() -> None:
    done = run("-", "--whole", given=a_fabric(lost_spines=[1]))
    assert done.returncode == 0, done.stderr
    assert "4 connections, 4 of them over spines, 0 split" in done.stdout
    assert "greedy" in done.stdout
    assert "ecmp_8" in done.stdout


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("{", "not a fabric"),
        ({"leaves": 2}, "spines"),
        (a_fabric(colour=1), "colour"),
        (a_fabric(leaves=0), "at least one of each"),
        (a_fabric(leaves=10**9, spines=10**9), "at most 10,000,000 links"),
        (a_fabric(lost_spines=[0, 1]), "every link is down"),
        (a_fabric(lost_spines=[2]), "lost_spines is 2: there are 2"),
        (a_fabric(links=[{"leaf": 2, "spine": 0}]), r"links[0].leaf is 2"),
        (a_fabric(planes=[0, 1]), "different planes"),
        (a_fabric(planes=[0]), "1 planes for 2 leaves"),
        (a_fabric(connections=[{"name": "a", "source": 0, "target": 7}]), "its target is leaf 7"),
    ],
)
def test_what_is_wrong_is_said(given: Any, says: str) -> None:
    done = run("-", given=given)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_no_connections_are_no_load() -> None:
    told = json.loads(run("-", "--json", given=a_fabric(connections=[])).stdout)
    assert (told["max_load"], told["ideal"], told["ratio"], told["paths"]) == (0.0, 0.0, 1.0, [])
