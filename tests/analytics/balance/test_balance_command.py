"""`stowage balance` end to end on small files and a small trace."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import stowage
from analytics.balance.cluster_file import read_cluster
from analytics.balance.instance_file import read_instance, write_instance
from analytics.balance.trace_cut import Cut, TraceInstant
from analytics.errors import InputError
from scheduler.core.balance.migration import MIB, Channel
from scheduler.core.balance.move_price import UsualMove, price_moves
from scheduler.core.balance.solve import balance as balance_core
from tests.analytics.auction.files import a_node, a_pod
from tests.analytics.small_traces import SmallTrace, ran

INSTANCE = {
    "kind": "StowageBalance",
    "version": 1,
    "nodes": [{"name": "n1", "capacity": {"cpu": 9}}, {"name": "n2", "capacity": {"cpu": 9}}],
    "tasks": [
        {"name": "large", "node": "n1", "use": {"cpu": 6}, "cost": 9},
        {"name": "small", "node": "n1", "use": {"cpu": 4}, "cost": 2, "group": "job"},
        {"name": "later", "request": {"cpu": 3}, "priority": 1, "nodes": ["n2"]},
    ],
}


def a_file(folder, content=INSTANCE):
    path = folder / "input.json"
    path.write_text(json.dumps(content))
    return path


def balance(*words):
    answer = CliRunner().invoke(stowage.app, ["balance", *map(str, words), "--budget", "0.05s"], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    return answer.stdout


def test_moves_say_from_where_to_where_at_what_cost_and_why(tmp_path):
    found = json.loads(balance(a_file(tmp_path), "--json"))
    assert found["moves"] == [
        {"task": "later", "from": None, "to": "n2", "cost": 0, "why": "it waited"},
        {"task": "small", "from": "n1", "to": "n2", "cost": 2, "why": "n1 lacks 1 cpu"},
    ]
    assert (found["verdict"], found["gap"], found["bound"]["cost"]) == ("optimal", 0.0, 2)
    assert found["before"]["overload"] == pytest.approx(1 / 9)
    assert found["after"]["overload"] == 0
    assert "n1 lacks 1 cpu" in balance(a_file(tmp_path))


def test_all_methods_stand_in_one_table(tmp_path):
    text = balance(a_file(tmp_path), "--compare")
    assert all(name in text for name in ("cover", "seeded-genetic", "full-scan", "optimal"))


def test_a_file_that_was_written_reads_back_the_same(tmp_path):
    copy = tmp_path / "copy.json"
    balance(a_file(tmp_path), "-o", copy)
    again = read_instance(copy, json.loads(copy.read_text()))
    assert write_instance(again) == copy.read_text()
    assert again.tasks.tolist() == ["large", "later", "small"]
    assert again.can_arrive().tolist() == [[False, True], [False, True], [False, True]]


def test_a_cluster_is_balanced_by_requests_and_its_bare_pods_stay(tmp_path):
    owned = a_pod("a", cpu="3", node="x")
    owned["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "name": "r", "uid": "u", "controller": True}]
    items = [a_node("x"), a_node("y"), owned, a_pod("b", cpu="2", node="x")]
    found = json.loads(balance(a_file(tmp_path, {"kind": "List", "items": items}), "--json"))
    assert [(move["task"], move["to"]) for move in found["moves"]] == [("shop/a", "y")]
    assert any("1 pods must not move" in note for note in found["notes"])


TEAMS = {
    **INSTANCE,
    "nodes": [
        {"name": "n1", "capacity": {"cpu": 9}, "domains": {"nic": "ib", "rack": "a"}},
        {"name": "n2", "capacity": {"cpu": 9}, "domains": {"nic": "roce", "rack": "a"}},
        {"name": "n3", "capacity": {"cpu": 9}, "domains": {"nic": "ib", "rack": "b"}},
        {"name": "n4", "capacity": {"cpu": 9}},
    ],
    "tasks": [
        {"name": "large", "node": "n1", "use": {"cpu": 9}, "together": {"nic": "stage-0", "rack": "stage-0"}},
        {"name": "later", "request": {"cpu": 3}, "together": {"nic": "stage-0", "rack": "stage-0"}},
        {"name": "other", "request": {"cpu": 9}, "together": {"nic": "stage-1"}},
    ],
    "preferred": ["rack"],
}


def test_a_file_says_who_shares_a_nic_and_prefers_a_rack(tmp_path):
    copy = tmp_path / "copy.json"
    found = json.loads(balance(a_file(tmp_path, TEAMS), "-o", copy, "--json"))
    assert [(move["task"], move["to"]) for move in found["moves"]] == [("later", "n3"), ("other", "n2")]
    assert any("not kept together in one rack" in reason for reason in found["reasons"])
    again = read_instance(copy, json.loads(copy.read_text()))
    assert [(one.name, one.is_hard, one.values) for one in again.domains] == [
        ("nic", True, ("ib", "roce")),
        ("rack", False, ("a", "b")),
    ]
    assert write_instance(again) == copy.read_text()


@pytest.mark.parametrize(
    ("words", "to"), [((), "z"), (("--nic-label", "fabric"), "y"), (("--same-rack", "required"), None)]
)
def test_pods_of_a_data_parallel_group_share_the_nic_that_labels_name(tmp_path, words, to):
    keys = ("stowage.dev/nic-type", "topology.kubernetes.io/rack", "fabric")
    nodes = {"x": ("ib", "a", "f"), "y": ("roce", "a", "f"), "z": ("ib", "b", "g")}
    items = [a_node(name, labels=dict(zip(keys, values, strict=True))) for name, values in nodes.items()]
    for pod in (a_pod("a", cpu="3", node="x"), a_pod("b", cpu="3")):
        pod["metadata"]["labels"] = {"stowage.dev/data-parallel-group": "stage-0"}
        items.append(pod)
    found = json.loads(balance(a_file(tmp_path, {"kind": "List", "items": items}), *words, "--json"))
    assert [move["to"] for move in found["moves"]] == ([] if to is None else [to])


def a_trace():
    trace = SmallTrace()
    for machine in (1, 2):
        trace.machine(machine, cpu=1000, memory=1000)
    for index in range(3):
        trace.task(ran(0, 5, 60, on=1), job=7, index=index, cpu=500, memory=100 + index)
    trace.task(ran(0, 30, 60, on=2), job=8, cpu=500, memory=100)
    return trace


def test_a_cut_of_a_trace_has_what_runs_then(tmp_path):
    trace = a_trace().write(tmp_path / "trace")
    instant = TraceInstant(trace, 10_000_000)
    instance, notes = instant.cut(Cut(10_000_000, nodes=2))
    assert instance.capacity.tolist() == [[1250, 1100], [1250, 1100]]
    assert instance.home.tolist() == [0, 0, 0]
    assert instance.cost.tolist() == price_moves([100, 101, 102])[0]
    assert any("1.25 x cpu_milli" in note for note in notes)
    drawn = [instant.cut(Cut(10_000_000, nodes=1, seed=seed))[0].nodes.tolist() for seed in range(8)]
    assert {"machine-1"} <= set(np.ravel(drawn))
    found = json.loads(balance(tmp_path / "trace", "--at", "10s", "--json"))
    assert [(move["task"], move["cost"]) for move in found["moves"]] == [("task-7-0", int(instance.cost[0]))]


@pytest.mark.parametrize(
    ("channel", "reason"),
    [(Channel(0, MIB), "the link has no bandwidth"), (Channel(1e6, MIB), "memory is written at 125000000 bytes/s")],
)
def test_tasks_whose_move_is_refused_stay_and_the_reason_is_told(tmp_path, channel, reason):
    instant = TraceInstant(a_trace().write(tmp_path / "trace"), 10_000_000)
    instance, notes = instant.cut(Cut(10_000_000, nodes=2, move=UsualMove(channel)))
    assert instance.pinned.all()
    assert f"3 tasks cannot be moved and stay: task-7-0: {reason}" in notes[-1]
    assert "tasks that cannot leave machine-1 use 250 cpu_milli more" in balance_core(instance).reasons[0]


def test_link_and_dirty_rate_can_be_said_where_the_file_does_not_say_what_a_move_costs(tmp_path):
    a_trace().write(tmp_path / "trace")
    found = json.loads(balance(tmp_path / "trace", "--at", "10s", "--json", "--dirty-mib-s", "0"))
    assert [move["cost"] for move in found["moves"]] == [220]  # 100 MiB, and for 0.1 s what 10 Gbit/s send
    assert price_moves([100])[0][0] > 220
    found = json.loads(balance(tmp_path / "trace", "--at", "10s", "--json", "--bandwidth-mbit-s", "0"))
    assert found["moves"] == []
    assert found["notes"][-1] == "3 tasks cannot be moved and stay: task-7-0: the link has no bandwidth"
    with pytest.raises(InputError, match="says what each move costs"):
        balance(a_file(tmp_path), "--bandwidth-mbit-s", "0")


def test_a_pod_whose_move_is_refused_stays_and_one_that_waits_does_not(tmp_path):
    owned = a_pod("a", cpu="3", node="x")
    owned["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "name": "r", "uid": "u", "controller": True}]
    content = {"kind": "List", "items": [a_node("x"), a_node("y"), owned, a_pod("b", cpu="2")]}
    instance, notes = read_cluster(tmp_path, json.dumps(content).encode(), UsualMove(Channel(0, MIB)))
    assert instance.pinned.tolist() == [True, False]
    assert instance.cost.tolist() == [1, 0]
    assert notes[-1] == "1 tasks cannot be moved and stay: shop/a: the link has no bandwidth"


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"nodes": INSTANCE["nodes"][:1] * 2}, "2 nodes are named 'n1'; names are unique"),
        ({"tasks": [{"name": "a", "node": "n9"}]}, "task 'a' runs on node 'n9', which is not in the file"),
        ({"tasks": [{"name": "a", "nodes": ["n9"]}]}, "task 'a' may use node 'n9', which is not in the file"),
        ({"tasks": [{"name": "a", "use": {"cpu": -1}}]}, "cpu is -1; an amount is at least 0"),
        ({"tasks": [{"name": "a", "colour": 1}]}, "unknown field `colour`"),
        ({"tasks": [{"name": "a", "together": {"nic": "x"}}]}, "together with others in one 'nic', which no node has"),
        ({"preferred": ["rack"]}, "'rack' is preferred, and no node has it"),
    ],
)
def test_a_broken_file_is_refused_with_its_rule(tmp_path, change, rule):
    path = a_file(tmp_path)
    with pytest.raises(InputError) as refusal:
        read_instance(path, {**INSTANCE, **change})
    assert str(path) in str(refusal.value)
    assert rule in str(refusal.value)


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "is no JSON"),
        (json.dumps(INSTANCE).encode()[:-9], "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"\xff\xfe\xff", "is no JSON"),
        (b"null", "not a snapshot"),
        (b'{"kind": "Deployment"}', "not a snapshot"),
        (json.dumps({**INSTANCE, "version": 9}).encode(), "Invalid enum value 9"),
        (json.dumps(INSTANCE).replace('"cost": 9', '"cost": NaN').encode(), "got `float` - at `$.tasks[0].cost`"),
        (json.dumps(INSTANCE).replace('"cpu": 6', '"cpu": -6').encode(), "cpu is -6; an amount is at least 0"),
        (json.dumps(INSTANCE).replace('"cpu": 6', f'"cpu": {10**30}').encode(), "is at least 0 and below 2^40"),
    ],
)
def test_what_is_no_instance_is_refused_with_the_file_and_the_rule(tmp_path, data, rule):
    path = tmp_path / "input.json"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"input\.json|not a snapshot") as refusal:
        CliRunner().invoke(stowage.app, ["balance", str(path)], catch_exceptions=False)
    assert rule in str(refusal.value)


def test_a_file_with_a_byte_order_mark_is_read(tmp_path):
    path = a_file(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert "n1 lacks 1 cpu" in balance(path)


@pytest.mark.parametrize(
    ("nodes", "tasks", "reason"),
    [
        ([], [], "there are no tasks"),
        ([], [{"name": "a"}], "there are no nodes"),
        (INSTANCE["nodes"], [{"name": "a", "request": {"cpu": 10}}], "it asks for more than any node has"),
        (INSTANCE["nodes"], [{"name": "a", "node": "n1", "use": {"cpu": 10}}], "no placement is stable"),
        ([{"name": "n1", "capacity": {}}], [{"name": "a", "node": "n1"}], None),
    ],
)
def test_what_cannot_be_balanced_is_an_answer_with_a_reason(tmp_path, nodes, tasks, reason):
    found = json.loads(balance(a_file(tmp_path, {**INSTANCE, "nodes": nodes, "tasks": tasks}), "--json"))
    assert found["moves"] == []
    assert reason is None or reason in " ".join(found["reasons"])


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (["--method", "magic"], "--method magic: choose cover, greedy"),
        (["--at", "1h"], "is no imported trace"),
        (["--budget", "0s"], "longer than nothing"),
        (["--same-rack", "maybe"], "--same-rack maybe: choose preferred, required, off"),
    ],
)
def test_wrong_options_are_refused(tmp_path, words, rule):
    with pytest.raises(InputError) as refusal:
        CliRunner().invoke(stowage.app, ["balance", str(a_file(tmp_path)), *words], catch_exceptions=False)
    assert rule in str(refusal.value)
