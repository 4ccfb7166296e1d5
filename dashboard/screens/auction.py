"""Auction: reports of rounds beside each other, replays by tenants and prices, live price rounds."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from analytics.views import auction
from analytics.workspace import Item
from dashboard import show, state

figures, tenants, winners = (
    state.cached(auction.figures),
    state.cached(auction.tenants),
    state.cached(auction.winners),
)
evenness, node_prices, frontier = (
    state.cached(auction.evenness),
    state.cached(auction.node_prices),
    state.cached(auction.frontier),
)
notes = state.cached(auction.notes)
fared, prices_of_run = state.cached(auction.fared), state.cached(auction.prices_of_run)
rounds, pool_prices, bids = (
    state.cached(auction.rounds),
    state.cached(auction.pool_prices),
    state.cached(auction.bids),
)
COMMANDS = (
    "stowage auction cluster.json -o reports/exact.json",
    "stowage auction cluster.json --mechanism drf -o reports/drf.json",
    "stowage auction cluster.json --frontier 9 --towards tenants -o reports/frontier.json",
    "stowage replay TRACE --policy auction -o runs/auction",
)
MOST_REPORTS = 12
# Tiles: title, figure, whether more of it is better.
BEST = (
    ("Most value", "efficiency", True), ("Least regret", "gap", False), ("Fairest to tenants", "jain_tenants", True),
    ("Most served", "served", True), ("Most revenue", "revenue", True),
)  # fmt: skip
AIMS = {"jain_tenants": "Jain's index over tenants", "served": "requests served", "demand_placed": "demand placed"}


def render() -> None:
    """The page."""
    found = state.workspace()
    sources = {
        "reports": bool(found.of("auction")),
        "replays": bool(found.of("replay")),
        "live": bool(found.of("journal")),
    }
    known = [name for name, is_there in sources.items() if is_there]
    if not known:
        show.missing("No report of an auction, no replay and no journal is here.", *COMMANDS)
        return
    source = st.segmented_control(
        "Of", known, default=known[0], key="of", bind="query-params", required=True, label_visibility="collapsed",
        help="reports: of stowage auction. replays: tenants and prices of runs. live: the planner's price rounds.",
    )  # fmt: skip
    {"reports": _reports, "replays": _replays, "live": _live}[source or known[0]]()


def _reports() -> None:
    """Mechanisms on the same round, then one of them."""
    items = state.workspace().of("auction")
    frame = figures(items)
    names = {str(key): _round_label(group.iloc[0]) for key, group in frame.groupby("round")}
    by_size = sorted(names, key=lambda key: (-int((frame["round"] == key).sum()), key))
    labels = [names[key] for key in by_size]
    state.forget_unknown("round", labels)
    label = st.selectbox("Round", labels, key="round", bind="query-params")
    frame = frame[frame["round"] == by_size[labels.index(label)]].head(MOST_REPORTS)
    chosen = [item for item in items if item.name in set(frame["report"])]
    _report_tiles(frame)
    distinct = auction.distinct(frame)
    left, right = st.columns(2)
    with left:
        _gaps(distinct)
    with right:
        labels_of = dict(zip(distinct["report"], distinct["label"], strict=True))
        _evenness({item: labels_of[item.name] for item in chosen if item.name in labels_of})
    st.subheader("All mechanisms")
    columns = [
        "report", "mechanism", "efficiency", "served", "gap", "regret_least", "regret_most", "revenue", "jain_requests",
        "jain_tenants", "least_tenant", "cpu_s",
    ]  # fmt: skip
    show.table(
        frame[columns].round(4), "mechanisms", height="content", headings=
        {"served": "Requests served", "jain_tenants": "Jain, tenants", "jain_requests": "Jain, requests",
         "regret_least": "Regret, at least", "regret_most": "Regret, at most", "least_tenant": "Least served tenant"},
    )  # fmt: skip
    st.caption(
        "Efficiency: value won per request. Regret: value that the best allocation would have more. Gap: the "
        "same, as a share of the bound. All by the same bids."
    )
    _one_report(chosen)


def _round_label(first: pd.Series) -> str:
    """A round in words. first: figures of one of its reports."""
    utility = f", utility {first['utility']}" if first["utility"] else ""
    requests, nodes = show.number(first["requests"]), show.number(first["nodes"])
    text = f"{requests} requests, {nodes} nodes, {first['per_node']} per node{utility}"
    source = str(first["source"])
    return f"{text}: {source if len(source) <= 60 else source[:60] + '…'}"


def _report_tiles(frame: pd.DataFrame) -> None:
    """The best of the reports in what is asked about."""
    row = []
    for title, column, highest in BEST:
        known = frame.dropna(subset=[column]).sort_values(column, ascending=not highest, kind="stable")
        if known.empty:
            continue
        best = known.iloc[0]
        share = column in ("gap", "served")
        value = f"{100 * best[column]:.2f} %" if share else show.number(best[column])
        row.append(
            show.Tile(title, show.plain(best["mechanism"]), value, help=show.plain(f"{column}, of {best['report']}"))
        )
    show.tiles(row)


def _gaps(frame: pd.DataFrame) -> None:
    st.subheader("Short of the best, at most")
    shown = frame.sort_values("gap")[["label", "report", "gap"]]
    bars = (
        alt.Chart(shown)
        .mark_bar()
        .encode(
            y=alt.Y("label:N", title=None, sort=list(shown["label"]), axis=alt.Axis(labelLimit=180)),
            x=alt.X("gap:Q", title="value missing, share of the bound", axis=alt.Axis(format="%")),
            tooltip=["label:N", "report:N", alt.Tooltip("gap:Q", format=".3%")],
        )
        .properties(height=max(60 + 26 * len(shown), 200))
    )
    show.chart(bars, shown, "gaps", "How far each mechanism can be from the best allocation")


def _evenness(reports: dict[Item, str]) -> None:
    st.subheader("How evenly room is shared")
    frame = pd.concat([evenness(item).assign(report=label) for item, label in reports.items()], ignore_index=True)
    if frame.empty:
        st.caption("Nobody won anything.")
        return
    lines = (
        alt.Chart(frame)
        .mark_line()
        .encode(
            x=alt.X("tenants:Q", title="tenants, the least served first, share", axis=alt.Axis(format="%")),
            y=alt.Y("room:Q", title="their share of the room won", axis=alt.Axis(format="%")),
            color=alt.Color("report:N", title=None, legend=alt.Legend(labelLimit=150)),
            tooltip=["report:N", alt.Tooltip("tenants:Q", format=".0%"), alt.Tooltip("room:Q", format=".1%")],
        )
        .properties(height=max(60 + 26 * len(reports), 200))
    )
    show.chart(lines, frame, "evenness", "Lorenz curves of tenants' dominant shares, a line a report")
    st.caption("The nearer to the diagonal, the more even.")


def _one_report(reports: list[Item]) -> None:
    """Tenants, prices, winners and the frontier of one report."""
    st.subheader("One report")
    names = [item.name for item in reports]
    with_frontier = next((item.name for item in reports if not frontier(item)[1].empty), names[0])
    state.forget_unknown("report", names)
    name = st.selectbox("Report", names, names.index(with_frontier), key="report", bind="query-params")
    item = next(one for one in reports if one.name == name)
    for note in notes(item)[:20]:
        st.caption(f":material/warning: {show.plain(note)}")
    towards, points = frontier(item)
    if not points.empty:
        _frontier(towards, points)
    frame = tenants(item)
    frame = frame.assign(dominant_share=(100 * frame["dominant_share"]).round(3))
    nothing = int((frame["won"] == 0).sum())
    left, right = st.columns([3, 2])
    with left:
        st.markdown(f"**Tenants**: {len(frame) - nothing:,} won something, {nothing:,} nothing")
        show.table(
            frame, "tenants", {"won": "Requests won", "bid": "Their bids", "pays": "Pays", "may_owe": "May owe more"}
        )
    with right:
        _node_prices(item)
    with st.expander("Winners"):
        show.table(winners(item), "winners")


def _frontier(towards: str, points: pd.DataFrame) -> None:
    """What is served, and how evenly, over efficiency."""
    long = points.melt(["weight", "efficiency"], list(AIMS), "what", "share").replace({"what": AIMS})
    base = alt.Chart(long).encode(
        x=alt.X("efficiency:Q", title="efficiency (value won per request)", scale=alt.Scale(zero=False)),
        y=alt.Y("share:Q", title="share, or index", scale=alt.Scale(zero=False)),
        color=alt.Color("what:N", title=None, sort=list(AIMS.values())),
        order="weight:Q",
        tooltip=["what:N", *(alt.Tooltip(f"{name}:Q", format=".4~g") for name in ("weight", "efficiency", "share"))],
    )
    st.markdown(f"**Frontier** from the bids towards {show.plain(towards)}: the same round at weights from 0 to 1")
    show.chart(
        alt.layer(base.mark_line(opacity=0.6), base.mark_point(filled=True, size=80)), points, "frontier",
        "What is served and how evenly, over efficiency, a point a weight",
    )  # fmt: skip
    widest = points["gap"].max()
    st.caption(f"Each point is within {100 * widest:.2g} % of the best at its weight.")


def _node_prices(item: Item) -> None:
    frame = node_prices(item)
    st.markdown("**Prices of nodes**, the dearest first")
    if frame.empty or not (frame["price"] > 0).any():
        st.caption("Nothing has a price: there is room for everybody.")
        return
    lines = (
        alt.Chart(frame)
        .mark_line(interpolate="step-after")
        .encode(
            x=alt.X("rank:Q", title="nodes, share", axis=alt.Axis(format="%")),
            y=alt.Y("price:Q", title="price of a node, or of a unit", axis=alt.Axis(format="~g")),
            color=alt.Color("what:N", title="of"),
            tooltip=["node:N", "what:N", alt.Tooltip("price:Q", format=".4~g")],
        )
    )
    show.chart(lines, frame, "node-prices", "Prices of nodes from the dearest to the cheapest")


def _replays() -> None:
    """How tenants fared under one run against another, and its prices."""
    items = sorted(state.workspace().of("replay"), key=lambda item: not auction.counters(item))
    names = [item.name for item in items]
    left, right = st.columns(2)
    for key in ("run", "other"):
        state.forget_unknown(key, names)
    run = left.selectbox("Run", names, key="run", bind="query-params")
    others = [name for name in names if name != run]
    if not others:
        show.missing("Tenants of a run are compared with those of another; there is one run only.", COMMANDS[-1])
        return
    default = next((k for k, name in enumerate(names) if name.rpartition("/")[2] == "kube-default"), len(names) - 1)
    other = right.selectbox("Against", names, default, key="other", bind="query-params")
    chosen, against = (next(item for item in items if item.name == name) for name in (run, other))
    if run == other:
        st.info("Choose two different runs.", icon=":material/info:")
        return
    frame = fared(chosen, against)
    _run_tiles(chosen, against, frame)
    _prices_of_run(chosen)
    st.subheader("Who is better off")
    known = frame.dropna(subset=["kept_share", "kept_share_other"])
    diagonal = alt.Chart(pd.DataFrame({"x": [0, 1], "y": [0, 1]})).mark_line(strokeDash=[4, 4], opacity=0.5)
    points = alt.Chart(known).mark_circle(opacity=0.6).encode(
        x=alt.X("kept_share_other:Q", title=f"kept share under {other[:60]}", axis=alt.Axis(format="%")),
        y=alt.Y("kept_share:Q", title=f"kept share under {run[:60]}", axis=alt.Axis(format="%")),
        size=alt.Size("attempts:Q", title="attempts", scale=alt.Scale(type="sqrt", range=[15, 600])),
        tooltip=[alt.Tooltip("tenant:N"), alt.Tooltip("attempts:Q", format=","),
                 alt.Tooltip("kept_share:Q", format=".1%"), alt.Tooltip("kept_share_other:Q", format=".1%")],
    )  # fmt: skip
    show.chart(
        alt.layer(diagonal.encode(x="x:Q", y="y:Q"), points), known, "better-off",
        "Kept share of each tenant under both runs; above the diagonal it is better off",
    )  # fmt: skip
    st.caption("Kept share: of what a tenant wanted of its main resource, what it held and not for nothing.")
    worst_first = known.sort_values(["kept_change", "tenant"]).reset_index(drop=True)
    shares = ["dominant_share", "kept_share", "kept_share_other", "kept_change"]
    worst_first[shares] = (100 * worst_first[shares]).round(2)
    show.table(
        worst_first, "fared",
        {"dominant_share": "Dominant share, %", "kept_share": "Kept, %", "kept_share_other": "Kept, other, %",
         "mean_delay_s_other": "Mean delay, other, s", "kept_change": "Change, points"},
    )  # fmt: skip


def _run_tiles(run: Item, other: Item, frame: pd.DataFrame) -> None:
    counted, own, its = auction.counters(run), auction.fairness(run), auction.fairness(other)
    better, worse = (int((sign * frame["kept_change"] > 1e-3).sum()) for sign in (1, -1))
    row = [
        show.Tile(title, show.number(own.get(name)), f"other {show.number(its.get(name))}", help=f"`fairness.{name}`")
        for title, name in (("Evenness (Jain)", "jain_kept_share"), ("Least kept share", "min_kept_share"))
    ]
    row.append(show.Tile("Tenants better off", f"{better:,}", f"{worse:,} worse off", help="By more than 0.1 point"))
    if counted:
        bids, wins = counted["market_bids"], counted["market_wins"]
        row.append(show.Tile("Bids", f"{bids:,}", f"{show.share(wins / bids if bids else None)} won a node at once"))
        row.append(show.Tile("Rounds", f"{counted['rounds']:,}", f"{counted['markets']:,} with something to sell"))
    show.tiles(row)


def _prices_of_run(run: Item) -> None:
    if not auction.counters(run):
        return
    st.subheader("Prices over time")
    frame = prices_of_run(run)
    if frame is None:
        show.missing("This run holds no prices; replays under auction write them since this version.", COMMANDS[-1])
        return
    names = {"price_p50": "median", "price_p90": "ninth decile", "price_max": "dearest"}
    long = frame.melt("hour", list(names), "what", "price").replace({"what": names})
    lines = (
        alt.Chart(long)
        .mark_line(interpolate="step-after")
        .encode(
            x=alt.X("hour:Q", title="hours since the window opened"),
            y=alt.Y("price:Q", title="price, share of the highest bid"),
            color=alt.Color("what:N", title=None, sort=list(names.values())),
            tooltip=[alt.Tooltip("hour:Q", format=".2f"), "what:N", alt.Tooltip("price:Q", format=".3~g")],
        )
    )
    show.chart(lines, frame, "prices", "Prices of nodes on sale over time")


def _live() -> None:
    """Price rounds that the planner's journal tells of."""
    journal = state.choose("Journal", "journal", "journal", missing="No journal is here.")
    if journal is None:
        return
    told, dearest, waiting = rounds(journal), pool_prices(journal), bids(journal)
    if told.empty:
        show.missing(
            "This journal tells of no price round.",
            "helm upgrade stowage helm/stowage --set planner.priceRound=observe",
        )
        return
    last = told.iloc[-1]
    outbid = waiting[waiting["verdict"] == "outbid"]
    show.tiles(
        [
            show.Tile("Dearest pool", show.number(last["dearest"]), f"median {show.number(last['median'])}",
                      help="1 is what a pod of priority 0 bids for as much as the largest node has",
                      trend=told["dearest"].tail(200).tolist()),
            show.Tile("Outbid pods", f"{len(outbid):,}", f"of {len(waiting):,} that bid last"),
            show.Tile("Short of the best, at most", f"{100 * last['gap']:.2f} %", show.plain(last["verdict"]),
                      trend=told["gap"].tail(200).tolist()),
            show.Tile("Rounds", f"{len(told):,}", f"last at {last['time_utc']:%Y-%m-%d %H:%M} UTC"),
        ]
    )  # fmt: skip
    st.subheader("Prices of the dearest pools")
    lines = (
        alt.Chart(dearest)
        .mark_line(interpolate="step-after")
        .encode(
            x=alt.X("time_utc:T", title="time, UTC"),
            y=alt.Y("price:Q", title="price of a node"),
            color=alt.Color("node:N", title="nodes like"),
            tooltip=["node:N", "nodes:Q", alt.Tooltip("time_utc:T", format="%Y-%m-%d %H:%M"),
                     alt.Tooltip("price:Q", format=".3~g"), alt.Tooltip("utilisation:Q", format=".0%")],
        )
    )  # fmt: skip
    show.chart(lines, dearest, "pool-prices", "Prices of pools of nodes over time")
    st.subheader("Bids of pods that wait")
    show.table(waiting, "bids", {"time_utc": "Time, UTC"})
