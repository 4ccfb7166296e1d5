"""Fixtures over one control plane per run; `tests/cluster/control_plane.py` tells how to use them.

A conftest.py takes them over by `from tests.cluster.fixtures import *`.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.cluster import binaries
from tests.cluster.api_client import ApiFailure, wait_for
from tests.cluster.control_plane import Cluster, ControlPlane

__all__ = [
    "cluster",
    "control_plane",
    "namespace",
    "own_control_plane",
    "pytest_collection_modifyitems",
    "pytest_pyfunc_call",
    "shared_cluster",
    "shared_control_plane",
]
ALL_STAND_ON = frozenset({"own_control_plane", "shared_cluster", "shared_control_plane"})

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kwok")
OWN_CLUSTER = "STOWAGE_TEST_KUBECONFIG"


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test that uses a cluster to one xdist worker: a control plane for each would take both cores."""
    for item in items:
        uses = ALL_STAND_ON.intersection(getattr(item, "fixturenames", ()))
        if uses and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group("cluster"))


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Generator[None, object, object]:
    """Skip a test that comes to need a program which is not there, with the reason."""
    try:
        return (yield)
    except binaries.ToolsUnavailable as problem:
        pytest.skip(str(problem))


@pytest.fixture(scope="session")
def shared_control_plane() -> Iterator[ControlPlane]:
    """Our control plane, started at first use; skips where its programs have not been built."""
    with started() as plane:
        yield plane


@pytest.fixture(scope="session")
def shared_cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The user's cluster if the environment names one, our control plane otherwise.

    There, programs that have not been built are taken from the PATH; without kwok the cluster must run one itself.
    """
    kubeconfig = os.environ.get(OWN_CLUSTER)
    if not kubeconfig:
        yield request.getfixturevalue("shared_control_plane")
        return
    programs = binaries.find_or_on_path()
    own = Cluster(Path(kubeconfig).expanduser(), programs, tmp_path_factory.mktemp("cluster"))
    if "kwok" in programs:
        own.start_kwok()
    yield own
    own.stop()


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Iterator[Cluster]:
    """A cluster to make things in; nodes and programs that the test added are taken away after it."""
    with restored(shared_cluster):
        yield shared_cluster


@pytest.fixture
def control_plane(shared_control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """Our own control plane, whose components a test may also stop, kill and restart."""
    with restored(shared_control_plane):
        yield shared_control_plane


@pytest.fixture
def own_control_plane() -> Iterator[ControlPlane]:
    """A control plane for this test alone."""
    with started() as plane:
        yield plane


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> Iterator[str]:
    """A new namespace of the cluster that the test uses; after it the pods are gone and the rest is being deleted."""
    ours = [name for name in ("control_plane", "own_control_plane") if name in request.fixturenames]
    used: Cluster = request.getfixturevalue(ours[0] if ours else "cluster")
    name = used.make_namespace(f"test-{uuid.uuid4().hex[:8]}")
    yield name
    revive(used)
    used.client.delete(f"/api/v1/namespaces/{name}")

    def is_empty() -> bool:
        # At once, not when kwok comes to it: the next test's nodes have the same names, and these would be on them.
        used.client.delete(f"/api/v1/namespaces/{name}/pods", gracePeriodSeconds=0)
        return not used.pods(name)

    wait_for(f"no pods in {name}", is_empty)


@contextlib.contextmanager
def started() -> Iterator[ControlPlane]:
    find_programs()
    with ControlPlane() as plane:
        yield plane


def find_programs() -> dict[str, Path]:
    """Path by name of each program; skips where they have not been built."""
    try:
        return binaries.find()
    except binaries.ToolsUnavailable as problem:
        pytest.skip(str(problem))


def revive(cluster: Cluster) -> None:
    """Let those of the cluster's own programs run that were paused or ended, first those that the others need."""
    for component in [cluster.component[name] for name in CONTROL_PLANE if name in cluster.component]:
        if component.is_running:
            component.resume()
        else:
            component.start()


@contextlib.contextmanager
def restored(cluster: Cluster) -> Iterator[None]:
    """Afterwards: the programs that ran before run again and no others; the nodes that were made are gone."""
    programs = list(cluster.component)
    nodes = {n["metadata"]["name"] for n in cluster.client.items("/api/v1/nodes")}
    yield
    for name in reversed([name for name in cluster.component if name not in programs]):
        cluster.end_program(name)
    revive(cluster)
    for node in cluster.client.items("/api/v1/nodes"):
        if node["metadata"]["name"] not in nodes:
            with contextlib.suppress(ApiFailure):  # a controller may have deleted it meanwhile
                cluster.client.delete(cluster.client.path_of(node | {"apiVersion": "v1", "kind": "Node"}))
