"""`stowage planner`, and `stowage plan list|show|approve|stop`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from scheduler.core.packing.problem import Budget, Order
    from scheduler.live.planner.kube_api import PlannerApi
    from scheduler.live.planner.plan_resource import Plan, Rebalance

KUBECONFIG = typer.Option("", "--kubeconfig", help="Path of a kubeconfig; without it the usual places.")
CONTEXT = typer.Option("", "--context", help="Context of the kubeconfig; without it its current one.")
JSON = typer.Option(False, "--json", help="One JSON object on standard output.")
NAME = typer.Argument(help="The Plan's name.")

plans = typer.Typer(no_args_is_help=True, help="List, show, approve and stop plans of a live cluster.")


class PlanCommandError(ValueError):
    """The Plan does not allow it."""

    exit_code = 2


def mount(app: typer.Typer) -> None:
    """Add these commands to the top level of `app`."""
    app.command()(planner)
    app.add_typer(plans, name="plan")


def planner(
    config: str = typer.Option("", "--config", help="Settings as JSON or YAML; without it the defaults."),
    show_schema: bool = typer.Option(False, "--schema", help="Print the JSON schema of the settings and end."),
) -> None:
    """Find room for waiting pods, and do what the mode allows; until it is told to stop."""
    import json

    from scheduler.live.planner.settings import PlannerSettings
    from scheduler.live.settings import load_settings, settings_schema

    if show_schema:
        typer.echo(json.dumps(settings_schema(PlannerSettings), indent=2))
        return
    settings = load_settings(PlannerSettings, config or None)
    import logging
    import signal
    import sys

    logging.basicConfig(
        level=settings.log_level.upper(), stream=sys.stderr, format="time=%(asctime)s level=%(levelname)s %(message)s"
    )
    logging.getLogger("apscheduler").setLevel("WARNING")
    from scheduler.live.api import Api
    from scheduler.live.planner.service import Planner

    api = Api.connect(
        settings.kubeconfig or None, settings.context or None, user_agent="stowage-planner", timeout_s=10.0
    )
    process = Planner(settings, api)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: process.stop())
    process.run()


@plans.command("list")
def list_plans(kubeconfig: str = KUBECONFIG, context: str = CONTEXT, as_json: bool = JSON) -> None:
    """All plans, newest last."""
    import msgspec

    from scheduler.live.kube_objects import ObjectList
    from scheduler.live.planner.plan_resource import PATH, Plan

    api = _api(kubeconfig, context).api
    found: list[Plan] = []
    for page in api.list_pages(PATH):
        found += msgspec.json.decode(page, type=ObjectList[Plan]).items or []
    found.sort(key=lambda plan: (plan.metadata.creation_timestamp or "", plan.name))
    rows = [
        {
            "name": plan.name, "mode": plan.spec.mode, "phase": plan.status.phase, "progress": plan.status.progress,
            "verdict": plan.spec.verdict, "summary": plan.spec.summary, "message": plan.status.message,
        }
        for plan in found
    ]  # fmt: skip
    if as_json:
        _emit({"plans": rows})
        return
    import sys

    from rich.console import Console
    from rich.table import Table

    table = Table("name", "mode", "phase", "progress", "verdict", "plan", "message", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row.values())
    Console(width=None if sys.stdout.isatty() else 200).print(table)


@plans.command()
def show(name: str = NAME, kubeconfig: str = KUBECONFIG, context: str = CONTEXT, as_json: bool = JSON) -> None:
    """One plan: every step, why, and how far it got."""
    plan = _api(kubeconfig, context).read_plan(name)
    if as_json:
        import msgspec

        _emit(msgspec.to_builtins(plan))
        return
    spec, status = plan.spec, plan.status
    print(f"{plan.name}: {status.phase} {status.progress} ({spec.mode}, {spec.purpose}, {spec.verdict})")
    print(f"  {spec.summary}")
    if status.message:
        print(f"  {status.message}")
    for line in _rebalance_lines(spec.rebalance):
        print(f"  {line}")
    states = {step.index: step for step in status.steps}
    for step in spec.steps:
        state = states.get(step.index)
        told = f"  [{state.state}{': ' + state.message if state.message else ''}]" if state else ""
        way = f"{step.source or '-'} -> {step.to or '-'}"
        print(f"{step.index + 1:>4}. {step.action:<5} {step.key}: {way}  {step.why}{told}")
    for one in spec.unplaced:
        print(f"  pending {one.pod}: {one.verdict}: {one.why}")
    for held in status.reservations:
        owner = held.pod or (f"the next pod of {held.owner.kind} {held.owner.name}" if held.owner else "")
        print(f"  reserved on {held.node} for {owner} until {held.expires}")


@plans.command()
def approve(name: str = NAME, kubeconfig: str = KUBECONFIG, context: str = CONTEXT, as_json: bool = JSON) -> None:
    """Let a plan in mode approve begin."""
    api = _api(kubeconfig, context)
    plan = api.read_plan(name)
    if plan.spec.mode != "approve":
        raise PlanCommandError(f"plan {name} is in mode {plan.spec.mode}: only mode approve waits for approval")
    _change(api, plan, {"approved": True}, as_json)


@plans.command()
def stop(name: str = NAME, kubeconfig: str = KUBECONFIG, context: str = CONTEXT, as_json: bool = JSON) -> None:
    """Stop a plan; pods that it evicted are still brought to a place."""
    api = _api(kubeconfig, context)
    _change(api, api.read_plan(name), {"stopped": True}, as_json)


def print_live_explanation(
    pod: str, budget: Budget, order: Order, seed: int, journal: str, kubeconfig: str, context: str, as_json: bool
) -> None:
    """What `stowage explain --live POD` prints."""
    from pathlib import Path

    from scheduler.live.api import Api
    from scheduler.live.explain_live import explain_live

    api = Api.connect(kubeconfig or None, context or None, user_agent="stowage-explain")
    found = explain_live(api, pod, budget, order, seed, Path(journal) if journal else None)
    if as_json:
        _emit(found)
        return
    where = f" on {found['node']}" if found["node"] else ""
    print(f"{found['pod']}: {found['answer']}{where} ({found['verdict']})")
    print(f"  {found['why']}")
    if found.get("refusal"):
        print(f"  kube-scheduler: {found['refusal']}")
    if found.get("auction"):
        print(f"  auction: {found['auction']['why']}")
        for text in found["auction"]["ignored"]:
            print(f"  auction: {text}")
    for cause in found.get("explanation", {}).get("causes", ()):
        print(f"  {cause['nodes']:>6} nodes  {cause['rule']}: {cause['example']}")
    for number, change in enumerate(found.get("explanation", {}).get("changes", ())):
        print(f"  {'smallest change' if number == 0 else 'or'}: {change}")
    for one in found["decisions"]:
        print(f"  {one['time']}  {one['verdict']} (plan {one['plan'] or '-'}): {one['why']}")


def _rebalance_lines(found: Rebalance | None) -> Iterator[str]:
    """What a plan against overload gains, how good it is, what it disturbs."""
    if found is None:
        return
    yield f"limit: {found.target_milli / 10:g} % of {', '.join(found.resources)} by {found.load}; method {found.method}"
    for one in found.loads:
        overload = [milli / 1000 for milli in (one.overload_milli_before, one.overload_milli_after)]
        highest = [milli / 10 for milli in (one.highest_milli_before, one.highest_milli_after)]
        yield (
            f"by {one.basis}: overloaded nodes {one.nodes_before} -> {one.nodes_after}, overload {overload[0]:.3f} -> "
            f"{overload[1]:.3f} of a node's limit, fullest node {highest[0]:.1f} % -> {highest[1]:.1f} %"
        )
    gap = (
        f"{found.gap_milli / 10:.1f} % of {found.gap_of} at most is not proven" if found.gap_of else "nothing is better"
    )
    yield (
        f"no placement has less overload than {found.overload_milli_bound / 1000:.3f}; cost {found.cost:,} MiB moved, "
        f"at least {found.cost_bound:,}; {gap}"
    )
    yield from found.notes


def _change(api: PlannerApi, plan: Plan, switches: dict[str, bool], as_json: bool) -> None:
    if plan.is_finished:
        raise PlanCommandError(f"plan {plan.name} has ended: {plan.status.phase}")
    import msgspec

    from scheduler.live.planner.plan_resource import PATH

    body = {"metadata": {"resourceVersion": plan.metadata.resource_version}, "spec": switches}
    api.api.patch(f"{PATH}/{plan.name}", msgspec.json.encode(body))
    if as_json:
        _emit({"name": plan.name, **switches})
    else:
        print(f"{plan.name}: {', '.join(switches)}")


def _api(kubeconfig: str, context: str) -> PlannerApi:
    from scheduler.live.api import Api
    from scheduler.live.planner.kube_api import PlannerApi

    return PlannerApi(Api.connect(kubeconfig or None, context or None, user_agent="stowage-plan"))


def _emit(value: dict[str, Any]) -> None:
    import json

    typer.echo(json.dumps(value, indent=2))


__all__ = ["mount", "print_live_explanation"]
