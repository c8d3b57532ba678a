"""Finding the cluster, and what is said when there is none."""

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from torchyard.engine.connection import TokenFile, connect, from_kubeconfig, in_cluster
from torchyard.errors import Invalid


def kubeconfig(folder: Path, cluster: dict[str, Any], user: dict[str, Any]) -> Path:
    path = folder / "config"
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "team"}}],
        "clusters": [{"name": "k", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(json.dumps(config))
    return path


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate with its key, good enough for both sides."""
    folder = tmp_path_factory.mktemp("pki")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=test -keyout key -out crt -days 1"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return folder


def test_a_token_in_the_kubeconfig(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, {"server": "http://127.0.0.1:1"}, {"token": "t"})
    connection = connect({"KUBECONFIG": str(path)})
    assert (connection.server, connection.token()) == ("http://127.0.0.1:1", "t")
    assert connection.namespace == "team"
    assert connection.tls is None


def test_certificates_by_path_and_by_value(tmp_path: Path, authority: Path) -> None:
    def encoded(name: str) -> str:
        return base64.b64encode((authority / name).read_bytes()).decode()

    by_path = kubeconfig(
        tmp_path,
        {"server": "https://x", "certificate-authority": str(authority / "crt")},
        {"client-certificate": str(authority / "crt"), "client-key": str(authority / "key")},
    )
    trusted = from_kubeconfig(by_path).tls
    assert trusted is not None
    assert len(trusted.get_ca_certs()) == 1
    by_value = kubeconfig(
        tmp_path,
        {"server": "https://x", "certificate-authority-data": encoded("crt")},
        {"client-certificate-data": encoded("crt"), "client-key-data": encoded("key")},
    )
    connection = from_kubeconfig(by_value)
    assert connection.tls is not None
    assert connection.tls.verify_mode.name == "CERT_REQUIRED"
    assert connection.token() is None


@pytest.mark.parametrize("content", ["", "{}", "[", '{"current-context": "c"}'])
def test_a_file_that_is_no_kubeconfig_says_so(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config"
    path.write_text(content)
    with pytest.raises(Invalid, match="config"):
        from_kubeconfig(path)


def test_a_context_that_is_not_there_says_so(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, {"server": "http://x"}, {})
    path.write_text(path.read_text().replace('"current-context": "c"', '"current-context": "d"'))
    with pytest.raises(Invalid, match="config"):
        from_kubeconfig(path)


def test_a_plugin_is_not_supported_and_the_cure_is_named(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, {"server": "http://x"}, {"exec": {"command": "aws"}})
    with pytest.raises(Invalid, match="kubectl create token"):
        from_kubeconfig(path)


def test_a_pod_without_a_service_account_says_so(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="service account"):
        in_cluster("10.0.0.1", "443", tmp_path)


def test_a_service_account(tmp_path: Path, authority: Path) -> None:
    (tmp_path / "token").write_text("t\n")
    (tmp_path / "namespace").write_text("torchyard-system")
    (tmp_path / "ca.crt").write_bytes((authority / "crt").read_bytes())
    connection = in_cluster("fd00::1", "443", tmp_path)
    assert connection.server == "https://[fd00::1]:443"
    assert connection.token() == "t"
    assert connection.namespace == "torchyard-system"


def test_no_cluster_at_all_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="KUBECONFIG"):
        connect({"HOME": str(tmp_path)})


def test_a_token_is_read_anew_once_a_minute(tmp_path: Path) -> None:
    now, path = [0.0], tmp_path / "token"
    path.write_text("first")
    token = TokenFile(path, lambda: now[0])
    assert token() == "first"
    path.write_text("second")
    assert token() == "first"
    now[0] += 61
    assert token() == "second"
