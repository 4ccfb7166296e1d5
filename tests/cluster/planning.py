"""A planner process on a test cluster, a fragmented workload, and a checker that reads nothing but the API."""

from __future__ import annotations

import json
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from scheduler.live.api import Api
from scheduler.live.cleanup import clean_up
from tests.cluster.api_client import ApiClient, ApiFailure, Json, Unreachable, wait_for
from tests.cluster.component import Component, free_port
from tests.cluster.control_plane import Cluster
from tests.cluster.objects import a_budget, a_deployment
from tests.cluster.stowage_programs import PROGRAM

ROOT = Path(__file__).resolve().parents[2]
CRD = ROOT / "helm" / "stowage" / "files" / "plans.yaml"
PLANS = "/apis/stowage.dev/v1alpha1/plans"
SCHEDULER = "stowage"
FINISHED = ("Succeeded", "Stopped", "Failed", "Superseded")


def install_definition(cluster: Cluster) -> None:
    """Create or renew the Plan definition and wait until the API server serves it."""
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", CRD)

    def is_served() -> bool:
        with suppress(ApiFailure):
            cluster.client.items(PLANS)
            return True
        return False

    wait_for("plans served", is_served)


@contextmanager
def tidy_planners(cluster: Cluster) -> Iterator[None]:
    """The Plan definition is there; afterwards no planner runs and nothing that one wrote is left."""
    install_definition(cluster)
    yield
    for name in [name for name in cluster.component if name.startswith("planner")]:
        cluster.end_program(name)
    clean_up(Api.connect(str(cluster.kubeconfig)))


def plans_of(client: ApiClient) -> list[Json]:
    """All plans, oldest first."""
    return sorted(client.items(PLANS), key=lambda p: p["metadata"]["creationTimestamp"])


def delete_plans(client: ApiClient) -> None:
    """Delete every plan, whoever holds it."""
    for plan in client.items(PLANS):
        path = f"{PLANS}/{plan['metadata']['name']}"
        with suppress(ApiFailure):
            client.patch(path, {"metadata": {"finalizers": None}})
            client.delete(path)


class PlannerProcess:
    """`stowage planner` under the care of the cluster's fixture."""

    def __init__(
        self, cluster: Cluster, name: str = "planner", program: Sequence[str | Path] = PROGRAM, **settings: Any
    ) -> None:
        self.port = free_port()
        self.name, self.cluster = name, cluster
        folder = cluster.folder / f"{name}-journal"
        path = cluster.folder / f"{name}.planner.json"
        values = {
            "kubeconfig": str(cluster.kubeconfig), "host": "127.0.0.1", "port": self.port, "lease_namespace": "default",
            "identity": name, "journal": str(folder), "mode": "auto", "solve_s": 1.0, "rest_s": 0.0, "lease_s": 3,
            **settings,
        }  # fmt: skip
        path.write_text(json.dumps(values))
        self.journal = folder
        command = [*program, "planner", "--config", path]
        self.component: Component = cluster.run(name, command, self.is_ready)

    def is_ready(self) -> bool:
        """Whether /readyz says so."""
        with suppress(OSError):
            return bool(self.get("/readyz")[0] == 200)
        return False

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of a GET of the planner's own pages."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


def start_scheduler(cluster: Cluster) -> Component:
    """A stock kube-scheduler for pods with our scheduler's name, and the extender that guards reservations."""
    port = free_port()
    path = cluster.folder / "serve.json"
    path.write_text(json.dumps({"kubeconfig": str(cluster.kubeconfig), "port": port}))

    def is_ready() -> bool:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
        return False

    cluster.run("extender", [sys.executable, str(ROOT / "stowage.py"), "serve", "--config", str(path)], is_ready)
    extender = {
        "urlPrefix": f"http://127.0.0.1:{port}",
        "filterVerb": "filter",
        "prioritizeVerb": "prioritize",
        "preemptVerb": "preempt",
        "weight": 1,
        "httpTimeout": "2s",
        "nodeCacheCapable": True,
        "ignorable": False,
    }
    config = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "profiles": [{"schedulerName": SCHEDULER}],
        "extenders": [extender],
    }
    return cluster.start_scheduler(f"scheduler-{SCHEDULER}", config)


def fragment(cluster: Cluster, namespace: str, nodes: int = 6, wide: int = 4, unavailable: int = 2) -> list[str]:
    """Two 1-core pods on each node of 4 cores, a budget over them, and pods that want a whole node.

    The stock scheduler spreads the small ones, so that no node is empty; nodes // 2 of the wide ones can run when the
    small ones move together.
    """
    # pods of the test before may still go: on nodes of their own they take no room here
    names = cluster.add_nodes(nodes, cpu=4, prefix=namespace)
    small = a_deployment("small", namespace, 2 * nodes, cpu="1", memory="16Mi", scheduler=SCHEDULER)
    cluster.client.create(small)
    cluster.wait_until_running(namespace, 2 * nodes, 60)
    cluster.client.create(a_budget("small", namespace, "small", maxUnavailable=unavailable))
    cluster.client.create(a_deployment("wide", namespace, wide, cpu="3900m", memory="16Mi", scheduler=SCHEDULER))
    return names


def running(client: ApiClient, namespace: str, app: str) -> list[Json]:
    """Pods of a Deployment that run and are not going."""
    pods = client.items(f"/api/v1/namespaces/{namespace}/pods", labelSelector=f"app={app}")
    return [p for p in pods if p["status"].get("phase") == "Running" and "deletionTimestamp" not in p["metadata"]]


class Checker:
    """Reads the API all the time and notes what must never be seen. Knows nothing of the planner."""

    def __init__(self, cluster: Cluster, namespace: str, at_least: int) -> None:
        self.client, self.namespace, self.at_least = ApiClient(cluster.kubeconfig), namespace, at_least
        self.faults: list[str] = []
        self.evicted: set[str] = set()
        self.looks = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.is_set():
            with suppress(ApiFailure, Unreachable, OSError):
                self.look()
            self._stop.wait(0.05)

    def look(self) -> None:
        """One look at the cluster."""
        pods = self.client.items(f"/api/v1/namespaces/{self.namespace}/pods")
        plans = self.client.items(PLANS)
        self.looks += 1
        small = [p for p in pods if p["metadata"]["labels"].get("app") == "small"]
        up = [
            p
            for p in small
            if "deletionTimestamp" not in p["metadata"]
            and any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"].get("conditions", ()))
        ]
        if len(up) < self.at_least:
            self.faults.append(f"{len(up)} of the small pods are up, the budget wants {self.at_least}")
        for pod in pods:
            if any(c["type"] == "DisruptionTarget" for c in pod["status"].get("conditions", ())):
                self.evicted.add(pod["metadata"]["uid"])
        for plan in plans:
            status = plan.get("status", {})
            if status.get("phase") in FINISHED and status.get("reservations"):
                self.faults.append(f"{plan['metadata']['name']} has ended and keeps room")


@contextmanager
def watched(cluster: Cluster, namespace: str, at_least: int) -> Iterator[Checker]:
    """A checker at work; its faults fail the test at the end."""
    checker = Checker(cluster, namespace, at_least)
    checker._thread.start()
    yield checker
    checker._stop.set()
    checker._thread.join(10)
    assert checker.looks > 5
    assert checker.faults == []


def check_the_end(client: ApiClient) -> None:
    """Every plan that began has ended in a stated condition and holds nothing; nothing was evicted twice."""
    evicted: list[str] = []

    def are_let_go() -> bool:
        phases = [(p.get("status", {}).get("phase"), p["metadata"].get("finalizers")) for p in client.items(PLANS)]
        return all(phase is not None and not (phase in FINISHED and held) for phase, held in phases)

    wait_for("every plan to have a phase, and ended ones to be let go", are_let_go, 10)
    for plan in client.items(PLANS):
        status = plan["status"]
        assert status["phase"] in (*FINISHED, "Proposed", "Waiting"), (plan["metadata"]["name"], status["phase"])
        if status["phase"] in FINISHED:
            complete = next(c for c in status["conditions"] if c["type"] == "Complete")
            assert complete["reason"]
            assert status.get("reservations", []) == []
        for spec, step in zip(plan["spec"]["steps"], status.get("steps", ()), strict=False):
            if step.get("evictedAt") and step["state"] != "skipped":
                evicted.append(spec["uid"])
    assert len(evicted) == len(set(evicted))


def wait_for_end(client: ApiClient, timeout_s: float = 60, count: int = 1) -> list[Json]:
    """The plans, once at least `count` have ended and none is on its way."""

    def ended() -> list[Json] | None:
        plans = plans_of(client)
        done = [p for p in plans if p.get("status", {}).get("phase") in FINISHED]
        busy = [p for p in plans if p.get("status", {}).get("phase") == "Executing"]
        return plans if len(done) >= count and not busy else None

    found: list[Json] = wait_for("plans ended", ended, timeout_s)
    return found


def until(moment: float) -> None:
    """Sleep until a moment of the monotonic clock."""
    time.sleep(max(0.0, moment - time.monotonic()))
