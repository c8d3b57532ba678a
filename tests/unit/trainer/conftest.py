"""Data for the trainer's tests."""

import os
from pathlib import Path

import pytest
from sklearn.datasets import load_digits

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # as the supervisor sets it; before the first import


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 1,797 handwritten digits of scikit-learn: 64 numbers and a label each."""
    path = tmp_path_factory.mktemp("data") / "digits.csv"
    data = load_digits()
    with path.open("w") as file:
        file.write(",".join([*(f"p{n}" for n in range(64)), "label"]) + "\n")
        for pixels, label in zip(data.data, data.target, strict=True):
            file.write(",".join(f"{pixel:g}" for pixel in pixels) + f",{label}\n")
    return path


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 short texts of which one word gives the class away, some with markup and accents."""
    path = tmp_path_factory.mktemp("data") / "texts.csv"
    kinds = [("pos", "wonderful"), ("neg", "dreadful"), ("pos", "délicieux"), ("neg", "boring")]
    with path.open("w") as file:
        file.write("text,label\n")
        for number in range(600):
            label, word = kinds[number % 4]
            filler = " ".join(f"w{number * k % 37}" for k in range(1, 3 + number % 9))
            file.write(f'"{filler}, it\'s {word}.<br /><br />The end of ""{number}""",{label}\n')
    return path
