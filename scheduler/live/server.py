"""The extender: kube-scheduler's requests in, answers from the cache out.

`Extender` turns a request into a response and is all there is to test without a socket; `serve` gives it a loop, a
cache fed by watches, and an end.

A stale cache answers with an error, not a guess: `filter` in the field that the API has for it, the other two with 503,
which the scheduler takes as no score and as no veto. A request with whole nodes (a simulation, an autoscaler's) is
answered from its body alone, stale or not, and changes nothing.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from scheduler.live.api import Api
from scheduler.live.cluster_cache import ClusterCache
from scheduler.live.decide import (
    UNKNOWN,
    BadPod,
    Candidates,
    FilterAnswer,
    PodAsked,
    Refused,
    as_meta,
    cache_of_nodes,
    filter_nodes,
    prioritize_nodes,
    veto_preemption,
)
from scheduler.live.http_server import TEXT, HttpServer, Limits, Response
from scheduler.live.metrics import ExtenderMetrics
from scheduler.live.scoring import Ranking, scorer
from scheduler.live.settings import ServeSettings
from scheduler.live.watch import Watcher, cache_sinks, deliver_locked
from scheduler.live.wire import (
    ExtenderArgs,
    FilterResult,
    HostPriority,
    NodeList,
    PreemptionResult,
    args_decoder,
    count_at_most,
    encoder,
    meta_victims_decoder,
    named_nodes_decoder,
    nodes_decoder,
    pod_decoder,
    preemption_decoder,
    size_of,
    victims_decoder,
)

logger = logging.getLogger(__name__)

MAX_POD_BYTES: Final = 2 << 20
"""etcd refuses larger objects."""

_VICTIMS_PER_NODE: Final = 16
_ALL_PASS: Final = (b'{"Nodes":null,"NodeNames":', b',"FailedNodes":{},"FailedAndUnresolvableNodes":{},"Error":""}')
_JSON_NULL: Final = (b"null", b"")


class BadRequest(ValueError):
    """A body that cannot be answered, and the HTTP status that says so."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Clocks:
    """now_s: seconds since 1970. monotonic_s: never goes back. Tests move both."""

    now_s: Callable[[], float] = time.time
    monotonic_s: Callable[[], float] = time.monotonic


class Extender:
    """Answers requests. stale_reason: why the cache cannot be trusted now, or "". The ranking may come later."""

    def __init__(
        self,
        settings: ServeSettings,
        cache: ClusterCache,
        stale_reason: Callable[[], str],
        watchers: Sequence[Watcher[Any]] = (),
        clocks: Clocks | None = None,
    ) -> None:
        self.settings, self.cache, self.stale_reason = settings, cache, stale_reason
        self.metrics = ExtenderMetrics(cache, watchers)
        self.ranking: Ranking | None = None
        self.is_stopping = False
        self._clocks = clocks or Clocks()
        # What filter was asked comes back with prioritize, byte for byte: it is not read twice.
        self._last_pod: tuple[bytes, PodAsked] | None = None
        self._last_names: Candidates | None = None
        self._verbs = {b"/filter": ("filter", self.filter), b"/prioritize": ("prioritize", self.prioritize),
                       b"/preempt": ("preempt", self.preempt)}  # fmt: skip
        self._pages = {b"/healthz": self._healthz, b"/readyz": self._readyz, b"/metrics": self._metrics}

    def handle(self, method: bytes, path: bytes, body: bytes) -> Response:
        """The answer to any request."""
        if (known := self._verbs.get(path)) is None:
            return self._page(method, path)
        if method != b"POST":
            return Response(405, b"POST is wanted\n", TEXT, b"Allow: POST\r\n")
        verb, answer = known
        started_s = time.perf_counter()
        try:
            with self.cache.lock:
                response = answer(body)
        except (BadRequest, BadPod, msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            response = Response(getattr(error, "status", 400), f"{verb}: {error}\n".encode(errors="replace"), TEXT)
            self.metrics.rejected.labels(str(response.status)).inc()
        if response.status == 200:
            self.metrics.answered[verb].inc()
        else:
            self.metrics.requests.labels(verb, str(response.status)).inc()
        self.metrics.duration[verb].observe(time.perf_counter() - started_s)
        return response

    # ---- verbs

    def filter(self, body: bytes) -> Response:
        """ExtenderFilterResult."""
        args = args_decoder.decode(body)
        pod = self._pod(args.pod)
        if bytes(args.nodes) not in _JSON_NULL:
            return self._filter_whole_nodes(pod, args)
        if stale := self.stale_reason():
            return self._stale("filter", Response(200, encoder.encode(FilterResult(error=stale))))
        asked = self._candidates(args.node_names)
        if self.settings.mode == "prefer":
            return Response(200, bytes(args.node_names).join(_ALL_PASS))
        # With a list of one the scheduler asks no more: filter has the last word, and remembers it.
        clock_s = self._clocks.monotonic_s() if self.settings.assume and self.settings.shortlist == 1 else None
        answer = filter_nodes(
            self.cache, pod, asked, self._clocks.now_s(), self.ranking, self.settings.shortlist, clock_s
        )
        if answer.passed is None:
            return Response(200, bytes(args.node_names).join(_ALL_PASS))
        if answer.shortlist is not None:
            self.metrics.shortlists.inc()
            passed = encoder.encode(answer.passed)
            self._last_names = Candidates(self.cache, passed, answer.shortlist)  # prioritize comes next, with these
            if not answer.refused:
                return Response(200, passed.join(_ALL_PASS))
        self._count_refused(pod, answer, len(asked))
        if not answer.passed and all(why.rule == UNKNOWN for why in answer.refused.values()):
            # Nodes so new that only the scheduler has heard of them. A refusal would stand until the next event of the
            # cluster, which may be minutes away; an error is tried again within a second or two.
            return Response(200, encoder.encode(FilterResult(error=next(iter(answer.refused.values())).reason)))
        return Response(200, encoder.encode(FilterResult(
            node_names=answer.passed,
            failed_and_unresolvable_nodes={name: why.reason for name, why in answer.refused.items()},
        )))  # fmt: skip

    def prioritize(self, body: bytes) -> Response:
        """HostPriorityList: the few best nodes."""
        args = args_decoder.decode(body)
        pod = self._pod(args.pod)
        clock_s: float | None = None
        if bytes(args.nodes) not in _JSON_NULL:
            names, items = self._whole_nodes(args.nodes)
            cache = cache_of_nodes(items)
            asked = Candidates(cache, encoder.encode(names))
        else:
            asked, cache = self._candidates(args.node_names), self.cache
            if stale := self.stale_reason():
                return self._stale("prioritize", Response(503, f"{stale}\n".encode(), TEXT))
            if self.settings.assume:
                clock_s = self._clocks.monotonic_s()
        if self.ranking is None:
            raise BadRequest(503, "the policy is still being compiled")
        best = prioritize_nodes(
            cache, self.ranking, pod, asked, self._clocks.now_s(),
            count=self.settings.scored_nodes, clock_s=clock_s, skip_refused=self.settings.mode == "prefer",
        )  # fmt: skip
        return Response(
            200, encoder.encode([HostPriority(host=name, score=score) for name, score in best])
        )

    def preempt(self, body: bytes) -> Response:
        """ExtenderPreemptionResult: the nodes on which these evictions let the pod in."""
        args = preemption_decoder.decode(body)
        pod = self._pod(args.pod)
        if stale := self.stale_reason():
            return self._stale("preempt", Response(503, f"{stale}\n".encode(), TEXT))
        if bytes(args.node_name_to_meta_victims) not in _JSON_NULL:
            if count_at_most(args.node_name_to_meta_victims) > self.settings.max_nodes * _VICTIMS_PER_NODE:
                raise BadRequest(
                    413, f"more victims than {_VICTIMS_PER_NODE} on each of {self.settings.max_nodes} nodes"
                )
            victims = meta_victims_decoder.decode(args.node_name_to_meta_victims) or {}
        else:
            victims = as_meta(victims_decoder.decode(args.node_name_to_victims) or {})
        if len(victims) > self.settings.max_nodes:
            raise BadRequest(413, f"a request names at most {self.settings.max_nodes} nodes")
        kept, vetoed = victims, dict[str, Refused]()
        if self.settings.mode == "enforce":
            kept, vetoed = veto_preemption(self.cache, pod, victims, self._clocks.now_s())
        for why in vetoed.values():
            self.metrics.vetoed[why.rule].inc()
        if vetoed:
            example = next(iter(vetoed.values())).reason
            logger.info("event=vetoed pod=%s nodes=%d kept=%d example=%r", pod.key, len(vetoed), len(kept), example)
        return Response(200, encoder.encode(PreemptionResult(node_name_to_meta_victims=kept)))

    # ---- parts

    def _filter_whole_nodes(self, pod: PodAsked, args: ExtenderArgs) -> Response:
        names, items = self._whole_nodes(args.nodes)
        answer = FilterAnswer(None)
        if self.settings.mode == "enforce":
            cache = cache_of_nodes(items)
            answer = filter_nodes(cache, pod, Candidates(cache, encoder.encode(names)), self._clocks.now_s())
        return Response(200, encoder.encode(FilterResult(
            nodes=NodeList(items=[item for name, item in zip(names, items, strict=True) if name not in answer.refused]),
            failed_and_unresolvable_nodes={name: why.reason for name, why in answer.refused.items()},
        )))  # fmt: skip

    def _candidates(self, raw: msgspec.Raw) -> Candidates:
        most = self.settings.max_nodes
        # A name in two bytes of JSON would be two hundred in memory: look at the number first.
        if count_at_most(raw) > most:
            raise BadRequest(413, f"a request names at most {most} nodes")
        data = bytes(raw)
        if self._last_names is None or not self._last_names.is_of(self.cache, data):
            self._last_names = Candidates(self.cache, data)
        return self._last_names

    def _pod(self, raw: msgspec.Raw) -> PodAsked:
        if size_of(raw) > MAX_POD_BYTES:
            raise BadRequest(413, f"a Pod has at most {MAX_POD_BYTES} bytes")
        data = bytes(raw)
        if self._last_pod is not None and self._last_pod[0] == data:
            return self._last_pod[1]
        found = pod_decoder.decode(raw)
        if found is None:
            raise BadRequest(400, "the body has no Pod")
        pod = PodAsked.of(found)
        self._last_pod = data, pod
        return pod

    def _whole_nodes(self, raw: msgspec.Raw) -> tuple[list[str], list[msgspec.Raw]]:
        """The nodes in a body: their names, and each as it came."""
        nodes = named_nodes_decoder.decode(raw)
        named = (nodes and nodes.items) or []
        if len(named) > self.settings.max_nodes:
            raise BadRequest(413, f"a request has at most {self.settings.max_nodes} nodes")
        return [one.metadata.name for one in named], (nodes_decoder.decode(raw) or NodeList()).items or []

    def _count_refused(self, pod: PodAsked, answer: FilterAnswer, asked: int) -> None:
        for why in answer.refused.values():
            self.metrics.refused[why.rule].inc()
        if logger.isEnabledFor(logging.INFO):
            example = next(iter(answer.refused.values())).reason
            logger.info("event=refused pod=%s nodes=%d of=%d example=%r", pod.key, len(answer.refused), asked, example)

    def _stale(self, verb: str, response: Response) -> Response:
        self.metrics.stale[verb].inc()
        return response

    # ---- pages

    def _page(self, method: bytes, path: bytes) -> Response:
        if (page := self._pages.get(path)) is None:
            return Response(404, b"no such page\n", TEXT)
        if method not in (b"GET", b"HEAD"):
            return Response(405, b"GET is wanted\n", TEXT, b"Allow: GET, HEAD\r\n")
        return page()

    def _healthz(self) -> Response:
        return Response(200, b"ok\n", TEXT)

    def _readyz(self) -> Response:
        why = "stopping" if self.is_stopping else self.stale_reason()
        if not why and self.ranking is None:
            why = "the policy is still being compiled"
        return Response(503, f"{why}\n".encode(), TEXT) if why else Response(200, b"ok\n", TEXT)

    def _metrics(self) -> Response:
        return Response(200, self.metrics.render(), b"text/plain; version=0.0.4; charset=utf-8")


def stale_reason(watchers: Sequence[Watcher[Any]], stale_after_s: float, now_s: float) -> str:
    """Why what the watchers feed cannot be trusted, or "". now_s: of the monotonic clock."""
    for one in watchers:
        if not one.is_fresh(now_s, stale_after_s):
            if not one.feed.is_synced:
                return f"stowage has not read the cluster's {one.kind} yet"
            return f"stowage has not heard of the cluster's {one.kind} for {now_s - one.life.seen_s:.0f} s"
    return ""


async def serve(settings: ServeSettings, api: Api, on_listening: Callable[[int], None] = lambda port: None) -> None:
    """Answer until SIGTERM or SIGINT. on_listening is told the port. Raises OSError if it cannot listen."""
    loop = asyncio.get_running_loop()
    cache = ClusterCache()
    watchers = [
        Watcher(api, sink, deliver_locked(cache), renew_s=settings.watch_renew_s, resync_s=settings.resync_s)
        for sink in cache_sinks(cache)
    ]
    extender = Extender(
        settings, cache, lambda: stale_reason(watchers, settings.stale_after_s, time.monotonic()), watchers,
        Clocks(api.now),
    )  # fmt: skip
    server = HttpServer(
        extender.handle,
        Limits(settings.max_body_bytes, settings.max_connections, settings.request_timeout_s, settings.idle_timeout_s),
        lambda status: extender.metrics.rejected.labels(str(status)).inc(),
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    tls = ServerTls(settings) if settings.tls_cert else None
    port = await server.start(settings.host, settings.port, tls.context if tls else None)
    on_listening(port)
    logger.info(
        "event=listening address=%s port=%d policy=%s mode=%s", settings.host, port, settings.policy, settings.mode
    )
    for watcher in watchers:
        watcher.start()
    chores = asyncio.create_task(_chores(extender, watchers, tls))
    await stop.wait()
    logger.info("event=stopping connections=%d", len(server.connections))
    extender.is_stopping = True
    await server.stop(settings.shutdown_grace_s)
    chores.cancel()
    for watcher in watchers:
        watcher.stop()
    api.close()
    logger.info("event=stopped")


async def _chores(extender: Extender, watchers: Sequence[Watcher[Any]], tls: ServerTls | None) -> None:
    """Compile the policy, then once a second: late assumptions, new certificates, and telling when trust changes."""
    started_s = time.monotonic()
    settings = extender.settings
    ranking = Ranking(await asyncio.to_thread(scorer, settings.policy), settings.price_weight)
    ranking.warm()
    extender.ranking = ranking
    said = "starting"
    while True:
        why = extender.stale_reason()
        if bool(why) != bool(said):
            if why:
                logger.error("event=stale reason=%r", why)
            else:
                logger.info(
                    "event=ready nodes=%d pods=%d seconds=%.2f",
                    len(extender.cache.columns.row_of), len(extender.cache.pods), time.monotonic() - started_s,
                )  # fmt: skip
                settle_memory()
        said = why
        await asyncio.sleep(1.0)
        with extender.cache.lock:
            extender.cache.expire(time.monotonic())
        if tls is not None:
            tls.reload()


def settle_memory() -> None:
    """Take the filled cache out of the collector's sight: walking it holds up requests for tens of milliseconds."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


class ServerTls:
    """The server's certificate, read again when its files change; new connections get the new one."""

    def __init__(self, settings: ServeSettings) -> None:
        self._files = (settings.tls_cert, settings.tls_key)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.tls_client_ca:
            self.context.load_verify_locations(settings.tls_client_ca)
            self.context.verify_mode = ssl.CERT_REQUIRED
        self._read_at = self._changed()
        self.context.load_cert_chain(settings.tls_cert, settings.tls_key or None)

    def reload(self) -> None:
        """Look at the files; a half-written pair is tried again next time."""
        try:
            changed = self._changed()
            if changed == self._read_at:
                return
            self.context.load_cert_chain(self._files[0], self._files[1] or None)
        except (OSError, ssl.SSLError) as error:
            logger.warning("event=certificate_not_read error=%r", str(error))
            return
        self._read_at = changed
        logger.info("event=certificate_reloaded file=%s", self._files[0])

    def _changed(self) -> tuple[int, ...]:
        return tuple(Path(one).stat().st_mtime_ns for one in self._files if one)
