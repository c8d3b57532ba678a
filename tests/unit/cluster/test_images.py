"""What goes into an image build."""

import os
import subprocess
from pathlib import Path

import pytest

from cluster import buildah, context, pip_settings
from cluster.settings import REGISTRY

DOCKERFILE = """
ARG BASE_IMAGE=python:3.11
FROM ${BASE_IMAGE} AS runtime
ARG VERSION=1
COPY locks/server.txt /requirements.txt
FROM runtime
COPY --from=runtime /opt /opt
COPY --chown=1:1 operator/a.py \\
     operator/b.py /code/
ADD operator /more
ARG VERSION
"""


def test_arguments_and_copied_paths() -> None:
    assert context.arguments(DOCKERFILE) == ["BASE_IMAGE", "VERSION"]
    assert context.copied(DOCKERFILE) == [
        "locks/server.txt",
        "operator/a.py",
        "operator/b.py",
        "operator",
    ]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    (root / "code" / "__pycache__").mkdir(parents=True)
    (root / ".gitignore").write_text("__pycache__/\n")
    (root / "code" / "kept.py").write_text("x = 1\n")
    (root / "code" / "gone.py").write_text("")
    (root / "code" / "__pycache__" / "kept.pyc").write_text("")
    (root / "other").write_text("")
    subprocess.run(["git", "init", "--quiet", root], check=True)
    subprocess.run(["git", "-C", root, "add", "."], check=True)
    (root / "code" / "gone.py").unlink()
    (root / "code" / "new.py").write_text("")
    return root


def test_a_context_holds_what_git_knows_below_the_copied_paths(
    repository: Path, tmp_path: Path
) -> None:
    files = context.files(repository, ["code"])
    assert [path.name for path in files] == ["kept.py", "new.py"]
    assert context.files(repository, []) == []
    target = tmp_path / "context"
    context.stage(repository, files, target)
    copies = sorted(path for path in target.rglob("*") if path.is_file())
    assert [str(path.relative_to(target)) for path in copies] == ["code/kept.py", "code/new.py"]
    assert {path.stat().st_mtime for path in target.rglob("*")} == {context.MODIFIED}


def test_content_names_and_modes_change_the_key_but_times_do_not(repository: Path) -> None:
    kept = repository / "code" / "kept.py"
    one = context.key(repository, [kept], "text")
    os.utime(kept, (1, 1))
    assert context.key(repository, [kept], "text") == one
    assert context.key(repository, [kept], "other text") != one
    kept.chmod(0o755)
    executable = context.key(repository, [kept], "text")
    assert executable != one
    kept.write_text("x = 2\n")
    assert context.key(repository, [kept], "text") not in (one, executable)


def test_names_in_the_registry() -> None:
    image = buildah.reference("server", "abc")
    assert image == f"{REGISTRY}/torchyard/server:abc"
    assert buildah.split(image) == ("torchyard/server", "abc")


def test_pip_settings_come_from_files_and_the_environment(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("[global]\nindex-url = https://one.example/\ntimeout = 5\n[freeze]\nall = yes")
    second.write_text("[install]\ntimeout = 60\n")
    environment = {"PIP_INDEX_URL": "https://two.example/", "PIP_CONFIG_FILE": "x", "HOME": "/"}
    assert pip_settings.read(environment, [first, second, tmp_path / "absent"]) == {
        "index-url": "https://two.example/",
        "timeout": "60",
    }


def test_paths_of_the_host_become_mounts(tmp_path: Path) -> None:
    certificates, wheels, more = tmp_path / "ca.pem", tmp_path / "wheels", tmp_path / "more"
    certificates.touch()
    wheels.mkdir()
    more.mkdir()
    settings = {
        "cert": str(certificates),
        "find-links": f"{more} /does/not/exist https://links.example/",
        "timeout": "5",
    }
    found = pip_settings.translate(settings, wheels, {})
    assert found.mounts == {
        certificates: "/etc/ssl/certs/ca-certificates.crt",
        wheels: "/wheels",
        more: "/wheels1",
    }
    assert str(tmp_path) not in found.text
    assert "timeout = 5\n" in found.text
    assert found.text.split("find-links = ")[1].split()[:3] == [
        "https://links.example/",
        "/wheels",
        "/wheels1",
    ]
