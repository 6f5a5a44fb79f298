"""Digits as an image, a recording and a sentence: sentences, splits, noise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from artifact.datasets.images import load_digits
from artifact.datasets.speech import load_scanned_digits
from artifact.studies.multimodal import paired_digits
from artifact.studies.multimodal.paired_digits import KINDS, NAMES, NOISE, VOCABULARY
from resonance.multimodal import MODALITIES


def truths(text):
    """Return the digits that a sentence is true of, by reading it."""
    tokens = text.split()
    value = {**{name: i for i, name in enumerate(NAMES)}, **{str(i): i for i in range(10)}}
    numbers = [value[token] for token in tokens if token in value]
    if "even" in tokens or "odd" in tokens:
        return {d for d in range(10) if d % 2 == ("odd" in tokens)}
    if "between" in tokens:
        return set(range(numbers[0] + 1, numbers[1]))
    if "less" in tokens:
        return set(range(numbers[0]))
    if "more" in tokens:
        return set(range(numbers[0] + 1, 10))
    return {sum(numbers)}


# --------------------------------------------------------------------------- sentences


@pytest.mark.parametrize("split", ["train", "held out"])
def test_every_sentence_is_true_and_only_hints_leave_a_choice(split):
    found = paired_digits.sentences(split)
    for sentence in found.itertuples():
        possible = truths(sentence.text)
        assert sentence.digit in possible
        assert (len(possible) > 1) == (sentence.kind == "hint"), sentence
    assert {(s.digit, s.kind) for s in found.itertuples()} == set(itertools.product(range(10), KINDS))


def test_templates_are_disjoint_and_share_their_words():
    train, held_out = (set(paired_digits.sentences(split)["text"]) for split in ("train", "held out"))
    assert not train & held_out
    words = [{word for text in texts for word in text.split()} for texts in (train, held_out)]
    assert words[1] <= words[0]


@pytest.mark.parametrize("split", ["train", "held out"])
def test_the_ceiling_of_text_is_what_a_lookup_gets(split):
    """The best guess for each text, counted by drawing."""
    generator = np.random.default_rng(0)
    pool = {}
    for s in paired_digits.sentences(split).itertuples():
        pool.setdefault((s.digit, s.kind), []).append(s.text)
    counts = {}
    draws = 20_000
    for _ in range(draws):
        d, kind = generator.integers(10), KINDS[generator.integers(4)]
        text = generator.choice(pool[d, kind])
        counts.setdefault(text, np.zeros(10))[d] += 1
    guessed = sum(c.max() for c in counts.values()) / draws
    assert guessed == pytest.approx(paired_digits.text_ceiling(split), abs=0.02)
    assert 0.75 < paired_digits.text_ceiling(split) < 0.95


def test_words_come_back():
    ids = paired_digits.word_numbers(["the digit is even", "number 7"])
    assert [paired_digits.words(row) for row in ids] == ["the digit is even", "number 7"]
    with pytest.raises(ValueError, match="unknown words: platypus"):
        paired_digits.word_numbers(["a platypus"])


# --------------------------------------------------------------------------- splits


@pytest.fixture(scope="module")
def stand_ins():
    return load_digits(), load_scanned_digits()


@pytest.mark.parametrize("held_out", ["test", "validation"])
def test_the_split_shares_no_image_speaker_or_template(stand_ins, held_out):
    images, speech = stand_ins
    tested = set()
    for fold in range(6):
        train, out = paired_digits.paired_digits(images, speech, fold, held_out=held_out)
        for a, b in ((train.vision.items, out.vision.items), (train.recordings, out.recordings)):
            assert not set(map(bytes, a.flatten(1).numpy())) & set(map(bytes, b.flatten(1).numpy()))
        waves = {wave[: paired_digits.SAMPLES].tobytes() for wave in out.recordings.numpy()}
        tested |= waves
        if held_out == "test":
            texts = [{paired_digits.words(row) for row in side.text.items} for side in (train, out)]
            assert not texts[0] & texts[1]
        else:
            rest = paired_digits.paired_digits(images, speech, fold)[1]
            assert not waves & {wave.tobytes() for wave in rest.recordings.numpy()}
    if held_out == "test":
        assert len(tested) == len({wave.tobytes() for wave in speech.waves})
    with pytest.raises(ValueError, match="held_out"):
        paired_digits.paired_digits(images, speech, 0, held_out="tests")


def test_pairs_are_of_one_digit(stand_ins):
    images, speech = stand_ins
    _, out = paired_digits.paired_digits(images, speech, 1)
    inputs, labels = out.all_recordings(torch.Generator().manual_seed(0), 200)
    of_image = {image.tobytes(): label for image, label in zip(*images.test, strict=True)}
    assert [of_image[image.numpy().tobytes()] for image in inputs["vision"][:, 0]] == labels.tolist()
    of_wave = {row.numpy().tobytes(): int(d) for row, d in zip(out.recordings, out.digits, strict=True)}
    assert [of_wave[wave.numpy().tobytes()] for wave in inputs["audio"]] == labels.tolist()
    for row, label in zip(inputs["text"], labels.tolist(), strict=True):
        assert label in truths(paired_digits.words(row))


def test_kinds_of_sentences_are_equally_likely(stand_ins):
    train, _ = paired_digits.paired_digits(*stand_ins, 0)
    generator = torch.Generator().manual_seed(0)
    drawn = train.batch(torch.randint(10, (4000,), generator=generator), generator)["text"]
    kind_of = paired_digits.sentences("train").groupby("text")["kind"].first()
    kinds = [kind_of[paired_digits.words(row)] for row in drawn]
    assert all(abs(kinds.count(kind) / 4000 - 0.25) < 0.03 for kind in KINDS)


def test_an_empty_group_is_a_clear_error():
    with pytest.raises(ValueError, match=r"no item in groups \[1\]"):
        paired_digits.Pool(torch.zeros(2, 1), torch.tensor([0, 2]), 3)


# --------------------------------------------------------------------------- noise


def test_noise_has_the_strength_asked_for():
    generator = torch.Generator().manual_seed(0)
    batch = {"vision": torch.ones(500, 1, 8, 8), "audio": 0.1 * torch.randn(50, 5248, generator=generator)}
    batch["text"] = torch.randint(1, len(VOCABULARY), (4000, 7), generator=generator)
    batch["text"][:, 5:] = 0
    noisy = paired_digits.corrupted(batch, {name: levels[1] for name, levels in NOISE.items()}, generator)
    assert (noisy["vision"] - 1).std().item() == pytest.approx(NOISE["vision"][1], rel=0.02)
    assert (noisy["audio"] - batch["audio"]).std().item() == pytest.approx(0.1 * NOISE["audio"][1], rel=0.02)
    changed = (noisy["text"] != batch["text"])[:, :5].float().mean().item()
    other = 1 - 1 / (len(VOCABULARY) - 1)  # a word drawn anew may be the same
    assert changed == pytest.approx(NOISE["text"][1] * other, abs=0.02) and (noisy["text"][:, 5:] == 0).all()
    untouched = paired_digits.corrupted(batch, dict.fromkeys(MODALITIES, 0.0), generator)
    assert all(torch.equal(untouched[name], batch[name]) for name in MODALITIES)


def test_training_batches_keep_their_shapes_whatever_the_speed(stand_ins):
    train, _ = paired_digits.paired_digits(*stand_ins, 0)
    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)
        batch = train.batch(torch.arange(10), generator)
        varied = paired_digits.varied(batch, generator)
        assert {name: x.shape for name, x in varied.items()} == {name: x.shape for name, x in batch.items()}
