"""Leader election by a Lease, as client-go does it: conditional writes, times of others never trusted.

A Lease does not fence: a leader that was asleep may act after another took over. So it only keeps planners from working
against each other; what protects the cluster is that every write is conditional (`executor.py`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from scheduler.live.api import Api, ApiError

log = logging.getLogger(__name__)


class Elector:
    """Holds or awaits the Lease. lease_s: a silent leader is believed for so long; give_up_s: a leader that could not
    renew for so long stops leading by itself, before that."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        name: str,
        identity: str,
        *,
        lease_s: float = 15.0,
        give_up_s: float = 10.0,
        retry_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.api, self.namespace, self.name, self.identity = api, namespace, name, identity
        self.lease_s, self.give_up_s, self.retry_s, self.clock = lease_s, give_up_s, retry_s, clock
        self._renewed: float | None = None
        self._seen: tuple[str, float] = ("", clock())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def leads(self) -> bool:
        """Whether this process may act as leader now."""
        renewed = self._renewed
        return renewed is not None and self.clock() - renewed < self.give_up_s

    def start(self) -> None:
        """Take part, from a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more part, and give the Lease back, so that the next leader need not wait for its end."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5.0)
        if self._renewed is not None:
            self._renewed = None
            try:
                lease = self._read()
                if lease.get("spec", {}).get("holderIdentity") == self.identity:
                    self._write(lease, {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1})
            except ApiError as error:
                log.info("lease=%s not given back: %s", self.name, error)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.attempt()
            except ApiError as error:
                log.warning("lease=%s error=%r", self.name, str(error))
            except Exception:
                log.exception("lease=%s", self.name)
            self._stop.wait(self.retry_s)

    def attempt(self) -> None:
        """Renew, or take over a Lease whose holder is silent."""
        asked = self.clock()
        try:
            lease = self._read()
        except ApiError as error:
            if not error.is_not_found:
                raise
            lease = {}
        spec: dict[str, Any] = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        version = lease.get("metadata", {}).get("resourceVersion", "")
        if version != self._seen[0]:
            self._seen = (version, asked)
        if holder and holder != self.identity:
            self._renewed = None
            if asked - self._seen[1] < float(spec.get("leaseDurationSeconds") or self.lease_s):
                return
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        mine = holder == self.identity
        wanted = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(self.lease_s),
            "acquireTime": spec.get("acquireTime") or now if mine else now,
            "renewTime": now,
            "leaseTransitions": int(spec.get("leaseTransitions") or 0) + (0 if mine else 1),
        }
        try:
            self._write(lease, wanted)
        except ApiError as error:
            if error.is_conflict:
                self._renewed = None
                return
            raise
        if self._renewed is None:
            log.info("lease=%s holder=%s leads", self.name, self.identity)
        self._renewed = asked

    @property
    def _path(self) -> str:
        return f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases"

    def _read(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(self.api.get(f"{self._path}/{self.name}"))
        return found

    def _write(self, lease: dict[str, Any], spec: dict[str, Any]) -> None:
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            **lease,
            "metadata": lease.get("metadata") or {"name": self.name, "namespace": self.namespace},
            "spec": spec,
        }
        if lease:
            self.api.put(f"{self._path}/{self.name}", msgspec.json.encode(body))
        else:
            self.api.post(self._path, msgspec.json.encode(body))
