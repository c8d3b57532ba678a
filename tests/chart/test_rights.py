"""What the operator may do: enough for what it does, and nothing else."""

from collections.abc import Iterator

from tests.chart.helm import NAMESPACE, Manifest, of_kind, only
from torchyard.api.crd import KINDS
from torchyard.engine.resources import WATCHED

Rights = dict[tuple[str, str], set[str]]

ESCALATION = {"*", "escalate", "bind", "impersonate", "approve", "sign"}
FORBIDDEN = {
    *("secrets", "configmaps", "serviceaccounts", "serviceaccounts/token", "nodes", "nodes/proxy"),
    *("pods/exec", "pods/attach", "pods/portforward", "pods/log", "pods/ephemeralcontainers"),
    *("roles", "rolebindings", "clusterroles", "clusterrolebindings"),
    *("mutatingwebhookconfigurations", "validatingwebhookconfigurations"),
    *("certificatesigningrequests", "namespaces", "persistentvolumes", "persistentvolumeclaims"),
}

# What the code does beside looking at what it watches.
WRITES: Rights = {
    ("torchyard.dev", "trainingjobs"): {"delete"},
    ("torchyard.dev", "trainingjobs/status"): {"patch"},
    ("torchyard.dev", "modelservices/status"): {"patch"},
    ("torchyard.dev", "modelversions"): {"create"},
    ("", "pods"): {"create", "delete"},
    # Server-side apply of an object that is not there yet takes both verbs.
    ("", "services"): {"create", "patch"},
    ("networking.k8s.io", "networkpolicies"): {"create", "patch"},
    ("policy", "poddisruptionbudgets"): {"create", "patch"},
    ("apps", "deployments"): {"create", "patch", "delete"},
    ("events.k8s.io", "events"): {"create"},
}


def bound(manifests: list[Manifest]) -> Iterator[tuple[Manifest, Manifest]]:
    """Every role that the operator's account holds, with the binding that gives it."""
    account = only(manifests, "ServiceAccount")["metadata"]
    roles = {
        (item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]): item
        for item in of_kind(manifests, "Role", "ClusterRole")
    }
    for binding in of_kind(manifests, "RoleBinding", "ClusterRoleBinding"):
        assert binding["subjects"] == [
            {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
        ]
        reference = binding["roleRef"]
        namespace = binding["metadata"].get("namespace") if reference["kind"] == "Role" else None
        yield roles[reference["kind"], namespace, reference["name"]], binding


def rights(role: Manifest) -> Rights:
    found: Rights = {}
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                found.setdefault((group, resource), set()).update(rule["verbs"])
    return found


def main_rights(manifests: list[Manifest]) -> list[tuple[str | None, Rights]]:
    """The rights over resources and their children, by namespace; None is the whole cluster."""
    return [
        (binding["metadata"].get("namespace"), rights(role))
        for role, binding in bound(manifests)
        if ("", "pods") in rights(role)
    ]


def test_every_role_of_the_operator_is_bound_and_every_binding_has_one(
    manifests: list[Manifest],
) -> None:
    held = [id(role) for role, _ in bound(manifests)]
    loose = [
        item["metadata"]["name"]
        for item in of_kind(manifests, "Role", "ClusterRole")
        if id(item) not in held
    ]
    assert set(loose) <= {"torchyard-view", "torchyard-edit"}


def test_no_wildcard_no_secret_no_escalation(manifests: list[Manifest]) -> None:
    for role in of_kind(manifests, "Role", "ClusterRole"):
        for rule in role["rules"]:
            assert "nonResourceURLs" not in rule
            assert "*" not in rule["apiGroups"] + rule["resources"]
            assert not ESCALATION & set(rule["verbs"])
            assert not FORBIDDEN & set(rule["resources"])


def test_the_rights_are_exactly_what_the_code_uses(manifests: list[Manifest]) -> None:
    expected: Rights = {(item.group, item.plural): {"get", "list", "watch"} for item in WATCHED}
    for what, verbs in WRITES.items():
        expected[what] = expected.get(what, set()) | verbs
    for _, granted in main_rights(manifests):
        assert granted == expected


def test_cluster_wide_only_without_a_list_of_namespaces(
    rendered: dict[str, list[Manifest]],
) -> None:
    assert [namespace for namespace, _ in main_rights(rendered["defaults"])] == [None]
    limited = rendered["two namespaces"]
    assert [namespace for namespace, _ in main_rights(limited)] == ["team-a", "team-b"]
    wide = [role for role, binding in bound(limited) if binding["kind"] == "ClusterRoleBinding"]
    assert [rights(role) for role in wide] == [
        {("apiextensions.k8s.io", "customresourcedefinitions"): {"get"}}
    ]


def test_definitions_are_read_by_name(manifests: list[Manifest]) -> None:
    (rule,) = (
        rule
        for role, _ in bound(manifests)
        for rule in role["rules"]
        if "customresourcedefinitions" in rule["resources"]
    )
    assert rule["verbs"] == ["get"]
    assert set(rule["resourceNames"]) == {kind.crd_name for kind in KINDS}


def test_the_lease_is_one_and_in_the_operators_namespace(manifests: list[Manifest]) -> None:
    ((role, binding),) = (
        (role, binding)
        for role, binding in bound(manifests)
        if ("coordination.k8s.io", "leases") in rights(role)
    )
    assert (role["kind"], binding["metadata"]["namespace"]) == ("Role", NAMESPACE)
    assert len(rights(role)) == 1
    name = next(
        item["value"]
        for item in only(manifests, "Deployment")["spec"]["template"]["spec"]["containers"][0][
            "env"
        ]
        if item["name"] == "TORCHYARD_LEASE_NAME"
    )
    named = {tuple(rule.get("resourceNames", ())): set(rule["verbs"]) for rule in role["rules"]}
    assert named == {(): {"create"}, (name,): {"get", "update"}}


def test_people_get_the_kinds_by_the_clusters_own_roles(
    rendered: dict[str, list[Manifest]],
) -> None:
    roles = {
        item["metadata"]["name"]: item for item in of_kind(rendered["defaults"], "ClusterRole")
    }
    kinds = {("torchyard.dev", kind.plural) for kind in KINDS}
    view, edit = roles["torchyard-view"], roles["torchyard-edit"]
    for role, aggregated in (
        (view, {"view", "edit", "admin"}),
        (edit, {"edit", "admin"}),
    ):
        prefix = "rbac.authorization.k8s.io/aggregate-to-"
        labels = role["metadata"]["labels"]
        assert {key.removeprefix(prefix) for key in labels if key.startswith(prefix)} == aggregated
        assert kinds <= set(rights(role))
    assert set().union(*rights(view).values()) == {"get", "list", "watch"}
    # Status is the operator's to write.
    assert not [resource for _, resource in rights(edit) if resource.endswith("/status")]


def test_who_brings_no_definitions_brings_no_roles_for_people(
    rendered: dict[str, list[Manifest]],
) -> None:
    names = {
        item["metadata"]["name"]
        for item in of_kind(rendered["definitions from elsewhere"], "ClusterRole")
    }
    assert not names & {"torchyard-view", "torchyard-edit"}
