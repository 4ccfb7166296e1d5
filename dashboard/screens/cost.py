"""Cost and energy: useful, stranded and idle capacity of runs under a stated model."""

from __future__ import annotations

from dataclasses import asdict

import altair as alt
import pandas as pd
import streamlit as st

from analytics.cost import CostModel
from analytics.errors import InputError
from analytics.views import cost
from analytics.workspace import Item
from dashboard import show, state

split, basis = state.cached(cost.split), state.cached(cost.basis)
COMMANDS = ("stowage replay TRACE --policy best-fit -o runs/best-fit", "stowage dashboard runs")
FIELDS = {
    "core_hour_usd": "USD per core and hour", "gib_hour_usd": "USD per GiB of memory and hour",
    "gpu_hour_usd": "USD per GPU and hour", "core_idle_w": "W per idle core", "core_peak_w": "W per busy core",
    "gpu_idle_w": "W per idle GPU", "gpu_peak_w": "W per busy GPU",
}  # fmt: skip
RESOURCE = {"cpu_milli": "CPU", "memory_mib": "memory", "gpu_milli": "GPUs"}


def render() -> None:
    """The page."""
    items = state.choose_many("Runs", "runs", "replay", missing="No run of a cluster trace is here.", commands=COMMANDS)
    if not items:
        return
    with st.expander("Prices and power", icon=":material/tune:", expanded=True):
        model = _choose_model()
    if model is None:
        return
    frame = pd.concat([split(item, model).assign(run=item.name) for item in items], ignore_index=True)
    _tiles(frame, items)
    unit = st.segmented_control(
        "In", ("USD", "kWh"), default="USD", key="unit", bind="query-params", required=True,
        label_visibility="collapsed",
    )  # fmt: skip
    names = [item.name for item in items]
    left, right = st.columns(2)
    with left:
        st.subheader("All capacity")
        show.chart(
            _bars(frame, unit, names), frame[["run", "part", unit.lower()]], "all-capacity",
            f"{unit} by run: useful, stranded, idle",
        )  # fmt: skip
    with right:
        st.subheader("Stranded and idle alone")
        wasted = frame[frame["part"] != "useful"]
        show.chart(
            _bars(wasted, unit, names), wasted[["run", "part", unit.lower()]], "wasted",
            f"{unit} by run: stranded and idle",
        )  # fmt: skip
    show.table(
        frame[["run", "part", "usd", "kwh"]].round(2), "cost", {"usd": "USD", "kwh": "kWh"}, height="content"
    )  # fmt: skip
    _say_basis(items, model)


def _choose_model() -> CostModel | None:
    """Fields of the model, each in the address; None (and why) where they make no model."""
    values = {}
    for fields in (list(FIELDS)[:3], list(FIELDS)[3:]):
        for column, name in zip(st.columns(len(fields)), fields, strict=True):
            values[name] = column.number_input(
                FIELDS[name], min_value=0.0, max_value=1e6, value=float(getattr(cost.DEFAULT, name)), step=None,
                format="%.4g", key=name, bind="query-params",
            )  # fmt: skip
    try:
        return CostModel(**{name: float(value) for name, value in values.items() if value is not None})
    except InputError as error:
        st.error(show.plain(error), icon=":material/error:")
        return None


def _tiles(frame: pd.DataFrame, items: list[Item]) -> None:
    """Waste of the run that has the least, and by how much less than the run with the most."""
    wasted = {item.name: _sum(frame, item, ("stranded", "idle"), "usd") for item in items}
    ranked = sorted(items, key=lambda item: wasted[item.name])
    least, most = ranked[0], ranked[-1]
    hours, *_ = basis(least)
    row = [
        show.Tile(
            "Least stranded and idle", show.plain(least.name),
            f"{show.number(wasted[least.name], 'USD')} in {hours:.4g} h",
            help="Cost of capacity that nobody requested, or that no common request fits into",
        )
    ]  # fmt: skip
    if most is not least:
        less = wasted[most.name] - wasted[least.name]
        words = f"by {show.number(less, 'USD')}, {show.number(less / hours, 'USD')} per hour"
        row.append(show.Tile("Less than in", show.plain(most.name), words))
    for field, unit in (("usd", "USD"), ("kwh", "kWh")):
        whole = _sum(frame, least, cost.PARTS, field)
        share = _sum(frame, least, ("stranded", "idle"), field) / whole if whole else None
        row.append(
            show.Tile(
                f"All of {show.plain(least.name)}", show.number(whole, unit), f"{show.share(share)} stranded or idle"
            )
        )
    show.tiles(row)


def _sum(frame: pd.DataFrame, item: Item, parts: tuple[str, ...], field: str) -> float:
    return float(frame.loc[(frame["run"] == item.name) & frame["part"].isin(parts), field].sum())


def _bars(frame: pd.DataFrame, unit: str, names: list[str]) -> show.Drawing:
    """Stacked bars, a bar a run."""
    field = unit.lower()
    drawing: alt.Chart = (
        alt.Chart(frame.assign(order=frame["part"].map(list(cost.PARTS).index)))
        .mark_bar()
        .encode(
            y=alt.Y("run:N", title=None, sort=names, axis=alt.Axis(labelLimit=200)),
            x=alt.X(f"sum({field}):Q", title=f"{unit} over the run's window", axis=alt.Axis(format="~s")),
            color=alt.Color("part:N", title=None, scale=alt.Scale(domain=list(cost.PARTS))),
            order="order:Q",
            tooltip=["run:N", "part:N", alt.Tooltip(f"{field}:Q", title=unit, format=",.4~g"),
                     alt.Tooltip(f"{field}_share:Q", title="share", format=".2%")],
        )
        .properties(height=60 + 34 * len(names))
    )  # fmt: skip
    return drawing


def _say_basis(items: list[Item], model: CostModel) -> None:
    """What the figures rest on."""
    st.subheader("What these figures are")
    measured = [item.name for item in items if basis(item)[2]]
    priced = sorted({RESOURCE[name] for item in items for name in basis(item)[1]})
    changed = [name for name, value in asdict(model).items() if value != getattr(cost.DEFAULT, name)]
    use = f"measured in {show.plain(', '.join(measured))}" if measured else "not measured in these traces"
    own = ", ".join(FIELDS[name] for name in changed)
    st.markdown(
        f"""
- **Useful** is what tasks *requested*, at most what is installed; not what they used. **Stranded** is free room on
  nodes where no common request fits. **Idle** is the rest.
- Priced here: {", ".join(priced)}. Disk, network, buildings and people are not in it.
- A node draws idle + (peak − idle) × the share of its cores (and GPUs) at work; memory draws nothing. Work is what was
  used, or what was requested where that is unknown; use was {use}.
- The defaults are round numbers, assumptions and no measurements. {f"Changed here: {own}." if own else ""}
"""
    )
