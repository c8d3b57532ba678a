"""Everything that can be wrong with an artifact.

    ArtifactError
    ├── ManifestInvalid    the manifest breaks the contract (`path` names the place in the JSON)
    ├── UriInvalid         an artifact URI cannot be understood or its scheme is not supported
    ├── ArtifactMissing    there is no complete artifact there: no directory, or no manifest in it
    ├── ArtifactCorrupt    what lies there is not what was promised (`file` names the culprit)
    └── ArtifactExists     publishing would replace a complete artifact by a different one

Class names say what is the case, without "Error": termination messages and conditions carry them
as their reason.
"""

from __future__ import annotations


class ArtifactError(Exception):
    """Base of all errors of this package; the message says what is wrong and how to cure it."""


class ManifestInvalid(ArtifactError):
    """The manifest breaks the contract at `path`, a place such as `files[0].sha256`."""

    def __init__(self, path: str, problem: str) -> None:
        place = f"manifest.json: {path}" if path else "manifest.json"
        super().__init__(f"{place}: {problem}")
        self.path = path


class UriInvalid(ArtifactError):
    """The URI cannot be understood, or nothing here can read its scheme."""


class ArtifactMissing(ArtifactError):
    """No complete artifact lies there. A directory without a manifest does not count as one."""


class ArtifactCorrupt(ArtifactError):
    """`file` (relative to the artifact) is missing, altered or not a plain file."""

    def __init__(self, file: str, problem: str) -> None:
        super().__init__(f"{file}: {problem}")
        self.file = file


class ArtifactExists(ArtifactError):
    """The target already holds a complete artifact with other content; artifacts never change."""
