"""What `stowage auction` is given, known by its contents: a market, a cluster, a trace, or the published instance."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analytics.auction.market_file import KIND, read_market
from analytics.auction.paper_files import find_parts, read_paper_instance
from analytics.errors import InputError
from scheduler.core.auction.clusters import bids_nearby, cluster_machines
from scheduler.core.auction.market import Floats, Market
from scheduler.core.auction.paper_instance import SEED, UTILITIES, PaperInstance, market_of, paper_terms, utility
from scheduler.core.auction.terms import Terms
from scheduler.core.auction.walk import Bools
from scheduler.core.snapshot import SnapshotError

WHAT_IS_READ = (
    "give a StowageMarket file, the output of `kubectl get nodes,pods -A -o json` or a snapshot, an imported trace "
    "with --at, or job_events of Google 2011 (a folder, or its parts)"
)
NODES_LISTED = 32


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """A round with its terms. source: what it was read from, in words. paper: where it is the published instance."""

    source: str
    market: Market
    terms: Terms
    notes: list[str] = field(default_factory=list)
    paper: PaperInstance | None = None
    utility: str = ""

    @property
    def scale(self) -> float:
        """What a value is divided by in the efficiency: utilities stand as they are, money by the highest bid."""
        return 1.0 if self.paper is not None else float(self.market.value.max(initial=0.0)) or 1.0

    def revalue(self, price: Floats) -> Floats:
        """(E,) the bids when machines cost `price` (N,); as they are where nothing says how a price changes them."""
        if self.paper is None:
            return self.market.value
        return utility(self.paper, UTILITIES[self.utility], price)[self.market.offer_request(), self.market.node]

    def nearby(self, clusters: int, reach: int) -> Bools | None:
        """(E,) which bids stay within the clusters near their request; None for no clusters: all are made.

        Raises InputError where the input has no locations.
        """
        if clusters == 0:
            return None
        if self.paper is None:
            raise InputError(f"--clusters {clusters}: only the published instance says where requests and machines are")
        found = cluster_machines(self.paper.machine_position, clusters)
        request = self.market.offer_request()
        return bids_nearby(found, reach, self.paper.request_position, request, self.market.node)


def read_round(
    paths: Sequence[Path], *, utility: str, exclusive: bool, at: str | None = None, seed: int = SEED,
    listed: int = NODES_LISTED,
) -> Round:  # fmt: skip
    """The round in these files. at: the instant of a trace. seed: of the published draws. Raises InputError."""
    if utility not in UTILITIES:
        raise InputError(f"--utility {utility}: choose {' or '.join(UTILITIES)}")
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} is not there")
    if len(paths) == 1 and (paths[0] / "meta.json").exists():
        return _of_trace(paths[0], at, listed, exclusive)
    if at is not None:
        raise InputError(f"--at {at}: {paths[0]} is no imported trace (it has no meta.json)")
    for path in paths:
        if path.is_file() and not path.stat().st_size:
            raise InputError(f"{path} is empty: {WHAT_IS_READ}")
    if len(paths) == 1 and paths[0].is_file() and (text := _json_text(paths[0])) is not None:
        return _of_json(paths[0], text, exclusive)
    return _of_job_events(paths, utility, exclusive, seed)


def _of_trace(folder: Path, at: str | None, listed: int, exclusive: bool) -> Round:
    from analytics.auction.trace_instant import read_instant
    from analytics.options import parse_duration_us
    from traces.schema import open_trace

    if at is None:
        raise InputError(f"{folder} is a trace: --at says when, as in --at 12h")
    market, terms, notes = read_instant(open_trace(folder), parse_duration_us(at), listed, exclusive=exclusive)
    return Round(f"trace {folder} at {at}", market, terms, notes)


def _of_json(path: Path, text: str, exclusive: bool) -> Round:
    try:
        content = json.loads(text, object_pairs_hook=lambda pairs: _without_twins(path, pairs))
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON object ({error}): {WHAT_IS_READ}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is no JSON object but a list: {WHAT_IS_READ}")
    if content.get("kind") == KIND:
        market, terms, notes = read_market(path, content, exclusive=exclusive)
        return Round(f"market {path}", market, terms, notes)
    from analytics.auction.cluster_file import read_cluster

    try:
        market, terms, notes = read_cluster(path, text.encode(), exclusive=exclusive)
    except SnapshotError as error:
        raise InputError(f"{path} is no {KIND}, and {error}") from error
    return Round(f"cluster {path}", market, terms, notes)


def _without_twins(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these keys and values. Raises InputError for a key that stands twice: one value would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for n, (key, _) in enumerate(pairs) if key in dict(pairs[:n]))
        raise InputError(f"{path}: {twice!r} stands twice in one object; leave one of them")
    return found


def _of_job_events(paths: Sequence[Path], name: str, exclusive: bool, seed: int) -> Round:
    parts = [part for path in paths for part in (find_parts(path) if path.is_dir() else [path])]
    if not parts:
        raise InputError(f"{', '.join(map(str, paths))}: nothing to hold an auction on: {WHAT_IS_READ}")
    paper = read_paper_instance(parts, seed)
    market = market_of(paper, UTILITIES[name], exclusive=exclusive)
    source = f"published instance of {', '.join(part.name for part in parts)}, machines drawn with seed {seed}"
    return Round(source, market, paper_terms(paper, market), paper=paper, utility=name)


def _json_text(path: Path) -> str | None:
    """The text of a file that begins as JSON does; None for any other, or one that is not text."""
    data = path.read_bytes()
    try:
        text = data.decode("utf-16" if data.startswith(b"\xff\xfe") else "utf-8-sig")
    except UnicodeError:
        return None
    return text if text.lstrip()[:1] in ("{", "[") else None
