"""One small client of the Kubernetes API server: bytes in, bytes out.

Credentials come from the pod's service account or from a kubeconfig (which the `kubernetes` package reads, exec plugins
and all); requests go over the standard library's HTTP client. The package's typed models are not used: they cost a
hundred times what a partial decode costs.

Tokens and client certificates are read again when their files change, so a rotation needs no restart. One `Api` may be
used from many threads; each request has a connection of its own, kept for the next.
"""

from __future__ import annotations

import http.client
import os
import queue
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import msgspec

from scheduler.live.kube_objects import Status
from scheduler.live.server_time import ServerTime

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
MERGE_PATCH: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
STRATEGIC_PATCH: Final = "application/strategic-merge-patch+json"
METADATA_LIST: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
"""Accept this to list names and versions only; a server that cannot sends whole objects."""

_CONNECT_TIMEOUT_S: Final = 5.0
_TOKEN_CHECK_S: Final = 10.0
_IDLE_CONNECTIONS: Final = 8
_READ: Final = 1 << 18
_LONGEST_EVENT: Final = 64 << 20  # etcd refuses objects above some MiB; a longer line is no watch event

Params = Mapping[str, str | int | bool]
Headers = dict[str, str]


class ApiError(Exception):
    """The API server refused, or could not be reached (status 0).

    status: of HTTP. reason: Kubernetes' word for it (`Conflict`, `NotFound`, `Expired`, `Unreachable`, ...).
    """

    exit_code = 1

    def __init__(self, status: int, reason: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{reason}: {message}" if reason else message)
        self.status, self.reason, self.message, self.retry_after_s = status, reason, message, retry_after_s

    @property
    def is_not_found(self) -> bool:
        """No such object or resource."""
        return self.status == 404

    @property
    def is_conflict(self) -> bool:
        """The object changed since it was read, or exists already."""
        return self.status == 409

    @property
    def is_gone(self) -> bool:
        """The resource version or continue token is too old: list again."""
        return self.status == 410 or self.reason in ("Expired", "Gone")

    @property
    def is_transient(self) -> bool:
        """Worth trying again, later: not reachable, overloaded, or failing inside."""
        return self.status in (0, 429) or self.status >= 500


class ConfigError(ValueError):
    """No usable cluster configuration."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Address:
    """Where the API server is: https://host:port, and a path that some proxies want in front.

    tls_name: the name its certificate is checked against, where that is not the host.
    """

    scheme: str
    host: str
    port: int
    prefix: str = ""
    tls_name: str = ""

    @classmethod
    def parse(cls, url: str) -> Address:
        """The address in a URL; ConfigError if it is none."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"the API server's address {url!r} is not http(s)://host[:port]")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return cls(parts.scheme, parts.hostname, port, parts.path.rstrip("/"))


class Api:
    """The API server, from one identity.

    authorization: gives the header's value, or None, for each request; it may refresh what it gives.
    tls: gives the context for each new connection. now: the server's own time.
    """

    def __init__(
        self,
        address: Address,
        *,
        tls: Callable[[], ssl.SSLContext | None] = lambda: None,
        authorization: Callable[[], str | None] = lambda: None,
        namespace: str = "default",
        user_agent: str = "stowage",
        timeout_s: float = 30.0,
    ) -> None:
        self.address, self.namespace, self.timeout_s = address, namespace, timeout_s
        self.now = ServerTime()
        self._tls, self._authorization, self._user_agent = tls, authorization, user_agent
        self._idle: queue.LifoQueue[http.client.HTTPConnection] = queue.LifoQueue(_IDLE_CONNECTIONS)

    @classmethod
    def connect(
        cls,
        kubeconfig: str | os.PathLike[str] | None = None,
        context: str | None = None,
        *,
        user_agent: str = "stowage",
        timeout_s: float = 30.0,
    ) -> Api:
        """The cluster that kubeconfig names; without one the pod's own cluster, or else $KUBECONFIG or ~/.kube/config.

        Raises ConfigError, saying what was looked for.
        """
        if kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ and (SERVICE_ACCOUNT / "token").exists():
            return _in_cluster(cls, user_agent, timeout_s)
        return _from_kubeconfig(cls, kubeconfig, context, user_agent, timeout_s)

    def get(self, path: str, params: Params | None = None, accept: str = "application/json") -> bytes:
        """The answer to GET. This and all other verbs raise ApiError."""
        return self.request("GET", path, params, accept=accept)

    def list_pages(
        self, path: str, params: Params | None = None, page: int = 500, accept: str = "application/json"
    ) -> Iterator[bytes]:
        """The pages of a list, at most `page` items each, all as of one resource version."""
        more = ""
        while True:
            asked = {**(params or {}), "limit": page} | ({"continue": more} if more else {})
            data = self.get(path, asked, accept)
            yield data
            more = msgspec.json.decode(data, type=_Page).metadata.more
            if not more:
                return

    def post(self, path: str, body: bytes, params: Params | None = None) -> bytes:
        """Create what `body` says."""
        return self.request("POST", path, params, body, "application/json")

    def put(self, path: str, body: bytes, params: Params | None = None) -> bytes:
        """Replace an object."""
        return self.request("PUT", path, params, body, "application/json")

    def patch(self, path: str, body: bytes, kind: str = MERGE_PATCH, params: Params | None = None) -> bytes:
        """Change an object; a resourceVersion in a merge patch's metadata makes it conditional."""
        return self.request("PATCH", path, params, body, kind)

    def delete(self, path: str, body: bytes | None = None, params: Params | None = None) -> bytes:
        """Delete an object; `body` is metav1.DeleteOptions."""
        return self.request("DELETE", path, params, body, "application/json")

    def watch(self, path: str, params: Params | None = None, idle_timeout_s: float = 60.0) -> Watch:
        """A stream of events; ends with ApiError when nothing came for `idle_timeout_s`."""
        connection = self._connection(idle_timeout_s, fresh=True)
        try:
            response = self._send(connection, "GET", self._target(path, {**(params or {}), "watch": True}), None, "")
            if response.status != 200:
                raise _refusal(response, response.read())
        except _BROKEN as error:
            connection.close()
            raise _unreachable(self.address, error) from error
        except BaseException:
            connection.close()
            raise
        return Watch(connection, response, self.address)

    def request(
        self,
        method: str,
        path: str,
        params: Params | None = None,
        body: bytes | None = None,
        content_type: str = "",
        accept: str = "application/json",
    ) -> bytes:
        """The body of a 2xx answer; ApiError for any other, and where there is none.

        A kept connection that the server has closed is replaced. Only GET is ever sent twice.
        """
        target = self._target(path, params)
        for is_last in (False, True):
            connection = self._connection(self.timeout_s, fresh=is_last)
            try:
                response = self._send(connection, method, target, body, content_type, accept)
                data = response.read()
            except _BROKEN as error:
                connection.close()
                if is_last or method != "GET" or isinstance(error, TimeoutError):
                    raise _unreachable(self.address, error) from error
                continue
            self._keep(connection, response)
            if not 200 <= response.status < 300:
                raise _refusal(response, data)
            return data
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Close kept connections; the client can still be used."""
        with suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    def _target(self, path: str, params: Params | None) -> str:
        query = {key: str(value).lower() if isinstance(value, bool) else value for key, value in (params or {}).items()}
        return self.address.prefix + path + (f"?{urlencode(query)}" if query else "")

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        body: bytes | None,
        content_type: str,
        accept: str = "application/json",
    ) -> http.client.HTTPResponse:
        headers: Headers = {"Accept": accept, "User-Agent": self._user_agent}
        if body is not None:
            headers["Content-Type"] = content_type
        if (authorization := self._authorization()) is not None:
            headers["Authorization"] = authorization
        asked_s = time.monotonic()
        connection.request(method, target, body, headers)
        response = connection.getresponse()
        self.now.see(response.headers.get("Date"), asked_s)
        return response

    def _connection(self, timeout_s: float, fresh: bool) -> http.client.HTTPConnection:
        with suppress(queue.Empty):
            while not fresh:
                kept = self._idle.get_nowait()
                if not _is_dropped(kept.sock):
                    return kept
                kept.close()
        return _open(self.address, self._tls(), timeout_s)

    def _keep(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        if response.will_close:
            connection.close()
            return
        try:
            self._idle.put_nowait(connection)
        except queue.Full:
            connection.close()


class Watch:
    """Lines of a watch as they come; iterate from one thread, close from any."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse, at: Address) -> None:
        self._connection, self._response, self._address = connection, response, at
        # http.client forgets the socket of an answer that ends with the connection; closing needs it.
        self._socket: socket.socket | None = connection.sock
        self._is_closed = False

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[list[bytes]]:
        """Whole lines, as many at a time as have arrived; ends when the server ends the watch, or on `close`."""
        rest = b""
        while True:
            try:
                data = self._response.read1(_READ)
            except (*_BROKEN, ValueError, AttributeError) as error:
                if self._is_closed:
                    return
                raise _unreachable(self._address, error) from error
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > _LONGEST_EVENT:
                raise ApiError(0, "Unreachable", f"a watch event is longer than {_LONGEST_EVENT} bytes")
            if lines:
                yield lines

    def close(self) -> None:
        """End the watch; a reader in another thread wakes up."""
        self._is_closed = True
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        self._connection.close()


class _PageMetadata(msgspec.Struct, rename={"more": "continue"}):
    more: str = ""


class _Page(msgspec.Struct):
    metadata: _PageMetadata


_BROKEN = (OSError, http.client.HTTPException)


def _open(address: Address, tls: ssl.SSLContext | None, timeout_s: float) -> http.client.HTTPConnection:
    try:
        plain = socket.create_connection((address.host, address.port), _CONNECT_TIMEOUT_S)
    except OSError as error:
        raise _unreachable(address, error) from error
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _notice_dead_peers(plain)
        connected = plain if tls is None else tls.wrap_socket(plain, server_hostname=address.tls_name or address.host)
        connected.settimeout(timeout_s)
    except OSError as error:
        plain.close()
        raise _unreachable(address, error) from error
    connection = http.client.HTTPConnection(address.host, address.port, timeout=timeout_s)
    connection.sock = connected
    connection.auto_open = 0  # never fall back to plain text
    return connection


def _notice_dead_peers(plain: socket.socket) -> None:
    """A watch over a connection whose other end is gone must end within seconds, not hours."""
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 4), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 10_000)):
        if hasattr(socket, option):
            plain.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _is_dropped(kept: Any) -> bool:
    """Whether the server has closed an idle connection: then it is readable."""
    if kept is None:
        return True
    poll = select.poll()
    poll.register(kept, select.POLLIN)
    return bool(poll.poll(0))


def _unreachable(address: Address, error: BaseException) -> ApiError:
    where = f"{address.host}:{address.port}"
    return ApiError(0, "Unreachable", f"API server {where}: {error or type(error).__name__}")


def _refusal(response: http.client.HTTPResponse, data: bytes) -> ApiError:
    try:
        status = msgspec.json.decode(data, type=Status)
    except msgspec.MsgspecError:
        status = Status(message=data[:200].decode("utf-8", "replace").strip())
    header = response.headers.get("Retry-After", "")
    return ApiError(
        response.status,
        status.reason or response.reason,
        status.message or f"HTTP {response.status}",
        float(header) if header.isdigit() else None,
    )


def _in_cluster(cls: type[Api], user_agent: str, timeout_s: float) -> Api:
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    token = _FileText(SERVICE_ACCOUNT / "token")
    authority = SERVICE_ACCOUNT / "ca.crt"
    namespace = SERVICE_ACCOUNT / "namespace"
    return cls(
        Address("https", host, int(port)),
        tls=lambda: ssl.create_default_context(cafile=str(authority)),
        authorization=lambda: f"Bearer {token.read()}",
        namespace=namespace.read_text().strip() if namespace.exists() else "default",
        user_agent=user_agent,
        timeout_s=timeout_s,
    )


class _FileText:
    """The text of a file, read again when it changed; looked at every few seconds at most."""

    def __init__(self, path: Path) -> None:
        self._path, self._text, self._changed, self._checked = path, "", 0, -_TOKEN_CHECK_S

    def read(self) -> str:
        now = time.monotonic()
        if now - self._checked >= _TOKEN_CHECK_S:
            self._checked = now
            changed = self._path.stat().st_mtime_ns
            if changed != self._changed:
                self._text, self._changed = self._path.read_text().strip(), changed
        return self._text


def _from_kubeconfig(
    cls: type[Api], kubeconfig: str | os.PathLike[str] | None, context: str | None, user_agent: str, timeout_s: float
) -> Api:
    from kubernetes import config as kubernetes_config
    from kubernetes.client import Configuration

    found = Configuration()
    path = os.fspath(kubeconfig) if kubeconfig is not None else None
    try:
        kubernetes_config.load_kube_config(path, context, found, persist_config=False)  # type: ignore[no-untyped-call]
        every, active = kubernetes_config.list_kube_config_contexts(path)  # type: ignore[no-untyped-call]
        chosen = active if context is None else next(one for one in every if one["name"] == context)
        namespace = chosen.get("context", {}).get("namespace") or "default"
    except (kubernetes_config.ConfigException, OSError, ValueError) as error:
        where = path or os.environ.get("KUBECONFIG") or "~/.kube/config"
        raise ConfigError(f"no cluster: kubeconfig {where}: {error}") from error

    def tls() -> ssl.SSLContext | None:
        if not str(found.host).startswith("https"):
            return None
        made = ssl.create_default_context(cafile=found.ssl_ca_cert or None)
        if found.verify_ssl is False:
            made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
        if found.cert_file:
            made.load_cert_chain(found.cert_file, found.key_file)
        return made

    return cls(
        replace(Address.parse(str(found.host)), tls_name=found.tls_server_name or ""),
        tls=tls,
        authorization=lambda: found.get_api_key_with_prefix("BearerToken", "authorization"),
        namespace=namespace,
        user_agent=user_agent,
        timeout_s=timeout_s,
    )
