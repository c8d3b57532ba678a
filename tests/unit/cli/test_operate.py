"""Flags, variables, and what is said of a wrong one."""

import logging
import re
import subprocess
import sys
from typing import Any

import pytest

from torchyard import cli
from torchyard.cli import operate
from torchyard.config import OPTIONS, Settings
from torchyard.engine.logs import JsonFormatter, TextFormatter
from torchyard.errors import Invalid

GIVEN = {option.name: option.default for option in OPTIONS} | {
    "trainer-image": "trainer:1",
    "server-image": "server:1",
}


def test_defaults() -> None:
    settings = Settings.parse(GIVEN)
    assert (settings.host, settings.port) == ("0.0.0.0", 8080)
    assert settings.watch_namespaces == ()
    assert settings.sweep_seconds == 300
    assert re.fullmatch(r".+_\d+", settings.pod_name)


def test_lists_and_labels() -> None:
    more = {"watch-namespaces": "a, b,a,", "operator-labels": "a/b=c,d=", "listen": "[::]:9"}
    settings = Settings.parse(GIVEN | more)
    assert settings.watch_namespaces == ("a", "b")
    assert settings.operator_labels == {"a/b": "c", "d": ""}
    assert (settings.host, settings.port) == ("::", 9)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("trainer-image", ""),
        ("server-image", ""),
        ("image-pull-policy", "Sometimes"),
        ("watch-namespaces", "Not_A_Namespace"),
        ("namespace", "-"),
        ("operator-labels", "lonely"),
        ("listen", "8080"),
        ("listen", "0.0.0.0:99999"),
        ("sweep-seconds", "0"),
        ("sweep-seconds", "soon"),
        ("log-level", "loud"),
        ("log-format", "xml"),
    ],
)
def test_a_wrong_value_names_its_option(name: str, value: str) -> None:
    with pytest.raises(Invalid, match=f"--{name}: "):
        Settings.parse(GIVEN | {name: value})


def test_variables_give_what_flags_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHYARD_SERVER_IMAGE", "from:variable")
    monkeypatch.setenv("TORCHYARD_TRAINER_IMAGE", "from:variable")
    given = cli.parser().parse_args(["operator", "--trainer-image=from:flag"])
    assert (given.trainer_image, given.server_image) == ("from:flag", "from:variable")


def test_no_variable_collides_with_what_kubernetes_sets_for_a_service() -> None:
    for option in OPTIONS:
        assert not re.match(r"TORCHYARD_(PORT|SERVICE)", option.variable)


def test_a_wrong_option_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["operator", "--trainer-image=", "--server-image=x"]) == operate.EXIT_USAGE
    assert "--trainer-image" in capsys.readouterr().err


def test_the_command_is_there_and_helps() -> None:
    command = [sys.executable, "-m", "torchyard", "operator", "--help"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for option in OPTIONS:
        assert f"--{option.name}" in told
    assert "exit codes" in told


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["version"]) == 0
    assert re.fullmatch(r"torchyard \d+\.\d+\.\d+\n", capsys.readouterr().out)


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
def test_log_lines_carry_their_fields_and_their_trace(formatter: logging.Formatter) -> None:
    record: Any = logging.makeLogRecord({"msg": "did %s", "args": ("it",), "levelname": "INFO"})
    record.kind, record.resource = "TrainingJob", "job"
    try:
        raise RuntimeError("boom")
    except RuntimeError:
        record.exc_info = sys.exc_info()
    line = formatter.format(record)
    for part in ("did it", "TrainingJob", "job", "boom"):
        assert part in line
