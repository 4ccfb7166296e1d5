"""`stowage pack`, `explain`, `fit`: JSON keys, readable plans, bad usage and bad input."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from stowage import app
from tests.scheduler.core.packing import kubectl_list


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    path = tmp_path_factory.mktemp("snapshot") / "cluster.json"
    path.write_bytes(kubectl_list.as_bytes())
    return str(path)


def run(*words):
    return CliRunner().invoke(app, list(words))


def test_pack_prints_one_json_object_with_the_promised_keys(snapshot):
    result = run("pack", snapshot, "--budget", "3s", "--json")
    assert result.exit_code == 0, result.output
    plan = json.loads(result.stdout)
    promised = {
        "verdict",
        "placed",
        "bound",
        "moves",
        "evicted",
        "placements",
        "unplaced",
        "moves_verdict",
        "moves_bound",
        "seconds",
    }
    assert promised <= set(plan)
    assert plan["verdict"] in ("optimal", "feasible")
    assert plan["placed"]["1000"] == 12
    assert set(plan["moves"][0]) == {"pod", "from", "to"}
    assert plan["placements"]["shop/web-5"]


def test_pack_prints_a_plan_to_read(snapshot):
    result = run("pack", snapshot, "--budget", "2s", "--order", "max-pack")
    assert result.exit_code == 0
    assert "in order max-pack" in result.stdout
    assert "place shop/web-5" in result.stdout


def test_deterministic_pack_prints_the_same_bytes_twice(snapshot):
    first, second = (
        run("pack", snapshot, "--budget", "300ms", "--deterministic", "--seed", "3", "--json") for _ in range(2)
    )
    assert first.stdout == second.stdout


def test_pack_minimises_nodes(snapshot):
    result = run("pack", snapshot, "--minimise", "nodes", "--budget", "2s", "--json")
    answer = json.loads(result.stdout)
    assert {"worker-7", "worker-8"} <= set(answer["drained"])
    assert answer["nodes_after"] >= answer["bound"]
    assert "control-plane" in answer["kept"]


def test_explain_names_causes_and_the_smallest_change(snapshot):
    result = run("explain", snapshot, "train-big", "--budget", "20s", "--json")
    answer = json.loads(result.stdout)
    assert (answer["verdict"], answer["answer"]) == ("optimal", "impossible")
    assert answer["conflict"] == ["room for nvidia.com/gpu"]
    assert set(answer["causes"][0]) == {"rule", "nodes", "example"}
    assert answer["smallest_change"] == "ask for 4 less nvidia.com/gpu (4)"


def test_fit_reads_yaml(snapshot, tmp_path):
    manifest = tmp_path / "pod.yaml"
    manifest.write_text(
        "kind: Pod\nmetadata: {name: one}\nspec: {containers: [{name: c, resources: {requests: {cpu: 100m}}}]}\n"
    )
    answer = json.loads(run("fit", snapshot, str(manifest), "--json").stdout)
    assert {"verdict", "nodes", "victims", "nearest_shape"} <= set(answer)
    assert answer["answer"] == "fits"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "not a snapshot"),
        ('{"kind": "List", "items": []}', "holds no nodes"),
        (
            '{"kind": "StowageSnapshot", "version": 1, "pods": [], "nodes": [{"name": "a", "allocatable": {"x": -4}}]}',
            "out of range",
        ),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(content, message, tmp_path):
    path = tmp_path / "bad.json"
    path.write_text(content)
    done = subprocess.run(
        [sys.executable, "stowage.py", "pack", str(path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_own_snapshot_without_nodes_or_pods_has_a_defined_answer(tmp_path):
    path = tmp_path / "empty.json"
    path.write_text('{"kind": "StowageSnapshot", "version": 1, "nodes": [], "pods": [{"name": "p"}]}')
    plan = json.loads(run("pack", str(path), "--json").stdout)
    assert plan["verdict"] == "optimal"
    assert plan["unplaced"][0]["verdict"] == "impossible"


@pytest.mark.parametrize(
    "words", [["--budget", "soon"], ["--budget", "-1s"], ["--order", "best"], ["--minimise", "cost"]]
)
def test_bad_usage_is_refused(words, snapshot):
    error = run("pack", snapshot, *words).exception
    assert getattr(error, "exit_code", None) == 2
    assert words[0] in str(error)
