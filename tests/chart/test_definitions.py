import yaml

from tests.chart.helm import CHART, REPOSITORY, Manifest, of_kind
from torchyard.api.crd import KINDS, crd

FILES = sorted(path.name for path in (CHART / "files" / "crds").iterdir())


def definitions(manifests: list[Manifest]) -> dict[str, Manifest]:
    found = of_kind(manifests, "CustomResourceDefinition")
    return {item["metadata"]["name"]: item for item in found}


def test_the_chart_carries_the_generated_definitions() -> None:
    assert sorted(path.name for path in (REPOSITORY / "crds").iterdir()) == FILES
    for name in FILES:
        packed = (CHART / "files" / "crds" / name).read_text()
        assert packed == (REPOSITORY / "crds" / name).read_text(), "run `make manifests`"


def test_they_are_those_of_the_models(defaults: list[Manifest]) -> None:
    rendered = definitions(defaults)
    assert set(rendered) == {kind.crd_name for kind in KINDS}
    for kind in KINDS:
        assert rendered[kind.crd_name]["spec"] == crd(kind)["spec"], "run `make manifests`"


def test_they_are_templates_because_helm_never_upgrades_a_crds_folder() -> None:
    assert not (CHART / "crds").exists()


def test_they_stay_when_the_release_goes(defaults: list[Manifest]) -> None:
    for item in definitions(defaults).values():
        assert item["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        assert item["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"


def test_they_can_come_from_elsewhere(rendered: dict[str, list[Manifest]]) -> None:
    assert not definitions(rendered["definitions from elsewhere"])


def test_they_fit_into_helms_release_record() -> None:
    # Helm keeps the whole chart in one Secret of at most 1 MiB, compressed to about a tenth.
    size = sum((CHART / "files" / "crds" / name).stat().st_size for name in FILES)
    assert size < 2 * 1024 * 1024
    for name in FILES:
        # The limit for annotations, in which `kubectl apply` keeps a copy.
        assert len(yaml.safe_dump((CHART / "files" / "crds" / name).read_text())) < 256 * 1024
