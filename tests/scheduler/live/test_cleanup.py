"""What uninstall takes back, against an API server in memory that refuses stale writes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from scheduler.live import cleanup
from scheduler.live.api import STRATEGIC_PATCH, ApiError


class MemoryApi:
    """Objects by path. A patch with an old resourceVersion is a conflict; a deleted object with finalizers stays."""

    def __init__(self, objects: dict[str, dict[str, Any]]) -> None:
        self.objects = objects
        self.writes: list[tuple[str, str]] = []
        self.before_patch: Callable[[str], None] = lambda path: None

    def list_pages(self, path: str) -> Iterator[bytes]:
        if path not in {key.rsplit("/", 1)[0] for key in self.objects} | {cleanup.NODES_PATH, cleanup.PODS_PATH}:
            raise ApiError(404, "NotFound", path)
        prefix = "/api/v1/namespaces/" if path == cleanup.PODS_PATH else f"{path}/"
        found = [copy.deepcopy(entry) for key, entry in self.objects.items() if key.startswith(prefix)]
        for start in range(0, max(len(found), 1), 2):
            yield json.dumps({"items": found[start : start + 2]}).encode()

    def get(self, path: str, params: Any = None) -> bytes:
        if path not in self.objects:
            raise ApiError(404, "NotFound", path)
        return json.dumps(self.objects[path]).encode()

    def delete(self, path: str) -> bytes:
        self.writes.append(("delete", path))
        entry = json.loads(self.get(path))
        if entry["metadata"].get("finalizers"):
            self.objects[path]["metadata"]["deletionTimestamp"] = "now"
        else:
            del self.objects[path]
        return b""

    def patch(self, path: str, body: bytes, kind: str = "merge") -> bytes:
        self.before_patch(path)
        entry = json.loads(self.get(path))
        patch = json.loads(body)
        version = patch.get("metadata", {}).pop("resourceVersion", None)
        if version is not None and version != entry["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict", path)
        self.writes.append(("patch", path))
        gates = patch.get("spec", {}).pop("schedulingGates", None)
        if gates is not None:
            assert kind == STRATEGIC_PATCH
            dropped = {gate["name"] for gate in gates if gate["$patch"] == "delete"}
            entry["spec"]["schedulingGates"] = [g for g in entry["spec"]["schedulingGates"] if g["name"] not in dropped]
        for part, keys in patch.items():
            for key, value in keys.items():
                if isinstance(value, dict):
                    merged = {**entry[part].get(key, {}), **value}
                    entry[part][key] = {name: text for name, text in merged.items() if text is not None}
                else:
                    entry[part][key] = value
        entry["metadata"]["resourceVersion"] = str(int(entry["metadata"]["resourceVersion"]) + 1)
        self.objects[path] = entry
        if entry["metadata"].get("deletionTimestamp") and not entry["metadata"].get("finalizers"):
            del self.objects[path]
        return b""


def an_object(name: str, namespace: str = "", **fields: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "resourceVersion": "1", **fields.pop("metadata", {})}
    return {"metadata": metadata, "spec": {}, **fields}


def a_cluster() -> MemoryApi:
    taints = [{"key": "stowage.dev/quarantine", "effect": "NoSchedule"}, {"key": "dedicated", "effect": "NoExecute"}]
    marks = {
        "stowage.dev/price-milli": "7", "stowage.dev/price-of-round": "7", "stowage.dev/health": "{}",
        "example.org/rack": "r1",
    }  # fmt: skip
    gates = [{"name": "stowage.dev/hold"}, {"name": "example.org/quota"}]
    return MemoryApi({
        "/api/v1/nodes/marked": an_object("marked", metadata={"annotations": marks}, spec={"taints": taints}),
        "/api/v1/nodes/plain": an_object("plain", metadata={"annotations": {"example.org/rack": "r2"}}),
        "/api/v1/namespaces/a/pods/held": an_object("held", "a", spec={"schedulingGates": gates}),
        "/api/v1/namespaces/a/pods/poked": an_object(
            "poked", "a", metadata={"annotations": {"stowage.dev/poke": "1", "stowage.dev/plan": "p", "keep": "me"}}
        ),
        "/api/v1/namespaces/b/pods/plain": an_object("plain", "b"),
        f"{cleanup.PLANS_PATH}/p1": an_object("p1", metadata={"finalizers": ["stowage.dev/plan"]}),
        f"{cleanup.PLANS_PATH}/p2": an_object("p2", metadata={"finalizers": ["stowage.dev/plan", "example.org/audit"]}),
        f"{cleanup.PLANS_PATH}/p3": an_object("p3"),
    })  # fmt: skip


def test_nothing_of_ours_is_left_and_nothing_of_others_is_touched() -> None:
    api = a_cluster()
    done = cleanup.clean_up(api)  # type: ignore[arg-type]
    assert (done.plans, done.nodes, done.pods) == (["p1", "p2", "p3"], ["marked"], ["a/held", "a/poked"])
    marked = api.objects["/api/v1/nodes/marked"]
    assert marked["metadata"]["annotations"] == {"example.org/rack": "r1"}
    assert marked["spec"]["taints"] == [{"key": "dedicated", "effect": "NoExecute"}]
    assert api.objects["/api/v1/namespaces/a/pods/held"]["spec"]["schedulingGates"] == [{"name": "example.org/quota"}]
    assert api.objects["/api/v1/namespaces/a/pods/poked"]["metadata"]["annotations"] == {"keep": "me"}
    plans = {path.rsplit("/", 1)[1]: entry for path, entry in api.objects.items() if cleanup.PLANS_PATH in path}
    assert plans.keys() == {"p2"}  # somebody else's finalizer is somebody else's to take off
    assert plans["p2"]["metadata"]["finalizers"] == ["example.org/audit"]
    assert not any("plain" in path for _, path in api.writes)


def test_prices_alone_can_be_taken_back_and_those_of_people_stay() -> None:
    api = a_cluster()
    notes = {"by-hand": {"stowage.dev/price-milli": "9"},
             "changed": {"stowage.dev/price-milli": "9", "stowage.dev/price-of-round": "8"}}  # fmt: skip
    for name, written in notes.items():
        api.objects[f"/api/v1/nodes/{name}"] = an_object(name, metadata={"annotations": written})
    before = copy.deepcopy(api.objects)
    assert cleanup.take_prices(api, write=False).nodes == ["marked", "changed"]  # type: ignore[arg-type]
    assert api.objects == before
    assert cleanup.take_prices(api) == cleanup.Cleaned(nodes=["marked", "changed"])  # type: ignore[arg-type]
    left = {name: api.objects[f"/api/v1/nodes/{name}"]["metadata"]["annotations"] for name in ("marked", *notes)}
    assert left == {
        "marked": {"stowage.dev/health": "{}", "example.org/rack": "r1"},
        "by-hand": {"stowage.dev/price-milli": "9"}, "changed": {"stowage.dev/price-milli": "9"},
    }  # fmt: skip
    assert {path for _, path in api.writes} == {"/api/v1/nodes/marked", "/api/v1/nodes/changed"}
    assert cleanup.take_prices(api) == cleanup.Cleaned()  # type: ignore[arg-type]


def test_a_second_run_finds_nothing() -> None:
    api = a_cluster()
    del api.objects[f"{cleanup.PLANS_PATH}/p2"]
    cleanup.clean_up(api)  # type: ignore[arg-type]
    api.writes.clear()
    assert cleanup.clean_up(api) == cleanup.Cleaned()  # type: ignore[arg-type]
    assert api.writes == []


def test_a_dry_run_names_the_same_and_writes_nothing() -> None:
    api = a_cluster()
    before = copy.deepcopy(api.objects)
    said = cleanup.clean_up(api, write=False)  # type: ignore[arg-type]
    assert api.objects == before
    assert said == cleanup.clean_up(api)  # type: ignore[arg-type]


def test_kept_plans_lose_only_our_finalizer() -> None:
    api = a_cluster()
    cleanup.clean_up(api, keep_plans=True)  # type: ignore[arg-type]
    kept = {path: entry["metadata"].get("finalizers") for path, entry in api.objects.items() if "plans/" in path}
    assert {path[-2:]: names for path, names in kept.items()} == {"p1": [], "p2": ["example.org/audit"], "p3": None}


def test_a_taint_that_another_adds_meanwhile_survives() -> None:
    api = a_cluster()
    late = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}

    def interfere(path: str) -> None:
        node = api.objects["/api/v1/nodes/marked"]
        if path == "/api/v1/nodes/marked" and late not in node["spec"]["taints"]:
            node["spec"]["taints"].append(late)
            node["metadata"]["resourceVersion"] = "2"

    api.before_patch = interfere
    cleanup.clean_up(api)  # type: ignore[arg-type]
    taints = api.objects["/api/v1/nodes/marked"]["spec"]["taints"]
    assert taints == [{"key": "dedicated", "effect": "NoExecute"}, late]


def test_what_goes_away_meanwhile_is_no_fault() -> None:
    api = a_cluster()
    api.before_patch = lambda path: api.objects.pop(path, None) and None
    cleanup.clean_up(api)  # type: ignore[arg-type]
    assert not any(path.endswith(("marked", "held", "poked")) for path in api.objects)


def test_a_refused_write_is_not_swallowed() -> None:
    api = a_cluster()

    def forbid(path: str) -> None:
        raise ApiError(403, "Forbidden", path)

    api.before_patch = forbid
    with pytest.raises(ApiError, match="Forbidden"):
        cleanup.clean_up(api)  # type: ignore[arg-type]


def test_a_cluster_without_the_definition_of_plan_is_cleaned_too() -> None:
    api = a_cluster()
    for name in ("p1", "p2", "p3"):
        del api.objects[f"{cleanup.PLANS_PATH}/{name}"]
    assert cleanup.clean_up(api).nodes == ["marked"]  # type: ignore[arg-type]


class ScaleApi:
    """A Deployment whose pods go after some looks."""

    def __init__(self, looks: int) -> None:
        self.looks, self.scaled = looks, 0

    def patch(self, path: str, body: bytes) -> bytes:
        assert path == "/apis/apps/v1/namespaces/n/deployments/d/scale"
        assert json.loads(body) == {"spec": {"replicas": 0}}
        self.scaled += 1
        return b"{}"

    def get(self, path: str, params: dict[str, str]) -> bytes:
        assert (path, params) == ("/api/v1/namespaces/n/pods", {"labelSelector": "x=y"})
        self.looks -= 1
        return json.dumps({"items": [] if self.looks < 0 else [{"metadata": {"name": "d-1"}}]}).encode()


@pytest.mark.parametrize(("looks", "timeout_s", "left"), [(3, 600, []), (10**9, 0, ["d-1"])])
def test_the_planner_is_stopped_and_waited_for_but_not_for_ever(looks: int, timeout_s: float, left: list[str]) -> None:
    api = ScaleApi(looks)
    slept: list[float] = []
    assert cleanup.stop_planner(api, "n/d", "x=y", timeout_s, slept.append) == left  # type: ignore[arg-type]
    assert api.scaled == 1
    assert len(slept) == (3 if not left else 0)
