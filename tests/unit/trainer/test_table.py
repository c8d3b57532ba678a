import hashlib
from pathlib import Path

import numpy as np
import pytest

from torchyard_trainer.data.table import read_numbers, read_table
from torchyard_trainer.errors import DataInvalid


def written(tmp_path: Path, content: bytes | str) -> Path:
    path = tmp_path / "rows.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_columns_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, 'label,text,more\n1,"a, b",x\n\n0,"two\nlines ""quoted""",y\n')
    table = read_table(path, ["text", "label"])
    assert table.columns == {"text": ["a, b", 'two\nlines "quoted"'], "label": ["1", "0"]}
    assert table.digest == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_ends_and_byte_order_marks(tmp_path: Path, end: str, mark: bytes) -> None:
    path = written(tmp_path, mark + f"text,label{end}ä,1{end}b,0{end}".encode())
    assert read_table(path, ["text"]).columns["text"] == ["ä", "b"]


def test_a_text_longer_than_the_csv_module_likes(tmp_path: Path) -> None:
    path = written(tmp_path, f"text,label\n{'word ' * 100_000},1\n")
    assert len(read_table(path, ["text"]).columns["text"][0]) == 500_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,label\na,1\n", "no column 'score'; it has 'text', 'label'"),
        ("", "is empty"),
        ("text,score\na,1\nb\n", "line 3: the row has 1 cells, the header has 2"),
        ("text,score\na,1,2\n", "line 2: the row has 3 cells"),
        (b"text,score\nfine,1\n\xff\xfe,1\n", "not UTF-8"),
        ('text,score\n"a"b,1\n', "line 2: not CSV"),
    ],
    ids=["missing column", "empty", "short row", "long row", "encoding", "quoting"],
)
def test_what_is_wrong_and_where(tmp_path: Path, content: bytes | str, message: str) -> None:
    with pytest.raises(DataInvalid, match=message):
        read_table(written(tmp_path, content), ["score"])


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match=r"No such file or directory; check data\.uri"):
        read_table(tmp_path / "nothing.csv", ["text"])


def test_a_directory_instead_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match="Is a directory"):
        read_table(tmp_path, ["text"])


def test_numbers_and_labels(tmp_path: Path) -> None:
    table = read_numbers(written(tmp_path, "a,label,b\n1,x,2.5\n-3e2,y, 4\n"), "label")
    assert table.names == ["a", "b"]
    assert table.labels == ["x", "y"]
    assert table.features.dtype == np.float32
    assert table.features.tolist() == [[1, 2.5], [-300, 4]]


@pytest.mark.parametrize("cell", ["", "one", "nan", "-inf", "1e39", "1,5"])
def test_a_cell_that_is_no_number(tmp_path: Path, cell: str) -> None:
    content = f'a,b,label\n1,2,x\n3,"{cell}",y\n'
    with pytest.raises(DataInvalid, match=rf"line 3: b is '{cell}', not a finite number"):
        read_numbers(written(tmp_path, content), "label")


def test_labels_alone_are_no_data(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match="no column beside 'label'"):
        read_numbers(written(tmp_path, "label\nx\n"), "label")
