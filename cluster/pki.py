"""Certificates: openssl makes them, because the standard library cannot."""

import datetime
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from cluster import shell

_DAYS = 365
_RENEW_DAYS = 30
_CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
# Our own configuration file: the system's would make every certificate an authority.
_CONFIG = "[req]\ndistinguished_name = dn\n[dn]\n"

# The authorities are apart so that a Kubernetes client certificate opens neither etcd nor the
# front-proxy headers.
CLUSTER, ETCD, FRONT_PROXY = "ca", "etcd-ca", "front-proxy-ca"
SERVICE_ACCOUNTS = "service-accounts"


@dataclass(frozen=True)
class Certificate:
    """One certificate with its key; `hosts` makes it a server's."""

    name: str
    subject: str
    hosts: tuple[str, ...] = ()
    authority: str = CLUSTER


def control_plane(hosts: tuple[str, ...]) -> tuple[Certificate, ...]:
    """Return the certificates of a control plane reached under `hosts`."""
    return (
        Certificate("apiserver", "/CN=kube-apiserver", hosts),
        Certificate("admin", "/O=system:masters/CN=admin"),
        Certificate("controller-manager", "/CN=system:kube-controller-manager"),
        Certificate("etcd", "/CN=etcd", ("IP:127.0.0.1", "DNS:localhost"), ETCD),
        Certificate("etcd-client", "/CN=kube-apiserver", authority=ETCD),
        Certificate("front-proxy-client", "/CN=front-proxy-client", authority=FRONT_PROXY),
    )


def node(name: str, address: str) -> tuple[Certificate, ...]:
    """Return the certificates that a node adds."""
    return (
        Certificate("kubelet", f"/CN=system:node:{name}", (f"DNS:{name}", f"IP:{address}")),
        Certificate("apiserver-kubelet-client", "/O=system:masters/CN=kube-apiserver"),
        Certificate("node", f"/O=system:nodes/CN=system:node:{name}"),
        Certificate("scheduler", "/CN=system:kube-scheduler"),
        Certificate("proxy", "/CN=system:kube-proxy"),
        Certificate("coredns", "/CN=torchyard:coredns"),
        Certificate("local-path", "/CN=torchyard:local-path"),
    )


def ensure(directory: Path, certificates: tuple[Certificate, ...]) -> str:
    """Make all certificates unless they are there and good; return what identifies this set."""
    stamp = directory / "stamp.json"
    wanted = [asdict(certificate) for certificate in certificates]
    if not usable(stamp, wanted):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True, mode=0o700)
        _make(directory, certificates)
        expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=_DAYS)
        stamp.write_text(json.dumps({"expires": expires.isoformat(), "certificates": wanted}))
    return (directory / f"{CLUSTER}.crt").read_text()


def usable(stamp: Path, wanted: list[dict[str, object]]) -> bool:
    """Tell whether the set that `stamp` describes is the wanted one and lasts a while yet."""
    try:
        found = json.loads(stamp.read_text())
        expires = datetime.datetime.fromisoformat(found["expires"])
    except (OSError, ValueError, KeyError):
        return False
    left = expires - datetime.datetime.now(datetime.UTC)
    same: bool = found["certificates"] == json.loads(json.dumps(wanted))
    return same and left > datetime.timedelta(days=_RENEW_DAYS)


def _make(directory: Path, certificates: tuple[Certificate, ...]) -> None:
    (directory / "openssl.cnf").write_text(_CONFIG)
    with ThreadPoolExecutor() as pool:
        authorities = {certificate.authority for certificate in certificates}
        list(pool.map(lambda name: _authority(directory, name), authorities))
        pool.submit(_service_account_key, directory).result()
        list(pool.map(lambda certificate: _issue(directory, certificate), certificates))


def _request(directory: Path, name: str, subject: str) -> list[str]:
    files = ["-keyout", f"{directory}/{name}.key", "-out", f"{directory}/{name}.crt"]
    options = ["-config", f"{directory}/openssl.cnf", "-days", str(_DAYS), "-subj", subject]
    return ["openssl", "req", "-x509", *_CURVE, *options, *files]


def _authority(directory: Path, name: str) -> None:
    shell.run(
        *_request(directory, name, f"/CN=torchyard-{name}"),
        *("-addext", "basicConstraints=critical,CA:TRUE"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
    )


def _issue(directory: Path, certificate: Certificate) -> None:
    authority = directory / certificate.authority
    extensions = ["keyUsage=critical,digitalSignature", "basicConstraints=critical,CA:FALSE"]
    if certificate.hosts:
        extensions.append(f"subjectAltName={','.join(certificate.hosts)}")
    # etcd's gateway calls the etcd server with the server's own certificate.
    usages = ["serverAuth"] if certificate.hosts else ["clientAuth"]
    if certificate.name == "etcd":
        usages.append("clientAuth")
    extensions.append(f"extendedKeyUsage={','.join(usages)}")
    shell.run(
        *_request(directory, certificate.name, certificate.subject),
        *("-CA", f"{authority}.crt", "-CAkey", f"{authority}.key"),
        *(word for extension in extensions for word in ("-addext", extension)),
    )


def _service_account_key(directory: Path) -> None:
    private = directory / f"{SERVICE_ACCOUNTS}.key"
    shell.run(
        *("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-out", private),
    )
    shell.run("openssl", "pkey", "-in", private, "-pubout", "-out", private.with_suffix(".pub"))
