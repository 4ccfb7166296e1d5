"""Objects of a cluster as plain dicts over HTTP, for tests: nothing here is shared with the code under test."""

from __future__ import annotations

import functools
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3

Json = dict[str, Any]
PATCHES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
}
CONNECTIONS = 16


class ApiFailure(Exception):
    """The API server said no. status: of HTTP; reason: its word for it; answer: the whole Status object."""

    def __init__(self, status: int, answer: Json, what: str) -> None:
        self.status, self.answer = status, answer
        self.reason, self.message = str(answer.get("reason", "")), str(answer.get("message", answer))
        super().__init__(f"{what}: {status} {self.reason}: {self.message}")


class Unreachable(ConnectionError):
    """No answer, or none in time."""


class TimedOut(AssertionError):
    """What a test waited for did not happen in time."""


def wait_for(what: str, condition: Callable[[], Any], timeout_s: float = 120, every_s: float = 0.1) -> Any:
    """The condition's first true value. Raises TimedOut after timeout_s, with the last value or error.

    While the API server cannot be reached, or answers 5xx, the condition counts as not met.
    """
    deadline = time.monotonic() + timeout_s
    last: object = None
    while True:
        try:
            last = condition()
            if last:
                return last
        except ApiFailure as failure:
            if failure.status < 500:
                raise
            last = failure
        except OSError as failure:
            last = failure
        if time.monotonic() >= deadline:
            raise TimedOut(f"{what}: not within {timeout_s} s; last seen: {str(last)[:2000]}")
        time.sleep(every_s)


class ApiClient:
    """The API server from one identity, that of a kubeconfig. May be used from many threads."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self.server, self._headers, self._pool = connection(kubeconfig)
        self.discovered = functools.cache(self._discover)

    # Plain requests.

    def request(
        self, method: str, path: str, body: object = None, content_type: str = "application/json", timeout_s: float = 30
    ) -> Json:
        """Send, and return the answer's JSON. Raises ApiFailure on 400 and above, Unreachable without an answer."""
        try:
            answer = self._pool.request(
                method,
                self.server + path,
                body=None if body is None else json.dumps(body).encode(),
                headers={**self._headers(), "Content-Type": content_type},
                timeout=urllib3.Timeout(connect=5, read=timeout_s),
                retries=False,
            )
        except urllib3.exceptions.HTTPError as failure:
            raise Unreachable(f"{method} {path}: {failure}") from failure
        parsed = parse(answer.data)
        if answer.status >= 400:
            raise ApiFailure(answer.status, parsed, f"{method} {path}")
        return parsed

    def get(self, path: str, **params: str | int) -> Json:
        return self.request("GET", path + (f"?{urlencode(params)}" if params else ""))

    def items(self, path: str, **params: str | int) -> list[Json]:
        """The objects of a list, like `items("/api/v1/pods", fieldSelector="spec.nodeName=n1")`."""
        found: list[Json] = self.get(path, **params)["items"]
        return found

    def post(self, path: str, body: Json) -> Json:
        return self.request("POST", path, body)

    def patch(self, path: str, body: object, kind: str = "merge") -> Json:
        """Patch by "merge", "strategic" or "json"."""
        return self.request("PATCH", path, body, PATCHES[kind])

    def delete(self, path: str, **options: Any) -> Json:
        return self.request("DELETE", path, options or None)

    def watch(self, path: str, timeout_s: float = 30, **params: str | int) -> Iterator[Json]:
        """Events from the API server until it ends the watch or timeout_s have passed; ERROR events are yielded too.

        Raises ApiFailure if the watch is refused outright.
        """
        query = urlencode({"watch": "true", "timeoutSeconds": max(1, int(timeout_s)), **params})
        answer = self._pool.request(
            "GET",
            f"{self.server}{path}?{query}",
            headers=self._headers(),
            timeout=urllib3.Timeout(connect=5, read=timeout_s + 5),
            retries=False,
            preload_content=False,
        )
        try:
            if answer.status >= 400:
                raise ApiFailure(answer.status, parse(answer.read()), f"watch {path}")
            pending = b""
            for chunk in answer.stream(65536, decode_content=True):
                *lines, pending = (pending + chunk).split(b"\n")
                yield from (json.loads(line) for line in lines if line)
        finally:
            answer.close()

    # Objects that say themselves what they are.

    def path_of(self, obj: Json, collection: bool = False) -> str:
        """The object's URL path, or that of its collection."""
        resources = self.discovered(obj["apiVersion"])
        plural, is_namespaced = resources[obj["kind"]]
        root = "/api/" if "/" not in obj["apiVersion"] else "/apis/"
        namespace = f"/namespaces/{obj['metadata'].get('namespace', 'default')}" if is_namespaced else ""
        name = "" if collection else f"/{obj['metadata']['name']}"
        return f"{root}{obj['apiVersion']}{namespace}/{plural}{name}"

    def _discover(self, api_version: str) -> dict[str, tuple[str, bool]]:
        root = "/api/" if "/" not in api_version else "/apis/"
        resources = self.get(root + api_version)["resources"]
        return {r["kind"]: (r["name"], r["namespaced"]) for r in resources if "/" not in r["name"]}

    def create(self, obj: Json) -> Json:
        """Create the object in the namespace it names (or `default`)."""
        return self.post(self.path_of(obj, collection=True), obj)

    def create_all(self, objects: Iterable[Json]) -> list[Json]:
        """Create many at once, over several connections; the answers are in the objects' order."""
        with ThreadPoolExecutor(CONNECTIONS) as threads:
            return list(threads.map(self.create, objects))

    def read(self, obj: Json) -> Json:
        """The object as it is now."""
        return self.get(self.path_of(obj))

    def evict(self, namespace: str, name: str, **options: Any) -> Json:
        """Ask the Eviction API to end a pod. ApiFailure 429 when a PodDisruptionBudget forbids it."""
        eviction: Json = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace},
        }
        if options:
            eviction["deleteOptions"] = options
        return self.post(f"/api/v1/namespaces/{namespace}/pods/{name}/eviction", eviction)


def connection(kubeconfig: Path) -> tuple[str, Callable[[], dict[str, str]], urllib3.PoolManager]:
    """Server URL, authorization headers and connections of a kubeconfig, read by the kubernetes package."""
    from kubernetes.client import Configuration
    from kubernetes.config import load_kube_config

    settings = Configuration()
    load_kube_config(config_file=str(kubeconfig), client_configuration=settings)
    pool = urllib3.PoolManager(
        maxsize=CONNECTIONS,
        ca_certs=settings.ssl_ca_cert,
        cert_file=settings.cert_file,
        key_file=settings.key_file,
        cert_reqs="CERT_REQUIRED" if settings.verify_ssl else "CERT_NONE",
    )

    def headers() -> dict[str, str]:
        keys = settings.auth_settings().values()
        return {"Accept": "application/json"} | {key["key"]: key["value"] for key in keys if key["value"]}

    return str(settings.host).rstrip("/"), headers, pool


def parse(data: bytes) -> Json:
    try:
        parsed = json.loads(data)
    except ValueError:
        return {"message": data[:500].decode(errors="replace")}
    return parsed if isinstance(parsed, dict) else {"message": parsed}


def write_kubeconfig(path: Path, server: str, ca: Path, user: Json) -> Path:
    """Write a kubeconfig of one cluster and one user (`{"token": ...}` or certificate files), whole or not at all."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority": str(ca)}}],
        "users": [{"name": "user", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user"}}],
        "current-context": "test",
    }
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as partial:  # mode 0600
        json.dump(content, partial, indent=1)
    return Path(partial.name).rename(path)
