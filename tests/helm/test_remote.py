"""The extender for another scheduler: certificates that verify on both sides, and nothing that speaks without one."""

from __future__ import annotations

import base64
import json
import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.helm.conftest import EVERYTHING, Helm, Objects, Render

NAME = "s-stowage-remote"
HOST = f"{NAME}.stowage-system.svc"


def write_files(objects: Objects, folder: Path) -> dict[str, Path]:
    """The files of each Secret, as a volume would show them."""
    found = {}
    for role in ("ca", "server", "client"):
        found[role] = folder / role
        found[role].mkdir(parents=True)
        for name, data in objects["Secret", f"{NAME}-{role}"]["data"].items():
            (found[role] / name).write_bytes(base64.b64decode(data))
    return found


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> None:
    """One TLS handshake in memory, and one byte each way; ssl.SSLError where a side does not trust the other."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [server.wrap_bio(up, down, server_side=True), client.wrap_bio(down, up, server_hostname=host)]
    done = [False, False]
    for _ in range(10):
        for side, end in enumerate(ends):
            if not done[side]:
                try:
                    end.do_handshake()
                    done[side] = True
                except ssl.SSLWantReadError:
                    pass
    assert all(done)
    for sender, receiver in (ends, ends[::-1]):  # in TLS 1.3 a client learns only now that it was refused
        sender.write(b"x")
        assert receiver.read(1) == b"x"


def contexts(files: dict[str, Path], with_client: bool = True) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The extender's side, as its settings say, and the other scheduler's."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(files["server"] / "ca.crt"))
    server.load_cert_chain(files["server"] / "tls.crt", files["server"] / "tls.key")
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context(cafile=str(files["client"] / "ca.crt"))
    if with_client:
        client.load_cert_chain(files["client"] / "tls.crt", files["client"] / "tls.key")
    return server, client


@pytest.fixture(scope="module")
def objects(render: Render) -> Objects:
    return render(EVERYTHING)


def test_both_sides_verify_under_every_name(objects: Objects, tmp_path: Path) -> None:
    files = write_files(objects, tmp_path)
    for host in (HOST, f"{HOST}.cluster.local", f"{NAME}.stowage-system", NAME, "10.1.2.3", "stowage.example.org"):
        shake_hands(*contexts(files), host)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(*contexts(files), "elsewhere.example.org")


def test_a_client_without_a_certificate_or_with_anothers_is_refused(
    objects: Objects, render: Render, tmp_path: Path
) -> None:
    files = write_files(objects, tmp_path)
    with pytest.raises(ssl.SSLError):
        shake_hands(*contexts(files, with_client=False), HOST)
    other = write_files(render(EVERYTHING), tmp_path / "other")  # without a cluster each rendering has a CA of its own
    server, _ = contexts(files)
    _, stranger = contexts({**other, "client": other["client"]})
    stranger.load_verify_locations(cafile=str(files["client"] / "ca.crt"))
    with pytest.raises(ssl.SSLError):
        shake_hands(server, stranger, HOST)


def test_the_extender_is_told_where_its_files_are_mounted(objects: Objects) -> None:
    settings: dict[str, Any] = json.loads(objects["ConfigMap", NAME]["data"]["extender.json"])
    pod = objects["Deployment", NAME]["spec"]["template"]["spec"]
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    volumes = {volume["name"]: volume.get("secret", {}).get("secretName") for volume in pod["volumes"]}
    secrets = {mounts[name]: secret for name, secret in volumes.items() if secret}
    for key, file in (("tls_cert", "tls.crt"), ("tls_key", "tls.key"), ("tls_client_ca", "ca.crt")):
        path = Path(settings[key])
        assert path.name == file
        assert file in objects["Secret", secrets[str(path.parent)]]["data"]
    assert "s-stowage-remote-ca" not in volumes.values()  # the key that signs is mounted nowhere
    assert settings["port"] == pod["containers"][0]["ports"][0]["containerPort"]


def test_own_certificates_need_both_secrets(helm: Helm, render: Render) -> None:
    from tests.helm.conftest import CHART

    given = ["--set", "remote.enabled=true,remote.tls.source=secret,remote.tls.secretName=server"]
    done = helm("template", "s", str(CHART), *given)
    assert done.returncode != 0
    assert "clientSecretName" in done.stderr
    tls = {"source": "secret", "secretName": "server", "clientSecretName": "client"}
    objects = render({"remote": {"enabled": True, "tls": tls}})
    assert not [name for kind, name in objects if kind == "Secret"]
    volumes = objects["Deployment", NAME]["spec"]["template"]["spec"]["volumes"]
    assert {volume["secret"]["secretName"] for volume in volumes if "secret" in volume} == {"server", "client"}


def test_cert_manager_makes_the_secrets_that_are_mounted(render: Render) -> None:
    tls = {"source": "cert-manager"}
    objects = render({"remote": {"enabled": True, "extraNames": ["10.1.2.3", "a.example.org"], "tls": tls}})
    made = {entry["spec"]["secretName"]: entry["spec"] for (kind, _), entry in objects.items() if kind == "Certificate"}
    volumes = objects["Deployment", NAME]["spec"]["template"]["spec"]["volumes"]
    assert {volume["secret"]["secretName"] for volume in volumes if "secret" in volume} <= made.keys()
    server = made[f"{NAME}-server"]
    assert {HOST, "a.example.org"} <= set(server["dnsNames"])
    assert server["ipAddresses"] == ["10.1.2.3"]
    assert ("Issuer", server["issuerRef"]["name"]) in objects
    named = render({"remote": {"enabled": True, "tls": tls | {"issuer": {"kind": "ClusterIssuer", "name": "corp"}}}})
    assert not [name for kind, name in named if kind == "Issuer"]
    assert named["Certificate", f"{NAME}-client"]["spec"]["issuerRef"]["name"] == "corp"
