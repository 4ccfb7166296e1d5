"""Every policy of the project as a row, read from the registries themselves: none is named here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from analytics.errors import InputError
from scheduler.core.errors import StowageInputError
from scheduler.core.taxonomy import Declared, Taxonomy

Row = dict[str, Any]


def list_policies(kind: str = "") -> tuple[list[Row], list[str]]:
    """A row per policy, by kind and name, and what of installed packages is broken. Raises InputError for no kind."""
    if kind and kind not in KINDS:
        raise InputError(f"--kind {kind}: choose {', '.join(KINDS)}")
    problems: list[str] = []
    chosen = [kind] if kind else list(KINDS)
    return [{"kind": one} | row for one in chosen for row in KINDS[one](problems)], problems


def _row(name: str, summary: str, taxonomy: Taxonomy, **more: Any) -> Row:
    place = {"class": taxonomy.level, "control": taxonomy.control, "method": taxonomy.method}
    return {"name": name, "summary": summary, **place, **more}


def _replay(problems: list[str]) -> Iterator[Row]:
    """Where a task goes, in a replay and in the live extender."""
    from scheduler.core.policies import get_policy, policy_names

    for name in policy_names():
        try:
            policy = get_policy(name)
        except StowageInputError as error:
            problems.append(str(error))
            continue
        parameters = [
            {"name": one.name, "default": one.default, "range": one.range, "summary": one.summary}
            for one in policy.parameters
        ]
        yield _row(
            policy.name, policy.summary, policy.taxonomy, preempts=policy.preempts, needs_rescan=policy.needs_rescan,
            parameters=parameters,
        )  # fmt: skip


def _serverless(_: list[str]) -> Iterator[Row]:
    from scheduler.core.serverless import get_serverless_policy, serverless_policy_names

    for name in serverless_policy_names():
        policy = get_serverless_policy(name)
        yield _row(policy.name, policy.summary, policy.taxonomy, clairvoyant=policy.clairvoyant)


def _of(module: str) -> Callable[[list[str]], Iterator[Row]]:
    """What a module has as DECLARED."""

    def rows(_: list[str]) -> Iterator[Row]:
        import importlib

        declared: Mapping[str, Declared] = importlib.import_module(module).DECLARED
        for name in sorted(declared):
            yield _row(name, declared[name].summary, declared[name].taxonomy)

    return rows


KINDS: Mapping[str, Callable[[list[str]], Iterator[Row]]] = {
    "replay": _replay,
    "packing": _of("scheduler.core.packing.orders"),
    "balance": _of("scheduler.core.balance.methods"),
    "auction": _of("analytics.auction.mechanisms"),
    "serverless": _serverless,
    "shared-gpus": _of("scheduler.core.gpu.fragmentation_choice"),
    "gangs": _of("scheduler.core.gpu.gangs"),
    "flows": _of("scheduler.core.gpu.flows"),
}
"""What a policy decides. replay: where a task goes, live too. packing: what moves for pods that wait. balance: what
moves off overloaded nodes. auction: who gets room. serverless: how long pods stay loaded. shared-gpus: which device.
gangs: where all of a job goes. flows: through which spine."""
