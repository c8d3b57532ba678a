"""The files of one model version and the manifest that names them.

A leaf: standard library only, imported by trainer, server and operator alike.
"""

from torchyard.artifact.errors import (
    ArtifactCorrupt,
    ArtifactError,
    ArtifactExists,
    ArtifactMissing,
    ManifestInvalid,
    UriInvalid,
)
from torchyard.artifact.manifest import FORMAT_VERSION, Architecture, File, Format, Manifest
from torchyard.artifact.signature import (
    Compatibility,
    Datatype,
    Signature,
    Tensor,
    compatible,
)
from torchyard.artifact.steps import Labels, Postprocessing, Preprocessing, Scale, Tokenize
from torchyard.artifact.storage import (
    describe,
    publish,
    read_file,
    read_manifest,
    verify,
    verify_file,
    write_manifest,
)
from torchyard.artifact.uri import FileUri, PvcUri, Uri, parse_uri

__all__ = [
    "FORMAT_VERSION",
    "Architecture",
    "ArtifactCorrupt",
    "ArtifactError",
    "ArtifactExists",
    "ArtifactMissing",
    "Compatibility",
    "Datatype",
    "File",
    "FileUri",
    "Format",
    "Labels",
    "Manifest",
    "ManifestInvalid",
    "Postprocessing",
    "Preprocessing",
    "PvcUri",
    "Scale",
    "Signature",
    "Tensor",
    "Tokenize",
    "Uri",
    "UriInvalid",
    "compatible",
    "describe",
    "parse_uri",
    "publish",
    "read_file",
    "read_manifest",
    "verify",
    "verify_file",
    "write_manifest",
]
