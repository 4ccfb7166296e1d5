"""Manifests: what is read, and what is refused before it costs anything."""

from __future__ import annotations

import json

import pytest

from scheduler.core.packing.manifest import MOST_BYTES, ManifestError, read_manifest
from scheduler.core.snapshot import a_snapshot
from tests.scheduler.core.packing.builders import a_node, a_pod

SNAPSHOT = a_snapshot([a_node()], [a_pod("here", node="n0")])
POD = "kind: Pod\nmetadata: {name: %s}\nspec: {containers: [{name: c, resources: {requests: {cpu: 100m}}}]}\n"


def read(text):
    return read_manifest(text if isinstance(text, bytes) else text.encode(), SNAPSHOT)


def test_yaml_documents_make_the_pods_of_all_of_them():
    pods = read(f"{POD % 'one'}---\n{POD % 'two'}---\n")
    assert [pod.key for pod in pods] == ["default/one", "default/two"]
    assert pods[0].requests == {"cpu": 100}


def test_yaml_and_json_of_one_deployment_are_the_same():
    spec = {"containers": [{"name": "c", "resources": {"requests": {"cpu": 1, "memory": "1Gi"}}}]}
    body = {
        "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"replicas": 2, "template": {"metadata": {"labels": {"a": "1"}}, "spec": spec}},
    }  # fmt: skip
    yaml = """
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  template:
    metadata: {labels: {a: "1"}}
    spec: {containers: [{name: c, resources: {requests: {cpu: 1, memory: 1Gi}}}]}
"""
    assert read(yaml) == read(json.dumps(body))


def test_aliases_and_merges_stand_for_what_they_name():
    text = """
x: &half {requests: {cpu: 500m, memory: 1Gi}}
kind: Pod
metadata: {name: one}
spec:
  containers:
  - {name: a, resources: *half}
  - {name: b, resources: {<<: *half, limits: {cpu: 1}}}
"""
    assert read(text)[0].requests == {"cpu": 1000, "memory": 2 << 30}


@pytest.mark.parametrize("text", ["1:30", "0o17", "2020-01-01", "1_000", "0x1f", "1" * 30, "1:" * 9 + "1"])
def test_scalars_that_only_old_yaml_takes_for_numbers_stay_text(text):
    pod = f"kind: Pod\nmetadata: {{name: one, labels: {{a: {text}}}}}\nspec: {{containers: []}}\n"
    assert read(pod)[0].labels == {"a": text}


def a_bomb(levels):
    lines = ['a0: &a0 ["x", "x", "x", "x", "x", "x", "x", "x", "x"]']
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines)


def a_merge_bomb(levels):
    lines = ["a0: &a0 {k: v}"]
    lines += [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (a_bomb(12), "more than 50,000 values, its aliases spelled out"),
        (a_merge_bomb(12), "more than 50,000 values"),
        (f"a: &a {'x' * 9000}\nb: [{', '.join(['*a'] * 9000)}]", "more than 50,000 values"),
        ("a: &a [*a]", "nested more than 60 levels"),
        ("kind: Pod\n" + "#" * 5_000_000, f"5,000,010 bytes; at most {MOST_BYTES:,}"),
        ("[" * 100_000, "nested more than 60 levels"),
        ("a: " + "{b: " * 400 + "}" * 400, "nested more than 60 levels"),
        ('{"items": ' * 900 + "[]" + "}" * 900, "nested more than 60 levels"),
        (json.dumps([0] * 60_000), "more than 50,000 values"),
        (f"[{'a, ' * 120_000}]", "more than 50,000 values"),
        ("---\na: b\n" * 101, "more than 100 documents"),
        ("!!python/object/apply:os.system [id]", "the tag .*: tags are not read"),
        ("a: !secret b", "the tag !secret"),
        ("{? [a, b] : c}", "a key of the manifest is a list"),
        ("kind: [Pod]", "kind is a list, not text"),
        ("kind: 5", "kind is a number, not text"),
        ("kind: List\nitems: 5", "items is a number, not a list"),
        ("kind: List\nitems: [[]]", "is a list, not an object"),
        ("kind: Deployment\nspec: [1]", "spec of the Deployment is a list"),
        ("kind: Deployment\nspec: {template: [1]}", "template of the Deployment is a list"),
        ("kind: Deployment\nspec: {template: {spec: x}}", "spec of the Deployment is a text"),
        ("kind: Pod\nmetadata: [1]", "metadata of the manifest is a list"),
        ("kind: Pod\nmetadata: {name: {a: b}}", "metadata.name is a map"),
        ("kind: Pod\nmetadata: {name: a}\nspec: {containers: 5}", "Expected `array"),
        ("kind: Deployment\nspec: {replicas: many, template: {spec: {}}}", "replicas is 'many'"),
        (f"{POD % 'one'}---\n{POD % 'one'}", 'pod "default/one" is there already'),
        (POD % "here", 'pod "default/here" is there already'),
        ("a: b: c", "neither JSON nor YAML"),
        (b"\xff\xfe\x00", "the manifest is a text"),
        (b"\x80\x81", "neither JSON nor YAML"),
        ('{"a": NaN}', "NaN, which is no number"),
        ("", "holds no pods"),
    ],
)
def test_manifest_is_refused_with_the_rule(text, message):
    with pytest.raises(ManifestError, match=message):
        read(text)


def test_replicas_of_all_documents_count_together():
    one = "kind: Deployment\nmetadata: {name: %s}\nspec: {replicas: 15000, template: {spec: {containers: []}}}\n"
    with pytest.raises(ManifestError, match="more than 20,000 pods"):
        read(f"{one % 'a'}---\n{one % 'b'}")
