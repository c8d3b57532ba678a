"""Configuration of what runs on the node besides the control plane."""

import json
from pathlib import Path

from cluster.flags import API_BURST, API_QPS
from cluster.settings import (
    DNS_ADDRESS,
    NODE_ADDRESS,
    NODE_NAME,
    POD_CIDR,
    REGISTRY,
    Cluster,
)

_MAX_PODS = 200


def kubelet(cluster: Cluster) -> str:
    """Return the kubelet's configuration."""
    return json.dumps(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": f"unix://{cluster.containerd_socket}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{cluster.name}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(cluster.pki / "ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(cluster.pki / "kubelet.crt"),
            "tlsPrivateKeyFile": str(cluster.pki / "kubelet.key"),
            "clusterDNS": [DNS_ADDRESS],
            "clusterDomain": "cluster.local",
            # Empty: pods get the cluster's DNS and nothing of the host's.
            "resolvConf": str(cluster.config / "resolv.conf"),
            "maxPods": _MAX_PODS,
            "podLogsDir": str(cluster.state / "pod-logs"),
            "serializeImagePulls": False,
            "nodeStatusUpdateFrequency": "5s",
            "kubeAPIQPS": API_QPS,
            "kubeAPIBurst": API_BURST,
            # The disk is the developer's: neither images nor pods are removed when it fills up.
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "0%",
                "imagefs.available": "0%",
            },
        }
    )


def proxy(kubeconfig: Path) -> str:
    """Return kube-proxy's configuration; it leaves the host's conntrack limits alone."""
    return json.dumps(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clusterCIDR": POD_CIDR,
            "clientConnection": {"kubeconfig": str(kubeconfig)},
            "hostnameOverride": NODE_NAME,
            "conntrack": {
                "maxPerCore": 0,
                "min": 0,
                "tcpEstablishedTimeout": "0s",
                "tcpCloseWaitTimeout": "0s",
            },
        }
    )


def scheduler(kubeconfig: Path) -> str:
    """Return the scheduler's configuration."""
    return json.dumps(
        {
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "leaderElection": {"leaderElect": False},
            "clientConnection": {
                "kubeconfig": str(kubeconfig),
                "qps": API_QPS,
                "burst": API_BURST,
            },
        }
    )


def local_path(cluster: Cluster) -> str:
    """Return local-path-provisioner's configuration: where each storage class keeps its volumes."""
    volumes = cluster.state / "volumes"
    on_node = {"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": [str(volumes / "local")]}
    return json.dumps(
        {
            "storageClassConfigs": {
                "local-path": {"nodePathMap": [on_node]},
                "shared": {"sharedFileSystemPath": str(volumes / "shared")},
            }
        }
    )


def registry(cluster: Cluster) -> str:
    """Return the registry's configuration; what it stores outlives the cluster."""
    return json.dumps(
        {
            "version": "0.1",
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(cluster.state / "registry")},
                "delete": {"enabled": True},
            },
            "http": {"addr": REGISTRY, "secret": "one instance needs no shared secret"},
        }
    )


def addresses() -> tuple[str, ...]:
    """Return the names under which the API server's certificate must be valid."""
    names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc")
    return (
        *(f"DNS:{name}" for name in names),
        "DNS:kubernetes.default.svc.cluster.local",
        "DNS:localhost",
        "IP:127.0.0.1",
        "IP:10.96.0.1",
        f"IP:{NODE_ADDRESS}",
    )
