"""Compare: runs of one trace beside a baseline, with what chance may explain."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd
import streamlit as st

from analytics.compare import Comparison, Difference
from analytics.errors import InputError
from analytics.views import compare
from analytics.views.compare import Measure
from analytics.workspace import Item
from dashboard import later, show, state

pools, figures = state.cached(compare.pools), state.cached(compare.figures)
delays, classes = state.cached(compare.delays), state.cached(compare.classes)
COMMANDS = (
    "stowage replay TRACE --mode recorded -o runs/recorded",
    "stowage replay TRACE --policy best-fit -o runs/best-fit",
    "stowage dashboard runs",
)
MOST_RUNS = 8
FEWEST_MS = 1e-3  # a logarithmic axis has no zero: who starts at once is drawn at a millisecond
PARTS = ("differences", "delays", "trade-off", "classes")
# What the tiles tell of: how a measure's words begin, and the tile's title.
BEST = (
    ("p99 delay", "Lowest p99 delay"),
    ("attempts never placed", "Fewest never placed"), ("stranded memory", "Least stranded memory"),
    ("evenness", "Fairest to tenants"),
)  # fmt: skip


def render() -> None:
    """The page."""
    items = _choose()
    if len(items) < 2:
        return
    try:
        found = figures(items)
    except InputError as refused:
        if len(pools(items)) == 1:  # they go together: one is broken or gone
            raise
        st.error(f"{show.plain(str(refused).partition(':')[0])}\\: choose runs of one trace and window")
        return
    tier, with_unstarted = _choose_tier(compare.tiers(found))
    measures = compare.measures(found, tier, with_unstarted)
    _tiles(found, measures)
    part = st.segmented_control(
        "Show", PARTS, default="differences", key="show", bind="query-params", label_visibility="collapsed",
        required=True,
    )  # fmt: skip
    called = compare.labels(items, found)
    if part == "delays":
        _delays(called, tier)
    elif part == "trade-off":
        _trade_off(found, measures)
    elif part == "classes":
        _classes(called)
    else:
        _differences(items, found, measures)


def _choose() -> list[Item]:
    """The baseline and the others, of the largest group of comparable runs unless the address says otherwise."""
    everything = state.workspace().of("replay")
    if len(everything) < 2:
        show.missing(f"A comparison needs two runs of one trace; here is {len(everything)}.", *COMMANDS)
        return []
    pool = pools(everything)[0]
    names, by_name = [item.name for item in everything], {item.name: item for item in everything}
    recorded = next((item for item in pool if item.name.rpartition("/")[2].startswith("recorded")), pool[0])
    left, right = st.columns([1, 3])
    state.forget_unknown("base", names)
    base = left.selectbox("Baseline", names, names.index(recorded.name), key="base", bind="query-params")
    chosen = right.multiselect(
        "Runs", names, [item.name for item in pool][:MOST_RUNS], key="runs", max_selections=MOST_RUNS,
        bind="query-params",
    )  # fmt: skip
    against = [name for name in chosen if name != base]
    if not against:
        st.info("Choose a run to compare with the baseline.", icon=":material/info:")
    return [by_name[name] for name in (base, *against)]


def _choose_tier(tiers: Sequence[str]) -> tuple[str, bool]:
    left, right = st.columns([1, 3], vertical_alignment="bottom")
    state.forget_unknown("tier", tiers)
    index = tiers.index("production") if "production" in tiers else len(tiers) - 1
    tier = left.selectbox("Tier of tasks", tiers, index=index, key="tier", bind="query-params")
    unstarted = right.toggle(
        "Count tasks that never started", key="unstarted", bind="query-params",
        help="They then count as waiting until they gave up or the window closed (Kaplan-Meier); "
        "otherwise delays are of tasks that started.",
    )  # fmt: skip
    return tier, unstarted


def _tiles(found: Comparison, measures: Sequence[Measure]) -> None:
    """Who is best in what is asked about most."""
    row = []
    for words, title in BEST:
        measure = next((one for one in measures if one.words.startswith(words) and one.better), None)
        ranked = compare.best(found, measure) if measure else []
        if measure is None or not ranked:
            continue
        (name, value), rest = ranked[0], ranked[1:]
        equals = [other for other, amount in rest if amount == value]
        delta = f"next {show.plain(rest[0][0])}, {_amount(measure, rest[0][1])}" if rest and not equals else None
        row.append(
            show.Tile(
                title,
                show.plain(name) if not equals else f"{len(equals) + 1} runs alike",
                f"{_amount(measure, value)}{'; ' + delta if delta else ''}",
                help=show.plain(f"{measure.words}: {measure.name} of stowage compare"),
            )
        )
    show.tiles(row)


def _differences(items: list[Item], found: Comparison, measures: Sequence[Measure]) -> None:
    """Figures of all runs, with differences to the baseline."""
    future = later.ask(("compare", *items), lambda: compare.with_intervals(items))
    is_known = future.done()
    if is_known:
        found = future.result()
    base, *others = found.groups
    text = pd.DataFrame(
        [
            {"": measure.words}
            | {base: _amount(measure, found.group_mean(measure.name, base))}
            | {group: _with_difference(found, measure, group) for group in others}
            for measure in measures
        ]
    )
    frame = compare.rows(found)
    st.dataframe(text, hide_index=True, key="differences", height="content",
                 column_config={"": st.column_config.TextColumn("", pinned=True, width=270)})  # fmt: skip
    show.download(frame, "differences")
    for note in found.notes:
        st.warning(show.plain(note), icon=":material/warning:")
    if not is_known:
        later.watch(future, "what chance may explain (95 % intervals) is being worked out")
        return
    st.caption(
        "Difference to the baseline with its 95 % interval, whole jobs or hours resampled (or seeds, where there are "
        "three). ✓ better, ✗ worse, ~ within chance."
    )
    if st.toggle("All metrics", key="all", bind="query-params"):
        show.table(frame, "all-metrics")


def _with_difference(found: Comparison, measure: Measure, group: str) -> str:
    value = _amount(measure, found.group_mean(measure.name, group))
    change = found.differences[measure.name].get(group)
    if change is None:
        return value
    words = _amount(measure, change.difference, signed=True)
    if change.low is None or change.high is None:
        return f"{value}  ({words})"
    low, high = (_amount(measure, end, signed=True, unit=False) for end in (change.low, change.high))
    return f"{value}  ({words} [{low}, {high}]) {_verdict(measure, change)}".rstrip()


def _verdict(measure: Measure, change: Difference) -> str:
    if not measure.better or change.low is None or change.high is None:
        return ""
    if change.low <= 0 <= change.high:
        return "~"
    return "✓" if (change.difference < 0) == (measure.better == "lower") else "✗"


def _amount(measure: Measure, value: float | None, signed: bool = False, unit: bool = True) -> str:
    """A value of the measure as people read it."""
    if value is None or pd.isna(value):
        return "–"
    sign = "+" if signed and value > 0 else ""
    if measure.unit == "share":
        return f"{sign}{100 * value:.2f}" + (" %" if unit and not signed else " points" if unit else "")
    name = measure.unit if unit and measure.unit not in ("count", "") else ""
    return f"{sign}{show.number(value, name)}"


def _delays(called: dict[Item, str], tier: str) -> None:
    """How many of the tier's tasks had started within how long."""
    frames = [delays(item).assign(run=name) for item, name in called.items()]
    frame = pd.concat(frames, ignore_index=True)
    frame = frame[frame["tier"] == tier]
    if frame.empty:
        show.missing(f"No task of tier {tier} started in these runs.")
        return
    drawn = frame.assign(shown_s=frame["delay_s"].clip(lower=FEWEST_MS))
    lines = (
        alt.Chart(drawn)
        .mark_line(interpolate="step-after")
        .encode(
            x=alt.X(
                "shown_s:Q", title="delay, s (logarithmic; at once is drawn at 0.001)", scale=alt.Scale(type="log"),
                axis=alt.Axis(values=[10.0**power for power in range(-3, 8)]),
            ),
            y=alt.Y(
                "share:Q", title=f"started tasks of {tier}, share", axis=alt.Axis(format="%"),
                scale=alt.Scale(zero=False, domainMax=1),
            ),
            color=alt.Color("run:N", title=None, sort=list(called.values())),
            tooltip=["run:N", alt.Tooltip("delay_s:Q", title="delay, s", format=",.4~g"),
                     alt.Tooltip("share:Q", title="started within it", format=".2%")],
        )
    )  # fmt: skip
    show.chart(
        lines, frame[["run", "delay_s", "share"]], "delays", f"Share of started tasks of {tier} by delay, a line a run"
    )
    st.caption("Of tasks that started. Higher and further left is better.")


def _trade_off(found: Comparison, measures: Sequence[Measure]) -> None:
    """Two measures at once; the runs that none beats in both are joined."""
    known = {one.words: one for one in measures if one.better}
    names = list(known)
    left, right = st.columns(2)
    for key in ("across", "up"):
        state.forget_unknown(key, names)
    first = next((name for name in names if name.startswith("p99")), names[0])
    second = next((name for name in names if name == "attempts never placed"), names[-1])
    across = known[left.selectbox("Across", names, names.index(first), key="across", bind="query-params")]
    up = known[right.selectbox("Up", names, names.index(second), key="up", bind="query-params")]
    frame = compare.frontier(found, across, up)
    x, y = (
        channel(
            f"{field}:Q", title=_axis(measure), axis=_ticks(measure),
            scale=alt.Scale(type="symlog") if measure.unit == "s" else alt.Scale(zero=False),
        )
        for channel, field, measure in ((alt.X, "across", across), (alt.Y, "up", up))
    )  # fmt: skip
    tips = [alt.Tooltip("group:N", title="run"), alt.Tooltip("across:Q", title=across.words, format=",.4~g"),
            alt.Tooltip("up:Q", title=up.words, format=",.4~g")]  # fmt: skip
    order = alt.Order("across:Q")
    drawing = alt.layer(
        alt.Chart(frame[frame["is_best"]]).mark_line(strokeDash=[4, 4], opacity=0.6).encode(x=x, y=y, order=order),
        alt.Chart(frame).mark_point(filled=True, size=140).encode(
            x=x, y=y, color=alt.Color("group:N", title=None, sort=list(found.groups)), tooltip=tips,
            shape=alt.Shape("is_best:N", title="beaten by none", scale=alt.Scale(domain=[True, False],
                            range=["circle", "cross"]), legend=None),
        ),
    )  # fmt: skip
    show.chart(
        drawing, frame.rename(columns={"across": across.name, "up": up.name}), "trade-off",
        f"Runs by {across.words} and {up.words}",
    )  # fmt: skip
    st.caption("Joined circles: no other run is better in one and as good in the other. Crosses are beaten.")


def _ticks(measure: Measure) -> alt.Axis:
    if measure.unit == "s":
        return alt.Axis(format="~s", values=[0, *(10**power for power in range(8))])
    return alt.Axis(format=".1%" if measure.unit == "share" else "~s")


def _axis(measure: Measure) -> str:
    unit = f", {measure.unit}" if measure.unit in ("s", "USD") else ""
    return f"{measure.words}{unit} ({measure.better} is better)"


def _classes(called: dict[Item, str]) -> None:
    """In which classes of tasks each run has the lowest delay."""
    of = st.segmented_control("Delay", ("p99", "mean"), default="p99", key="of", bind="query-params", required=True)
    frame = compare.winners({name: classes(item) for item, name in called.items()}, f"{of}_s")
    if frame.empty:
        show.missing("No task started in these runs.")
        return
    won = frame[frame["wins"]].groupby("run").agg(classes_won=("size", "size"), attempts_in_them=("attempts", "sum"))
    won = won.reindex(list(called.values()), fill_value=0).reset_index()
    frame["class"] = frame["tier"] + ", " + frame["size_text"]
    frame["text"] = [
        f"{show.number(delay)}{' ✓' if wins else ''}"
        for delay, wins in zip(frame["delay_s"], frame["wins"], strict=True)
    ]
    order = list(dict.fromkeys(frame.sort_values(["tier", "size"])["class"]))
    base = alt.Chart(frame).encode(
        x=alt.X("run:N", title=None, sort=list(called.values()), axis=alt.Axis(orient="top", labelAngle=0)),
        y=alt.Y("class:N", title="tier, size of request (share of a mean node)", sort=order,
                axis=alt.Axis(labelLimit=300)),
        tooltip=["run:N", "class:N", alt.Tooltip("attempts:Q", format=","), alt.Tooltip("started:Q", format=","),
                 alt.Tooltip("delay_s:Q", title="delay, s", format=",.4~g")],
    )  # fmt: skip
    drawing = alt.layer(
        base.mark_rect().encode(
            color=alt.Color("delay_s:Q", title="delay, s", scale=alt.Scale(type="symlog", constant=1),
                            legend=alt.Legend(format="~s"))
        ),
        base.mark_text(fontSize=13, fontWeight="bold").encode(
            text="text:N", color=alt.condition("datum.delay_s > 100", alt.value("black"), alt.value("white"))
        ),
    ).properties(height=28 * len(order) + 60)  # fmt: skip
    show.chart(drawing, frame.drop(columns=["class", "text"]), "classes", "Delay by class of task and run")
    st.caption("Seconds; ✓ lowest of its class (several where they are equal). Of tasks that started.")
    show.table(won, "won", {"run": "Run", "classes_won": f"Classes won, of {frame.groupby(['tier', 'size']).ngroups}"})
