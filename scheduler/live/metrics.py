"""What the extender tells Prometheus: base units, bounded labels, one registry per process."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, GCCollector, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest

from scheduler.live.cluster_cache import ClusterCache
from scheduler.live.decide import RULES
from scheduler.live.watch import Watcher

VERBS = ("filter", "prioritize", "preempt")
_BUCKETS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0)


class ExtenderMetrics:
    """Counters of requests; what the cache and its watches say is read when scraped."""

    def __init__(self, cache: ClusterCache, watchers: Sequence[Watcher[Any]]) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        requests = Counter(
            "stowage_extender_requests", "Requests answered, by verb and HTTP status.", ["verb", "code"],
            registry=self.registry,
        )  # fmt: skip
        duration = Histogram(
            "stowage_extender_request_duration_seconds", "Time from a whole request to its whole answer.", ["verb"],
            buckets=_BUCKETS, registry=self.registry,
        )  # fmt: skip
        refused = Counter(
            "stowage_extender_refused_nodes", "Nodes that filter refused, by rule.", ["rule"], registry=self.registry
        )
        vetoed = Counter(
            "stowage_extender_vetoed_nodes", "Nodes that preempt vetoed, by rule.", ["rule"], registry=self.registry
        )
        stale = Counter(
            "stowage_extender_stale_answers", "Requests answered with an error because the cache was stale.", ["verb"],
            registry=self.registry,
        )  # fmt: skip
        self.shortlists = Counter(
            "stowage_extender_shortlists", "Filter requests answered with the best nodes only.", registry=self.registry
        )
        self.rejected = Counter(
            "stowage_extender_rejected_requests", "Requests that broke a bound or could not be read, by HTTP status.",
            ["code"], registry=self.registry,
        )  # fmt: skip
        # Looking up a label costs more than counting; all of them are known.
        self.answered = {verb: requests.labels(verb, "200") for verb in VERBS}
        self.requests = requests
        self.duration = {verb: duration.labels(verb) for verb in VERBS}
        self.refused = {rule: refused.labels(rule) for rule in RULES}
        self.vetoed = {rule: vetoed.labels(rule) for rule in RULES}
        self.stale = {verb: stale.labels(verb) for verb in VERBS}
        self.registry.register(_State(cache, watchers))

    def render(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)


class _State:
    """The cache and its watches, as gauges and counters."""

    def __init__(self, cache: ClusterCache, watchers: Sequence[Watcher[Any]]) -> None:
        self._cache, self._watchers = cache, watchers

    def collect(self) -> Iterable[Metric]:
        cache = self._cache
        objects = GaugeMetricFamily("stowage_cache_objects", "Objects in the cache, by kind.", labels=["kind"])
        objects.add_metric(["nodes"], len(cache.columns.row_of))
        objects.add_metric(["pods"], len(cache.pods))
        objects.add_metric(["plans"], len(cache.plans))
        yield objects
        for name, text, value in (
            ("stowage_cache_reservations", "Reservations of plans, expired ones included.", len(cache.reservations)),
            ("stowage_cache_flagged_nodes", "Nodes in quarantine or with failing GPUs.", len(cache.flags)),
            ("stowage_cache_assumed_pods", "Pods counted where they were scored best.", cache.assumed),
            ("stowage_cache_unreadable_objects", "Objects with a quantity out of range.", len(cache.unreadable)),
        ):
            yield GaugeMetricFamily(name, text, value=value)
        now_s = time.monotonic()
        age = GaugeMetricFamily(
            "stowage_watch_age_seconds", "Time since a watch showed a sign of life.", labels=["kind"]
        )
        synced = GaugeMetricFamily("stowage_watch_synced", "1 once a whole list was applied.", labels=["kind"])
        events = CounterMetricFamily("stowage_watch_events", "Watch events, by type.", labels=["kind", "type"])
        ignored = CounterMetricFamily("stowage_watch_repeated_events", "Events already known.", labels=["kind"])
        broken = CounterMetricFamily("stowage_watch_undecodable_objects", "Objects left out.", labels=["kind"])
        lists = CounterMetricFamily("stowage_watch_lists", "Whole lists, by why.", labels=["kind", "reason"])
        failures = CounterMetricFamily("stowage_watch_failures", "Watches that broke.", labels=["kind"])
        for one in self._watchers:
            kind, life, feed = one.kind, one.life, one.feed
            age.add_metric([kind], now_s - life.seen_s)
            synced.add_metric([kind], float(feed.is_synced))
            ignored.add_metric([kind], feed.ignored)
            broken.add_metric([kind], feed.undecodable)
            failures.add_metric([kind], life.failures)
            for event, count in list(feed.events.items()):
                events.add_metric([kind, event], count)
            for reason, count in list(life.lists.items()):
                lists.add_metric([kind, reason], count)
        yield from (age, synced, events, ignored, broken, lists, failures)
