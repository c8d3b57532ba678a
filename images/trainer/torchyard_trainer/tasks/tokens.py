"""Words to numbers: a vocabulary learnt from texts, and a fast way to apply it.

The tokenizer is one of the `tokenizers` library and travels with the model, so that a server
turns a text into the same numbers. A word is a run of letters, digits and underscores in lower
case, with apostrophes inside it; what follows a `<` is the name of an HTML tag such as `<br />`
and no word.
"""

import re
from collections import Counter
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

PADDING = 0
UNKNOWN = 1
SPECIAL = ("[PAD]", "[UNK]")
WORD = r"(?<![<\w])\w+(?:['\u2019]\w+)*"


def train(texts: Iterable[str], vocabulary: int, length: int) -> bytes:
    """A tokenizer that knows the `vocabulary` most frequent words, special ones included.

    Only the first `length` words of a text count: a model never sees the others. Returns JSON of
    the `tokenizers` library.
    """
    word = re.compile(WORD)
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(word.findall(text.lower())[:length])
    for name in SPECIAL:
        del counts[name]
    ranked = sorted(counts, key=lambda found: (-counts[found], found))
    known = [*SPECIAL, *ranked[: vocabulary - len(SPECIAL)]]
    tokenizer = Tokenizer(
        models.WordLevel({name: number for number, name in enumerate(known)}, SPECIAL[UNKNOWN])
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), "removed", invert=True)
    tokenizer.enable_padding(pad_id=PADDING, pad_token=SPECIAL[PADDING])
    return tokenizer.to_str().encode()


def size(tokenizer: bytes) -> int:
    """Words that a tokenizer knows: fewer than asked for where the texts have fewer."""
    return int(Tokenizer.from_str(tokenizer.decode()).get_vocab_size())


class Encoder:
    """A tokenizer of `train`, as fast as training needs it.

    The library takes two microseconds a token, longer than the model. For ASCII, which most
    texts are, lower case and `\\w` mean the same here and there, so Python's regular expressions
    give the same numbers in a tenth of the time; other texts go through the library.
    """

    def __init__(self, tokenizer: bytes, length: int) -> None:
        self._tokenizer = Tokenizer.from_str(tokenizer.decode())
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(length)
        self._length = length
        self._number = self._tokenizer.get_vocab().get
        self._word = re.compile(WORD, re.ASCII)

    def encode(self, text: str) -> NDArray[np.int32]:
        """The numbers of the first `length` words."""
        if not text.isascii():
            return np.array(self._tokenizer.encode(text).ids, np.int32)
        words = self._word.findall(text.lower())[: self._length]
        return np.array([self._number(word, UNKNOWN) for word in words], np.int32)
