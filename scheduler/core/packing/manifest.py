"""The pods that a manifest would make, read from text that nobody vouches for: JSON or YAML, bounded before it is read.

What costs is refused first: the size of the text, the depth of nesting, the number of values after YAML's aliases are
spelled out (a few lines can stand for billions). YAML is read as Kubernetes reads it: no tags, no dates, no numbers in
base 60. A pod's own fields are then checked by the types that snapshots are read with.
"""

from __future__ import annotations

import codecs
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any, Final, NoReturn

import msgspec

from scheduler.core import kube_types as kube
from scheduler.core.snapshot import Pod, Snapshot, SnapshotError, read_pod

MOST_REPLICAS: Final = 20_000  # pods of one manifest
MOST_BYTES: Final = 1 << 20  # etcd takes no object above 1.5 MiB
MOST_VALUES: Final = 50_000
MOST_DEPTH: Final = 60  # a Pod's deepest field lies 13 levels down
MOST_DOCUMENTS: Final = 100
SHOWN: Final = 80  # characters of a value that a message repeats


class ManifestError(SnapshotError):
    """The manifest breaks a rule; the message names the object, the field and the value."""


def read_manifest(text: bytes, snapshot: Snapshot, most_pods: int = MOST_REPLICAS) -> list[Pod]:
    """The pods a manifest would make: a Pod, a List, or anything with a pod template (and replicas or parallelism).

    Several YAML documents make the pods of all of them. Raises ManifestError with what to change.
    """
    pods: list[Pod] = []
    for document in _documents(text):
        for template, count in _templates(document):
            if len(pods) + count > most_pods:
                raise ManifestError(f"the manifest makes more than {most_pods:,} pods: ask about fewer replicas")
            pods += _replicas(template, count, snapshot)
    if not pods:
        raise ManifestError("the manifest holds no pods")
    taken = {pod.key for pod in snapshot.pods}
    for pod in pods:
        if pod.key in taken:
            raise ManifestError(f'pod "{_short(pod.key)}" is there already: give the new one another name')
        taken.add(pod.key)
    return pods


# ---- text to plain values


def _documents(text: bytes) -> list[Any]:
    if len(text) > MOST_BYTES:
        raise ManifestError(f"the manifest has {len(text):,} bytes; at most {MOST_BYTES:,} are read")
    if text.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE)):  # what PowerShell's > writes, by its version
        text = text.decode("utf-8-sig" if text.startswith(codecs.BOM_UTF8) else "utf-16", "replace").encode()
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except ManifestError:
        raise
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError:
        return list(_read_yaml(text))
    _check_size(value)
    return [value]


def _refuse_constant(name: str) -> NoReturn:
    raise ManifestError(f"the manifest holds {name}, which is no number of JSON")


def _check_size(value: Any) -> None:
    """Raise ManifestError if a JSON value is too deep, or of too many parts."""
    level, left = [value], MOST_VALUES
    for _ in range(MOST_DEPTH):
        left -= len(level)
        if left < 0:
            raise _too_many()
        inside = (each.values() if isinstance(each, dict) else each for each in level if isinstance(each, (dict, list)))
        level = [part for each in inside for part in each]
        if not level:
            return
    raise _too_deep()


def _read_yaml(text: bytes) -> Iterator[Any]:
    import yaml  # type: ignore[import-untyped, unused-ignore]

    # BaseLoader gives every scalar as text, so that no tag builds an object and no digits build a number.
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        _check_events(yaml.parse(text, Loader=loader), yaml)
        documents = list(yaml.compose_all(text, Loader=loader))
    except (yaml.YAMLError, UnicodeError) as error:
        raise ManifestError(f"the manifest is neither JSON nor YAML: {_short(error, 400)}") from error
    reader = _YamlValues()
    for document in documents:
        yield reader.value(document, 0)


def _check_events(events: Any, yaml: Any) -> None:
    """Raise ManifestError if what is written is too deep or too long, before anything is built of it."""
    depth = documents = 0
    for number, event in enumerate(events):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        documents += isinstance(event, yaml.DocumentStartEvent)
        if depth > MOST_DEPTH:
            raise _too_deep()
        if number > 2 * MOST_VALUES:
            raise _too_many()
        if documents > MOST_DOCUMENTS:
            raise ManifestError(f"the manifest has more than {MOST_DOCUMENTS} documents: ask about fewer at a time")


class _YamlValues:
    """Plain values of composed YAML nodes; an alias costs what it stands for, each time."""

    def __init__(self) -> None:
        self.values = MOST_VALUES
        self.characters = 4 * MOST_BYTES

    def value(self, node: Any, depth: int) -> Any:
        """The node as dict, list, text, number, truth value or None."""
        self.values -= 1
        if node is None:
            return None
        if depth > MOST_DEPTH:
            raise _too_deep()
        if self.values < 0:
            raise _too_many()
        if (kind := node.tag.rpartition(":")[2]) not in ("str", "map", "seq") or node.tag.startswith("!"):
            raise ManifestError(f"the manifest has the tag {_short(node.tag)}: tags are not read")
        if isinstance(node.value, str):
            self.characters -= len(node.value)
            if self.characters < 0:
                raise _too_many()
            return node.value if node.style else _plain_scalar(node.value)
        if kind == "seq":
            return [self.value(part, depth + 1) for part in node.value]
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, part in node.value:
            name = self.value(key, depth + 1)
            value = self.value(part, depth + 1)
            if name == "<<" and not key.style:
                for each in reversed(value if isinstance(value, list) else [value]):
                    merged |= _object(each, "what << merges")
            elif isinstance(name, dict | list):
                raise ManifestError(f"a key of the manifest is a {_kind(name)}: keys are text")
            else:
                found[name if isinstance(name, str) else key.value] = value
        return merged | found


_PLAIN: Final = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"), False),
}
_INTEGER: Final = re.compile(r"[-+]?(0|[1-9][0-9]{0,18})")
_DECIMAL: Final = re.compile(r"[-+]?[0-9]{1,18}(\.[0-9]{1,18})?([eE][-+]?[0-9]{1,3})?")


def _plain_scalar(text: str) -> Any:
    """An unquoted scalar as Kubernetes' reader of YAML takes it."""
    if text in _PLAIN:
        return _PLAIN[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text


# ---- plain values to pods


def _templates(document: Any) -> Iterator[tuple[dict[str, Any], int]]:
    """(a Pod or what makes pods, how many) for every object of a document."""
    if document is None:
        return
    document = _object(document, "the manifest")
    kind = document.get("kind", "")
    if not isinstance(kind, str):
        raise ManifestError(f"kind is a {_kind(kind)}, not text")
    if kind.endswith("List") or "items" in document:
        items = document.get("items") or []
        if not isinstance(items, list):
            raise ManifestError(f"items is a {_kind(items)}, not a list")
        yield from itertools.chain.from_iterable(_templates(item) for item in items)
        return
    if kind == "Pod":
        yield document, 1
        return
    spec = _part(document, "spec", kind)
    replicas = spec.get("replicas", spec.get("parallelism", 1))
    if not isinstance(replicas, int) or isinstance(replicas, bool) or not 0 <= replicas <= MOST_REPLICAS:
        raise ManifestError(f"replicas is {_short(repr(replicas))}: write a number from 0 to {MOST_REPLICAS}")
    yield document, replicas


def _replicas(document: dict[str, Any], count: int, snapshot: Snapshot) -> list[Pod]:
    kind, name = document.get("kind") or "manifest", _name(document)
    if kind == "Pod":
        return [_pod(document, snapshot, f'Pod "{_short(name)}".spec')]
    spec = _part(document, "spec", kind)
    job = _part(_part(spec, "jobTemplate", kind), "spec", kind)
    template = _part(spec, "template", kind) or _part(job, "template", kind)
    if not template:
        raise ManifestError(f"a {_short(kind)} holds no pod template: give a Pod, Deployment, Job or the like")
    namespace = _part(document, "metadata", kind).get("namespace") or "default"
    meta = {**_part(template, "metadata", kind), "namespace": namespace, "name": name}
    where = f'{_short(kind)} "{_short(name)}".spec.template.spec'
    first = _pod({"metadata": meta, "spec": _part(template, "spec", kind)}, snapshot, where)
    return [
        msgspec.structs.replace(first, name=f"{name}-{i}", owner_kind=kind, owner=f"{kind}/{name}")
        for i in range(count)
    ]


def _pod(document: dict[str, Any], snapshot: Snapshot, where: str) -> Pod:
    try:
        item = msgspec.convert(document, kube.PodObject)
        pod = read_pod(item, snapshot.priority_classes, None, where)
    except (msgspec.ValidationError, ValueError) as error:
        text = _short(error, 400)
        raise ManifestError(text if where in text else f"{where}: {text}") from error
    return msgspec.structs.replace(pod, node=None, name=pod.name or _name(document), gates=[], terminating=False)


def _name(document: dict[str, Any]) -> str:
    meta = _part(document, "metadata", "manifest")
    name = meta.get("name") or meta.get("generateName") or "new"
    if not isinstance(name, str):
        raise ManifestError(f"metadata.name is a {_kind(name)}, not text")
    return name


def _part(value: dict[str, Any], field: str, where: str) -> dict[str, Any]:
    """The object in a field; empty where there is none."""
    found = value.get(field)
    return {} if found is None else _object(found, f"{field} of the {_short(where)}")


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ManifestError(f"{what} is a {_kind(value)}, not an object")
    return value


def _kind(value: object) -> str:
    names = {"dict": "map", "list": "list", "str": "text", "int": "number", "float": "number", "bool": "truth value"}
    return names.get(type(value).__name__, "null")


def _short(value: object, most: int = SHOWN) -> str:
    text = str(value)
    return text if len(text) <= most else f"{text[:most]}..."


def _too_deep() -> ManifestError:
    return ManifestError(f"the manifest is nested more than {MOST_DEPTH} levels deep: no Pod is")


def _too_many() -> ManifestError:
    return ManifestError(
        f"the manifest holds more than {MOST_VALUES:,} values, its aliases spelled out: ask about fewer objects"
    )
