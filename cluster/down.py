"""`down`: no process, mount, namespace, interface or cgroup is left."""

import shutil

from cluster import cache, cgroups, containerd, namespaces, processes, sysctls, wait
from cluster.processes import Processes
from cluster.progress import say
from cluster.settings import REPOSITORY, Cluster

# What is slow to make again.
_KEPT = ("containerd", "registry", "logs")


def down(cluster: Cluster, purge: bool) -> None:
    """Take the cluster down, whole or in pieces; `purge` also removes its images and logs."""
    with cache.lock(cluster.lock):
        running = Processes(cluster.run / "processes", cluster.logs)
        # containerd last: its clients, above all the kubelet, would start containers again.
        running.stop(set(running.names()) - {"containerd", "etcd"}, 3)
        running.stop(["etcd"], 3)
        cgroups.remove(cluster.name)
        if running.pid("containerd"):
            containerd.remove_containers(cluster)
        running.stop(["containerd"], 5)
        _end_stragglers(cluster)
        namespaces.remove(cluster)
        sysctls.restore(cluster)
        _remove_files(cluster, purge)
    say(f"{cluster.name} is down")


def _end_stragglers(cluster: Cluster) -> None:
    """Kill whatever else lives in the namespaces: shims, and processes nobody recorded."""

    def none() -> bool:
        left = {
            *processes.inside("net", cluster.network_namespace),
            *processes.inside("mnt", cluster.mount_namespace),
        }
        processes.kill_all(left)
        return not left

    if namespaces.is_kept(cluster.network_namespace):
        wait.until("every process of the cluster ends", none, 30)


def _remove_files(cluster: Cluster, purge: bool) -> None:
    kept = () if purge else _KEPT
    if cluster.state.exists():
        for path in cluster.state.iterdir():
            if path.name not in kept:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(cluster.run, ignore_errors=True)
    if purge:
        shutil.rmtree(cluster.state, ignore_errors=True)
    link = REPOSITORY / "build" / "kubeconfig"
    if link.is_symlink() and link.readlink() == cluster.kubeconfig:
        link.unlink()
