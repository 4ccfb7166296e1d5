"""What a synthetic cold start is made of: its runtime, trigger and size, and the seconds of its four components.

Region R2 is the one whose components are published by runtime. There every component is drawn from its own curve, and
the sum comes out as published; triggers and sizes are then given out so that each trigger's and size's cold starts have
the published distribution (iterative proportional fitting of runtime x time x label). Elsewhere only the whole and its
quartiles by size are published: the whole is drawn, and split so that the components' means are the region's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from traces.synth.huawei import calibration as cal
from traces.synth.huawei.calibration import Curve
from traces.synth.huawei.curves import Floats, from_quartiles, share_below, shares_of, stretch_tails, value_at

Codes = NDArray[np.int64]
SMALL, LARGE = 0, 1
_PROBE = 600_000  # events from which a fit is made
_SWEEPS = 30
_ROUNDS = 3
_LONGEST_S = 30.0  # of one component before the split; quartiles alone would let some run for days
_EDGE_LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True, slots=True, eq=False)
class ColdStarts:
    """One row per cold start. seconds: (n, 4) in the order of COMPONENTS; runtime, trigger: -1 outside R2."""

    runtime: Codes
    trigger: Codes
    size: Codes
    seconds: Floats


class KnownRuntimes:
    """Region R2."""

    def __init__(self) -> None:
        share = dict(zip(cal.RUNTIMES, cal.RUNTIME_SHARE, strict=True))
        layered = {name: share[name] * cal.DEPENDENCY[name][0] for name in cal.DEPLOY_DEPENDENCY}
        published = {name: _of_runtimes(curves) for name, curves in cal.BY_RUNTIME.items()}
        target = np.array(cal.MEAN_S["R2"])
        aim = target.copy()
        for _ in range(_ROUNDS):  # hours couple the components, which moves their means a little
            self.curves = {
                name: stretch_tails(curves, layered if name == "deploy_dependency" else share, float(mean))
                for (name, curves), mean in zip(published.items(), aim, strict=True)
            }
            rng = np.random.default_rng([0, 2, 1])
            runtime, seconds = self._draw(rng, rng.standard_normal(_PROBE))
            aim *= target / seconds.mean(axis=0)
        whole = seconds.sum(axis=1)
        known = [cal.TOTAL_BY_TRIGGER[name] for name in cal.TRIGGERS[:-1]]
        self.trigger_edges = _edges(known)
        self.trigger_given = _fit_labels(
            runtime, np.searchsorted(self.trigger_edges, whole), cal.TRIGGER_BY_RUNTIME,
            _label_mass(known, cal.TRIGGER_SHARE[:-1], self.trigger_edges),
        )  # fmt: skip
        sizes = [from_quartiles(cal.QUARTILES["R2", size][0]) for size in ("small", "large")]
        self.size_edges = _edges(sizes)
        self.size_given = _fit_labels(
            runtime, np.searchsorted(self.size_edges, whole), np.full((len(cal.RUNTIMES), 2), 0.5),
            _label_mass(sizes, (1 - cal.LARGE_SHARE["R2"], cal.LARGE_SHARE["R2"]), self.size_edges), last_is_rest=False,
        )  # fmt: skip

    def draw(self, rng: np.random.Generator, hour_score: Floats) -> ColdStarts:
        """As many cold starts as there are scores (see `shares_of`)."""
        runtime, seconds = self._draw(rng, hour_score)
        whole = seconds.sum(axis=1)
        trigger = _pick(rng, self.trigger_given[runtime, np.searchsorted(self.trigger_edges, whole)])
        size = _pick(rng, self.size_given[runtime, np.searchsorted(self.size_edges, whole)])
        return ColdStarts(runtime, trigger, size, seconds)

    def _draw(self, rng: np.random.Generator, hour_score: Floats) -> tuple[Codes, Floats]:
        runtime = rng.choice(len(cal.RUNTIMES), len(hour_score), p=cal.RUNTIME_SHARE)
        shares = {name: shares_of(rng, hour_score, cal.HOUR_STRENGTH) for name in cal.COMPONENTS}
        chance = rng.random(len(hour_score))
        seconds = np.zeros((len(hour_score), len(cal.COMPONENTS)))
        for code, name in enumerate(cal.RUNTIMES):
            rows = np.flatnonzero(runtime == code)
            for column, component in enumerate(cal.COMPONENTS):
                curve = self.curves[component].get(name)
                if curve is None:
                    continue
                values = value_at(curve, shares[component][rows])
                if component == "deploy_dependency":
                    layered, lean = cal.DEPENDENCY[name]
                    # Functions with layers take longer to schedule than those without: `lean` says by how much.
                    limit = layered * (1 + lean * (2 * shares["scheduling"][rows] - 1))
                    values = np.where(chance[rows] < limit, values, 0.0)
                seconds[rows, column] = values
        return runtime, seconds


class UnknownRuntimes:
    """A region of which only the whole cold start and its parts by size are published."""

    def __init__(self, region: str) -> None:
        target = np.array(cal.MEAN_S[region])
        self.whole = stretch_tails({region: cal.TOTAL[region]}, {region: 1.0}, float(target.sum()))[region]
        quartiles = [cal.QUARTILES[region, size] for size in ("small", "large")]
        self.parts = [[from_quartiles(part) for part in size[1:]] for size in quartiles]
        sizes = [from_quartiles(size[0]) for size in quartiles]
        large = cal.LARGE_SHARE[region]
        self.edges = _edges(sizes)
        mass = _label_mass(sizes, (1 - large, large), self.edges)
        self.large_given = mass[LARGE] / np.maximum(mass.sum(axis=0), 1e-12)
        self.weight = np.ones(len(target))
        rng = np.random.default_rng([0, 2, cal.REGIONS.index(region) + 10])
        # Half of the probe lies in the slowest tenth, which holds most of the seconds.
        grid = (np.arange(_PROBE // 2) + 0.5) / (_PROBE // 2)
        whole = value_at(self.whole, np.concatenate([0.9 * grid, 0.9 + 0.1 * grid]))
        counts = np.repeat([0.9, 0.1], _PROBE // 2) / (_PROBE // 2)
        raw, _ = self._raw(rng, whole)
        for _ in range(_SWEEPS):
            split = raw * self.weight
            self.weight *= target / (split.T @ (counts * whole / split.sum(axis=1)))

    def draw(self, rng: np.random.Generator, hour_score: Floats) -> ColdStarts:
        """As many cold starts as there are scores (see `shares_of`)."""
        whole = value_at(self.whole, shares_of(rng, hour_score, cal.HOUR_STRENGTH))
        raw, size = self._raw(rng, whole)
        split = raw * self.weight
        nothing = np.full(len(whole), -1)
        return ColdStarts(nothing, nothing, size, split * (whole / split.sum(axis=1))[:, None])

    def _raw(self, rng: np.random.Generator, whole: Floats) -> tuple[Floats, Codes]:
        """Components as their own quartiles say, before they are made to add up to the whole."""
        size = (rng.random(len(whole)) < self.large_given[np.searchsorted(self.edges, whole)]).astype(np.int64)
        raw = np.empty((len(whole), len(cal.COMPONENTS)))
        for column, component in enumerate(cal.COMPONENTS):
            share = rng.random(len(whole))
            small, large = (value_at(self.parts[each][column], share) for each in (SMALL, LARGE))
            raw[:, column] = np.minimum(np.where(size == LARGE, large, small), _LONGEST_S)
            if component == "deploy_dependency":
                raw[rng.random(len(whole)) >= cal.LAYERED_SHARE, column] = 0.0
        return raw, size


def _of_runtimes(curves: dict[str, Curve]) -> dict[str, Curve]:
    """A curve for every runtime; those not published take the one of all together, where that is given."""
    found = {name: curves.get(name, curves.get("all")) for name in cal.RUNTIMES}
    return {name: curve for name, curve in found.items() if curve is not None}


def _edges(curves: list[Curve]) -> Floats:
    """Limits between bins of time: the quantiles of the curves themselves, so that medians come out exactly."""
    return np.unique(np.concatenate([value_at(curve, np.array(_EDGE_LEVELS)) for curve in curves]))


def _label_mass(curves: list[Curve], share: tuple[float, ...], edges: Floats) -> Floats:
    """(labels, bins) the share of all cold starts that have the label and lie in the bin."""
    below = np.array([np.concatenate([[0.0], share_below(curve, edges), [1.0]]) for curve in curves])
    return np.asarray(np.diff(below, axis=1) * np.array(share)[:, None])


def _fit_labels(runtime: Codes, bin_: Codes, prior: Floats, mass: Floats, *, last_is_rest: bool = True) -> Floats:
    """(runtimes, bins, labels) the chance of each label, given runtime and bin.

    prior: (runtimes, labels) how labels go with runtimes. mass: (labels, bins) what they must add up to; where
    `last_is_rest`, one more label takes whatever the others leave in a bin.
    """
    bins = mass.shape[1]
    cells = np.zeros((len(prior), bins))
    np.add.at(cells, (runtime, bin_), 1 / len(runtime))
    if last_is_rest:
        rest = np.maximum(cells.sum(axis=0) - mass.sum(axis=0), 1e-9)
        mass = np.vstack([mass, rest])
    table = cells[:, :, None] * np.maximum(prior, 1e-4)[:, None, :]
    for _ in range(_SWEEPS):
        table *= (mass.T / np.maximum(table.sum(axis=0), 1e-15))[None, :, :]
        table *= (cells / np.maximum(table.sum(axis=2), 1e-15))[:, :, None]
    given = table / np.maximum(table.sum(axis=2, keepdims=True), 1e-15)
    unseen = given.sum(axis=2) == 0
    given[unseen] = (prior / prior.sum(axis=1, keepdims=True))[np.nonzero(unseen)[0]]
    return np.asarray(given)


def _pick(rng: np.random.Generator, chances: Floats) -> Codes:
    """A label per row of (n, labels) chances."""
    drawn = rng.random(len(chances))[:, None]
    return np.asarray(np.minimum((np.cumsum(chances, axis=1) < drawn).sum(axis=1), chances.shape[1] - 1))


