"""The real kube-scheduler asks our extender, and pods run whatever becomes of it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.api_client import ApiFailure, wait_for
from tests.cluster.control_plane import ControlPlane, is_healthy
from tests.cluster.objects import a_pod, a_priority_class
from tests.cluster.stowage_programs import SCHEDULER, Middleman, scheduler_config, start_extender
from tests.cluster.troubles import Clock, Wire

RECOVERY_S = 2.0
# A busy machine may be late by this much for reasons of its own.
GRACE_S = 8.0


def test_killed_extender_is_ignored_and_asked_again_when_it_is_back(
    control_plane: ControlPlane, namespace: str
) -> None:
    control_plane.add_nodes(5)
    extender = start_extender(control_plane)
    control_plane.start_scheduler(SCHEDULER, scheduler_config(extender.url))
    arrive(control_plane, namespace, "before", 3, total=3)
    extender.component.kill()
    arrive(control_plane, namespace, "without", 3, total=6)
    extender.component.start()
    arrive(control_plane, namespace, "after", 3, total=9)
    assert extender.answered("filter") >= 3


def test_hung_extender_holds_nothing_up_longer_than_its_timeout(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.add_nodes(5)
    extender = start_extender(control_plane)
    control_plane.start_scheduler(SCHEDULER, scheduler_config(extender.url))
    extender.component.pause()
    # One second for filter and one for prioritize, each.
    arrive(control_plane, namespace, "hung", 2, total=2, within_s=4 + RECOVERY_S)
    extender.component.resume()
    arrive(control_plane, namespace, "after", 2, total=4)
    wait_for("the extender is asked again", lambda: extender.answered("filter") >= 2)


@pytest.mark.parametrize("failure", ["killed", "hung"])
def test_pods_wait_for_an_extender_that_must_not_be_ignored(
    control_plane: ControlPlane, namespace: str, failure: str
) -> None:
    control_plane.add_nodes(5)
    extender = start_extender(control_plane)
    control_plane.start_scheduler(SCHEDULER, scheduler_config(extender.url, ignorable=False))
    arrive(control_plane, namespace, "before", 1, total=1)
    if failure == "killed":
        extender.component.kill()
    else:
        extender.component.pause()
    control_plane.client.create(a_pod("waits", namespace, scheduler=SCHEDULER))
    time.sleep(2.5)
    assert "waits" not in control_plane.nodes_of_pods(namespace)
    if failure == "killed":
        extender.component.start()
    else:
        extender.component.resume()
    control_plane.wait_until_bound(namespace, 2, timeout_s=RECOVERY_S + GRACE_S)


@pytest.mark.parametrize("mode", ["slow", "hang up", "rubbish", "error", "strangers"])
def test_pods_are_bound_while_the_extender_misbehaves_and_afterwards(
    control_plane: ControlPlane, namespace: str, mode: str
) -> None:
    control_plane.add_nodes(5)
    extender = start_extender(control_plane)
    with Middleman(extender.port) as middleman:
        control_plane.start_scheduler(SCHEDULER, scheduler_config(middleman.url))
        arrive(control_plane, namespace, "before", 1, total=1)
        middleman.mode = mode
        arrive(control_plane, namespace, "during", 2, total=3, within_s=4 + RECOVERY_S)
        assert any(one.startswith(mode) for one in middleman.seen)
        middleman.mode = "pass"
        asked = extender.answered("filter")
        arrive(control_plane, namespace, "after", 2, total=5)
        assert extender.answered("filter") > asked
        control_plane.end_program(SCHEDULER)


def test_restart_of_the_api_server_with_compaction_is_survived(control_plane: ControlPlane, namespace: str) -> None:
    """The watches' resourceVersions are gone (410): the cache lists again."""
    control_plane.add_nodes(5, cpu=1)
    extender = start_extender(control_plane)
    control_plane.start_scheduler(SCHEDULER, scheduler_config(extender.url, ignorable=False))
    arrive(control_plane, namespace, "before", 2, total=2)
    control_plane.component["kube-apiserver"].kill()
    control_plane.compact_etcd()
    control_plane.component["kube-apiserver"].start()
    control_plane.add_nodes(5, cpu=4, prefix="new")
    big = a_pod("big", namespace, cpu=3, scheduler=SCHEDULER)  # fits on the new nodes only, which must be known
    control_plane.client.create(big)
    placed = control_plane.wait_until_bound(namespace, 3, timeout_s=60)
    assert placed["big"].startswith("new-")


@pytest.mark.parametrize("trouble", ["cut", "freeze"])
def test_watches_that_break_off_are_taken_up_again(
    control_plane: ControlPlane, namespace: str, trouble: str
) -> None:
    control_plane.add_nodes(5, cpu=1)
    with Wire(control_plane.port) as wire:
        kubeconfig = control_plane.kubeconfig_through(wire.port)
        extender = start_extender(control_plane, kubeconfig=str(kubeconfig), stale_after_s=2, watch_renew_s=1)
        control_plane.start_scheduler(SCHEDULER, scheduler_config(extender.url, ignorable=False))
        arrive(control_plane, namespace, "before", 2, total=2)
        getattr(wire, trouble)()
        wait_for("the extender to notice", lambda: not is_healthy(f"{extender.url}/readyz"), 20)
        control_plane.add_nodes(5, cpu=4, prefix="new")
        control_plane.client.create(a_pod("big", namespace, cpu=3, scheduler=SCHEDULER))  # fits on the new nodes only
        time.sleep(2)
        assert "big" not in control_plane.nodes_of_pods(namespace)  # nobody decides from what was true once
        wire.mend()
        started = time.monotonic()
        placed = control_plane.wait_until_bound(namespace, 3, timeout_s=RECOVERY_S + GRACE_S)
        print(f"{trouble}: bound {time.monotonic() - started:.2f} s after the connection was back")
        assert placed["big"].startswith("new-")
        control_plane.end_program(SCHEDULER)
        control_plane.end_program("extender")


@pytest.mark.parametrize("jump_s", [3600, -3600])
def test_a_clock_that_jumps_holds_nobody_up(
    control_plane: ControlPlane, namespace: str, tmp_path: Path, jump_s: float
) -> None:
    control_plane.add_nodes(5)
    clock = Clock(tmp_path)
    extender = start_extender(control_plane, program=clock.program)
    control_plane.start_scheduler(SCHEDULER, scheduler_config(extender.url, ignorable=False))
    arrive(control_plane, namespace, "before", 2, total=2)
    clock.jump(jump_s)
    arrive(control_plane, namespace, "during", 2, total=4)
    assert is_healthy(f"{extender.url}/readyz")
    clock.jump(0)
    arrive(control_plane, namespace, "after", 2, total=6)


def test_pod_that_the_extender_refuses_everywhere_displaces_nobody(control_plane: ControlPlane, namespace: str) -> None:
    nodes = control_plane.add_nodes(6, gpus=8)
    for node in nodes:
        health = json.dumps({"state": "failing", "reason": "Xid 79"})
        control_plane.client.patch(
            f"/api/v1/nodes/{node}", {"metadata": {"annotations": {"stowage.dev/health": health}}}
        )
    low, high = f"{namespace}-low", f"{namespace}-high"
    control_plane.client.create_all([a_priority_class(low, 1), a_priority_class(high, 1_000_000)])
    for name in (low, high):
        probe = a_pod("probe", namespace, priorityClassName=name)
        wait_for(f"admission knows {name}", lambda probe=probe: is_accepted(control_plane, probe))
    control_plane.start_scheduler("fill", fill_config())
    cheap = [a_pod(f"low{i}", namespace, gpus=1, scheduler="fill", priorityClassName=low) for i in range(48)]
    control_plane.client.create_all(cheap)
    control_plane.wait_until_running(namespace, 48)
    before = {p["metadata"]["uid"] for p in control_plane.pods(namespace)}

    extender = start_extender(control_plane)
    control_plane.start_scheduler(SCHEDULER, scheduler_config(extender.url, ignorable=False))
    control_plane.client.create(a_pod("high", namespace, gpus=1, scheduler=SCHEDULER, priorityClassName=high))
    control_plane.wait_until_refused(namespace, "high")
    wait_for("the extender was asked for a veto", lambda: extender.answered("preempt") >= 1)
    time.sleep(3)
    now = {p["metadata"]["uid"]: p for p in control_plane.pods(namespace)}
    assert before <= now.keys()
    assert [p for p in now.values() if "deletionTimestamp" in p["metadata"]] == []
    for name in (low, high):
        control_plane.client.delete(f"/apis/scheduling.k8s.io/v1/priorityclasses/{name}")


def arrive(
    control_plane: ControlPlane, namespace: str, name: str, count: int, *, total: int, within_s: float = RECOVERY_S
) -> None:
    """Create pods that fit, and see to it that `total` pods of the namespace are bound in time."""
    control_plane.client.create_all(a_pod(f"{name}{i}", namespace, scheduler=SCHEDULER) for i in range(count))
    started = time.monotonic()
    control_plane.wait_until_bound(namespace, total, timeout_s=within_s + GRACE_S)
    print(f"{name}: {count} pods bound in {time.monotonic() - started:.2f} s")


def is_accepted(control_plane: ControlPlane, pod: dict[str, Any]) -> bool:
    """Whether the API server would take the pod; its admission hears of new priority classes a moment later."""
    try:
        control_plane.client.post(control_plane.client.path_of(pod, collection=True) + "?dryRun=All", pod)
    except ApiFailure:
        return False
    return True


def fill_config() -> dict[str, object]:
    """A scheduler without extenders, to fill the cluster with."""
    return {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "profiles": [{"schedulerName": "fill"}],
    }
