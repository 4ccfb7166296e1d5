"""A live cluster: its Plans, and approve and stop for whoever may.

Off unless the dashboard was started with access to a cluster. Then nobody is anybody before logging in: by OpenID
Connect (Streamlit's st.login), or through a proxy that names the person in a header and shows a secret that only it
knows. The dashboard's own rights let it read plans and ask; what a person may do is asked of the API server each time
(SubjectAccessReview), as that person. Names and groups of Kubernetes itself ("system:") are never taken from outside:
a group of that name would be above all rights.

Every act is in the journal before it is done, with its outcome after; what cannot be journalled is not done.
"""

from __future__ import annotations

import functools
import hmac
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import quote

import streamlit as st

from analytics.acts import Act, record_act
from analytics.errors import InputError
from dashboard import settings

IN_CLUSTER: Final = "in-cluster"
GROUP, VERSION, PLURAL = "stowage.dev", "v1alpha1", "plans"
USER_KEY, GROUPS_KEY, SECRET_KEY = "stowage_user", "stowage_groups", "stowage_proxy"  # of st.user, by the proxy
ENDED: Final = ("Succeeded", "Stopped", "Failed", "Superseded")
REMEMBERED_S: Final = 60.0
TIMEOUT_S: Final = 10.0
MOST_NAMESPACES: Final = 200
MOST_PLANS: Final = 500
Verb = Literal["approve", "stop"]
SWITCHES: Final[dict[Verb, str]] = {"approve": "approved", "stop": "stopped"}


class Refused(Exception):
    """The act is not allowed or not possible; the message says why, to the person."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who is logged in, as Kubernetes knows them."""

    name: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Right:
    """What somebody would do. namespace, name: empty for all."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""


def is_on() -> bool:
    """Whether the dashboard was started with access to a cluster."""
    return settings.current().cluster is not None


def current_person() -> Person | None:
    """Whoever looks at this page; None before they have logged in."""
    return person_of(st.user.to_dict())


def person_of(known: dict[str, Any]) -> Person | None:
    """The person of what Streamlit knows of a session; None where nothing vouches for them."""
    chosen = settings.current()
    if chosen.proxy_secret:
        if not hmac.compare_digest(str(known.get(SECRET_KEY) or "").encode(), chosen.proxy_secret.encode()):
            return None
        name, groups = known.get(USER_KEY), str(known.get(GROUPS_KEY) or "").split(",")
    else:
        if known.get("is_logged_in") is not True:
            return None
        if chosen.user_claim == "email" and known.get("email_verified") is False:
            return None
        name, groups = known.get(chosen.user_claim), known.get(chosen.groups_claim) or []
    if not isinstance(name, str) or not name.strip() or name.startswith("system:"):
        return None
    given = [str(group).strip() for group in groups] if isinstance(groups, list | tuple) else []
    return Person(
        chosen.user_prefix + name.strip(),
        tuple(sorted({chosen.user_prefix + group for group in given if group and not group.startswith("system:")})),
    )


class Cluster:
    """The API server, with the dashboard's own rights. clock: seconds, for what is remembered for a minute."""

    def __init__(self, api: Any, clock: Callable[[], float] = time.time) -> None:
        self._api, self._clock = api, clock
        self._answers: dict[tuple[Person, Right], tuple[float, bool]] = {}
        self._lock = threading.Lock()

    # ---- rights

    def allows(self, person: Person, right: Right, *, fresh: bool = False) -> bool:
        """Whether the API server lets this person do it. fresh: ask now, whatever was answered within the minute."""
        now = self._clock()
        with self._lock:
            known = self._answers.get((person, right))
        if known is not None and not fresh and now - known[0] < REMEMBERED_S:
            return known[1]
        attributes = {"verb": right.verb, "group": right.group, "resource": right.resource}
        attributes |= {name: value for name in ("namespace", "name") if (value := getattr(right, name))}
        review = {
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {
                "user": person.name, "groups": [*person.groups, "system:authenticated"],
                "resourceAttributes": attributes,
            },
        }  # fmt: skip
        answer = self._call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        status = answer.get("status") or {}
        allowed = status.get("allowed") is True and status.get("denied") is not True
        with self._lock:
            if len(self._answers) > 10_000:
                self._answers.clear()
            self._answers[person, right] = (now, allowed)
        return allowed

    def namespaces_of(self, person: Person) -> frozenset[str] | None:
        """The namespaces whose pods the person may list; None for all of them."""
        if self.allows(person, Right("list", "", "pods")):
            return None
        found = self._call("GET", f"/api/v1/namespaces?limit={MOST_NAMESPACES}").get("items") or []
        names = [item["metadata"]["name"] for item in found]
        return frozenset(name for name in names if self.allows(person, Right("list", "", "pods", name)))

    # ---- plans

    def plans(self, person: Person) -> list[dict[str, Any]]:
        """The Plans, newest first, with the steps in namespaces that the person may see; none for who sees none."""
        sees_plans = self.allows(person, Right("list", GROUP, PLURAL))
        visible = None if sees_plans else self.namespaces_of(person)
        found = self._call("GET", f"/apis/{GROUP}/{VERSION}/{PLURAL}?limit={MOST_PLANS}").get("items") or []
        found.sort(key=lambda one: (one["metadata"].get("creationTimestamp") or "", _name(one)), reverse=True)
        return [_only(one, visible) for one in found if visible is None or _touches(one, visible)]

    def act(self, person: Person, verb: Verb, name: str) -> None:
        """Approve or stop a Plan as this person. Raises Refused; either way the journal tells of it."""
        journal = settings.current().journal
        if journal is None:
            raise Refused("the dashboard has no journal (--journal), so nothing can be done from it")

        def note(verdict: str, message: str = "") -> None:
            now_us = int(self._clock() * 1e6)
            record_act(journal, Act(now_us, name, verb.capitalize(), verdict, person.name, person.groups, message))

        try:
            note("asked")
            if not self.allows(person, Right("patch", GROUP, PLURAL, name=name), fresh=True):
                note("403", "may not patch plans.stowage.dev")
                raise Refused(f"{person.name} may not patch plans.stowage.dev in this cluster")
            try:
                self._switch(person, verb, name)
            except Refused as refused:
                note("refused", str(refused))
                raise
            note("done")
        except InputError as unkept:
            raise Refused(str(unkept)) from unkept

    def _switch(self, person: Person, verb: Verb, name: str) -> None:
        path = f"/apis/{GROUP}/{VERSION}/{PLURAL}/{quote(name, safe='')}"
        found = self._call("GET", path)
        spec, phase = found.get("spec") or {}, (found.get("status") or {}).get("phase", "Proposed")
        if phase in ENDED:
            raise Refused(f"plan {name} has ended: {phase}")
        if verb == "approve" and spec.get("mode") != "approve":
            raise Refused(f"plan {name} is in mode {spec.get('mode')}: only mode approve waits for approval")
        switch = SWITCHES[verb]
        body = {
            "metadata": {
                "resourceVersion": found["metadata"]["resourceVersion"],  # refused if it changed since it was looked at
                "annotations": {f"{GROUP}/{switch}-by": person.name},
            },
            "spec": {switch: True},
        }
        self._call("PATCH", path, body)

    def _call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """The API server's answer as JSON. Raises Refused with its words."""
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        try:
            request = self._api.param_serialize(
                method, path, header_params={"Accept": "application/json", "Content-Type": kind}, body=body,
                auth_settings=["BearerToken"],
            )  # fmt: skip
            answer = self._api.call_api(*request, _request_timeout=TIMEOUT_S)
            found = json.loads(answer.read())
        except (ApiException, HTTPError, OSError, ValueError) as error:
            raise Refused(f"the API server cannot be asked: {type(error).__name__}") from error
        if not isinstance(found, dict):
            raise Refused("the API server's answer is no object")
        if answer.status >= 400:
            raise Refused(f"the API server answered {answer.status}: {found.get('message', '')}")
        return found


def cluster() -> Cluster:
    """The cluster that the dashboard was started with. Raises InputError if its kubeconfig cannot be read."""
    chosen = settings.current().cluster
    if chosen is None:
        raise InputError("the dashboard was started without a cluster: --kubeconfig or --in-cluster")
    return _connect(chosen)


def visible_namespaces() -> frozenset[str] | None:
    """The namespaces that whoever looks may see; None for all: nobody is limited unless the command said so."""
    if not settings.current().limit_namespaces:
        return None
    person = current_person()
    if person is None:
        return frozenset()
    try:
        return cluster().namespaces_of(person)
    except Refused as refused:
        raise InputError(str(refused)) from refused


@functools.lru_cache(maxsize=2)
def _connect(chosen: str) -> Cluster:
    from kubernetes import client, config

    configuration = client.Configuration()
    try:
        if chosen == IN_CLUSTER:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            config.load_kube_config(chosen, None, configuration, persist_config=False)  # type: ignore[no-untyped-call]
    except (config.ConfigException, OSError) as error:
        raise InputError(f"no access to the cluster by {chosen}: {error}") from error
    return Cluster(client.ApiClient(configuration))


def _name(plan: dict[str, Any]) -> str:
    return str(plan["metadata"]["name"])


def _touches(plan: dict[str, Any], visible: frozenset[str]) -> bool:
    return any(step.get("namespace") in visible for step in plan.get("spec", {}).get("steps", []))


def _only(plan: dict[str, Any], visible: frozenset[str] | None) -> dict[str, Any]:
    """The plan without what it says of other namespaces."""
    if visible is None:
        return plan
    spec = plan["spec"]
    steps = [{**step, "why": ""} for step in spec.get("steps", []) if step.get("namespace") in visible]
    unplaced = [one for one in spec.get("unplaced", []) if str(one.get("pod", "")).partition("/")[0] in visible]
    status = {**plan.get("status", {}), "message": "", "reservations": []}
    return {**plan, "spec": {**spec, "summary": "", "steps": steps, "unplaced": unplaced}, "status": status}
