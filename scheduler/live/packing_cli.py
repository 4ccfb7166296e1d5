"""`stowage pack`, `explain` and `fit`: read a snapshot, ask the core, print a plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from scheduler.core.packing.from_snapshot import Packing
    from scheduler.core.packing.plan import Plan
    from scheduler.core.packing.problem import Budget, Order, PackingResult
    from scheduler.core.snapshot import Snapshot

SNAPSHOT = typer.Argument(
    help="Output of `kubectl get nodes,pods,pdb,priorityclass -A -o json`, or our own file; - reads stdin."
)
BUDGET = typer.Option("1s", "--budget", help="Search time, such as 500ms, 1s, 1m.")
ORDER = typer.Option("no-harm", "--order", help="no-harm, max-pack, or paper (the published model, for comparison).")
SEED = typer.Option(0, "--seed", help="Seed of the search.")
JSON = typer.Option(False, "--json", help="One JSON object on standard output.")
CRITICAL = typer.Option(False, "--allow-system-critical", help="System-critical pods may move too.")
DETERMINISTIC = typer.Option(
    False, "--deterministic", help="Count work instead of time: the same input gives the same plan."
)


class CommandError(ValueError):
    """Bad usage or input of these commands."""

    exit_code = 2


def mount(app: typer.Typer) -> None:
    """Add these commands to the top level of `app`."""
    app.command()(pack)
    app.command()(explain)
    app.command()(fit)


def pack(
    snapshot: str = SNAPSHOT,
    budget: str = BUDGET,
    order: str = ORDER,
    workers: int = typer.Option(2, "--workers", min=1, help="1: no solver process, fewer proofs."),
    seed: int = SEED,
    move_budget: int = typer.Option(
        0, "--move-budget", min=0, help="no-harm: cost of disturbing a more important tier for a less important one."
    ),
    minimise: str = typer.Option("", "--minimise", help="nodes: the fewest nodes that hold what runs now."),
    cost_by_age: bool = typer.Option(False, "--cost-by-age", help="Moving an older pod costs more."),
    cost_by_priority: bool = typer.Option(False, "--cost-by-priority", help="Moving a more important pod costs more."),
    allow_system_critical: bool = CRITICAL,
    deterministic: bool = DETERMINISTIC,
    as_json: bool = JSON,
) -> None:
    """Find room for waiting pods: what moves, what is gained, and what is proven."""
    from scheduler.core.packing.orders import ORDERS

    if order not in ORDERS:
        raise CommandError(f"--order {order}: choose {', '.join(ORDERS)}")
    if minimise not in ("", "nodes"):
        raise CommandError(f"--minimise {minimise}: only nodes can be minimised")
    limit = _budget(budget, deterministic)
    _start_solver(workers)
    from scheduler.core.packing.from_snapshot import make_packing
    from scheduler.core.packing.pins import PackOptions

    options = PackOptions(
        allow_system_critical=allow_system_critical, cost_by_age=cost_by_age, cost_by_priority=cost_by_priority
    )
    packing = make_packing(_read(snapshot), options)
    _warm()
    if minimise:
        _print_consolidation(packing, limit, seed, as_json)
        return
    from scheduler.core.packing.plan import make_plan
    from scheduler.core.packing.solve import solve

    if order == "paper":
        from scheduler.core.packing.paper import solve_paper  # type: ignore[import-not-found, unused-ignore]

        result = solve_paper(packing.problem, limit, seed)
    else:
        chosen: Order = "no-harm" if order == "no-harm" else "max-pack"
        result = solve(packing.problem, chosen, limit, seed, workers, harm_budget=move_budget)
    plan = make_plan(packing, result)
    if as_json:
        _emit(plan_as_json(packing, result, plan))
    else:
        _print_plan(packing, result, plan)


def explain(
    snapshot: str = SNAPSHOT,
    pod: str = typer.Argument("", help="namespace/name, or a name only one pod has."),
    budget: str = typer.Option("2s", "--budget", help="Search time."),
    order: str = ORDER,
    seed: int = SEED,
    allow_system_critical: bool = CRITICAL,
    deterministic: bool = DETERMINISTIC,
    live: bool = typer.Option(False, "--live", help="Ask the live cluster: `explain --live POD`, without a snapshot."),
    journal: str = typer.Option("", "--journal", help="--live: folder of the planner's journal, which remembers most."),
    kubeconfig: str = typer.Option("", "--kubeconfig", help="--live: path of a kubeconfig; else the usual places."),
    context: str = typer.Option("", "--context", help="--live: context of the kubeconfig; else its current one."),
    as_json: bool = JSON,
) -> None:
    """Say why a pod waits: the rules that refuse it, and the smallest change that would let it run."""
    limit = _budget(budget, deterministic)
    if live:
        if pod:
            raise CommandError("explain --live takes a pod and no snapshot")
        from scheduler.live.planner_cli import print_live_explanation

        print_live_explanation(snapshot, limit, _order(order), seed, journal, kubeconfig, context, as_json)
        return
    if not pod:
        raise CommandError("name the pod: explain SNAPSHOT POD, or explain --live POD")
    _start_solver(2)
    from dataclasses import asdict

    from scheduler.core.packing.explain import explain_pod
    from scheduler.core.packing.pins import PackOptions

    options = PackOptions(allow_system_critical=allow_system_critical)
    cluster = _read(snapshot)
    _warm()
    try:
        answer = explain_pod(cluster, pod, _order(order), limit, options, seed)
    except LookupError as error:
        raise CommandError(str(error)) from error
    if as_json:
        _emit(asdict(answer))
        return
    print(f"{answer.pod}: {answer.answer} ({answer.verdict})\n  {answer.why}")
    for cause in answer.causes:
        print(f"  {cause.nodes:>6} nodes  {cause.rule}: {cause.example}")
    for number, change in enumerate(answer.changes):
        print(f"  {'smallest change' if number == 0 else 'or'}: {change}")
    for step in answer.steps:
        print(f"  {step.action} {step.pod}: {step.source or 'waiting'} -> {step.target or 'nowhere'} ({step.why})")


def fit(
    snapshot: str = SNAPSHOT,
    manifest: str = typer.Argument(
        help="A Pod, or what makes pods (Deployment, Job, ...), as JSON or YAML; - reads stdin."
    ),
    budget: str = typer.Option("2s", "--budget", help="Search time."),
    order: str = ORDER,
    seed: int = SEED,
    deterministic: bool = DETERMINISTIC,
    as_json: bool = JSON,
) -> None:
    """Say whether new pods would fit, where, whom they would disturb, and if not what shape would."""
    limit = _budget(budget, deterministic)
    _start_solver(2)
    from dataclasses import asdict

    from scheduler.core.packing.fit import fit_pods
    from scheduler.core.packing.manifest import read_manifest

    cluster = _read(snapshot)
    text = read_bytes(manifest)
    pods = read_manifest(text, cluster)
    _warm()
    answer = fit_pods(cluster, pods, _order(order), limit, None, seed)
    if as_json:
        _emit(asdict(answer))
        return
    print(f"{answer.answer} ({answer.verdict}): {answer.placed} of {answer.total} pods")
    for pod, node in answer.placements.items():
        print(f"  {pod} -> {node}")
    for victim in answer.victims:
        print(f"  disturbs {victim}")
    for step in answer.steps:
        print(f"  {step.action} {step.pod}: {step.source or 'waiting'} -> {step.target or 'nowhere'} ({step.why})")
    if answer.nearest_shape:
        print(f"  nearest shape that fits: {answer.nearest_shape}")
    if answer.why:
        print(f"  {answer.why}")


def plan_as_json(packing: Packing, result: PackingResult, plan: Plan) -> dict[str, Any]:
    """The plan with the keys that scripts rely on."""
    from dataclasses import asdict

    def by_priority(name: str) -> dict[str, int]:
        out: dict[str, int] = {}
        for tier in result.tiers:
            out[str(tier.priority)] = out.get(str(tier.priority), 0) + getattr(tier, name)
        return out

    problem = packing.problem
    moves, evicted = [], []
    for pod, home, node in zip(problem.pods, problem.home, result.assign, strict=True):
        if home >= 0 and node >= 0 and node != home:
            moves.append({"pod": pod, "from": problem.nodes[home], "to": problem.nodes[node]})
        elif home >= 0 and node < 0:
            evicted.append(pod)
    return {
        "verdict": result.verdict,
        "order": result.order,
        "placed": by_priority("placed"),
        "placed_before": by_priority("before"),
        "bound": by_priority("bound"),
        "total": by_priority("total"),
        "tiers": [asdict(tier) for tier in result.tiers],
        "moves": moves,
        "evicted": evicted,
        "placements": plan.placements,
        "unplaced": plan.unplaced,
        "steps": [asdict(step) for step in plan.steps],
        "moves_verdict": result.moves_verdict,
        "moves_bound": result.moves_bound,
        "disruption": result.disruption,
        "pinned": packing.pinned,
        "notes": [*packing.notes, *result.notes],
        "stages": result.stages,
        "seconds": round(result.seconds, 4),
    }


def _print_plan(packing: Packing, result: PackingResult, plan: Plan) -> None:
    from scheduler.core.packing.text import node_lines, tier_lines

    gained = sum(t.placed for t in result.tiers) - sum(t.before for t in result.tiers)
    print(
        f"{result.verdict} in order {result.order}, {result.seconds:.2f} s: {gained:+d} pods, {result.moves} moves, "
        f"{result.evictions} evictions (disruption {result.disruption}, at least {result.moves_bound}: "
        f"{result.moves_verdict})"
    )
    for line in [*tier_lines(result), *node_lines(packing, result)]:
        print(line)
    for number, step in enumerate(plan.steps, 1):
        late = "" if step.room_is_free else "  [its place is not free yet]"
        print(
            f"{number:>4}. {step.action:<5} {step.pod}: {step.source or '-'} -> {step.target or '-'}  {step.why}{late}"
        )
    for entry in plan.unplaced:
        print(f"  pending {entry['pod']}: {entry['verdict']}: {entry['why']}")
    for note in [*packing.notes, *result.notes]:
        print(f"  note: {note}")


def _print_consolidation(packing: Packing, limit: Budget, seed: int, as_json: bool) -> None:
    from scheduler.core.packing.consolidate import minimise_nodes
    from scheduler.core.packing.plan import order_steps

    found = minimise_nodes(packing, limit, seed)
    steps = order_steps(packing.problem, found.assign)
    verdict = "optimal" if found.bound == found.nodes_after else "feasible"
    if as_json:
        from dataclasses import asdict

        _emit(
            {
                "verdict": verdict,
                "nodes_before": found.nodes_before,
                "nodes_after": found.nodes_after,
                "bound": found.bound,
                "drained": found.drained,
                "moves": found.moves,
                "kept": found.kept,
                "steps": [asdict(step) for step in steps],
            }
        )
        return
    print(f"{verdict}: {found.nodes_before} -> {found.nodes_after} nodes (at least {found.bound}), {found.moves} moves")
    for number, node in enumerate(found.drained, 1):
        print(f"{number:>4}. drain {node}")
    for step in steps:
        print(f"      {step.action} {step.pod}: {step.source} -> {step.target or '-'}")
    for node, why in found.kept.items():
        print(f"  keep {node}: {why}")


def _start_solver(workers: int) -> None:
    """Start the solver process before anything slow is imported or read, so that it is ready when needed."""
    if workers > 1:
        from scheduler.core.packing.child import shared_solver

        shared_solver()


def _warm() -> None:
    """Wait a moment for the solver process; a search without it finds plans but proves less."""
    from scheduler.core.packing.solve import warm

    warm(5.0)


def _order(order: str) -> Order:
    if order == "no-harm":
        return "no-harm"
    if order == "max-pack":
        return "max-pack"
    raise CommandError(f"--order {order}: choose no-harm or max-pack")


def _budget(text: str, deterministic: bool) -> Budget:
    from scheduler.core.packing.problem import Budget

    units = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
    for unit in ("ms", "s", "m", "h"):
        if text.endswith(unit) and (number := text[: -len(unit)]) and number.replace(".", "", 1).isdigit():
            seconds = float(number) * units[unit]
            if 0 < seconds <= 24 * 3600:
                return Budget(seconds, deterministic)
            break
    raise CommandError(f"--budget {text}: write a positive time of at most 24h, such as 500ms, 1s, 1m")


def read_bytes(path: str) -> bytes:
    """A file's bytes, or standard input's for "-"; CommandError where there is none."""
    import sys

    try:
        return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror or error}") from error


def _read(path: str) -> Snapshot:
    from scheduler.core.snapshot import SnapshotError, parse_snapshot

    try:
        found = parse_snapshot(read_bytes(path))
    except SnapshotError as error:
        raise SnapshotError(f"{path}: {error}") from error
    if found.orphans:
        names = ", ".join(found.orphans[:5]) + (", ..." if len(found.orphans) > 5 else "")
        typer.echo(f"{path}: {len(found.orphans)} pods are left out, their node is not there: {names}", err=True)
    return found


def _emit(value: dict[str, Any]) -> None:
    import sys

    import msgspec

    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(value, enc_hook=_plain)) + b"\n")
    sys.stdout.flush()


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value)} is not JSON")


__all__ = ["CommandError", "mount", "plan_as_json"]
