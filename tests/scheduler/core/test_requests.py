"""Effective requests by the rules of kube-scheduler."""

from __future__ import annotations

import msgspec
import pytest

from scheduler.core import kube_types as kube
from scheduler.core.requests import effective_requests


def requests_of(spec: dict, status: dict | None = None) -> dict[str, int]:
    pod = msgspec.convert({"spec": spec, "status": status or {}}, kube.PodObject)
    return effective_requests(pod.spec, pod.status, "spec")


def a_container(name="c", always=False, **requests):
    container = {"name": name, "resources": {"requests": requests}}
    return {**container, "restartPolicy": "Always"} if always else container


def test_containers_add_up_and_overhead_comes_on_top():
    spec = {"containers": [a_container(cpu="100m", memory="1Ki"), a_container(cpu="1")], "overhead": {"cpu": "10m"}}
    assert requests_of(spec) == {"cpu": 1110, "memory": 1024}


def test_largest_init_container_counts_if_it_needs_more_than_the_containers():
    spec = {
        "containers": [a_container(cpu="1")],
        "initContainers": [a_container(cpu="3"), a_container(cpu="2", memory="5")],
    }
    assert requests_of(spec) == {"cpu": 3000, "memory": 5}


def test_sidecar_counts_beside_the_containers_and_beside_later_init_containers():
    spec = {
        "containers": [a_container(cpu="1")],
        "initContainers": [a_container(cpu="4"), a_container(cpu="500m", always=True), a_container(cpu="4")],
    }
    assert requests_of(spec) == {"cpu": 4500}
    spec["initContainers"] = [a_container(cpu="4"), a_container(cpu="3500m", always=True)]
    assert requests_of(spec) == {"cpu": 4500}


def test_pod_level_request_replaces_the_sum_and_leaves_other_resources():
    spec = {"containers": [a_container(cpu="1", memory="8")], "resources": {"requests": {"cpu": "250m"}}}
    assert requests_of(spec) == {"cpu": 250, "memory": 8}


def test_limit_is_the_request_where_none_is_given():
    spec = {
        "containers": [
            {"name": "c", "resources": {"limits": {"cpu": "2", "nvidia.com/gpu": "1"}, "requests": {"cpu": "1"}}}
        ]
    }
    assert requests_of(spec) == {"cpu": 1000, "nvidia.com/gpu": 1}


def test_during_a_resize_the_larger_of_asked_and_granted_counts():
    status = {"containerStatuses": [{"name": "c", "allocatedResources": {"cpu": "2"}}]}
    assert requests_of({"containers": [a_container(cpu="1")]}, status) == {"cpu": 2000}


def test_broken_quantity_names_its_field():
    with pytest.raises(ValueError, match=r'spec\.containers\[0\]\.resources\.requests\.cpu: "5x"'):
        requests_of({"containers": [a_container(cpu="5x")]})
