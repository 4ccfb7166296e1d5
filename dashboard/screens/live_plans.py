"""Plans of a live cluster, part of the Plan page: list, one plan's steps, approve and stop."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from dashboard import live, settings, show, state


def show_live_plans() -> None:
    """What the cluster's Plans say now, to whoever is logged in."""
    person = live.current_person()
    if person is None:
        _ask_to_log_in()
        return
    try:
        plans = live.cluster().plans(person)
    except live.Refused as refused:
        st.error(show.plain(refused), icon=":material/error:")
        return
    st.text(f"As {person.name}. What you may do is what your own rights in the cluster allow.")
    if not plans:
        st.info("There is no Plan that you may see.", icon=":material/info:")
        return
    show.table(_listed(plans), "live_plans", {"made_utc": "Made, UTC"})
    names = [one["metadata"]["name"] for one in plans]
    state.forget_unknown("live", names)
    name = st.selectbox("One plan", names, key="live", bind="query-params")
    chosen = next(one for one in plans if one["metadata"]["name"] == name)
    _show_one(chosen)
    _show_buttons(person, chosen)


def _ask_to_log_in() -> None:
    if settings.current().proxy_secret:
        st.info("Plans of the live cluster are shown to who comes through the proxy that knows them.")
        return
    st.info("Log in to see the plans of the live cluster, and to approve or stop them.", icon=":material/login:")
    if st.button("Log in", type="primary", key="log_in"):
        st.login()


def _listed(plans: list[dict[str, Any]]) -> pd.DataFrame:
    rows = [
        {
            "plan": one["metadata"]["name"],
            "made_utc": pd.to_datetime(one["metadata"].get("creationTimestamp"), utc=True).tz_localize(None),
            "mode": one["spec"].get("mode", ""),
            "phase": one.get("status", {}).get("phase", ""),
            "progress": one.get("status", {}).get("progress", ""),
            "verdict": one["spec"].get("verdict", ""),
            "approved": bool(one["spec"].get("approved")),
            "steps": len(one["spec"].get("steps", [])),
            "summary": one["spec"].get("summary", ""),
            "message": one.get("status", {}).get("message", ""),
        }
        for one in plans
    ]
    return pd.DataFrame(rows)


def _show_one(plan: dict[str, Any]) -> None:
    states = {step["index"]: step for step in plan.get("status", {}).get("steps", [])}
    rows = [
        {
            "step": step["index"] + 1, "action": step["action"], "pod": f"{step['namespace']}/{step['pod']}",
            "from": step.get("from", ""), "to": step.get("to", ""), "why": step.get("why", ""),
            "state": states.get(step["index"], {}).get("state", "proposed"),
            "message": states.get(step["index"], {}).get("message", ""),
        }
        for step in plan["spec"].get("steps", [])
    ]  # fmt: skip
    gains = pd.DataFrame(plan["spec"].get("gains", []), columns=["priority", "before", "after", "bound"])
    if not gains.empty:
        show.table(gains, "live_gains", {"before": "Placed before", "after": "With the plan", "bound": "The most"})
    show.table(pd.DataFrame(rows), "live_steps")


def _show_buttons(person: live.Person, plan: dict[str, Any]) -> None:
    """Approve and stop, where they mean something and the person may; the API server is asked again on the click."""
    name, spec = plan["metadata"]["name"], plan["spec"]
    if plan.get("status", {}).get("phase") in live.ENDED:
        return
    try:
        may = live.cluster().allows(person, live.Right("patch", live.GROUP, live.PLURAL, name=name))
    except live.Refused as refused:
        st.error(show.plain(refused), icon=":material/error:")
        return
    reason = None if may else "Your rights in the cluster do not let you patch plans.stowage.dev."
    waits = spec.get("mode") == "approve" and not spec.get("approved")
    approves = stops = False
    with st.container(horizontal=True):
        if waits:
            approves = st.button("Approve", type="primary", key="approve", disabled=not may, help=reason)
        if not spec.get("stopped"):
            stops = st.button("Stop", key="stop", disabled=not may, help=reason)
    if approves:
        _act(person, "approve", name)
    elif stops:
        _act(person, "stop", name)
    if reason:
        st.caption(reason)


def _act(person: live.Person, verb: live.Verb, name: str) -> None:
    try:
        live.cluster().act(person, verb, name)
    except live.Refused as refused:
        st.error(show.plain(refused), icon=":material/block:")
    else:
        st.success(f"{show.plain(name)}: {live.SWITCHES[verb]}, and noted in the journal.", icon=":material/check:")
