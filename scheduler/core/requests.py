"""What a pod really asks of a node: kube-scheduler's `PodRequests`, with sidecars, pod-level resources and resizes.

Source: k8s.io/component-helpers/resource/helpers.go (1.34 and later).
"""

from __future__ import annotations

from scheduler.core.kube_types import Container, ContainerStatus, PodSpec, PodStatus, Quantities, Resources
from scheduler.core.quantity import parse_resource

Amounts = dict[str, int]


def effective_requests(spec: PodSpec, status: PodStatus, where: str) -> Amounts:
    """The pod's requests by resource; CPU in millicores, everything else in base units; zeros left out.

    Sum of the containers and sidecars, at least what any init container needs at its turn (the sidecars started before
    it included), the pod-level figure instead where one is set, plus overhead.
    where: path of the spec, for messages. Raises ValueError naming the field.
    """
    granted = {s.name: s for s in [*(status.container_statuses or ()), *(status.init_container_statuses or ())]}
    running: Amounts = {}
    for i, container in enumerate(spec.containers or ()):
        _add(running, _container_requests(container, granted, f"{where}.containers[{i}]"))
    started_sidecars: Amounts = {}
    at_start: Amounts = {}
    for i, container in enumerate(spec.init_containers or ()):
        wanted = _container_requests(container, granted, f"{where}.initContainers[{i}]")
        if container.restart_policy == "Always":
            _add(running, wanted)
            _add(started_sidecars, wanted)
            _raise_to(at_start, started_sidecars)
        else:
            _add(wanted, started_sidecars)
            _raise_to(at_start, wanted)
    _raise_to(running, at_start)
    for name, amount in _requests_or_limits(spec.resources, f"{where}.resources").items():
        if name in ((spec.resources and spec.resources.requests) or ()) or name not in running:
            running[name] = amount
    _add(running, _amounts(spec.overhead, f"{where}.overhead"))
    return {name: amount for name, amount in sorted(running.items()) if amount}


def amounts_of(quantities: Quantities | None, where: str) -> Amounts:
    """Parsed quantities by resource name; ValueError names the field."""
    return _amounts(quantities, where)


def _container_requests(container: Container, granted: dict[str, ContainerStatus], where: str) -> Amounts:
    wanted = _requests_or_limits(container.resources, f"{where}.resources")
    if container.name in granted:  # during a resize the larger of asked and granted counts
        status = granted[container.name]
        _raise_to(wanted, _amounts(status.allocated_resources, f"{where}: allocatedResources"))
        if status.resources is not None:
            _raise_to(wanted, _amounts(status.resources.requests, f"{where}: status resources"))
    return wanted


def _requests_or_limits(resources: Resources | None, where: str) -> Amounts:
    """Requests; where one is missing and a limit is set, the API server makes the limit the request."""
    if resources is None:
        return {}
    wanted = _amounts(resources.limits, f"{where}.limits")
    wanted.update(_amounts(resources.requests, f"{where}.requests"))
    return wanted


def _amounts(quantities: Quantities | None, where: str) -> Amounts:
    out: Amounts = {}
    for name, text in (quantities or {}).items():
        try:
            out[name] = parse_resource(name, text)
        except ValueError as error:
            raise ValueError(f"{where}.{name}: {error}") from error
    return out


def _add(total: Amounts, more: Amounts) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount


def _raise_to(total: Amounts, floor: Amounts) -> None:
    for name, amount in floor.items():
        total[name] = max(total.get(name, 0), amount)
