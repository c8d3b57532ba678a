from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.artifact.samples import NUMBERS, TEXT, changed, text, without
from torchyard.artifact import Format, Manifest, ManifestInvalid, Scale, Tokenize


def test_the_whole_manifest_is_read() -> None:
    manifest = Manifest.from_json(text(TEXT))
    assert manifest.model == "reviews"
    assert manifest.size_bytes == 15
    assert manifest.formats == (Format.ONNX, Format.SAFETENSORS)
    assert manifest.preprocessing == (Tokenize("text", "token_ids", "tokenizer.json", 128),)
    assert manifest.postprocessing[0].labels == ("negative", "positive")
    assert manifest.architecture is not None
    assert manifest.architecture.arguments == {"hidden": 256, "layers": [2, 2]}
    assert manifest.metrics == {"accuracy": 0.8}
    assert manifest.lineage["seed"] == 7


def test_numbers_need_neither_steps_nor_architecture() -> None:
    manifest = Manifest.from_json(text(NUMBERS))
    assert manifest.preprocessing == (
        Scale("features", "scaled", (0.0, 1.5, 2.0), (1.0, 2.0, 0.5)),
    )
    assert manifest.architecture is None
    assert Manifest.from_json(without(NUMBERS, "preprocessing")).preprocessing == ()


@pytest.mark.parametrize("document", [TEXT, NUMBERS])
def test_the_canonical_form_reads_back_and_is_what_the_digest_covers(
    document: dict[str, Any],
) -> None:
    manifest = Manifest.from_json(text(document))
    canonical = manifest.to_json()
    assert Manifest.from_json(canonical) == manifest
    assert Manifest.from_json(canonical).to_json() == canonical
    assert manifest.digest == "sha256:" + hashlib.sha256(canonical).hexdigest()


def test_the_digest_of_a_known_manifest_never_changes() -> None:
    # Published artifacts are named by it, so a change here breaks every ModelVersion out there.
    digest = "sha256:603f832d33890c60e3250cd66aaff0a8879a21cf8d888b8fef362655e1eb47cc"
    assert Manifest.from_json(text(NUMBERS)).digest == digest


REFUSED = {
    "another format version": (
        changed(TEXT, "formatVersion", 2),
        "formatVersion: is 2, this release reads 1",
    ),
    "format version true": (changed(TEXT, "formatVersion", True), "expected an integer, found a b"),
    "no format version": (without(TEXT, "formatVersion"), "'formatVersion' is missing"),
    "an unknown field": (changed(TEXT, "pickle", 1), "unknown field 'pickle'; known are"),
    "an unknown nested field": (
        changed(TEXT, "files.0.url", "x"),
        "manifest.json: files[0]: unknown field 'url'",
    ),
    "a missing nested field": (without(TEXT, "files.1.sha256"), "files[1]: the field 'sha256'"),
    "not an object": (b"[]", "expected an object, found a list"),
    "not JSON": (b'{"a": }', "is not JSON"),
    "not UTF-8": (b'{"a": "\xff"}', "is not JSON"),
    "NaN": (b'{"a": NaN}', "NaN is not a JSON number"),
    "a duplicate key": (b'{"a": 1, "a": 2}', "names the same key twice"),
    "nested without end": (b"[" * 200_000, "nested too deeply"),
    "an integer without end": (b'{"formatVersion": ' + b"9" * 10_000 + b"}", "is not JSON"),
    "too long": (b" " * (8 * 2**20 + 1), "at most 8388608"),
    "a model name with capitals": (changed(TEXT, "model", "Reviews"), "model: 'Reviews' does not"),
    "no files": (changed(TEXT, "files", []), "files: has 0 elements; 1 to 1024"),
    "no model among the files": (changed(TEXT, "files", [TEXT["files"][2]]), "holds no model"),
    "two ONNX models": (
        changed(TEXT, "files.1", {**TEXT["files"][0], "path": "b.onnx"}),
        "two Onnx files",
    ),
    "a path twice": (changed(TEXT, "files.1.path", "model.onnx"), "files[1].path: 'model.onnx' is"),
    "a path below a file": (changed(TEXT, "files.1.path", "model.onnx/x"), "below another file"),
    "an unknown format": (changed(TEXT, "files.0.format", "Pickle"), "'Pickle' is not one of Onnx"),
    "a negative size": (changed(TEXT, "files.0.size", -1), "files[0].size: is -1; 0 to"),
    "a size that is a float": (changed(TEXT, "files.0.size", 1.0), "expected an integer"),
    "a size beyond 64 bits": (changed(TEXT, "files.0.size", 2**63), "an integer beyond 64 bits"),
    "a hash in capitals": (changed(TEXT, "files.0.sha256", "A" * 64), "files[0].sha256"),
    "an unknown datatype": (
        changed(TEXT, "signature.inputs.0.datatype", "STRING"),
        "signature.inputs[0].datatype: 'STRING' is not one of BOOL, UINT8",
    ),
    "a size of zero": (changed(TEXT, "signature.outputs.0.shape.1", 0), "write the size, or -1"),
    "a size below -1": (changed(TEXT, "signature.outputs.0.shape.1", -2), "shape[1]: is -2"),
    "too many axes": (changed(TEXT, "signature.inputs.0.shape", [-1] * 9), "has 9 elements"),
    "no outputs": (changed(TEXT, "signature.outputs", []), "signature.outputs: has 0 elements"),
    "an output twice": (
        changed(TEXT, "signature.outputs.1.name", "probabilities"),
        "signature.outputs: names 'probabilities' twice",
    ),
    "an unknown step": (
        changed(TEXT, "preprocessing.0.kind", "Python"),
        "preprocessing[0].kind: 'Python' is not one of Tokenize, Scale",
    ),
    "a step without kind": (without(TEXT, "preprocessing.0.kind"), "with the field 'kind'"),
    "a step on nothing": (
        changed(TEXT, "preprocessing.0.input", "txt"),
        "preprocessing[0].input: 'txt' is neither an input",
    ),
    "a step that hides an input": (
        changed(
            TEXT,
            "signature.inputs",
            [
                {"name": "text", "datatype": "BYTES", "shape": [-1]},
                {"name": "token_ids", "datatype": "INT64", "shape": [-1]},
            ],
        ),
        "'token_ids' exists already",
    ),
    "a step on an input used up": (
        changed(TEXT, "preprocessing", [TEXT["preprocessing"][0]] * 2),
        "preprocessing[1].input: 'text' is neither",
    ),
    "text with two axes": (
        changed(TEXT, "signature.inputs.0.shape", [-1, 1]),
        "text is BYTES[-1]",
    ),
    "a tokenizer that is not there": (
        changed(TEXT, "preprocessing.0.file", "other.json"),
        "preprocessing[0].file: 'other.json' is no Tokenizer",
    ),
    "a model taken for a tokenizer": (
        changed(TEXT, "preprocessing.0.file", "model.onnx"),
        "'model.onnx' is no Tokenizer",
    ),
    "a token length of zero": (changed(TEXT, "preprocessing.0.length", 0), "length: is 0; 1 to"),
    "text without a tokenizer": (changed(TEXT, "preprocessing", []), "no Tokenize step reads it"),
    "labels without a step": (changed(TEXT, "postprocessing", []), "no Labels step writes it"),
    "labels that are not promised": (
        changed(TEXT, "signature.outputs", TEXT["signature"]["outputs"][:1]),
        "postprocessing[0].output: 'label' is missing in signature.outputs",
    ),
    "labels written twice": (
        changed(TEXT, "postprocessing", TEXT["postprocessing"] * 2),
        "postprocessing[1].output: 'label' exists already",
    ),
    "labels of text": (changed(TEXT, "postprocessing.0.input", "label"), "scores are numbers"),
    "too few labels": (changed(TEXT, "postprocessing.0.labels", ["a"]), "has 1 labels, but"),
    "a label twice": (changed(TEXT, "postprocessing.0.labels", ["a", "a"]), "labels are unique"),
    "a scale of zero": (changed(NUMBERS, "preprocessing.0.scale.1", 0), "use 1 for a constant"),
    "a scale without mean": (changed(NUMBERS, "preprocessing.0.mean", [1]), "one of each per feat"),
    "a scale of another width": (
        changed(
            json.loads(changed(NUMBERS, "preprocessing.0.mean", [1, 2])),
            "preprocessing.0.scale",
            [1, 2],
        ),
        "preprocessing[0].mean: has 2 values, but 'features' is FP64[-1, 3]; give 3",
    ),
    "scaled booleans": (
        changed(NUMBERS, "signature.inputs.0.datatype", "BOOL"),
        "only numbers with a feature axis",
    ),
    "an infinite mean": (
        text(NUMBERS).replace(b"[0, 1.5, 2]", b"[0, 1e999, 2]"),
        "preprocessing[0].mean[1]: is not a finite number",
    ),
    "a metric that is text": (changed(TEXT, "metrics.accuracy", "0.8"), "metrics.accuracy: expect"),
    "an infinite metric": (changed(TEXT, "metrics.accuracy", 10**400), "not a finite number"),
    "too many metrics": (
        changed(TEXT, "metrics", {f"m{i}": 1 for i in range(257)}),
        "metrics: has 257 members",
    ),
    "lineage that is deep": (
        changed(TEXT, "lineage", json.loads('{"a":' * 9 + "1" + "}" * 9)),
        "nested deeper than 8",
    ),
    "lineage that is large": (changed(TEXT, "lineage", {"a": [0] * 5000}), "more than 4096 values"),
    "lineage with a long string": (
        changed(TEXT, "lineage.image", "x" * 4097),
        "lineage.image: has",
    ),
    "lineage with a long key": (changed(TEXT, "lineage", {"x" * 129: 1}), "at most 128"),
    "lineage with a big integer": (changed(TEXT, "lineage.seed", 2**63), "beyond 64 bits"),
    "half a surrogate pair": (changed(TEXT, "lineage.image", "\ud800"), "surrogate pair"),
}


@pytest.mark.parametrize(("document", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(document: bytes, message: str) -> None:
    with pytest.raises(ManifestInvalid) as refusal:
        Manifest.from_json(document)
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "../model.onnx", "a/../b", "./a", "a//b", "a/", "a\\b", "C:a", "a b", ".a",
     "a/.b", "manifest.json", "a\x00b", "ä", "x" * 513],
)  # fmt: skip
def test_a_path_that_leaves_the_artifact_or_is_not_portable_is_refused(path: str) -> None:
    with pytest.raises(ManifestInvalid) as refusal:
        Manifest.from_json(changed(TEXT, "files.0.path", path))
    assert refusal.value.path == "files[0].path"


@pytest.mark.parametrize("path", ["a", "a.b", "a/b/c-1_2.onnx", "weights+1=2@x", "a..b"])
def test_a_plain_path_is_accepted(path: str) -> None:
    assert Manifest.from_json(changed(TEXT, "files.0.path", path)).files[0].path == path


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), inner)
    ),
    max_leaves=10,
)
lineages = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8), json_values, max_size=4
)


def _shuffled(value: object, reverse: bool) -> object:
    if isinstance(value, dict):
        keys = sorted(value, reverse=reverse)
        return {key: _shuffled(value[key], reverse) for key in keys}
    return [_shuffled(item, reverse) for item in value] if isinstance(value, list) else value


@given(lineage=lineages, reverse=st.booleans(), indent=st.sampled_from([None, 2]), plain=...)
def test_the_digest_does_not_depend_on_how_the_json_is_written(
    lineage: dict[str, object], reverse: bool, indent: int | None, plain: bool
) -> None:
    document = {**TEXT, "lineage": lineage}
    other = json.dumps(_shuffled(document, reverse), indent=indent, ensure_ascii=plain)
    manifest = Manifest.from_json(text(document))
    assert Manifest.from_json(other.encode()).digest == manifest.digest
    assert Manifest.from_json(manifest.to_json()) == manifest


@given(one=lineages, two=lineages)
def test_different_content_has_different_digests(
    one: dict[str, object], two: dict[str, object]
) -> None:
    manifests = [Manifest.from_json(text({**TEXT, "lineage": lineage})) for lineage in (one, two)]
    same = json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)
    assert (manifests[0].digest == manifests[1].digest) == same


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_read_or_refused(document: bytes) -> None:
    with pytest.raises(ManifestInvalid):
        Manifest.from_json(document)


def test_the_package_is_a_leaf() -> None:
    program = (
        "import sys, torchyard.artifact as a; "
        "print(*sorted(m for m in sys.modules if m.startswith('torchyard.')), "
        "*({'torch', 'numpy', 'pydantic', 'asyncio', 'http'} & sys.modules.keys()))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert all(name.startswith("torchyard.artifact") for name in loaded)
