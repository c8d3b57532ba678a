"""Command lines of the control plane, the same for a node and for integration tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.binaries import Binaries
from cluster.pki import CLUSTER, ETCD, FRONT_PROXY, SERVICE_ACCOUNTS

SERVICE_CIDR = "10.96.0.0/16"
SERVICE_ADDRESS = "10.96.0.1"
ISSUER = "https://kubernetes.default.svc.cluster.local"

# The clients of Kubernetes' own parts are held back by default (20 to 50 requests a second), which
# would measure them instead of what is tested here.
API_QPS, API_BURST = 200, 400


@dataclass(frozen=True)
class Layout:
    """Where a control plane keeps its files and listens."""

    binaries: Binaries
    pki: Path
    etcd_data: Path
    audit_log: Path
    audit_policy: Path
    api_address: str
    api_port: int
    etcd_port: int
    etcd_peer_port: int

    def key_pair(self, name: str) -> tuple[Path, Path]:
        """Return certificate and key of an identity."""
        return self.pki / f"{name}.crt", self.pki / f"{name}.key"

    def authority(self, name: str = CLUSTER) -> Path:
        """Return the certificate of an authority."""
        return self.pki / f"{name}.crt"


def etcd(layout: Layout) -> list[str]:
    """Return the command line of etcd: TLS both ways, and no fsync, for the data is disposable."""
    client = f"https://127.0.0.1:{layout.etcd_port}"
    peer = f"https://127.0.0.1:{layout.etcd_peer_port}"
    certificate, key = layout.key_pair("etcd")
    trusted = layout.authority(ETCD)
    return [
        str(layout.binaries["etcd"]),
        "--name=torchyard",
        f"--data-dir={layout.etcd_data}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=torchyard={peer}",
        *_etcd_tls("", certificate, key, trusted),
        *_etcd_tls("peer-", certificate, key, trusted),
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def _etcd_tls(prefix: str, certificate: Path, key: Path, trusted: Path) -> list[str]:
    return [
        f"--{prefix}cert-file={certificate}",
        f"--{prefix}key-file={key}",
        f"--{prefix}trusted-ca-file={trusted}",
        f"--{prefix}client-cert-auth",
    ]


def apiserver(layout: Layout, *extra: str) -> list[str]:
    """Return the command line of kube-apiserver."""
    certificate, key = layout.key_pair("apiserver")
    etcd_certificate, etcd_key = layout.key_pair("etcd-client")
    proxy_certificate, proxy_key = layout.key_pair("front-proxy-client")
    accounts = layout.pki / SERVICE_ACCOUNTS
    return [
        str(layout.binaries["kube-apiserver"]),
        f"--etcd-servers=https://127.0.0.1:{layout.etcd_port}",
        f"--etcd-cafile={layout.authority(ETCD)}",
        f"--etcd-certfile={etcd_certificate}",
        f"--etcd-keyfile={etcd_key}",
        f"--secure-port={layout.api_port}",
        f"--advertise-address={layout.api_address}",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        f"--client-ca-file={layout.authority()}",
        f"--tls-cert-file={certificate}",
        f"--tls-private-key-file={key}",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={accounts}.pub",
        f"--service-account-signing-key-file={accounts}.key",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--requestheader-client-ca-file={layout.authority(FRONT_PROXY)}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={proxy_certificate}",
        f"--proxy-client-key-file={proxy_key}",
        f"--audit-policy-file={layout.audit_policy}",
        f"--audit-log-path={layout.audit_log}",
        "--audit-log-maxsize=100",
        "--audit-log-maxbackup=2",
        "--profiling=false",
        *extra,
    ]


def controller_manager(
    layout: Layout, kubeconfig: Path, controllers: Sequence[str], *extra: str
) -> list[str]:
    """Return the command line of kube-controller-manager running `controllers`."""
    certificate, key = layout.key_pair(CLUSTER)
    return [
        str(layout.binaries["kube-controller-manager"]),
        f"--kubeconfig={kubeconfig}",
        f"--controllers={','.join(controllers)}",
        f"--root-ca-file={layout.authority()}",
        f"--service-account-private-key-file={layout.pki / SERVICE_ACCOUNTS}.key",
        f"--cluster-signing-cert-file={certificate}",
        f"--cluster-signing-key-file={key}",
        # An identity for each controller, so that the audit log tells them apart.
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        f"--kube-api-qps={API_QPS}",
        f"--kube-api-burst={API_BURST}",
        "--profiling=false",
        *extra,
    ]


def audit_policy() -> str:
    """Return the audit policy."""
    return (Path(__file__).parent / "manifests/audit-policy.yaml").read_text()
