"""Tables for people: rich on a terminal, plain text otherwise."""

from __future__ import annotations

import contextlib
import itertools
import re
import sys
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.table import Table

from analytics.compare import Comparison, Difference
from analytics.metrics import flatten
from analytics.runs import Run

# What a first look needs; everything else is under --all, --json and --csv.
HEADLINES = (
    r"delay_s\..*\.p\d+", "started", "never_placed", "evictions", "preemptions", r"utilisation\..*", r"used\..*",
    r"stranded\..*", "overloaded_node_intervals", r"overload\..*", r"fragmented\..*",
    r"fairness\.(jain_(slowdown|served_share)|(jain|min)_kept_share)",
    "welfare.kept", r"cost\.(usd|joules)\.total",
)  # fmt: skip


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """First column left, the rest right-aligned; as wide as it needs to be when nobody's terminal limits it."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", no_wrap=number == 0)
    for row in rows:
        table.add_row(*row)
    console = Console() if sys.stdout.isatty() else Console(width=max(80, 40 * len(columns)), no_color=True)
    console.print(table)


@contextlib.contextmanager
def show_progress(total: int | None) -> Iterator[Callable[[str], None]]:
    """A function to call with a few words after each step: a bar on a terminal, a line each otherwise; on stderr."""
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with RichProgress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("starting", total=total)
            yield lambda words: bar.update(task, advance=1, description=words)
        return
    steps = itertools.count(1)
    of = f"/{total}" if total else ""
    yield lambda words: print(f"[{next(steps)}{of}] {words}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def show_share(title: str) -> Iterator[Callable[[float], None]]:
    """A function to call with the share that is done: a bar on a terminal, a line each tenth otherwise; on stderr."""
    console = Console(stderr=True)
    if console.is_terminal:
        with RichProgress(TextColumn(title), BarColumn(), TimeElapsedColumn(), console=console, transient=True) as bar:
            task = bar.add_task("", total=1.0)
            yield lambda share: bar.update(task, completed=share)
        return
    print(title, file=sys.stderr, flush=True)
    tenths = itertools.count(1)
    due = [next(tenths)]

    def tick(share: float) -> None:
        if share * 10 >= due[0]:
            print(f"{share:.0%}", file=sys.stderr, flush=True)
            while share * 10 >= due[0]:
                due[0] = next(tenths)

    yield tick


def print_run(run: Run) -> None:
    """The headline metrics of one run, and what it cost."""
    report = run.report()
    flat = flatten(report["metrics"])
    rows = [[name, number(flat[name])] for name in sorted(flat) if any(re.fullmatch(p, name) for p in HEADLINES)]
    print_table(f"{run.folder}: {run.facts.policy}, seed {run.facts.seed}", ["metric", "value"], rows)
    engine = report["engine"]
    if engine["cpu_s"] is not None:
        print(
            f"{engine['events']:,} events in {engine['cpu_s']:.1f} CPU s, "
            f"{engine['events_per_cpu_s']:,.0f} per CPU s; "
            f"{engine['wall_s']:.1f} s in all, {engine['peak_rss_mib']:.0f} MiB at most"
        )
    if run.facts.illegal_transitions:
        print(
            f"illegal transitions: {report['illegal_transitions']}, and "
            f"{report['illegal_transitions_with_missing_info']} more in rows that the trace marks as incomplete"
        )
    print(f"digest {run.digest}")


def print_comparison(comparison: Comparison, every_metric: bool = False) -> None:
    """One row per metric, one column per group: its mean, and how far it is from the base."""
    rows = []
    for metric in comparison.metrics if every_metric else headlines(comparison):
        changes = comparison.differences[metric]
        means = {group: number(comparison.group_mean(metric, group)) for group in comparison.groups}
        rows.append([metric, *(f"{mean} {delta(changes.get(group))}".strip() for group, mean in means.items())])
    headings = [f"{name} ({len(runs)} seeds)" if len(runs) > 1 else name for name, runs in comparison.groups.items()]
    print_table("", ["metric", *headings], rows)
    used = {found.method for groups in comparison.differences.values() for found in groups.values()}
    for note in [*comparison.notes, *(text for method, text in _METHODS.items() if method in used)]:
        print(note)


_METHODS = {
    "seeds": "In brackets: difference to the first column and its 95 % interval over seeds (paired bootstrap).",
    "jobs": "Delays and counts, in brackets: difference to the first column and its 95 % interval over jobs "
    "(paired bootstrap of whole jobs within this trace).",
    "hours": "Utilisation and stranded, in brackets: the same over hours of the window.",
}


def headlines(comparison: Comparison) -> list[str]:
    """Metrics of the short table, in the order of HEADLINES, without those that no run has."""
    known = [name for name, values in comparison.metrics.items() if any(value is not None for value in values.values())]
    return [name for pattern in HEADLINES for name in known if re.fullmatch(pattern, name)]


def number(value: float | None) -> str:
    """Four significant digits, thousands separated, a dash for nothing."""
    if value is None:
        return "-"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def delta(change: Difference | None) -> str:
    """`(+1.2 [0.8, 1.6])`, without brackets where there is no interval."""
    if change is None:
        return ""
    sign = "+" if change.difference >= 0 else ""
    if change.low is None:
        return f"({sign}{number(change.difference)})"
    return f"({sign}{number(change.difference)} [{number(change.low)}, {number(change.high)}])"
