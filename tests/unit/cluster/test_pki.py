import datetime
import json
from pathlib import Path

import pytest

from cluster import pki, shell

CERTIFICATES = (
    pki.Certificate("apiserver", "/CN=kube-apiserver", ("DNS:localhost", "IP:127.0.0.1")),
    pki.Certificate("admin", "/O=system:masters/CN=admin"),
    pki.Certificate("etcd-client", "/CN=kube-apiserver", authority=pki.ETCD),
)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    pki.ensure(tmp_path / "pki", CERTIFICATES)
    return tmp_path / "pki"


def text(path: Path) -> str:
    return shell.run("openssl", "x509", "-noout", "-text", "-in", path)


def verifies(folder: Path, authority: str, name: str) -> bool:
    trusted = folder / f"{authority}.crt"
    return shell.succeeds("openssl", "verify", "-CAfile", trusted, folder / f"{name}.crt")


def test_each_certificate_is_signed_by_its_own_authority_only(made: Path) -> None:
    assert verifies(made, pki.CLUSTER, "admin")
    assert verifies(made, pki.ETCD, "etcd-client")
    assert not verifies(made, pki.CLUSTER, "etcd-client")
    assert not verifies(made, pki.ETCD, "admin")


def test_servers_and_clients_are_told_apart(made: Path) -> None:
    server, client = text(made / "apiserver.crt"), text(made / "admin.crt")
    assert "TLS Web Server Authentication" in server
    assert "IP Address:127.0.0.1" in server
    assert "TLS Web Client Authentication" in client
    assert "O = system:masters, CN = admin" in client
    assert "CA:FALSE" in client


def test_private_keys_are_the_owners_alone(made: Path) -> None:
    keys = list(made.glob("*.key"))
    assert len(keys) == 2 + len(CERTIFICATES) + 1
    assert {key.stat().st_mode & 0o777 for key in keys} == {0o600}
    assert made.stat().st_mode & 0o777 == 0o700


def test_a_good_set_stays_and_another_one_is_made_anew(made: Path) -> None:
    before = (made / "ca.crt").read_text()
    pki.ensure(made, CERTIFICATES)
    assert (made / "ca.crt").read_text() == before
    pki.ensure(made, CERTIFICATES[:2])
    assert (made / "ca.crt").read_text() != before


def test_a_set_that_expires_soon_is_made_anew(made: Path) -> None:
    before = (made / "ca.crt").read_text()
    stamp = made / "stamp.json"
    content = json.loads(stamp.read_text())
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=3)
    stamp.write_text(json.dumps({**content, "expires": soon.isoformat()}))
    pki.ensure(made, CERTIFICATES)
    assert (made / "ca.crt").read_text() != before


def test_a_damaged_stamp_means_a_new_set(made: Path) -> None:
    (made / "stamp.json").write_text("{")
    pki.ensure(made, CERTIFICATES)
    assert json.loads((made / "stamp.json").read_text())["expires"]
