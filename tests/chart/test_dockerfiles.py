"""The three images, as their Dockerfiles describe them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chart.helm import REPOSITORY
from torchyard import __version__
from torchyard.core.objects import USER

IMAGES = {"operator": "torchyard", "trainer": "torchyard_trainer", "server": "torchyard_server"}
CODE = "/opt/torchyard/code/"


def dockerfile(image: str) -> str:
    return (REPOSITORY / "images" / image / "Dockerfile").read_text()


def stages(text: str) -> list[str]:
    return re.split(r"^(?=FROM )", text, flags=re.MULTILINE)


def copied(image: str) -> Iterator[tuple[Path, str]]:
    """Every source of code, and where it comes to lie."""
    for line in re.findall(rf"^COPY (.* {CODE}.*)$", dockerfile(image), re.MULTILINE):
        *sources, target = line.split()
        for source in sources:
            name = Path(source).name if target.endswith("/") else ""
            yield REPOSITORY / source, f"{target.removeprefix(CODE)}{name}"


def modules(image: str) -> dict[str, Path]:
    """The modules in an image, by name."""
    found = {}
    for source, target in copied(image):
        for path in source.rglob("*.py") if source.is_dir() else [source]:
            inside = Path(target) / path.relative_to(source) if source.is_dir() else Path(target)
            found[".".join(inside.with_suffix("").parts).removesuffix(".__init__")] = path
    return found


def imported(path: Path) -> Iterator[str]:
    """Our own modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        yield from (name for name in names if name.split(".")[0] in IMAGES.values())


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_has_all_the_code_that_it_imports(image: str) -> None:
    there = modules(image)
    assert IMAGES[image] in there
    for path in there.values():
        for name in imported(path):
            assert name in there, f"{path} imports {name}, which the image lacks"


@pytest.mark.parametrize("image", IMAGES)
def test_the_module_that_starts_it_is_its_own(image: str) -> None:
    (entry,) = re.findall(r"^ENTRYPOINT \[(.*)\]$", dockerfile(image), re.MULTILINE)
    assert entry == f'"/opt/torchyard/bin/python", "-m", "{IMAGES[image]}"'


def test_the_first_stage_is_shared() -> None:
    first = {stages(dockerfile(image))[1].partition("\n\n")[0] for image in IMAGES}
    assert len(first) == 1


@pytest.mark.parametrize("image", IMAGES)
def test_it_runs_as_the_user_of_the_pods(image: str) -> None:
    users = re.findall(r"^USER (.*)$", dockerfile(image), re.MULTILINE)
    assert users == [f"{USER}:{USER}"]
    assert f"useradd --uid {USER}" in dockerfile(image)


@pytest.mark.parametrize("image", IMAGES)
def test_its_version_is_that_of_the_package(image: str) -> None:
    assert f"ARG VERSION={__version__}\n" in dockerfile(image)


@pytest.mark.parametrize("image", IMAGES)
def test_dependencies_are_locked_and_below_the_code(image: str) -> None:
    text = dockerfile(image)
    assert (REPOSITORY / "locks" / f"{image}.txt").exists()
    assert text.index(f"COPY locks/{image}.txt") < text.index("--require-hashes")
    *below, last = stages(text)
    assert CODE not in "".join(re.findall(r"^COPY .*$", "".join(below), re.MULTILINE))
    assert "pip" not in last


def test_the_torch_of_the_image_is_the_one_that_is_tested() -> None:
    pyproject = (REPOSITORY / "pyproject.toml").read_text()
    (version,) = re.findall(r'"torch==([^"]+)"', pyproject)
    assert f"ARG TORCH_VERSION={version}\n" in dockerfile("trainer")


def test_the_server_goes_without_torch_and_without_a_downloader() -> None:
    lock = (REPOSITORY / "locks" / "server.txt").read_text()
    installed = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
    assert "torch" not in installed
    (removed,) = re.findall(r"uninstall --yes (.*?)&&", dockerfile("server").replace("\\\n", ""))
    assert "huggingface-hub" in removed.split()
    assert set(removed.split()) <= installed, "no longer in the lock"
