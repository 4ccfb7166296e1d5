"""`stowage serve` and `stowage snapshot`: the extender, and a live cluster as a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from scheduler.live.api import Api

KUBECONFIG = typer.Option("", "--kubeconfig", help="Path of a kubeconfig; without it the usual places.")
CONTEXT = typer.Option("", "--context", help="Context of the kubeconfig; without it its current one.")

# What a snapshot is made of. A kind that the cluster does not know, or that we may not read, is left out and named.
SNAPSHOT_KINDS = (
    ("Node", "/api/v1/nodes", True),
    ("Pod", "/api/v1/pods", True),
    ("PodDisruptionBudget", "/apis/policy/v1/poddisruptionbudgets", False),
    ("PriorityClass", "/apis/scheduling.k8s.io/v1/priorityclasses", False),
    ("Namespace", "/api/v1/namespaces", False),
    ("PersistentVolumeClaim", "/api/v1/persistentvolumeclaims", False),
    ("PersistentVolume", "/api/v1/persistentvolumes", False),
    ("PodGroup", "/apis/scheduling.k8s.io/v1beta1/podgroups", False),
    ("PodGroup", "/apis/scheduling.x-k8s.io/v1alpha1/podgroups", False),
    ("PodGroup", "/apis/scheduling.volcano.sh/v1beta1/podgroups", False),
)


class ServeError(RuntimeError):
    """The extender could not run."""

    exit_code = 1


class OutputExists(ValueError):
    """A file would be overwritten."""

    exit_code = 2


def mount(app: typer.Typer) -> None:
    """Add these commands to the top level of `app`."""
    app.command()(serve)
    app.command()(snapshot)


def serve(
    config: str = typer.Option("", "--config", help="Settings as JSON or YAML; without it the defaults."),
    show_schema: bool = typer.Option(False, "--schema", help="Print the JSON schema of the settings and end."),
) -> None:
    """Answer kube-scheduler: filter, prioritize, preempt; until it is told to stop."""
    import json

    from scheduler.live.settings import ServeSettings, load_settings, settings_schema

    if show_schema:
        typer.echo(json.dumps(settings_schema(ServeSettings), indent=2))
        return
    settings = load_settings(ServeSettings, config or None)
    import logging
    import sys

    from scheduler.core.policies import get_policy

    get_policy(settings.policy)  # an unknown name ends the start, not the first request
    logging.basicConfig(
        level=settings.log_level.upper(), stream=sys.stderr, format="time=%(asctime)s level=%(levelname)s %(message)s"
    )
    sys.setswitchinterval(0.0005)  # the default lets a watch's thread hold up a request for 5 ms
    import uvloop

    from scheduler.live.api import Api
    from scheduler.live.server import serve as run

    api = Api.connect(settings.kubeconfig or None, settings.context or None, user_agent="stowage-extender")
    try:
        uvloop.run(run(settings, api))
    except OSError as error:
        raise ServeError(f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}") from error


def snapshot(
    output: Path = typer.Option(..., "-o", "--output", help="File to write."),
    kubeconfig: str = KUBECONFIG,
    context: str = CONTEXT,
    force: bool = typer.Option(False, "--force", help="Overwrite the file."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object on standard output."),
) -> None:
    """Write a live cluster to a file for pack, explain and fit; reads only."""
    if output.exists() and not force:
        raise OutputExists(f"{output} exists; --force overwrites it")
    from scheduler.core.snapshot import encode_snapshot, parse_snapshot
    from scheduler.live.api import Api

    body, left_out = read_cluster(Api.connect(kubeconfig or None, context or None, user_agent="stowage-snapshot"))
    found = parse_snapshot(body)
    data = encode_snapshot(found)
    partial = output.with_name(output.name + ".partial")
    partial.write_bytes(data)
    partial.replace(output)
    report = {"nodes": len(found.nodes), "pods": len(found.pods), "budgets": len(found.budgets), "bytes": len(data),
              "left_out": left_out, "orphans": found.orphans}  # fmt: skip
    if as_json:
        import json

        typer.echo(json.dumps(report, indent=2))
        return
    typer.echo(f"{output}: {report['nodes']} nodes, {report['pods']} pods, {report['budgets']} disruption budgets")
    for kind, why in left_out.items():
        typer.echo(f"  without {kind}: {why}", err=True)
    for pod in found.orphans:
        typer.echo(f"  without pod {pod}: its node is not there", err=True)


def read_cluster(api: Api) -> tuple[bytes, dict[str, str]]:
    """The cluster as a v1.List, and the kinds that are not in it with why."""
    import msgspec

    from scheduler.live.api import ApiError
    from scheduler.live.kube_objects import ObjectList

    items: list[bytes] = []
    left_out: dict[str, str] = {}
    decoder = msgspec.json.Decoder(ObjectList[dict[str, msgspec.Raw]])
    for kind, path, needed in SNAPSHOT_KINDS:
        try:
            for page in api.list_pages(path):
                # A list's items do not name their kind.
                for item in decoder.decode(page).items or ():
                    items.append(msgspec.json.encode({**item, "kind": kind}))
        except ApiError as error:
            if needed or error.is_transient:
                raise
            if not error.is_not_found:
                left_out[f"{kind} ({path})"] = error.reason or str(error)
    return b'{"kind":"List","items":[' + b",".join(items) + b"]}", left_out


__all__ = ["mount", "read_cluster"]
