"""Fixtures over one control plane per run; `tests/cluster/control_plane.py` tells how to use them.

A conftest.py takes them over by `from tests.cluster.fixtures import *`.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import binaries
from tests.cluster.api_client import ApiFailure
from tests.cluster.control_plane import Cluster, ControlPlane

__all__ = [
    "cluster",
    "control_plane",
    "namespace",
    "own_control_plane",
    "pytest_collection_modifyitems",
    "shared_cluster",
    "shared_control_plane",
]
ALL_STAND_ON = frozenset({"own_control_plane", "shared_cluster", "shared_control_plane"})

OWN_CLUSTER = "STOWAGE_TEST_KUBECONFIG"


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test that uses a cluster to one xdist worker: a control plane for each would take both cores."""
    for item in items:
        uses = ALL_STAND_ON.intersection(getattr(item, "fixturenames", ()))
        if uses and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group("cluster"))


@pytest.fixture(scope="session")
def shared_control_plane() -> Iterator[ControlPlane]:
    """Our control plane, started at first use; skips where its programs have not been built."""
    with started() as plane:
        yield plane


@pytest.fixture(scope="session")
def shared_cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The user's cluster if the environment names one, our control plane otherwise."""
    kubeconfig = os.environ.get(OWN_CLUSTER)
    if not kubeconfig:
        yield request.getfixturevalue("shared_control_plane")
        return
    own = Cluster(Path(kubeconfig).expanduser(), find_programs(), tmp_path_factory.mktemp("cluster"))
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
    """A new namespace of the cluster that the test uses, deleted after it."""
    ours = [name for name in ("control_plane", "own_control_plane") if name in request.fixturenames]
    used: Cluster = request.getfixturevalue(ours[0] if ours else "cluster")
    name = used.make_namespace(f"test-{uuid.uuid4().hex[:8]}")
    yield name
    with contextlib.suppress(ApiFailure):
        used.client.delete(f"/api/v1/namespaces/{name}")


@contextlib.contextmanager
def started() -> Iterator[ControlPlane]:
    find_programs()
    with ControlPlane() as plane:
        yield plane


def find_programs() -> dict[str, Path]:
    try:
        return binaries.find()
    except binaries.ToolsUnavailable as problem:
        pytest.skip(str(problem))


@contextlib.contextmanager
def restored(cluster: Cluster) -> Iterator[None]:
    """Afterwards: the programs that ran before run again and no others; the nodes that were made are gone."""
    programs = list(cluster.component)
    nodes = {n["metadata"]["name"] for n in cluster.client.items("/api/v1/nodes")}
    yield
    for name in [name for name in cluster.component if name not in programs]:
        cluster.end_program(name)
    for component in cluster.component.values():
        if component.is_running:
            component.resume()
        else:
            component.start()
    for node in cluster.client.items("/api/v1/nodes"):
        if node["metadata"]["name"] not in nodes:
            with contextlib.suppress(ApiFailure):  # a controller may have deleted it meanwhile
                cluster.client.delete(cluster.client.path_of(node | {"apiVersion": "v1", "kind": "Node"}))
