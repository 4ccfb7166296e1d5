"""How many pods a gang needs, as its PodGroup says; pods' own labels and annotations are read by `core.snapshot`.

PodGroups of scheduling.k8s.io, coscheduling and Volcano are asked for; a kind that the cluster does not know, or that
we may not read, is left alone for a while.
"""

from __future__ import annotations

import logging

import msgspec

from scheduler.core.kube_types import Kube
from scheduler.live.api import Api, ApiError
from scheduler.live.kube_objects import LiveMetadata, ObjectList

log = logging.getLogger(__name__)
PATHS = (
    "/apis/scheduling.k8s.io/v1beta1/podgroups",
    "/apis/scheduling.k8s.io/v1alpha2/podgroups",
    "/apis/scheduling.x-k8s.io/v1alpha1/podgroups",
    "/apis/scheduling.volcano.sh/v1beta1/podgroups",
)
ASK_AGAIN_S = 600.0


class _Gang(Kube, frozen=True, kw_only=True):
    min_count: int = 0


class _Policy(Kube, frozen=True, kw_only=True):
    gang: _Gang | None = None


class _Spec(Kube, frozen=True, kw_only=True):
    min_member: int | None = None
    scheduling_policy: _Policy | None = None


class PodGroup(Kube, frozen=True, kw_only=True):
    """A PodGroup of any of these kinds."""

    metadata: LiveMetadata = msgspec.field(default_factory=LiveMetadata)
    spec: _Spec = _Spec()

    def size(self) -> int:
        """Pods that must run together; 0 where it does not say."""
        policy = self.spec.scheduling_policy
        return self.spec.min_member or (policy.gang.min_count if policy is not None and policy.gang is not None else 0)


class GangSizes:
    """namespace/name -> size, listed anew by `refresh`."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.sizes: dict[str, int] = {}
        self._absent: dict[str, float] = {}

    def refresh(self, now: float) -> dict[str, int]:
        """The sizes as the API server has them now; what cannot be read is left out."""
        sizes: dict[str, int] = {}
        for path in PATHS:
            if now < self._absent.get(path, 0.0):
                continue
            try:
                for page in self.api.list_pages(path):
                    for group in msgspec.json.decode(page, type=ObjectList[PodGroup]).items or ():
                        if group.size():
                            sizes[f"{group.metadata.namespace}/{group.metadata.name}"] = group.size()
            except (ApiError, msgspec.ValidationError) as error:
                log.info("podgroups=%s not read: %s", path, error)
                self._absent[path] = now + ASK_AGAIN_S
        self.sizes = sizes
        return sizes
