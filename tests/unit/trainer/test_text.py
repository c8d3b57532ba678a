"""The text classifier: words, numbers, and a model that padding does not disturb."""

import string
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from torchyard.api.trainingjob import TextClassifier
from torchyard_trainer.errors import DataInvalid
from torchyard_trainer.export.steps import preprocess
from torchyard_trainer.tasks import tokens
from torchyard_trainer.tasks.text import TextClassification, TextModel

CORPUS = ["It's the film. The FILM!<br /><br />Don't 'quote' it", "the ELÉGANT film_2 isn\u2019t"]
KNOWN = tokens.train(CORPUS, 100, 50)


def words(text: str, length: int = 50) -> list[str]:
    tokenizer = Tokenizer.from_str(KNOWN.decode())
    return [tokenizer.id_to_token(n) for n in tokens.Encoder(KNOWN, length).encode(text)]


def test_words() -> None:
    assert words(CORPUS[0]) == ["it's", "the", "film", "the", "film", "don't", "quote", "it"]
    assert words(CORPUS[1]) == ["the", "elégant", "film_2", "isn\u2019t"]
    assert words("The unknown film") == ["the", "[UNK]", "film"]
    assert words("the " * 9, length=4) == ["the"] * 4
    assert words("<br/> ... !") == []


def test_the_most_frequent_words_are_kept_and_ties_are_settled() -> None:
    learnt = tokens.train(["b b c c a d", "b"], 5, 50)
    vocabulary = Tokenizer.from_str(learnt.decode()).get_vocab()
    assert vocabulary == {"[PAD]": 0, "[UNK]": 1, "b": 2, "c": 3, "a": 4}
    assert tokens.size(learnt) == 5
    assert learnt == tokens.train(["b b c c a d", "b"], 5, 50)


def test_words_that_are_never_read_are_not_learnt() -> None:
    assert tokens.size(tokens.train(["a b c d"], 100, 2)) == 4


awkward = st.text(st.sampled_from("ab'<br/> >_9é\u2019\u0301Ω\u0130\u017f\n\t-"), max_size=40)


@given(st.one_of(st.text(st.characters(max_codepoint=127), max_size=80), awkward))
@example("it's 'a' <br/>film 'tis o'clock'' _x_ 1st")
@example("\x1c\x1d\x1e\x1f\x0b\x0cthe\x85film")
def test_the_fast_way_gives_what_the_library_gives(text: str) -> None:
    tokenizer = Tokenizer.from_str(KNOWN.decode())
    tokenizer.no_padding()
    tokenizer.enable_truncation(7)
    assert tokens.Encoder(KNOWN, 7).encode(text).tolist() == tokenizer.encode(text).ids


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(0, 9))
def test_padding_changes_no_score(numbers: list[int], padding: int) -> None:
    torch.manual_seed(0)
    model = TextModel(10, 4, 5, 2, 3, 0.0).eval()
    bare = torch.tensor([numbers])
    filled = torch.tensor([numbers + [tokens.PADDING] * padding])
    with torch.inference_mode():
        assert torch.allclose(model(bare), model(filled), atol=1e-6)


def test_training_sees_what_a_server_will_see(texts: Path) -> None:
    task = TextClassification(TextClassifier(max_tokens=6))
    samples = task.open(texts)
    learnt = task.learn(samples, np.arange(400))
    dataset = task.dataset(samples, learnt)
    interface = task.interface(learnt)
    rows = np.array([0, 2, 17, 555])
    (trained,) = dataset.batch(rows).inputs
    requests = samples.requests(rows)
    served = preprocess(interface.preprocessing, requests, interface.tokenizers)["tokens"]
    assert served.shape == (4, 6)
    assert trained.dtype == torch.int64
    assert (served[:, : trained.shape[1]] == trained.numpy()).all()
    assert (served[:, trained.shape[1] :] == tokens.PADDING).all()


def test_a_batch_is_as_long_as_its_longest_text(tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    path.write_text("text,label\none two three,x\n...,y\none,x\ntwo two,y\n")
    task = TextClassification(TextClassifier())
    samples = task.open(path)
    dataset = task.dataset(samples, task.learn(samples, np.arange(4)))
    assert dataset.batch(np.array([2, 3])).inputs[0].tolist() == [[3, 0], [2, 2]]
    assert dataset.batch(np.array([1])).inputs[0].tolist() == [[0]]
    assert dataset.batch(np.array([0, 1])).target.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"classes": 3}, r"'label' holds 2 classes \('neg', 'pos'\), but .* `classes` is 3"),
        ({"text_column": "review"}, "no column 'review'; it has 'text', 'label'"),
    ],
)
def test_data_that_does_not_fit(texts: Path, spec: dict[str, object], message: str) -> None:
    with pytest.raises(DataInvalid, match=message):
        TextClassification(TextClassifier.model_validate(spec)).open(texts)


def test_a_label_that_is_too_long_to_be_published(tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    path.write_text(f"text,label\na,x\nb,{string.ascii_letters * 5}\n")
    with pytest.raises(DataInvalid, match="label of 260 characters; at most 256"):
        TextClassification(TextClassifier()).open(path)
