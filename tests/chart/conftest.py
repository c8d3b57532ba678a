import pytest

from tests.chart.helm import Manifest, render
from tests.chart.matrix import INSTALLATIONS


@pytest.fixture(scope="session")
def rendered() -> dict[str, list[Manifest]]:
    return {name: render(values) for name, values in INSTALLATIONS.items()}


@pytest.fixture(params=INSTALLATIONS)
def manifests(
    request: pytest.FixtureRequest, rendered: dict[str, list[Manifest]]
) -> list[Manifest]:
    """Once for each installation."""
    return rendered[request.param]


@pytest.fixture
def defaults(rendered: dict[str, list[Manifest]]) -> list[Manifest]:
    return rendered["defaults"]
