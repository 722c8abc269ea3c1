"""The tokenizer: a byte-level vocabulary that knows the world's words whole and can spell every other."""

import json
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from tools.embedded import words

START, END = "<|startoftext|>", "<|endoftext|>"
VOCABULARY_SIZE = 2048
MAX_LENGTH = 77  # what pipelines pad Stable Diffusion's prompts to


def world_text() -> list[str]:
    """Return many sentences of the world, enough to meet each of its words often."""
    rng = np.random.default_rng(0)
    sentences = [words.write_prompt(words.random_request(rng), rng) for _ in range(4000)]
    rare = chain(
        words.PERSONS,
        words.GROUPS,
        words.GARMENTS,
        words.ADJECTIVES,
        words.DOINGS,
        words.ENDINGS,
        words.FILLERS,
        *words.COLOUR_WORDS.values(),
        *(place.phrases for place in words.PLACES.values()),
    )
    return sentences + 5 * list(rare)


@cache
def learn_merges() -> tuple[tuple[str, str], ...]:
    """Learn byte-pair merges from the world's text; the same on every machine."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    size = VOCABULARY_SIZE - len(alphabet) - 2
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, end_of_word_suffix="</w>", min_frequency=3, show_progress=False
    )
    tokenizer.train_from_iterator(world_text(), trainer)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return tuple((left, right) for left, right in merges)


def build_tokenizer() -> CLIPTokenizer:
    """Return the tokenizer: all bytes, all bytes at a word's end, the merges, and the two marks."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = learn_merges()
    merged = [left + right for left, right in merges]
    known = dict.fromkeys([*alphabet, *(byte + "</w>" for byte in alphabet), *merged, START, END])
    vocabulary = {token: number for number, token in enumerate(known)}
    return CLIPTokenizer(vocab=vocabulary, merges=list(merges), model_max_length=MAX_LENGTH)


def write_vocabulary(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write vocab.json and merges.txt, from which transformers before 5 loads a CLIPTokenizer."""
    numbered = dict(sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1]))
    (folder / "vocab.json").write_text(json.dumps(numbered, ensure_ascii=False) + "\n", "utf-8")
    merges = [f"{left} {right}" for left, right in learn_merges()]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", "utf-8")
