"""The host's pip settings for the inside of an image build.

They come in as a build secret and as read-only mounts, so that neither an index address nor a
certificate ends up in an image. The files are read here, as Debian's Python may come without pip.
"""

import configparser
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster.settings import REPOSITORY

_SECTIONS = ("global", "install")
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_WHEELS = "/wheels"


@dataclass(frozen=True)
class PipSettings:
    """A pip.conf, and what has to be mounted for it to hold inside a build."""

    text: str
    mounts: dict[Path, str]


def collect() -> PipSettings:
    """Return the settings that pip has on this machine."""
    return translate(read(os.environ, _files(os.environ)), _own_wheels(), os.environ)


def read(environment: Mapping[str, str], files: list[Path]) -> dict[str, str]:
    """Return pip's settings; a later file wins over an earlier one, the environment over all."""
    parser = configparser.RawConfigParser()
    parser.read(files)
    settings: dict[str, str] = {}
    for section in _SECTIONS:
        if parser.has_section(section):
            settings.update(parser.items(section))
    for name, value in environment.items():
        if name.startswith("PIP_") and name != "PIP_CONFIG_FILE":
            settings[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    return settings


def translate(
    settings: Mapping[str, str], wheels: Path | None, environment: Mapping[str, str]
) -> PipSettings:
    """Return the same settings with the host's paths replaced by those inside the build."""
    inside = {key: value for key, value in settings.items() if key not in ("cert", "find-links")}
    mounts: dict[Path, str] = {}
    candidates = [settings.get("cert"), *map(environment.get, _CERTIFICATE_VARIABLES)]
    certificates = Path(next(filter(None, candidates), _CERTIFICATES))
    if certificates.is_file():
        mounts[certificates] = _CERTIFICATES
        inside["cert"] = _CERTIFICATES
    links = settings.get("find-links", "").split()
    folders = [wheels] if wheels else []
    folders += [Path(link) for link in links if Path(link).is_dir()]
    for number, folder in enumerate(folders):
        mounts[folder.resolve()] = f"{_WHEELS}{number or ''}"
    remote = [link for link in links if "://" in link]
    places = [*remote, *(target for target in mounts.values() if target.startswith(_WHEELS))]
    if places:
        inside["find-links"] = "\n    ".join(places)
    lines = "".join(f"{key} = {value}\n" for key, value in sorted(inside.items()))
    return PipSettings(f"[global]\n{lines}", mounts)


def _files(environment: Mapping[str, str]) -> list[Path]:
    home = Path(environment.get("HOME", "/root"))
    user = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    files = [Path("/etc/pip.conf"), home / ".pip/pip.conf", user / "pip/pip.conf"]
    own = environment.get("PIP_CONFIG_FILE")
    return [*files, Path(own)] if own else files


def _own_wheels() -> Path | None:
    own = os.environ.get("TORCHYARD_WHEELS")
    folder = Path(own) if own else REPOSITORY.parent / "shared" / "wheels"
    return folder if folder.is_dir() else None
