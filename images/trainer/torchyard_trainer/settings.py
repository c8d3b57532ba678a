"""What a worker is told: the configuration in its environment and its place in the gang."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from torchyard import names
from torchyard.api.contract import CONFIG_VARIABLE, CONTRACT_VERSION, WorkerConfig
from torchyard_trainer.errors import ConfigInvalid

WORKER_VARIABLE = "TORCHYARD_WORKER"
TERMINATION_VARIABLE = "TORCHYARD_TERMINATION_LOG"
STATUS_VARIABLE = "TORCHYARD_STATUS_ADDRESS"

# Supervisor to rank.
LOCAL_RANK_VARIABLE = "TORCHYARD_LOCAL_RANK"
CHANNEL_VARIABLE = "TORCHYARD_CHANNEL"
SUPERVISOR_VARIABLE = "TORCHYARD_SUPERVISOR"

TERMINATION_LOG = "/dev/termination-log"


@dataclass(frozen=True)
class Place:
    """Where a process stands in the gang; ranks count through the workers in order."""

    worker: int
    local: int
    processes: int
    """Processes of each worker."""
    workers: int

    @property
    def rank(self) -> int:
        """The number of the process in the whole gang, from 0."""
        return self.worker * self.processes + self.local

    @property
    def world(self) -> int:
        """Processes of the whole gang."""
        return self.workers * self.processes


def read_config(environment: Mapping[str, str]) -> WorkerConfig:
    """The worker's configuration; raises ConfigInvalid naming the field."""
    text = environment.get(CONFIG_VARIABLE)
    if text is None:
        raise ConfigInvalid(f"{CONFIG_VARIABLE} is not set; a worker is started by the operator")
    try:
        config = WorkerConfig.model_validate_json(text)
    except ValidationError as error:
        raise ConfigInvalid(f"{CONFIG_VARIABLE}: {reason(error)}") from None
    if config.contract_version != CONTRACT_VERSION:
        raise ConfigInvalid(
            f"the configuration has contract version {config.contract_version}, this image reads "
            f"{CONTRACT_VERSION}: use a trainer image of the operator's release"
        )
    world = config.spec.workers.count * config.spec.workers.processes_per_worker
    if config.spec.optimization.batch_size % world:
        raise ConfigInvalid(
            f"optimization.batchSize {config.spec.optimization.batch_size} is not a multiple of "
            f"the {world} processes"
        )
    return config


def reason(error: ValidationError) -> str:
    """The first thing that is wrong, and where, without the value, which may be long."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"]


def read_worker(environment: Mapping[str, str], config: WorkerConfig) -> int:
    """This pod's index; raises ConfigInvalid."""
    text = environment.get(WORKER_VARIABLE, "")
    if not text.isascii() or not text.isdigit() or int(text) >= config.spec.workers.count:
        raise ConfigInvalid(
            f"{WORKER_VARIABLE} is {text!r}; a number below workers.count "
            f"({config.spec.workers.count}) is needed"
        )
    return int(text)


def place(config: WorkerConfig, worker: int, local: int) -> Place:
    """The place of process `local` of worker `worker`."""
    workers = config.spec.workers
    return Place(worker, local, workers.processes_per_worker, workers.count)


def read_address(text: str, what: str) -> tuple[str, int]:
    """Split `host:port`, where an IPv6 address is in brackets; raises ConfigInvalid."""
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ConfigInvalid(f"{what} is {text!r}; host:port is needed")
    return host.removeprefix("[").removesuffix("]"), int(port)


def status_address(environment: Mapping[str, str]) -> tuple[str, int]:
    """Where the supervisor answers; an empty host means every address of the pod."""
    return read_address(environment.get(STATUS_VARIABLE, f":{names.STATUS_PORT}"), STATUS_VARIABLE)
