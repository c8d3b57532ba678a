"""textClassifier: whole texts to classes, by embedding, LSTM and a linear layer."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn

from torchyard.api.trainingjob import TextClassifier
from torchyard.artifact import Architecture, Datatype, Labels, Signature, Tokenize
from torchyard.artifact import Tensor as TensorSpec
from torchyard_trainer.data.split import Rows
from torchyard_trainer.data.table import read_table
from torchyard_trainer.task import Batch, Dataset, Interface, Learnt, Requests, Samples
from torchyard_trainer.tasks import labels
from torchyard_trainer.tasks.labels import Classification

TOKENIZER = "tokenizer.json"
PADDING, UNKNOWN = "[PAD]", "[UNK]"
PADDING_ID = 0
CHUNK = 4096  # texts that are encoded at once


class TextSamples(Samples):
    """Texts with a label each."""

    def __init__(self, texts: list[str], labels: list[str], known: list[str], digest: str) -> None:
        self.texts = texts
        self.labels = labels
        self.known = known
        self.digest = digest

    @property
    def keys(self) -> list[bytes]:
        """The texts."""
        return [text.encode() for text in self.texts]

    def requests(self, rows: Rows) -> Requests:
        """The input `text`."""
        return {"text": np.array([self.texts[row] for row in rows], dtype=object)}


class TextDataset(Dataset):
    """Token numbers of all texts, one after the other, so that short texts take little memory."""

    def __init__(self, tokens: NDArray[np.int32], lengths: NDArray[np.int64], target: Tensor):
        self._tokens = tokens
        self._lengths = lengths
        self._starts = np.concatenate(([0], np.cumsum(lengths)[:-1]))
        self._target = target

    def batch(self, rows: Rows) -> Batch:
        """Token numbers, int64 [samples, longest of these texts], filled up with PADDING_ID."""
        index = rows
        lengths = self._lengths[index, None]
        place = np.arange(max(1, lengths.max()))
        inside = place < lengths
        tokens = np.full(inside.shape, PADDING_ID, np.int64)
        tokens[inside] = self._tokens[(self._starts[index, None] + place)[inside]]
        return Batch((torch.from_numpy(tokens),), self._target[torch.from_numpy(index)])


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
        self.embedding = nn.Embedding(vocabulary, embedding, padding_idx=PADDING_ID)
        self.lstm = nn.LSTM(
            embedding, hidden, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0
        )
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(hidden, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Token numbers, int [samples, tokens], to scores, float32 [samples, classes].

        Padding stands at the end, where an LSTM that reads forward has no more influence on what
        it has read, and is left out of the maximum. So a text has the same scores however far
        it is filled up.
        """
        states, _ = self.lstm(self.dropout(self.embedding(tokens)))
        padding = (tokens == PADDING_ID).unsqueeze(-1)
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
            TOKENIZER: train_tokenizer(texts, self._spec.vocabulary),
        }

    def dataset(self, samples: TextSamples, learnt: Learnt) -> TextDataset:
        """All texts as token numbers."""
        tokenizer = Tokenizer.from_str(learnt[TOKENIZER].decode())
        tokenizer.enable_truncation(self._spec.max_tokens)
        tokenizer.no_padding()
        tokens, lengths = encode(tokenizer, samples.texts)
        target = labels.targets(samples.labels, labels.parse(learnt))
        return TextDataset(tokens, lengths, target)

    def model(self, learnt: Learnt) -> TextModel:
        """A TextModel with as many embeddings as the vocabulary has tokens."""
        spec = self._spec
        return TextModel(
            vocabulary_size(learnt),
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
            "vocabulary": vocabulary_size(learnt),
            "embedding": spec.embedding,
            "hidden": spec.hidden,
            "layers": spec.layers,
            "classes": spec.classes,
        }
        return Architecture("textClassifier", sizes)


def train_tokenizer(texts: Iterator[str], vocabulary: int) -> bytes:
    """A tokenizer that knows the `vocabulary` most frequent words of `texts`, as JSON.

    Words are runs of letters and digits, in lower case; HTML line breaks are spaces. It pads with
    number 0.
    """
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace(Regex(r"<br\s*/?>"), " "), normalizers.NFC(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(
        vocab_size=vocabulary, special_tokens=[PADDING, UNKNOWN], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.enable_padding(pad_id=PADDING_ID, pad_token=PADDING)
    return tokenizer.to_str().encode()


def vocabulary_size(learnt: Learnt) -> int:
    """Tokens of the tokenizer: fewer than asked for where the texts have fewer words."""
    return int(Tokenizer.from_str(learnt[TOKENIZER].decode()).get_vocab_size())


def encode(
    tokenizer: Tokenizer, texts: Sequence[str]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The numbers of all tokens, one text after the other, and each text's number of tokens."""
    parts, lengths = [], np.empty(len(texts), np.int64)
    for start in range(0, len(texts), CHUNK):
        encodings = tokenizer.encode_batch_fast(texts[start : start + CHUNK])
        for row, encoding in enumerate(encodings, start):
            numbers = np.array(encoding.ids, np.int32)
            parts.append(numbers)
            lengths[row] = numbers.size
    return np.concatenate(parts), lengths
