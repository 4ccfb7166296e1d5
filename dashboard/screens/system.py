"""System: what the components say of themselves now, what the journal says of the solver, what replays cost."""

from __future__ import annotations

import altair as alt
import streamlit as st

from analytics.views import system
from analytics.workspace import Item
from dashboard import scrape, settings, show, state

kinds, solves, costs = state.cached(system.kinds), state.cached(system.solves), state.cached(system.costs)
versions = state.cached(system.versions)
LOOK_AGAIN_S = 10
HISTOGRAMS = {
    "stowage_extender_request_duration_seconds": "Extender's answers",
    "stowage_planner_solve_duration_seconds": "Planner's searches",
}


def render() -> None:
    """The page."""
    if settings.current().metrics:
        show_components()
    else:
        show.missing(
            "No component is asked for its metrics.",
            "stowage dashboard --metrics http://EXTENDER:9090/metrics --metrics http://PLANNER:9091/metrics",
        )
    _show_journal()
    found = state.workspace()
    measured = costs(found.of("replay"))
    if not measured.empty:
        st.subheader("What replays cost")
        show.table(measured, "costs", {"events_per_cpu_s": "Events per CPU second"})
    st.subheader("Versions")
    show.table(versions(), "versions")


@st.fragment(run_every=LOOK_AGAIN_S)
def show_components() -> None:
    """One block per address; asked again every few seconds."""
    for number, url in enumerate(settings.current().metrics):
        found = scrape.scrape(url)
        st.subheader(show.plain(url))
        if found.problem:
            st.error(f"It does not answer: {show.plain(found.problem)}")
            continue
        _show_state(found)
        for histogram, title in HISTOGRAMS.items():
            frame = scrape.latency(found, histogram)
            if not frame.empty:
                st.caption(f"{title}, since it started (percentiles as the histogram's buckets tell them)")
                show.table(frame, f"{histogram}-{number}")
        with st.expander("Everything it says"):
            show.table(found.samples.head(2000), f"samples-{number}")


def _show_state(found: scrape.Scrape) -> None:
    """Tiles of what is there: an extender has a cache and watches, a planner leads and waits."""
    ages = found.samples[found.samples["name"] == "stowage_watch_age_seconds"]["value"]
    memory = found.value("process_resident_memory_bytes")
    known = {
        "Requests": show.number(found.value("stowage_extender_requests_total")),
        "Stale answers": show.number(found.value("stowage_extender_stale_answers_total")),
        "Cache lag": show.number(float(ages.max()), "s") if len(ages) else "–",
        "Leads": show.number(found.value("stowage_planner_is_leader")),
        "Pods that wait": show.number(found.value("stowage_planner_waiting_pods")),
        "Searches": show.number(found.value("stowage_planner_solves_total")),
        "Memory": show.number(memory / 2**20, "MiB") if memory is not None else "–",
    }
    show.tiles([show.Tile(name, value) for name, value in known.items() if value != "–"])


def _show_journal() -> None:
    st.subheader("The planner's journal")
    item = state.choose(
        "Journal", "journal", "journal", missing="No journal is here.", commands=("stowage dashboard --journal FOLDER",)
    )
    if item is None:
        return
    show.table(kinds(item), "kinds")
    _show_solves(item)


def _show_solves(item: Item) -> None:
    frame = solves(item)
    if frame.empty:
        st.write("The solver was not asked yet.")
        return
    bars = (
        alt.Chart(frame)
        .mark_bar()
        .encode(
            x=alt.X("time_utc:T", title="time, UTC"),
            y=alt.Y("solves:Q", title="searches"),
            color=alt.Color("verdict:N", title="verdict"),
            tooltip=["time_utc:T", "verdict:N", "solves:Q", "p50_s:Q", "longest_s:Q"],
        )
    )
    show.chart(bars, frame, "solves", "The solver's searches over time, by verdict")
