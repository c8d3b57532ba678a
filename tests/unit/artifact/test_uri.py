from __future__ import annotations

from pathlib import Path

import pytest

from torchyard.artifact import FileUri, PvcUri, UriInvalid, parse_uri

READ = {
    "pvc://models": PvcUri("models", ""),
    "pvc://models/": PvcUri("models", ""),
    "pvc://models/reviews/uid-1": PvcUri("models", "reviews/uid-1"),
    "pvc://reviews/reviews 2024.csv": PvcUri("reviews", "reviews 2024.csv"),
    "file:///data/reviews": FileUri("/data/reviews"),
    "file:///": FileUri("/"),
}

REFUSED = {
    "models": "has no scheme; write pvc://claim/path or file:///path",
    "/data": "has no scheme",
    "pvc://": "names no claim",
    "pvc:///models": "names no claim",
    "pvc://Models/x": "names no claim",
    "file://data/x": "three slashes",
    "s3://bucket/x": "the scheme 's3' of 's3://bucket/x' is not supported; pvc:// and file:// are",
    "pvc://models/../x": "the segment '..'",
    "pvc://models/./x": "the segment '.'",
    "pvc://models/a//b": "the segment ''",
    "pvc://models/a\\b": "backslash",
    "pvc://models/a?b": "'?'",
    "pvc://models/a#b": "'#'",
    "file:///data/\x00": "control",
    "pvc://models/" + "x" * 3000: "at most 2048",
}


@pytest.mark.parametrize(("text", "uri"), READ.items())
def test_read(text: str, uri: object) -> None:
    assert parse_uri(text) == uri
    assert parse_uri(str(uri)) == uri


@pytest.mark.parametrize(("text", "message"), REFUSED.items())
def test_refused(text: str, message: str) -> None:
    with pytest.raises(UriInvalid) as refusal:
        parse_uri(text)
    assert message in str(refusal.value)


def test_children() -> None:
    assert str(parse_uri("pvc://models").child("reviews", "u-1")) == "pvc://models/reviews/u-1"
    assert str(parse_uri("pvc://models/a/").child("b/c")) == "pvc://models/a/b/c"
    assert str(parse_uri("file:///").child("a")) == "file:///a"
    with pytest.raises(UriInvalid):
        parse_uri("pvc://models").child("..")


def test_a_claim_is_read_below_its_mount() -> None:
    assert PvcUri("models", "a/b").below(Path("/mnt")) == Path("/mnt/a/b")
    assert PvcUri("models", "").below(Path("/mnt")) == Path("/mnt")
