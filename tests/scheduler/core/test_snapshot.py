"""Snapshots: kubectl's list, our own file, and what is refused."""

from __future__ import annotations

import json

import pytest

from scheduler.core.snapshot import SnapshotError, a_snapshot, encode_snapshot, parse_snapshot
from tests.scheduler.core.packing import kubectl_list


def a_list(*items):
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(items)}).encode()


def a_node(name="n", **allocatable):
    return {
        "kind": "Node",
        "metadata": {"name": name},
        "status": {"allocatable": {"cpu": "2", "pods": "9", **allocatable}},
    }


def a_pod(name="p", node=None, cpu="1", **meta):
    spec = {
        "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}],
        **({"nodeName": node} if node else {}),
    }
    return {"kind": "Pod", "metadata": {"name": name, "namespace": "d", **meta}, "spec": spec}


def own_file_with_a_pod_on_no_node():
    good = encode_snapshot(parse_snapshot(a_list(a_node(), a_pod(node="n"))))
    return good.replace(b'"node":"n"', b'"node":"gone"')


def test_list_of_a_whole_cluster_is_read():
    snapshot = parse_snapshot(kubectl_list.as_bytes())
    pods = {p.key: p for p in snapshot.pods}
    assert [n.name for n in snapshot.nodes] == sorted(n.name for n in snapshot.nodes)
    assert "batch/old-job" not in pods  # it has ended
    assert pods["shop/web-0"].requests == {"cpu": 900, "memory": 2 * 2**30}
    assert pods["kube-system/etcd-control-plane"].owner_kind == "Node"
    assert pods["batch/scratch-0"].local_volumes == ["tmp"]
    assert pods["ml/train-0"].requests["nvidia.com/gpu"] == 4
    assert snapshot.claims["shop/data-db-0"] is not None
    assert {b.name: b.allowed for b in snapshot.budgets} == {"web": 1, "api": 1, "db": 0}


def test_a_pod_whose_node_is_gone_is_left_out_and_named():
    found = parse_snapshot(a_list(a_node(), a_pod(node="n"), a_pod("late", node="gone")))
    assert [pod.key for pod in found.pods] == ["d/p"]
    assert found.orphans == ["d/late"]
    assert parse_snapshot(encode_snapshot(found)) == found


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_that_powershell_wrote_is_read(encoding):
    data = encode_snapshot(a_snapshot([], []))
    assert parse_snapshot(data.decode().encode(encoding)) == parse_snapshot(data)


def test_own_file_gives_back_the_same_snapshot_and_the_same_bytes():
    snapshot = parse_snapshot(kubectl_list.as_bytes())
    data = encode_snapshot(snapshot)
    assert parse_snapshot(data) == snapshot
    assert encode_snapshot(parse_snapshot(data)) == data


def test_priority_comes_from_the_class_where_admission_has_not_written_it():
    classes = [
        {
            "kind": "PriorityClass",
            "metadata": {"name": "calm"},
            "value": 7,
            "globalDefault": True,
            "preemptionPolicy": "Never",
        }
    ]
    pod = parse_snapshot(a_list(a_node(), a_pod(), *classes)).pods[0]
    assert (pod.priority, pod.preempts) == (7, False)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"not json", "not a snapshot"),
        (b"[1]", "Expected `object`"),
        (b'{"kind":"Pod"}', "without items"),
        (a_list(a_pod()), "holds no nodes"),
        (
            a_list(a_node(), a_pod(cpu="1e400")),
            r'Pod "p"\)\.spec\.containers\[0\]\.resources\.requests\.cpu: "1e400" is out of range',
        ),
        (a_list(a_node(), a_pod(cpu="5x")), '"5x" is no quantity'),
        (a_list(a_node(), a_pod(cpu="-1")), '"-1" is negative'),
        (a_list(a_node(memory="-5Gi")), r"status\.allocatable\.memory"),
        (a_list(a_node(), a_node()), 'two nodes are named "n"'),
        (a_list(a_node(), a_pod(), a_pod()), "two pods are named"),
        (own_file_with_a_pod_on_no_node(), 'on node "gone", which is not in the snapshot'),
        (a_list({"kind": "Node", "metadata": {"name": 5}}), r"items\[0\]"),
        (a_list(a_node(), {"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": 3}}), "containers"),
        (b'{"kind":"StowageSnapshot","version":9,"nodes":[],"pods":[]}', "version 9 is not supported"),
        (b'{"kind":"StowageSnapshot","version":1,"nodes":[]}', "pods"),
    ],
)
def test_broken_input_is_refused_with_the_object_and_the_rule(data, message):
    with pytest.raises(SnapshotError, match=message):
        parse_snapshot(data)
