from __future__ import annotations

from pathlib import Path

import pytest

from torchyard_server.config import Config, termination_log
from torchyard_server.errors import ConfigInvalid

LEAST = {"TORCHYARD_MODEL_DIR": "/model", "TORCHYARD_MODEL_NAME": "reviews"}


def test_defaults() -> None:
    assert Config.from_environ(LEAST) == Config(Path("/model"), "reviews")


def test_everything() -> None:
    environ = {
        **LEAST,
        "TORCHYARD_MODEL_VERSION": "3",
        "TORCHYARD_MODEL_DIGEST": "sha256:" + "a" * 64,
        "TORCHYARD_HOST": "127.0.0.1",
        "TORCHYARD_PORT": "0",
        "TORCHYARD_THREADS": "2",
        "TORCHYARD_BATCH_MAX_SIZE": "8",
        "TORCHYARD_LIMIT_ROWS": "16",
        "TORCHYARD_LIMIT_QUEUE": "4",
        "TORCHYARD_LIMIT_BODY_BYTES": "65536",
        "TORCHYARD_LIMIT_TIMEOUT_SECONDS": "2.5",
        "TORCHYARD_DRAIN_SECONDS": "0",
    }
    assert Config.from_environ(environ) == Config(
        model_dir=Path("/model"),
        model_name="reviews",
        model_version="3",
        model_digest="sha256:" + "a" * 64,
        host="127.0.0.1",
        port=0,
        threads=2,
        batch_max_size=8,
        limit_rows=16,
        limit_queue=4,
        limit_body_bytes=65_536,
        limit_timeout_seconds=2.5,
        drain_seconds=0.0,
    )


def test_an_empty_variable_counts_as_absent() -> None:
    environ = {**LEAST, "TORCHYARD_MODEL_DIGEST": "", "TORCHYARD_PORT": ""}
    assert Config.from_environ(environ) == Config.from_environ(LEAST)


REFUSED = {
    "no directory": ({"TORCHYARD_MODEL_DIR": ""}, "TORCHYARD_MODEL_DIR is not set; it names the"),
    "no name": ({"TORCHYARD_MODEL_NAME": ""}, "TORCHYARD_MODEL_NAME is not set"),
    "a name with a slash": ({"TORCHYARD_MODEL_NAME": "a/b"}, "it is part of the URL"),
    "a version with a slash": ({"TORCHYARD_MODEL_VERSION": "../1"}, "TORCHYARD_MODEL_VERSION is"),
    "a short digest": ({"TORCHYARD_MODEL_DIGEST": "sha256:12"}, "64 hexadecimal digits"),
    "a port that is a word": ({"TORCHYARD_PORT": "http"}, "integer from 0 to 65535"),
    "a port out of range": ({"TORCHYARD_PORT": "65536"}, "TORCHYARD_PORT is '65536'"),
    "a negative port": ({"TORCHYARD_PORT": "-1"}, "integer from 0"),
    "a Service's link": ({"TORCHYARD_PORT": "tcp://10.0.0.1:80"}, "enableServiceLinks: false"),
    "no rows": ({"TORCHYARD_BATCH_MAX_SIZE": "0"}, "integer from 1"),
    "seconds with a unit": ({"TORCHYARD_DRAIN_SECONDS": "10s"}, "write seconds, at least 0"),
    "infinite seconds": ({"TORCHYARD_DRAIN_SECONDS": "inf"}, "write seconds"),
    "no time at all": ({"TORCHYARD_LIMIT_TIMEOUT_SECONDS": "0"}, "at least 0.001"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigInvalid) as refusal:
        Config.from_environ({**LEAST, **changes})
    assert message in str(refusal.value)


def test_the_termination_log_can_be_moved() -> None:
    assert termination_log({"TORCHYARD_TERMINATION_LOG": "/tmp/last"}) == Path("/tmp/last")
    assert termination_log({}) in (None, Path("/dev/termination-log"))
