"""The HTTP bodies of kube-scheduler's extender API, `k8s.io/kube-scheduler/extender/v1`.

The Go types carry no JSON tags: on the wire the names are the Go names, capital first, and what is absent is null. Of
the Pod only the part that decides is decoded. What can be long is first taken raw, so that its size is known before
it costs memory, and the small types require what every real object has, for the same reason.

Source: Kubernetes v1.36.2, staging/src/k8s.io/kube-scheduler/extender/v1/types.go.
"""

from __future__ import annotations

from typing import Final

import msgspec

from scheduler.core import kube_types as kube

MAX_SCORE: Final = 10
"""extender/v1 MaxExtenderPriority; the scheduler multiplies it by 10 and by the extender's weight."""


class Wire(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Base of every type in this module; unknown fields are skipped."""


NULL: Final = msgspec.Raw(b"null")


class NodeList(msgspec.Struct, frozen=True, kw_only=True):
    """v1.NodeList, of which only the items matter."""

    items: list[msgspec.Raw] | None = None


class _Name(msgspec.Struct, frozen=True, gc=False):
    name: str


class NamedNode(msgspec.Struct, frozen=True, gc=False):
    """A v1.Node, of which only the name matters."""

    metadata: _Name


class NamedNodes(msgspec.Struct, frozen=True):
    """v1.NodeList by names."""

    items: list[NamedNode] | None = None


class _Uid(msgspec.Struct, frozen=True, gc=False):
    uid: str


class VictimPod(msgspec.Struct, frozen=True, gc=False):
    """A v1.Pod, of which only the uid matters."""

    metadata: _Uid


class ExtenderArgs(Wire, frozen=True, kw_only=True):
    """Body of filter and prioritize: NodeNames when nodeCacheCapable is true, Nodes when it is not."""

    pod: msgspec.Raw = NULL
    nodes: msgspec.Raw = NULL
    node_names: msgspec.Raw = NULL


class FilterResult(Wire, frozen=True, kw_only=True):
    """Answer of filter. A node in neither failure map nor NodeNames would be refused without a reason."""

    nodes: NodeList | None = None
    node_names: list[str] | msgspec.Raw | None = None
    failed_nodes: dict[str, str] = msgspec.field(default_factory=dict)
    failed_and_unresolvable_nodes: dict[str, str] = msgspec.field(default_factory=dict)
    error: str = ""


class HostPriority(Wire, frozen=True, kw_only=True):
    """One node's score, 0 to MAX_SCORE; a node left out has 0."""

    host: str
    score: int


class MetaPod(Wire, frozen=True, kw_only=True, gc=False):
    """A victim by uid."""

    uid: str = msgspec.field(name="UID")


class MetaVictims(Wire, frozen=True, kw_only=True):
    """Victims on a node."""

    pods: list[MetaPod] | None = None
    num_pdb_violations: int = msgspec.field(name="NumPDBViolations", default=0)


class Victims(Wire, frozen=True, kw_only=True):
    """Victims on a node as whole pods."""

    pods: list[VictimPod] | None = None
    num_pdb_violations: int = msgspec.field(name="NumPDBViolations", default=0)


class PreemptionArgs(Wire, frozen=True, kw_only=True):
    """Body of preempt; the meta form when nodeCacheCapable is true."""

    pod: msgspec.Raw = NULL
    node_name_to_victims: msgspec.Raw = NULL
    node_name_to_meta_victims: msgspec.Raw = NULL


class PreemptionResult(Wire, frozen=True, kw_only=True):
    """Answer of preempt: the nodes on which evicting these victims helps."""

    node_name_to_meta_victims: dict[str, MetaVictims] = msgspec.field(default_factory=dict)


args_decoder = msgspec.json.Decoder(ExtenderArgs)
preemption_decoder = msgspec.json.Decoder(PreemptionArgs)
pod_decoder = msgspec.json.Decoder(kube.PodObject | None)
named_nodes_decoder = msgspec.json.Decoder(NamedNodes | None)
nodes_decoder = msgspec.json.Decoder(NodeList | None)
names_decoder = msgspec.json.Decoder(list[str] | None)
victims_decoder = msgspec.json.Decoder(dict[str, Victims] | None)
meta_victims_decoder = msgspec.json.Decoder(dict[str, MetaVictims] | None)
encoder = msgspec.json.Encoder()


def count_at_most(raw: msgspec.Raw) -> int:
    """An upper bound of the strings in raw JSON, without decoding it."""
    return bytes(raw).count(b'"') // 2


def size_of(raw: msgspec.Raw) -> int:
    """Bytes of raw JSON."""
    return memoryview(raw).nbytes
