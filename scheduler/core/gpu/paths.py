"""Fabrics and connections as a file gives them, and the paths and source ports that a job is told to use."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np

from scheduler.core.errors import StowageInputError
from scheduler.core.gpu.flows import Fabric, Flows, Placement

MOST_LINKS = 10_000_000


class Connection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A flow of the collective between two leaves; `name` is what the job calls it."""

    name: str
    source: int
    target: int


class Link(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A link that is not like the others. capacity: share of a whole one; 0: it is down."""

    leaf: int
    spine: int
    capacity: float = 0.0


class Probe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a probe found: with this source port, the fabric's hash sends this leaf's packets to that leaf this way."""

    source: int
    target: int
    spine: int
    port: int


class FabricFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """leaves, spines: how many. links: those that are down or slower. planes: one per leaf, for bonded ports."""

    leaves: int
    spines: int
    connections: list[Connection]
    lost_spines: list[int] = []
    links: list[Link] = []
    planes: list[int] | None = None
    catalogue: list[Probe] = []


class Path(msgspec.Struct, frozen=True, omit_defaults=True):
    """Part of a connection. share: of its data. port: UDP source port, where the catalogue has one that leads there."""

    connection: str
    spine: int
    share: float
    port: int | None = None


def read_fabric(data: bytes) -> tuple[FabricFile, Fabric, Flows]:
    """The fabric and its flows; StowageInputError names the field or the connection that is wrong."""
    try:
        found = msgspec.json.decode(data, type=FabricFile)
    except msgspec.MsgspecError as error:
        raise StowageInputError(f"not a fabric: {error}") from error
    if found.leaves < 1 or found.spines < 1 or found.leaves * found.spines > MOST_LINKS:
        raise StowageInputError(
            f"{found.leaves} leaves and {found.spines} spines: at least one of each is needed, "
            f"and at most {MOST_LINKS:,} links between them"
        )
    capacity = np.ones((found.leaves, found.spines))
    for spine in found.lost_spines:
        _check("lost_spines", spine, found.spines)
        capacity[:, spine] = 0.0
    for i, link in enumerate(found.links):
        _check(f"links[{i}].leaf", link.leaf, found.leaves)
        _check(f"links[{i}].spine", link.spine, found.spines)
        capacity[link.leaf, link.spine] = link.capacity
    fabric = Fabric.of(capacity, None if found.planes is None else np.array(found.planes, np.int64))
    source = np.array([one.source for one in found.connections], np.int64)
    target = np.array([one.target for one in found.connections], np.int64)
    return found, fabric, Flows.of(fabric, source, target)


def _check(name: str, value: int, count: int) -> None:
    if not 0 <= value < count:
        raise StowageInputError(f"{name} is {value}: there are {count}, numbered from 0")


def paths_of(found: FabricFile, placement: Placement) -> Iterator[Path]:
    """Every part of every connection, in the file's order. Connections of one path take its source ports in turn."""
    ports: dict[tuple[int, int, int], list[int]] = {}
    for probe in found.catalogue:
        ports.setdefault((probe.source, probe.target, probe.spine), []).append(probe.port)
    used: dict[tuple[int, int, int], int] = {}
    parts = zip(placement.flow.tolist(), placement.spine.tolist(), placement.share.tolist(), strict=True)
    for flow, spine, share in sorted(parts):
        one = found.connections[flow]
        way = (one.source, one.target, spine)
        known, nth = ports.get(way), used.get(way, 0)
        used[way] = nth + 1
        yield Path(one.name, spine, share, known[nth % len(known)] if known else None)
