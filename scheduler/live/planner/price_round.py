"""The price round: what nodes cost now, found in a child process, written as few annotations as will do.

The planner's thread only takes the cluster down as a question; asking, and the writes, are done on a thread of the
round's own, and a round that is not over when the next is due is that next one. In `observe` nothing is written: what
would be is remembered, told in the journal and by metrics.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, Protocol

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from scheduler.core.snapshot import SnapshotError, a_snapshot, encode_snapshot
from scheduler.live.api import ApiError
from scheduler.live.kube_objects import NAMESPACES_PATH, LiveNamespace
from scheduler.live.node_health import ShownNode
from scheduler.live.planner.child import SolverFailed
from scheduler.live.planner.price_marks import MILLI, PriceMarks, PriceRules, decide_prices, own_price
from scheduler.live.planner.price_solver import PodBid, PriceAnswer, PriceQuestion
from scheduler.live.planner.price_terms import Fault, read_terms
from scheduler.live.planner.records import Recorder
from scheduler.live.planner.settings import PlannerSettings
from scheduler.live.planner.world import World
from scheduler.live.watch import Sink

log = logging.getLogger(__name__)
MOST_FAULTS: Final = 50
QUANTILES: Final = (0.0, 0.5, 0.9, 1.0)


class PriceApi(Protocol):
    """What a round writes."""

    def price_node(self, node: ShownNode, price_milli: int) -> None:
        """Set the price of this version of a node, or take it off (0). Raises ApiError."""
        ...


class PriceSource(Protocol):
    """Who works the prices out."""

    def ask(self, question: PriceQuestion) -> PriceAnswer:
        """The answer; may take a while. Raises SolverFailed."""
        ...

    def stop(self) -> None:
        """End whatever it runs."""
        ...


class PriceMetrics:
    """Metrics of rounds; no series per node."""

    def __init__(self, registry: CollectorRegistry) -> None:
        r = registry
        self.rounds = Counter("stowage_planner_price_rounds", "Price rounds, by verdict.", ["verdict"], registry=r)
        self.cpu = Histogram("stowage_planner_price_round_cpu_seconds", "CPU time of a round's search.", registry=r)
        self.writes = Counter("stowage_planner_price_writes", "Changes of prices, by answer.", ["answer"], registry=r)
        self.price = Gauge("stowage_planner_node_price", "Quantiles of nodes' prices.", ["quantile"], registry=r)
        self.priced = Gauge("stowage_planner_priced_nodes", "Nodes with a price above 0.", registry=r)
        self.gap = Gauge("stowage_planner_price_gap_ratio", "What the last round's welfare may lack.", registry=r)
        self.outbid = Gauge("stowage_planner_outbid_pods", "Waiting pods that won no place in the round.", registry=r)


class PriceRound:
    """nodes: as last observed, by name; whoever watches keeps it. namespaces: likewise, by our own watch."""

    def __init__(
        self,
        settings: PlannerSettings,
        nodes: Mapping[str, ShownNode],
        api: PriceApi,
        recorder: Recorder,
        source: PriceSource,
    ) -> None:
        self.is_on = settings.price_round != "disabled"
        self.writes = settings.price_round == "auto"
        self.rules = PriceRules(settings.price_pace, settings.price_step)
        self.most_writes, self.scheduler = settings.price_writes, settings.scheduler
        self.reserve = settings.price_reserve
        self.nodes, self.api, self.recorder, self.source = nodes, api, recorder, source
        self.namespaces: dict[str, LiveNamespace] = {}
        self.metrics = PriceMetrics(recorder.metrics.registry) if self.is_on else None
        self._thread = ThreadPoolExecutor(1, "prices")
        self._running: Future[None] | None = None
        self._observed: dict[str, int] = {}
        self._faults: set[Fault] = set()
        self._bids: dict[str, tuple[object, ...]] = {}

    def sinks(self) -> list[Sink[Any]]:
        """What a round watches beside what the planner does; nothing while it is off."""
        if not self.is_on:
            return []

        def put(item: LiveNamespace) -> None:
            self.namespaces[item.metadata.name] = item

        return [Sink("namespaces", NAMESPACES_PATH, LiveNamespace, put, lambda name: _drop(self.namespaces, name))]

    def begin(self, world: World, gang_sizes: Mapping[str, int], may_act: Callable[[], bool]) -> Future[None] | None:
        """Start a round from the world as it is; None where the last one is not over. For the planner's thread.

        may_act: whether this process still leads, asked before each write.
        """
        if self._running is not None and not self._running.done():
            return None
        question = self._question(world, gang_sizes)
        if question is None:
            return None
        self._running = self._thread.submit(self._round, question, may_act)
        return self._running

    def stop(self) -> None:
        """No further round; the child ends, and with it a round that waits for it."""
        self.source.stop()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _question(self, world: World, gang_sizes: Mapping[str, int]) -> PriceQuestion | None:
        ours = [live for live in world.pods.values() if live.scheduler == self.scheduler]
        terms, faults = read_terms(ours, self.namespaces)
        self._tell_faults(faults)
        pods = [
            msgspec.structs.replace(live.pod, gang_size=gang_sizes.get(live.pod.gang, live.pod.gang_size))
            if live.pod.gang in gang_sizes else live.pod
            for live in world.pods.values()
            if live.pod.node is None or live.pod.node in world.nodes
        ]  # fmt: skip
        try:
            snapshot = a_snapshot(list(world.nodes.values()), pods)
        except SnapshotError as error:
            log.warning("no price round: %s", error)
            return None
        return PriceQuestion(
            encode_snapshot(snapshot), sorted(terms.pods), dict(terms.bids), dict(terms.weights), dict(terms.budgets),
            self.reserve,
        )  # fmt: skip

    # ---- on the round's thread

    def _round(self, question: PriceQuestion, may_act: Callable[[], bool]) -> None:
        assert self.metrics is not None
        try:
            answer = self.source.ask(question)
        except SolverFailed as error:
            log.warning("price round: %s", error)
            self.metrics.rounds.labels(verdict="failed").inc()
            return
        try:
            prices = {name: pool.price for pool in answer.pools for name in pool.nodes}
            nodes = dict(self.nodes)
            annotations = {name: node.metadata.annotations or {} for name, node in nodes.items()}
            marks = decide_prices(annotations, prices, self.rules, None if self.writes else self._observed)
            written = self._write(marks, may_act)
            self._count(answer, marks)
            self._tell(answer, marks, written)
        except Exception:
            log.exception("a price round failed")
            self.metrics.rounds.labels(verdict="failed").inc()

    def _write(self, marks: PriceMarks, may_act: Callable[[], bool]) -> int:
        """Write, or remember, as many changes as one round may; how many."""
        assert self.metrics is not None
        written = 0
        for name, price in list(marks.changed.items())[: self.most_writes]:
            answer = "observed"
            if self.writes:
                node = self.nodes.get(name)
                if node is None or own_price(node.metadata.annotations or {}) != marks.last[name]:
                    continue  # gone, or somebody else was faster: looked at again by the next round
                if not may_act():
                    break
                try:
                    self.api.price_node(node, price)
                    answer = "written"
                except ApiError as error:
                    self.metrics.writes.labels(answer=str(error.status)).inc()
                    if error.is_conflict or error.is_not_found:
                        continue
                    log.warning("node=%s price_milli=%d not written: %s", name, price, error)
                    break
            else:
                self._observed[name] = price
            marks.last[name] = price
            self.metrics.writes.labels(answer=answer).inc()
            written += 1
        for gone in self._observed.keys() - marks.last.keys():
            del self._observed[gone]
        return written

    def _count(self, answer: PriceAnswer, marks: PriceMarks) -> None:
        assert self.metrics is not None
        self.metrics.rounds.labels(verdict=answer.verdict).inc()
        self.metrics.cpu.observe(answer.cpu_s)
        self.metrics.gap.set(max(answer.bound - answer.welfare, 0.0) / answer.bound if answer.bound > 0 else 0.0)
        self.metrics.priced.set(sum(price > 0 for price in marks.last.values()))
        self.metrics.outbid.set(sum(not one.won for one in answer.waiting))
        now = sorted(marks.last.values())
        for q in QUANTILES:
            price = now[round(q * (len(now) - 1))] if now else 0
            self.metrics.price.labels(quantile=f"{q:g}").set(price / MILLI)

    # ---- what is told

    def _tell(self, answer: PriceAnswer, marks: PriceMarks, written: int) -> None:
        dearest = max(answer.pools, key=lambda pool: pool.price, default=None)
        text = (
            f"{answer.requests} pods bid for {len(answer.pools)} pools, dearest {dearest.price if dearest else 0:.3g}; "
            f"{written} of {len(marks.changed)} changed prices {'written' if self.writes else 'would be written'}"
        )
        log.info("price round verdict=%s cpu_s=%.2f %s", answer.verdict, answer.cpu_s, text)
        details = {
            "welfare": answer.welfare, "bound": answer.bound, "steps": answer.steps, "cpu_s": answer.cpu_s,
            "pools": [{"node": pool.nodes[0], "nodes": len(pool.nodes), "price": pool.price,
                       "utilisation": pool.utilisation} for pool in answer.pools],
            "written": written, "foreign": len(marks.foreign),
        }  # fmt: skip
        self.recorder.write("prices", verdict=answer.verdict, message=text, details=details)
        for bid in answer.waiting:
            if self._bids.get(bid.pod) != _gist(bid):
                self._tell_bid(bid)
        self._bids = {bid.pod: _gist(bid) for bid in answer.waiting}

    def _tell_bid(self, bid: PodBid) -> None:
        namespace, _, name = bid.pod.partition("/")
        if not bid.pool:
            verdict, why = "outbid", "no node in service takes such a pod, so it bids for none"
        elif bid.won:
            verdict = "won"
            why = f"it bids {bid.bid:.4g}; a place among nodes like {bid.pool} costs {bid.price:.4g}"
        else:
            verdict = "outbid"
            why = f"it bids {bid.bid:.4g}; the cheapest place, among nodes like {bid.pool}, costs {bid.price:.4g}"
            if bid.rival:
                why += f"; the last that got in is {bid.rival}, which bids {bid.rival_bid:.4g}"
        self.recorder.write(
            "bid", namespace=namespace, pod=name, node=bid.pool, verdict=verdict, message=why,
            details=msgspec.to_builtins(bid),
        )  # fmt: skip

    def _tell_faults(self, faults: list[Fault]) -> None:
        """Once for each, until it is mended; of very many, some with each round."""
        new = sorted(set(faults) - self._faults, key=lambda one: (one.namespace, one.pod, one.text))[:MOST_FAULTS]
        for fault in new:
            where = f"{fault.namespace}/{fault.pod}" if fault.pod else fault.namespace
            log.warning("%s=%s %s", "pod" if fault.pod else "namespace", where, fault.text)
            if fault.pod:
                self.recorder.tell(
                    fault.namespace, fault.pod, fault.uid, "Warning", "AnnotationIgnored", "Price", fault.text
                )
            else:
                self.recorder.tell_of_namespace(
                    fault.namespace, fault.uid, "Warning", "AnnotationIgnored", "Price", fault.text
                )
        self._faults = self._faults & set(faults) | set(new)


def _gist(bid: PodBid) -> tuple[object, ...]:
    """What must change before a pod is told anew; amounts to two digits."""
    return bid.won, bid.pool, f"{bid.bid:.2g}", f"{bid.price:.2g}"


def _drop(table: dict[str, LiveNamespace], name: str) -> None:
    table.pop(name, None)
