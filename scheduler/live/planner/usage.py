"""What pods use now, as metrics-server (or another adapter) tells it: metrics.k8s.io."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Protocol

import msgspec

from scheduler.core.kube_types import Kube, Quantities
from scheduler.core.quantity import parse_resource
from scheduler.live.kube_objects import LiveMetadata, ObjectList

log = logging.getLogger(__name__)
PATH = "/apis/metrics.k8s.io/v1beta1/pods"


class PagesApi(Protocol):
    """What is asked of an API server."""

    def list_pages(self, path: str) -> Iterator[bytes]:
        """The pages of a list. Raises ApiError."""


class _Container(Kube, frozen=True, kw_only=True):
    name: str = ""
    usage: Quantities = msgspec.field(default_factory=dict)


class PodMetrics(Kube, frozen=True, kw_only=True):
    """metrics.k8s.io/v1beta1 PodMetrics."""

    metadata: LiveMetadata = msgspec.field(default_factory=LiveMetadata)
    containers: list[_Container] | None = None


def read_use(api: PagesApi) -> dict[str, dict[str, int]]:
    """namespace/name -> what the pod's containers use together: millicores, bytes.

    Pods without a figure, and figures that are none, are left out. Raises ApiError, and msgspec.ValidationError for an
    answer of another kind.
    """
    use: dict[str, dict[str, int]] = {}
    for page in api.list_pages(PATH):
        for item in msgspec.json.decode(page, type=ObjectList[PodMetrics]).items or ():
            key = f"{item.metadata.namespace or 'default'}/{item.metadata.name}"
            try:
                amounts = _sum(item)
            except ValueError as error:
                log.info("use of pod=%s left out: %s", key, error)
                continue
            if amounts:
                use[key] = amounts
    return use


def _sum(item: PodMetrics) -> dict[str, int]:
    found: dict[str, int] = {}
    for container in item.containers or ():
        for name, text in container.usage.items():
            found[name] = found.get(name, 0) + parse_resource(name, text)
    return found
