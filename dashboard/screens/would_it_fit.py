"""Would it fit?: a manifest or a size against a snapshot, with a verdict; a size against a replay, over time."""

from __future__ import annotations

import json
from typing import Any, Final

import pandas as pd
import streamlit as st

from analytics.views import fitting
from analytics.workspace import Item
from dashboard import show, state
from dashboard.screens.pending import COMMANDS, VERDICTS, choose_budget, room_lines, steps_frame

would_fit, fits_over_time = state.cached(fitting.would_fit), state.cached(fitting.fits_over_time)

EXAMPLE: Final = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: example, namespace: default}
spec:
  replicas: 3
  template:
    metadata: {labels: {app: example}}
    spec:
      containers:
      - name: main
        resources: {requests: {cpu: 500m, memory: 1Gi}}
"""


def render() -> None:
    """The page."""
    item = state.choose(
        "Cluster or replay", "on", "snapshot", "replay", missing="No snapshot or replay is here.", commands=COMMANDS
    )
    if item is None:
        return
    if item.kind == "replay":
        _show_run(item)
        return
    ways = ["size", "manifest"]
    way = st.segmented_control("Ask about a", ways, default="size", key="ask", bind="query-params") or "size"
    if way == "size":
        manifest: str | None = _size_as_manifest()
    else:
        with st.form("paste", border=False):
            text = st.text_area(
                "Manifest: a Pod, or what makes pods (Deployment, Job, ...), as YAML or JSON", EXAMPLE, height=320,
                key="manifest",
            )  # fmt: skip
            st.form_submit_button("Ask", type="primary", key="ask_manifest")
        manifest = text
    budget_s = choose_budget("budget")
    if manifest and manifest.strip():
        _show_fit(would_fit(item, manifest, budget_s))


def _size_as_manifest() -> str:
    with st.container(horizontal=True):
        cpu = st.number_input("CPU, cores", 0.0, 100_000.0, 1.0, 0.5, key="cpu", bind="query-params")
        memory = st.number_input("Memory, GiB", 0.0, 1_000_000.0, 2.0, 1.0, key="memory", bind="query-params")
        gpus = st.number_input("GPUs", 0, 1_000, 0, key="gpus", bind="query-params")
        replicas = st.number_input("Replicas", 1, fitting.MOST_PODS, 1, key="replicas", bind="query-params")
    requests = {"cpu": f"{round(cpu * 1000)}m", "memory": f"{round(memory * 1024)}Mi"}
    tolerations = []
    if gpus:
        requests["nvidia.com/gpu"] = str(gpus)
        tolerations = [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    spec = {"containers": [{"name": "main", "resources": {"requests": requests}}], "tolerations": tolerations}
    template = {"metadata": {"labels": {"app": "would-it-fit"}}, "spec": spec}
    body = {"replicas": replicas, "template": template}
    return json.dumps({"kind": "Deployment", "metadata": {"name": "would-it-fit"}, "spec": body})


def _show_fit(found: dict[str, Any]) -> None:
    show.tiles([
        show.Tile("Answer", found["answer"]),
        show.Tile("Verdict", found["verdict"], VERDICTS[found["verdict"]]),
        show.Tile("Pods with a place", f"{found['placed']:,} of {found['total']:,}"),
        show.Tile("Running pods disturbed", show.number(len(found["victims"]))),
        show.Tile("Nodes used", show.number(len(found["nodes"]))),
    ])  # fmt: skip
    if found["why"]:
        st.markdown(show.plain(found["why"]))
    if found["nearest_shape"]:
        shape = ", ".join(f"{amount} {name}" for name, amount in found["nearest_shape"].items())
        st.info(
            f"**Nearest shape that fits:** {show.plain(shape)} per pod. All requests are scaled down alike.",
            icon=":material/lightbulb:",
        )
    elif found["placed"] < found["total"] and not found["why"]:
        st.info("No smaller shape was found that fits, either.", icon=":material/lightbulb:")
    places = pd.DataFrame(
        [(pod, node) for pod, node in found["placements"].items()][: fitting.MOST_PODS], columns=["pod", "node"]
    )
    if not places.empty:
        st.subheader("Where they would land")
        show.table(places, "places")
    if found["victims"]:
        st.subheader("Whom it would disturb, and in what order")
        st.caption("A move evicts a pod, and its controller makes it again on the other node. Nothing is done here.")
        show.table(steps_frame(found["steps"]), "fit_steps")


def _show_run(item: Item) -> None:
    with st.container(horizontal=True):
        cpu = st.number_input("CPU, cores", 0.0, 100_000.0, 1.0, 0.5, key="cpu", bind="query-params")
        memory = st.number_input("Memory, GiB", 0.0, 1_000_000.0, 2.0, 1.0, key="memory", bind="query-params")
    frame = fits_over_time(item, round(cpu * 1000), round(memory * 1024))
    known = frame.dropna(subset=["at_least", "at_most"], how="all")
    if known.empty:
        st.info(
            "The run's commonest sizes say nothing about this one: it is larger than all of them in one resource and "
            "smaller in the other. Try another size.",
            icon=":material/info:",
        )
        return
    show.tiles([
        show.Tile("Fewest that fitted, at least", show.number(frame["at_least"].min())),
        show.Tile("Median, at least", show.number(frame["at_least"].median())),
        show.Tile("Median, at most", show.number(frame["at_most"].median())),
        show.Tile("Instants without any place", show.number((frame["at_most"] == 0).sum()), f"of {len(frame):,}"),
    ])  # fmt: skip
    st.subheader("How many would have fitted")
    show.chart(room_lines(frame), frame, "fits", "How many more of this size would have fitted over time")
    st.caption(
        "On the nodes as they were, with nothing moved. A run counts its commonest sizes at regular instants; a "
        "larger and a smaller one of them bound the answer from both sides."
    )
