from typing import Any

import pytest

from tests.chart.helm import Manifest, of_kind, only, render
from torchyard import names

Rule = dict[str, Any]


def policy(manifests: list[Manifest]) -> Manifest:
    found: Manifest = only(manifests, "NetworkPolicy")["spec"]
    return found


def egress(manifests: list[Manifest], port: int) -> Rule:
    (rule,) = (
        rule
        for rule in policy(manifests)["egress"]
        if any(item["port"] == port for item in rule["ports"])
    )
    assert isinstance(rule, dict)
    return rule


def test_it_stands_around_the_operator_in_both_directions(
    rendered: dict[str, list[Manifest]],
) -> None:
    for name, manifests in rendered.items():
        if name == "no network policy":
            assert not of_kind(manifests, "NetworkPolicy")
            continue
        pods = only(manifests, "Deployment")["spec"]["selector"]
        assert policy(manifests)["podSelector"] == pods
        assert set(policy(manifests)["policyTypes"]) == {"Ingress", "Egress"}


def test_metrics_and_probes_come_in_and_nothing_else(defaults: list[Manifest]) -> None:
    assert policy(defaults)["ingress"] == [{"ports": [{"protocol": "TCP", "port": "http"}]}]


def test_metrics_can_be_for_some_namespaces(rendered: dict[str, list[Manifest]]) -> None:
    (rule,) = policy(rendered["everything"])["ingress"]
    (peer,) = rule["from"]
    (expression,) = peer["namespaceSelector"]["matchExpressions"]
    assert expression == {
        "key": "kubernetes.io/metadata.name",
        "operator": "In",
        "values": ["monitoring"],
    }


def test_out_go_dns_api_server_and_workers_only(defaults: list[Manifest]) -> None:
    ports = {
        (item["protocol"], item["port"])
        for rule in policy(defaults)["egress"]
        for item in rule["ports"]
    }
    assert ports == {
        ("UDP", 53),
        ("TCP", 53),
        ("TCP", 443),
        ("TCP", 6443),
        ("TCP", names.STATUS_PORT),
    }
    # A rule without ports would allow all of them.
    assert all(rule["ports"] for rule in policy(defaults)["egress"])


@pytest.mark.parametrize("installation", ["defaults", "two namespaces"])
def test_workers_are_told_by_label_and_namespace(
    installation: str, rendered: dict[str, list[Manifest]]
) -> None:
    (peer,) = egress(rendered[installation], names.STATUS_PORT)["to"]
    assert peer["podSelector"] == {"matchLabels": {names.MANAGED_BY: names.MANAGER}}
    if installation == "defaults":
        assert peer["namespaceSelector"] == {}
    else:
        (expression,) = peer["namespaceSelector"]["matchExpressions"]
        assert expression["values"] == ["team-a", "team-b"]


def test_the_api_server_can_be_told_by_address(rendered: dict[str, list[Manifest]]) -> None:
    rule = egress(rendered["everything"], 8443)
    assert [peer["ipBlock"]["cidr"] for peer in rule["to"]] == ["10.0.0.10/32", "fd00::1/128"]


def test_the_service_leads_to_the_metrics() -> None:
    manifests = render()
    service = only(manifests, "Service")["spec"]
    deployment = only(manifests, "Deployment")["spec"]
    assert service["selector"] == deployment["selector"]["matchLabels"]
    (port,) = service["ports"]
    assert port["targetPort"] == "http"
