"""One kind's stream of objects, without I/O or clock: pages and lines in, calls to a `Sink` out.

A list is applied as it comes, object by object; what it did not name is dropped at its end. So a list needs no second
copy of the cluster, and readers never see an empty cache during one. After it, an event counts only if its version is
newer than the newest seen: a repeated or late event changes nothing (versions are comparable integers, KEP-5504; for a
server whose are not, order is taken as it comes).

An object that cannot be decoded is left out, and counted, instead of stopping its kind.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from scheduler.live.api import ApiError, Params
from scheduler.live.kube_objects import (
    ListMetadata,
    LiveMetadata,
    ObjectList,
    Status,
    WatchEvent,
    is_initial_events_end,
)

logger = logging.getLogger(__name__)

SLICE: Final = 32
"""Objects applied in one go, so that a request waits for a millisecond at most."""


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
        for start in range(0, len(items), SLICE):
            yield partial(self._list_items, items[start : start + SLICE])
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
                self._leave_out(msgspec.json.decode(line, type=WatchEvent[Named]).object.metadata, error)
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
            if self._listed is None and is_newer(meta.resource_version, self.version):
                self.version = meta.resource_version
            return False
        if self._listed is not None and event.type != "DELETED":
            self._list_items([event.object])
            return False
        if self._listed is None and not is_newer(meta.resource_version, self.version):
            self.ignored += 1
            return False
        key = key_of(meta)
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
        key = key_of(meta)
        self.undecodable += 1
        logger.error("event=undecodable kind=%s object=%s error=%r", self.sink.kind, key, str(error))
        if self._listed is not None:
            self._listed.pop(key, None)
        elif is_newer(meta.resource_version, self.version):
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
                self._leave_out(msgspec.json.decode(raw, type=Named).metadata, error)
        return page.metadata, items

    def _list_items(self, items: list[T]) -> None:
        assert self._listed is not None
        for item in items:
            key, version = key_of(item.metadata), item.metadata.resource_version
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


class Named(msgspec.Struct):
    """An object of which only the metadata matters."""

    metadata: LiveMetadata


def compare_versions(known: dict[str, str], fresh: dict[str, str]) -> dict[str, str]:
    """Objects whose version here is older than in a fresh list, with the fresh version; "" for one that is gone."""
    late = {key: version for key, version in fresh.items() if is_newer(version, known.get(key, ""))}
    return late | {key: "" for key in known if key not in fresh}


def key_of(meta: LiveMetadata) -> str:
    """namespace/name, or the name of what has no namespace."""
    return f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name


def is_newer(version: str, than: str) -> bool:
    """Whether a resource version comes after another."""
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
