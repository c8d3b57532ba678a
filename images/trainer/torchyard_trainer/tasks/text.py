"""textClassifier: whole texts to classes, by embedding, LSTM and a linear layer."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from torchyard.api.trainingjob import TextClassifier
from torchyard.artifact import Architecture, Datatype, Labels, Signature, Tokenize
from torchyard.artifact import Tensor as TensorSpec
from torchyard_trainer.data.split import Rows
from torchyard_trainer.data.table import read_table
from torchyard_trainer.task import Batch, Dataset, Interface, Learnt, Requests, Samples
from torchyard_trainer.tasks import labels, tokens
from torchyard_trainer.tasks.labels import Classification

TOKENIZER = "tokenizer.json"


class TextSamples(Samples):
    """Texts with a label each."""

    def __init__(self, texts: list[str], labels: list[str], known: list[str], digest: str) -> None:
        self.texts = texts
        self.labels = labels
        self.known = known
        self.digest = digest

    @property
    def keys(self) -> Iterable[bytes]:
        """The texts."""
        return (text.encode() for text in self.texts)

    def requests(self, rows: Rows) -> Requests:
        """The input `text`."""
        return {"text": np.array([self.texts[row] for row in rows], dtype=object)}


class TextDataset(Dataset):
    """Token numbers of all texts, one after the other, so that short texts take little memory."""

    def __init__(self, numbers: Sequence[NDArray[np.int32]], target: Tensor) -> None:
        self._numbers = np.concatenate(numbers)
        self._lengths = np.array([some.size for some in numbers])
        self._starts = np.cumsum(self._lengths) - self._lengths
        self._target = target

    def batch(self, rows: Rows) -> Batch:
        """Token numbers, int64 [samples, longest of these texts], filled up with PADDING."""
        lengths = self._lengths[rows, None]
        place = np.arange(max(1, lengths.max()))
        inside = place < lengths
        numbers = np.full(inside.shape, tokens.PADDING, np.int64)
        numbers[inside] = self._numbers[(self._starts[rows, None] + place)[inside]]
        return Batch((torch.from_numpy(numbers),), self._target[torch.from_numpy(rows)])


class TextModel(nn.Module):
    """Embedding, LSTM, the largest value of each unit over the text, linear."""

    def __init__(
        self,
        vocabulary: int,
        embedding: int,
        hidden: int,
        layers: int,
        classes: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding, padding_idx=tokens.PADDING)
        self.lstm = nn.LSTM(
            embedding, hidden, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0
        )
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(hidden, classes)

    def forward(self, numbers: Tensor) -> Tensor:
        """Token numbers, int [samples, tokens], to scores, float32 [samples, classes].

        Padding stands at the end, where an LSTM that reads forward has no more influence on what
        it has read, and is left out of the maximum. So a text has the same scores however far
        it is filled up.
        """
        states, _ = self.lstm(self.dropout(self.embedding(numbers)))
        padding = (numbers == tokens.PADDING).unsqueeze(-1)
        largest = states.masked_fill(padding, -1.0).amax(dim=1)  # states are within -1 and 1
        scores: Tensor = self.linear(self.dropout(largest))
        return scores


class TextClassification(Classification[TextSamples]):
    """The task behind `task.textClassifier`."""

    def __init__(self, spec: TextClassifier) -> None:
        self._spec = spec

    def open(self, path: Path) -> TextSamples:
        """Read two columns of the CSV file."""
        spec = self._spec
        table = read_table(path, [spec.text_column, spec.label_column])
        found = table.columns[spec.label_column]
        known = labels.classes(spec.label_column, found, spec.classes)
        return TextSamples(table.columns[spec.text_column], found, known, table.digest)

    def learn(self, samples: TextSamples, rows: Rows) -> Learnt:
        """The classes, and a tokenizer whose vocabulary is that of the training texts."""
        texts = (samples.texts[row] for row in rows)
        return {
            labels.LABELS: labels.dump(samples.known),
            TOKENIZER: tokens.train(texts, self._spec.vocabulary, self._spec.max_tokens),
        }

    def dataset(self, samples: TextSamples, learnt: Learnt) -> TextDataset:
        """All texts as token numbers."""
        encoder = tokens.Encoder(learnt[TOKENIZER], self._spec.max_tokens)
        numbers = [encoder.encode(text) for text in samples.texts]
        return TextDataset(numbers, labels.targets(samples.labels, labels.parse(learnt)))

    def model(self, learnt: Learnt) -> TextModel:
        """A TextModel with as many embeddings as the vocabulary has tokens."""
        spec = self._spec
        return TextModel(
            tokens.size(learnt[TOKENIZER]),
            spec.embedding,
            spec.hidden,
            spec.layers,
            spec.classes,
            spec.dropout,
        )

    def interface(self, learnt: Learnt) -> Interface:
        """`text` to `probabilities` and `label`."""
        outputs = (
            TensorSpec("probabilities", Datatype.FP32, (-1, self._spec.classes)),
            TensorSpec("label", Datatype.BYTES, (-1,)),
        )
        return Interface(
            Signature((TensorSpec("text", Datatype.BYTES, (-1,)),), outputs),
            preprocessing=(Tokenize("text", "tokens", TOKENIZER, self._spec.max_tokens),),
            postprocessing=(Labels("probabilities", "label", labels.parse(learnt)),),
            tokenizers={TOKENIZER: learnt[TOKENIZER]},
        )

    def architecture(self, learnt: Learnt) -> Architecture:
        """The sizes of all layers."""
        spec = self._spec
        sizes = {
            "vocabulary": tokens.size(learnt[TOKENIZER]),
            "embedding": spec.embedding,
            "hidden": spec.hidden,
            "layers": spec.layers,
            "classes": spec.classes,
        }
        return Architecture("textClassifier", sizes)
