"""List and watch one kind into a cache: WatchList, bookmarks, expired versions, lost connections, silent gaps.

`Watcher` is a thread that keeps a `feed.Feed` fed. It lists by a watch that begins with everything (or, from a server
that has no such thing, page by page), follows from there, lists again when its version has expired, and now and then
compares what it knows with a fresh list.

Signs of life. "A watch without events" and "a dead watch" look the same, so each watch asks the server to end it after
a few seconds (`timeoutSeconds`); before it does it sends a bookmark, and the watch is renewed from there. Every event,
bookmark and renewal is a sign of life. Cost: one cheap request every few seconds per kind.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Generic

import msgspec

from scheduler.live.api import METADATA_LIST, Api, ApiError, Params, Watch
from scheduler.live.cluster_cache import ClusterCache
from scheduler.live.feed import SLICE, Expired, Feed, Named, Sink, T, compare_versions, key_of
from scheduler.live.kube_objects import (
    BUDGETS_PATH,
    NODES_PATH,
    PLANS_PATH,
    PODS_PATH,
    LiveBudget,
    LiveNode,
    LivePlan,
    LivePod,
    ObjectList,
)

logger = logging.getLogger(__name__)

RUNNING_PODS: Final = "status.phase!=Succeeded,status.phase!=Failed"
"""Field selector: ended pods are the larger part of many clusters and use nothing."""

_LIST_TIMEOUT_S: Final = 300  # a watch that starts with the whole list may take its time over it
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 1.0


@dataclass(slots=True)
class Life:
    """How a watcher is doing. seen_s: of its last sign of life, on the monotonic clock; 0 for none yet."""

    seen_s: float = 0.0
    lists: dict[str, int] = field(default_factory=dict)
    failures: int = 0
    last_error: str = ""


Deliver = Callable[[Callable[[], Any]], Any]
"""Calls the function where the cache may be changed, and gives its result."""


class Watcher(Generic[T]):
    """Keeps one feed up to date from its own thread until `stop`.

    deliver: applies changes, see `Deliver`. renew_s: how long one watch lasts. resync_s: how often names and versions
    are compared with a fresh list; 0 for never. use_watch_list: False starts with a paged list, as does a server that
    refuses WatchList.
    """

    def __init__(
        self,
        api: Api,
        sink: Sink[T],
        deliver: Deliver,
        *,
        renew_s: int = 7,
        resync_s: float = 600.0,
        use_watch_list: bool = True,
    ) -> None:
        self.kind, self.feed, self.life = sink.kind, Feed(sink), Life()
        self._api, self._sink, self._deliver = api, sink, deliver
        self._renew_s, self._resync_s, self._use_watch_list = renew_s, resync_s, use_watch_list
        self._stop = threading.Event()
        self._watch: Watch | None = None
        self._checked_s = time.monotonic()
        self._suspects: dict[str, str] = {}
        self._thread = threading.Thread(target=self._run, name=f"watch-{sink.kind}", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End the stream; returns without waiting for the thread."""
        self._stop.set()
        if (watch := self._watch) is not None:
            watch.close()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread to end."""
        self._thread.join(timeout_s)

    def is_fresh(self, now_s: float, stale_after_s: float) -> bool:
        """Whether the cache can be trusted about this kind. now_s: of the monotonic clock."""
        return self.feed.is_synced and now_s - self.life.seen_s <= stale_after_s

    def _run(self) -> None:
        pause_s, reason = _FIRST_PAUSE_S, "start"
        while not self._stop.is_set():
            try:
                if not self.feed.version or reason:
                    self._list(reason or "start")
                    reason = ""
                self._follow()
                reason = self._resync() or ""
                pause_s = _FIRST_PAUSE_S
                continue
            except Expired:
                reason = "expired"
                self._stop.wait(random.uniform(0, _FIRST_PAUSE_S))  # many replicas expire together
                continue
            except ApiError as error:
                if error.is_gone:
                    reason = "expired"
                    self._stop.wait(random.uniform(0, _FIRST_PAUSE_S))
                    continue
                if self._sink.optional and error.is_not_found:
                    self._deliver(self.feed.clear)
                    self._see()
                    self._stop.wait(self._renew_s)
                    continue
                self._note(error)
            except msgspec.MsgspecError as error:
                self._note(error)
                reason = "undecodable"
            except Exception as error:
                if self._stop.is_set():
                    return
                logger.exception("event=watch_failed kind=%s", self._sink.kind)
                self._note(error)
                reason = "failure"
            self._stop.wait(pause_s * random.uniform(0.5, 1.5))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _note(self, error: Exception) -> None:
        self.life.failures += 1
        if str(error) != self.life.last_error:
            logger.warning("event=watch_interrupted kind=%s error=%r", self._sink.kind, str(error))
        self.life.last_error = str(error)

    def _see(self) -> None:
        self.life.seen_s = time.monotonic()

    def _list(self, reason: str) -> None:
        self.life.lists[reason] = self.life.lists.get(reason, 0) + 1
        started_s = time.monotonic()
        self._deliver(self.feed.start_list)
        if not (self._use_watch_list and self._watch_list()):
            self._deliver(self.feed.start_list)
            for data in self._api.list_pages(self._sink.path, self._sink.params):
                for step in self.feed.page(data):
                    self._deliver(step)
                self._see()
        self._checked_s, self.life.last_error = time.monotonic(), ""
        logger.info(
            "event=listed kind=%s reason=%s objects=%d version=%s seconds=%.3f",
            self._sink.kind, reason, len(self.feed.known), self.feed.version, time.monotonic() - started_s,
        )  # fmt: skip

    def _watch_list(self) -> bool:
        """List by a watch that begins with everything; False if the server has no such thing."""
        params = {
            **self._sink.params, "sendInitialEvents": True, "resourceVersionMatch": "NotOlderThan",
            "allowWatchBookmarks": True, "timeoutSeconds": _LIST_TIMEOUT_S,
        }  # fmt: skip
        try:
            for _ in self._stream(params, idle_timeout_s=30.0, until_listed=True):
                self._see()
        except ApiError as error:
            if error.status in (400, 422):
                logger.info("event=no_watch_list kind=%s answer=%r", self._sink.kind, error.message)
                self._use_watch_list = False
                return False
            raise
        if self.feed.is_listing:
            raise ApiError(0, "Unreachable", f"the list of {self._sink.kind} ended before its last object")
        return True

    def _follow(self) -> None:
        """One watch from the feed's version to its end."""
        params = {
            **self._sink.params, "resourceVersion": self.feed.version, "allowWatchBookmarks": True,
            "timeoutSeconds": self._renew_s,
        }  # fmt: skip
        for _ in self._stream(params, idle_timeout_s=self._renew_s + 5.0):
            self._see()

    def _stream(self, params: Params, idle_timeout_s: float, until_listed: bool = False) -> Iterator[None]:
        with self._api.watch(self._sink.path, params, idle_timeout_s) as watch:
            self._watch = watch
            if self._stop.is_set():
                return
            yield
            for batch in watch:
                for start in range(0, len(batch), SLICE):
                    ended = self._deliver(partial(self.feed.lines, batch[start : start + SLICE]))
                    if ended and until_listed:
                        return
                yield

    def _resync(self) -> str:
        """Why to list again: an object that twice in a row was missing, extra or older here than in a fresh list."""
        if not self._resync_s or time.monotonic() - self._checked_s < self._resync_s or not self.feed.version:
            return ""
        self._checked_s = time.monotonic()
        fresh: dict[str, str] = {}
        for data in self._api.list_pages(self._sink.path, self._sink.params, accept=METADATA_LIST):
            page = msgspec.json.decode(data, type=ObjectList[Named])
            fresh.update((key_of(one.metadata), one.metadata.resource_version) for one in page.items or ())
        suspects = compare_versions(self.feed.known, fresh)
        confirmed = sorted(key for key, version in suspects.items() if self._suspects.get(key) == version)
        if confirmed:
            logger.error(
                "event=cache_differs kind=%s objects=%d first=%s", self._sink.kind, len(confirmed), confirmed[0]
            )
            self._suspects = {}
            return "resync"
        if suspects:  # a watch is always a moment behind: look again soon
            self._checked_s -= self._resync_s - min(self._renew_s, self._resync_s)
        self._suspects = suspects
        return ""


def cache_sinks(cache: ClusterCache, *, budgets: bool = False) -> list[Sink[Any]]:
    """The kinds that a cache reads; disruption budgets only for who asks."""
    sinks: list[Sink[Any]] = [
        Sink("nodes", NODES_PATH, LiveNode, cache.put_node, cache.drop_node),
        Sink("pods", PODS_PATH, LivePod, cache.put_pod, cache.drop_pod, {"fieldSelector": RUNNING_PODS}),
        Sink("plans", PLANS_PATH, LivePlan, cache.put_plan, cache.drop_plan, optional=True),
    ]
    if budgets:
        sinks.append(Sink("poddisruptionbudgets", BUDGETS_PATH, LiveBudget, cache.put_budget, cache.drop_budget))
    return sinks


def deliver_locked(cache: ClusterCache) -> Deliver:
    """Apply changes from the watchers' own threads, one at a time."""

    def deliver(change: Callable[[], Any]) -> Any:
        with cache.lock:
            return change()

    return deliver


__all__ = ["RUNNING_PODS", "Deliver", "Life", "Sink", "Watcher", "cache_sinks", "deliver_locked"]
