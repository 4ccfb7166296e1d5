"""List and watch one kind into a cache: WatchList, bookmarks, expired versions, lost connections, silent gaps.

`Feed` is the logic, without I/O or clock: lines in, calls to a `Sink` out. `Watcher` is a thread that keeps a feed fed.

A list is applied as it comes, object by object; what it did not name is dropped at its end. So a list needs no second
copy of the cluster, and readers never see an empty cache during one. After it, an event counts only if its version is
newer than the newest seen: a repeated or late event changes nothing (versions are comparable integers, KEP-5504; for a
server whose are not, order is taken as it comes).

Signs of life. "A watch without events" and "a dead watch" look the same, so each watch asks the server to end it after
a few seconds (`timeoutSeconds`); before it does it sends a bookmark, and the watch is renewed from there. Every event,
bookmark and renewal is a sign of life. Cost: one cheap request every few seconds per kind.

An object that cannot be decoded is left out, and counted, instead of stopping its kind.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec

from scheduler.live.api import METADATA_LIST, Api, ApiError, Params, Watch
from scheduler.live.cluster_cache import ClusterCache
from scheduler.live.kube_objects import (
    BUDGETS_PATH,
    NODES_PATH,
    PLANS_PATH,
    PODS_PATH,
    ListMetadata,
    LiveBudget,
    LiveMetadata,
    LiveNode,
    LivePlan,
    LivePod,
    ObjectList,
    Status,
    WatchEvent,
    is_initial_events_end,
)

logger = logging.getLogger(__name__)

RUNNING_PODS: Final = "status.phase!=Succeeded,status.phase!=Failed"
"""Field selector: ended pods are the larger part of many clusters and use nothing."""

_LIST_TIMEOUT_S: Final = 300  # a watch that starts with the whole list may take its time over it
_SLICE: Final = 32  # events applied in one go, so that a request waits for a millisecond at most
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
_ABSENT_PAUSE_S: Final = 10.0


class KubeObject(Protocol):
    """What every decoded object has."""

    @property
    def metadata(self) -> LiveMetadata:
        """Its metadata."""


T = TypeVar("T", bound=KubeObject)


@dataclass(slots=True)
class Sink(Generic[T]):
    """Where objects of one kind go.

    optional: the cluster may not know the kind (a CRD that is not installed); then it has no objects.
    """

    kind: str
    path: str
    type: type[T]
    put: Callable[[T], None]
    drop: Callable[[str], None]
    params: Params = field(default_factory=dict)
    optional: bool = False


class Expired(Exception):
    """The watch cannot go on from its version: list again."""


class Feed(Generic[T]):
    """The state of one kind's stream. is_synced: a whole list has been applied at least once."""

    def __init__(self, sink: Sink[T]) -> None:
        self.sink = sink
        self.version = ""
        self.is_synced = False
        self.events: dict[str, int] = {}
        self.ignored = 0
        self.undecodable = 0
        self.known: dict[str, str] = {}
        self._listed: dict[str, str] | None = None
        self._event = msgspec.json.Decoder(WatchEvent[sink.type])  # type: ignore[name-defined]
        self._object = msgspec.json.Decoder(sink.type)
        self._page = msgspec.json.Decoder(ObjectList[sink.type])  # type: ignore[name-defined]

    @property
    def is_listing(self) -> bool:
        """Between the start and the end of a list."""
        return self._listed is not None

    def start_list(self) -> None:
        """A list begins, from the first object."""
        self._listed = {}

    def page(self, data: bytes) -> Iterator[Callable[[], None]]:
        """Apply one page of a list, in slices to be called one after another; the last page ends the list."""
        try:
            page = self._page.decode(data)
            items = page.items or []
            meta = page.metadata
        except msgspec.ValidationError:
            meta, items = self._decode_one_by_one(data)
        for start in range(0, len(items), _SLICE):
            yield partial(self._list_items, items[start : start + _SLICE])
        if not meta.more:
            yield partial(self._end_list, meta.resource_version)

    def lines(self, lines: list[bytes]) -> bool:
        """Apply lines of a watch; True when they ended the list it began with.

        Raises Expired if the server says so, ApiError for any other error event, msgspec.MsgspecError for a line that
        is no event of any object.
        """
        ended = False
        for line in lines:
            if not line.strip():
                continue
            try:
                event = self._event.decode(line)
            except msgspec.ValidationError as error:
                _raise_error_event(line)
                self._leave_out(msgspec.json.decode(line, type=WatchEvent[_Named]).object.metadata, error)
                continue
            self.events[event.type] = self.events.get(event.type, 0) + 1
            ended |= self._apply(event)
        return ended

    def _apply(self, event: WatchEvent[T]) -> bool:
        meta = event.object.metadata
        if event.type == "BOOKMARK":
            if self._listed is not None and is_initial_events_end(meta):
                self._end_list(meta.resource_version)
                return True
            if self._listed is None and _is_newer(meta.resource_version, self.version):
                self.version = meta.resource_version
            return False
        if self._listed is not None and event.type != "DELETED":
            self._list_items([event.object])
            return False
        if self._listed is None and not _is_newer(meta.resource_version, self.version):
            self.ignored += 1
            return False
        key = _key(meta)
        if event.type == "DELETED":
            self.known.pop(key, None)
            if self._listed is not None:
                self._listed.pop(key, None)
            self.sink.drop(key)
        elif event.type in ("ADDED", "MODIFIED"):
            self.known[key] = meta.resource_version
            self.sink.put(event.object)
        if self._listed is None:
            self.version = meta.resource_version
        return False

    def _leave_out(self, meta: LiveMetadata, error: Exception) -> None:
        """An object that cannot be decoded: better none than an old one."""
        key = _key(meta)
        self.undecodable += 1
        logger.error("event=undecodable kind=%s object=%s error=%r", self.sink.kind, key, str(error))
        if self._listed is not None:
            self._listed.pop(key, None)
        elif _is_newer(meta.resource_version, self.version):
            self.version = meta.resource_version
        if self.known.pop(key, None) is not None:
            self.sink.drop(key)

    def _decode_one_by_one(self, data: bytes) -> tuple[ListMetadata, list[T]]:
        page = msgspec.json.decode(data, type=ObjectList[msgspec.Raw])
        items: list[T] = []
        for raw in page.items or ():
            try:
                items.append(self._object.decode(raw))
            except msgspec.ValidationError as error:
                self._leave_out(msgspec.json.decode(raw, type=_Named).metadata, error)
        return page.metadata, items

    def _list_items(self, items: list[T]) -> None:
        assert self._listed is not None
        for item in items:
            key, version = _key(item.metadata), item.metadata.resource_version
            self._listed[key] = version
            if self.known.get(key) != version or not version:
                self.known[key] = version
                self.sink.put(item)

    def _end_list(self, version: str) -> None:
        assert self._listed is not None
        for key in [key for key in self.known if key not in self._listed]:
            del self.known[key]
            self.sink.drop(key)
        self._listed, self.version, self.is_synced = None, version, True

    def clear(self) -> None:
        """The cluster does not know the kind: it has none."""
        self.start_list()
        self._end_list("")


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
                for start in range(0, len(batch), _SLICE):
                    ended = self._deliver(partial(self.feed.lines, batch[start : start + _SLICE]))
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
            page = msgspec.json.decode(data, type=ObjectList[_Named])
            fresh.update((_key(one.metadata), one.metadata.resource_version) for one in page.items or ())
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


class _Named(msgspec.Struct):
    metadata: LiveMetadata


def compare_versions(known: dict[str, str], fresh: dict[str, str]) -> dict[str, str]:
    """Objects whose version here is older than in a fresh list, with the fresh version; "" for one that is gone."""
    late = {key: version for key, version in fresh.items() if _is_newer(version, known.get(key, ""))}
    return late | {key: "" for key in known if key not in fresh}


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


def _key(meta: LiveMetadata) -> str:
    return f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name


def _is_newer(version: str, than: str) -> bool:
    if version.isdigit() and than.isdigit():
        return int(version) > int(than)
    return version != than


def _raise_error_event(line: bytes) -> None:
    """Raise what an ERROR event says; return if the line is none."""
    try:
        event = msgspec.json.decode(line, type=WatchEvent[Status])
    except msgspec.MsgspecError:
        return
    if event.type != "ERROR":
        return
    status = event.object
    if status.code == 410 or status.reason in ("Expired", "Gone"):
        raise Expired(status.message)
    raise ApiError(status.code, status.reason, status.message)
