"""Overview: how well a run, a snapshot or a live cluster is packed, and the three actions worth most."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd
import streamlit as st

from analytics.errors import InputError
from analytics.views import overview, replay
from analytics.views.overview import Action, Packed
from analytics.workspace import Found, Item
from dashboard import later, show, state

summary, by_policy, by_shape = (
    state.cached(overview.summary),
    state.cached(overview.by_policy),
    state.cached(overview.by_shape),
)
by_capacity, by_plan = state.cached(overview.by_capacity), state.cached(overview.by_plan)
by_drain, by_journal = state.cached(overview.by_drain), state.cached(overview.by_journal)
course, shares, flow = state.cached(replay.course), state.cached(replay.shares), state.cached(replay.flow)
sizes = state.cached(overview.sizes)
live_course, open_plans = state.cached(overview.live_course), state.cached(overview.open_plans)
COMMANDS = (
    "make demo",
    "kubectl get nodes,pods,pdb,priorityclass -A -o json > cluster.json",
    "stowage dashboard runs cluster.json --journal JOURNAL",
)
MOST_ACTIONS = 3
TREND = 120


def render() -> None:
    """The page."""
    found = state.workspace()
    subject = _choose(found)
    if subject is None:
        return
    {"journal": _live, "replay": _run, "snapshot": _snapshot}[subject.kind](subject)
    _actions(subject, found)


def _choose(found: Found) -> Item | None:
    """What the tiles are of: the live cluster, else what was recorded, unless the address says otherwise."""
    items = [item for kind in ("journal", "replay", "snapshot") for item in found.of(kind)]
    if not items:
        show.missing("Nothing to look at yet: no run, no snapshot of a cluster, no journal.", *COMMANDS)
        return None
    recorded = [item for item in items if item.kind == "replay" and item.name.rpartition("/")[2] == "recorded"]
    first = (list(found.of("journal")) or recorded or items)[0]
    names = [item.name for item in items]
    state.forget_unknown("of", names)
    name = st.selectbox("Run, snapshot or journal", names, names.index(first.name), key="of", bind="query-params")
    return next(item for item in items if item.name == name)


def _run(item: Item) -> None:
    figures, over_time, queue, events = summary(item), shares(item), course(item), flow(item)
    tier = figures["tier"]
    requested, stranded = figures["utilisation"], figures["stranded"]
    tight, lost = _largest(requested), _largest(stranded)
    delay = (figures["delay_s"].get(tier) or {}).get("p99")
    attempts = figures["attempts"]
    _tiles(
        [
            show.Tile(
                f"Requested {_word(tight)}", show.share(requested.get(tight)), _others(requested, tight),
                "Mean share of what is installed; more than 100 % where requests are over-committed",
                _trend(over_time, tight, "requested"),
            ),
            show.Tile(
                f"Stranded {_word(lost)}", show.share(stranded.get(lost)), _others(stranded, lost),
                "Free on nodes where no common request fits, share of what is installed",
                _trend(over_time, lost, "stranded"),
            ),
            show.Tile(
                "Waiting tasks", show.number(round(float(queue["pending"].mean()))),
                f"p99 delay {show.number(delay, 's')}", f"Mean over the window; delay of {show.plain(tier)} tasks",
                _thin(queue["pending"]),
            ),
            show.Tile(
                "Never placed", show.number(figures["never_placed"]),
                f"{show.share(figures['never_placed'] / attempts if attempts else None)} of attempts",
                "Given up unstarted, or still waiting at the end; below: given up over time",
                _thin(events["given_up"]) if len(events) else None,
            ),
            show.Tile(
                "Evictions", show.number(figures["evictions"]), f"{show.number(figures['preemptions'])} preemptions",
                "Below: tasks evicted, or started anew, over time", _thin(events["set_back"]) if len(events) else None,
            ),
        ]
    )  # fmt: skip


def _snapshot(item: Item) -> None:
    figures = _packed(item)
    if figures is None:
        return
    waiting = sum(figures.waiting.values())
    tight, lost = _largest(figures.requested), _largest(figures.stranded)
    urgent = next(iter(figures.waiting.items()), None)
    _tiles(
        [
            show.Tile(f"Requested {_word(tight)}", show.share(figures.requested.get(tight)),
                      _others(figures.requested, tight), "Share of what nodes in service offer"),
            show.Tile(f"Stranded {_word(lost)}", show.share(figures.stranded.get(lost)),
                      _others(figures.stranded, lost),
                      "Free on nodes that have no room for the median pod, share of what nodes in service offer"),
            show.Tile("Waiting pods", f"{waiting:,}", f"{urgent[1]:,} of priority {urgent[0]}" if urgent else None),
            show.Tile("Running pods", f"{figures.running:,}"),
            show.Tile("Nodes", f"{figures.nodes:,}", f"{figures.out_of_service:,} out of service"),
        ]
    )  # fmt: skip
    st.caption("A snapshot is one instant: it has no trends. A journal (`--journal`) has.")


def _tiles(row: list[show.Tile]) -> None:
    """All in one row: with a trend below it a tile would ask for more width than a fifth."""
    for column, tile in zip(st.columns(len(row)), row, strict=True):
        with column:
            show.tiles([tile])


def _packed(item: Item) -> Packed | None:
    """The snapshot's figures; a large one takes seconds to read, beside the pages."""
    future = later.ask(("packed", item), lambda: overview.packed(item))
    try:
        return future.result(timeout=1.5)
    except TimeoutError:
        later.watch(future, "the snapshot is being read")
        return None


def _live(item: Item) -> None:
    frame, waiting_plans = live_course(item), open_plans(item)
    last = frame.iloc[-1]
    _tiles(
        [
            show.Tile("Waiting pods", f"{int(last['waiting']):,}", "by the planner", trend=_thin(frame["waiting"])),
            show.Tile("Plans proposed", f"{len(waiting_plans):,}", "to decide on", trend=_thin(frame["open_plans"])),
            *(
                show.Tile(title, f"{int(frame[name].sum()):,}", what, trend=_thin(frame[name]))
                for title, name, what in (
                    ("Placed", "placed", "pods, by plans"), ("Evicted", "evicted", "pods, by plans"),
                    ("Searches", "solves", "by the planner"),
                )
            ),
        ]
    )  # fmt: skip
    first = frame["time_utc"].iloc[0]
    st.caption(f"By the journal from {first:%Y-%m-%d %H:%M} UTC on. What nodes hold is in a snapshot.")


def _actions(subject: Item, found: Found) -> None:
    """What is worth doing, the largest change first."""
    st.subheader("Worth doing")
    runs = [item for item in found.of("replay") if item != subject]
    asked: list[tuple[Callable[..., list[Action]], tuple[object, ...]]] = [
        *((by_journal, (item,)) for item in found.of("journal")),
        *((by_plan, (item,)) for item in found.of("plan")),
        *((by_drain, (item,)) for item in found.of("drain")),
        *((by_capacity, (item,)) for item in found.of("capacity")),
    ]
    if subject.kind == "replay":
        asked += [(by_policy, (subject, runs)), (by_shape, (subject,))]
    actions: list[Action] = []
    for ask, given in asked:
        try:
            actions += ask(*given)
        except InputError as error:  # the others are worth as much without this one
            st.caption(f":material/warning: {show.plain(error)}")
    ranked = sorted(actions, key=lambda action: (-action.worth, action.title, action.basis))
    if not ranked:
        st.success("Nothing worth doing was found in what is here.", icon=":material/check_circle:")
        _say_where_actions_come_from(found)
        return
    for place, action in enumerate(ranked[:MOST_ACTIONS]):
        _draw_action(action, place)
    rest = ranked[MOST_ACTIONS:]
    if rest:
        with st.expander(f"{len(rest)} more"):
            rows = [{"do": one.title, "gain": one.value, "price": one.costs, "basis": one.basis} for one in rest]
            show.table(pd.DataFrame(rows), "more-actions")
    st.caption("Ordered by how much smaller each makes what it is about. None of it is done by this page.")
    _capacity_tables(found)


def _draw_action(action: Action, place: int) -> None:
    with st.container(border=True, key=f"action-{place}"):
        words, where = st.columns([5, 1], vertical_alignment="center")
        words.markdown(f"**{show.plain(action.title)}**: {show.plain(action.value)}")
        price = f"At the price of: {show.plain(action.costs)}. " if action.costs else ""
        words.caption(f"{price}Basis: {show.plain(action.basis)}.")
        if action.page:
            with where:
                show.link("Look", action.page, **action.query)


def _capacity_tables(found: Found) -> None:
    """Sizes that capacity searches tried: no other page shows them."""
    for number, item in enumerate(found.of("capacity")):
        with st.expander(f"Sizes tried: {show.plain(item.name)}"):
            try:
                why, frame = sizes(item)
            except InputError as error:
                st.caption(f":material/warning: {show.plain(error)}")
                continue
            st.caption(show.plain(why))
            show.table(frame, f"capacity-{number}", {"ok": "Within the limit"})


def _say_where_actions_come_from(found: Found) -> None:
    if found.of("plan", "drain", "capacity", "journal"):
        return
    show.missing(
        "Searches would have more to say.", "stowage pack cluster.json --json > reports/plan.json",
        "stowage capacity TRACE --policy best-fit --tier production --delay-p99 60s --json > reports/capacity.json",
    )  # fmt: skip


def _largest(shares_: Mapping[str, float | None]) -> str:
    """The resource with the largest share."""
    known = {name: share for name, share in shares_.items() if share is not None}
    return max(known, key=known.__getitem__) if known else ""


def _others(shares_: Mapping[str, float | None], but: str) -> str | None:
    rest = [
        f"{_word(name)} {show.share(share)}" for name, share in shares_.items() if name != but and share is not None
    ]
    return ", ".join(rest) or None


def _word(resource: str) -> str:
    return show.plain(show.WORDS.get(resource, resource))


def _trend(frame: pd.DataFrame, resource: str, kind: str) -> list[float] | None:
    """A resource's course. resource: by its short name."""
    rows = frame[frame["resource"].str.startswith(resource)] if resource else frame.iloc[:0]
    return _thin(rows[kind]) if len(rows) else None


def _thin(values: pd.Series) -> list[float] | None:
    """At most some hundred of the values, each the mean of its neighbours; None of fewer than two."""
    if len(values) < 2:
        return None
    step = -(-len(values) // TREND)
    groups = pd.Series(range(len(values))) // step
    return values.reset_index(drop=True).groupby(groups).mean().fillna(0).tolist()
