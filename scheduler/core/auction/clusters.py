"""Machines in clusters by location, and which of a request's bids stay within the clusters near it.

MOHAF's text groups machines with k-means so that a request need not bid for all of them; the code that was published
returned empty clusters, or never looked at them. Here they decide who bids where, and so what they cost in welfare can
be measured. The start is the machine nearest the mean, then the farthest from those chosen, so that no seed is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scheduler.core.auction.market import Floats
from scheduler.core.auction.walk import Bools
from scheduler.core.columns import Codes, Ints
from scheduler.core.errors import StowageInputError

ROUNDS = 100


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """label: (N,) the cluster of every machine. centre: (K, D) mean position of its machines."""

    label: Codes
    centre: Floats

    def near(self, position: Floats, reach: int) -> Ints:
        """(J, min(reach, K)) the clusters with centres nearest to these positions (J, D), nearest first."""
        return np.asarray(np.argsort(_distance(position, self.centre), axis=1, kind="stable")[:, :reach])


def cluster_machines(position: Floats, clusters: int) -> Clusters:
    """k-means (Lloyd) of machines at these positions (N, D); at most as many clusters as distinct positions.

    Raises StowageInputError for fewer than one cluster, or no machine.
    """
    if clusters < 1 or not len(position):
        raise StowageInputError(f"{clusters} clusters of {len(position)} machines: there is at least one of both")
    centre = _far_apart(position, clusters)
    label = np.zeros(len(position), np.int64)
    for _ in range(ROUNDS):
        label = _distance(position, centre).argmin(axis=1)
        members = np.bincount(label, minlength=len(centre))[:, None]
        total = np.zeros_like(centre)
        np.add.at(total, label, position)
        moved = np.where(members > 0, total / np.maximum(members, 1), centre)
        if np.array_equal(moved, centre):
            break
        centre = moved
    return Clusters(label.astype(np.int32), centre)


def bids_nearby(clusters: Clusters, reach: int, position: Floats, request: Ints, node: Codes) -> Bools:
    """(E,) whether an offer is for a machine in one of the `reach` clusters nearest to its request.

    position: (J, D) of the requests. request, node: (E,) of the offers. Raises StowageInputError for a reach below one.
    """
    if reach < 1:
        raise StowageInputError(f"a request reaches {reach} clusters; it bids in at least one")
    allowed = np.zeros((len(position), len(clusters.centre)), np.bool_)
    np.put_along_axis(allowed, clusters.near(position, reach), True, axis=1)
    return np.asarray(allowed[request, clusters.label[node]])


def _far_apart(position: Floats, count: int) -> Floats:
    first = int(_distance(position, position.mean(axis=0)[None, :])[:, 0].argmin())
    chosen, apart = [first], _distance(position, position[[first]])[:, 0]
    while len(chosen) < count and apart.max() > 0:
        chosen.append(int(apart.argmax()))
        apart = np.minimum(apart, _distance(position, position[[chosen[-1]]])[:, 0])
    return position[chosen].copy()


def _distance(one: Floats, other: Floats) -> Floats:
    """(rows of one, rows of other)"""
    return np.asarray(np.sqrt(((one[:, None, :] - other[None, :, :]) ** 2).sum(axis=2)))
