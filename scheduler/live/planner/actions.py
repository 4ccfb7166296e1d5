"""What the executor may ask for. Every action names the very pod (uid); an eviction also its version."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Evict:
    """Evict through the Eviction API; valid for this resource version only."""

    step: int
    namespace: str
    pod: str
    uid: str
    resource_version: str


@dataclass(frozen=True, slots=True)
class Touch:
    """Change an annotation, so that an eviction decided on the old resource version can no longer happen."""

    step: int
    namespace: str
    pod: str
    uid: str


@dataclass(frozen=True, slots=True)
class Release:
    """Take our gate off, for this resource version only; `pin`: the same patch ties the pod to the node by affinity."""

    step: int
    namespace: str
    pod: str
    uid: str
    resource_version: str
    node: str
    pin: bool


@dataclass(frozen=True, slots=True)
class Nominate:
    """Set status.nominatedNodeName: the scheduler tries that node first, and at once. An empty node takes it back."""

    step: int
    namespace: str
    pod: str
    uid: str
    node: str


@dataclass(frozen=True, slots=True)
class Poke:
    """Change an annotation of the waiting pod: the scheduler tries it again."""

    step: int
    namespace: str
    pod: str
    uid: str


@dataclass(frozen=True, slots=True)
class Replace:
    """Delete a pod that never ran and is pinned to a node that is lost; its controller makes another."""

    step: int
    namespace: str
    pod: str
    uid: str


Action = Evict | Touch | Release | Nominate | Poke | Replace


@dataclass(frozen=True, slots=True)
class Refusal:
    """The API server's no to an eviction. code: HTTP status; retry_after_s: as it asked, 0 if it did not say."""

    code: int
    message: str
    retry_after_s: float = 0.0
