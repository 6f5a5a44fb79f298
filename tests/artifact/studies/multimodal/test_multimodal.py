"""Cross-modal resonance, the multimodal network and its peers, the paired digits, and retrieval."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from artifact.datasets.images import load_digits
from artifact.datasets.speech import load_scanned_digits
from artifact.peers.multimodal import LateFusion, MultimodalTransformer, parameters_in_use
from artifact.studies.multimodal import fusion, paired_digits
from artifact.studies.multimodal.paired_digits import KINDS, NAMES, NOISE, VOCABULARY
from artifact.studies.multimodal.retrieval import all_directions, nearest, retrieval_scores
from resonance.band import next_power_of_two
from resonance.layers import BandMixing
from resonance.multimodal import MODALITIES, CrossModalMixing, CrossModalResonance, Line, MultimodalResonanceNet, Plane
from resonance.polar import count_parameters

SMALL = {"num_classes": 10, "in_channels": 1, "patch_size": 4, "dropout": 0.0}
BANDS = {"vision_frequencies": (4, 4), "audio_frequencies": 16, "text_frequencies": 5}
EVERY = {"vision": (2, 1, 28, 28), "audio": (2, 5248)}


def small(kind=MultimodalResonanceNet, dim=16, layers=2):
    torch.manual_seed(0)
    if kind is MultimodalTransformer:
        return kind(48, dim, layers, **SMALL).eval()
    return kind(48, (28, 28), dim, layers, **SMALL, **BANDS).eval()


def example(seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = {name: torch.randn(shape, generator=generator) for name, shape in EVERY.items()}
    return inputs | {"text": torch.randint(48, (2, 7), generator=generator)}


# --------------------------------------------------------------------------- transforms on a plane


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 6), st.integers(1, 6))
def test_a_plane_is_the_two_dimensional_fft(rows, columns, k_rows, k_columns):
    x = torch.randn(2, rows, columns, 3, dtype=torch.float64)
    plane = Plane(k_rows, k_columns)
    grid = [next_power_of_two(n) for n in (rows, columns)]
    down, along = (min(k, n // 2 + 1) for k, n in zip((k_rows, k_columns), grid, strict=True))
    full = torch.fft.fft2(x, s=grid, dim=(1, 2), norm="ortho")
    expected = full[:, [*range(down), *range(-1, -down, -1)], :along].flatten(1, 2)
    found = torch.complex(*plane.analysis(x).chunk(2, dim=1))
    torch.testing.assert_close(found, expected)
    assert len(plane.kept((rows, columns))) == found.shape[1] <= plane.size


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9))
def test_the_whole_band_of_a_plane_gives_it_back(rows, columns):
    x = torch.randn(2, rows, columns, 3, dtype=torch.float64)
    plane = Plane(9, 9)
    torch.testing.assert_close(plane.synthesis(plane.analysis(x), (rows, columns)), x)


def test_synthesis_is_the_real_part_of_the_sum_of_waves():
    """One coefficient at (f, g): a wave over the plane, twice its real part except where g is its own mirror."""
    plane, shape = Plane(3, 4), (8, 8)
    r, c = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    for (i, f), g in itertools.product(enumerate([0, 1, 2, -1, -2]), range(4)):
        spectrum = torch.zeros(1, 2 * plane.size, 1, dtype=torch.float64)
        place = i * 4 + g
        spectrum[0, place], spectrum[0, plane.size + place] = 0.3, -0.7
        angle = 2 * math.pi * (f * r + g * c) / 8
        wave = (0.3 * angle.cos() + 0.7 * angle.sin()) / 8 * (2 if g else 1)
        if f == 0 and g == 0:
            wave = torch.full_like(wave, 0.3 / 8)
        torch.testing.assert_close(plane.synthesis(spectrum, shape)[0, :, :, 0], wave.double(), atol=1e-6, rtol=1e-5)


def test_bands_refuse_no_frequency():
    for make in (lambda: Line(0), lambda: Plane(0, 3), lambda: Plane(3, 0)):
        with pytest.raises(ValueError, match="at least 1 frequency"):
            make()


# --------------------------------------------------------------------------- the layer


def test_a_modality_alone_is_band_mixing():
    mixing = CrossModalMixing(4, {"text": Line(6), "vision": Plane(3, 3)}).double()
    alone = BandMixing(4, 6).double()
    alone.weight.load_state_dict(mixing.weights["text"].state_dict())
    alone.interference.re.data = mixing.interference.re.data[:6, :6]
    alone.interference.im.data = mixing.interference.im.data[:6, :6]
    for n in (10, 13, 16, 64):
        x = torch.randn(2, n, 4, dtype=torch.float64)
        torch.testing.assert_close(mixing({"text": x})["text"], alone(x))


def test_the_sum_over_blocks_is_the_printed_formula():
    """Blocks computed one by one, with complex numbers and FFTs."""
    bands = {"a": Line(5), "b": Line(4), "c": Line(3)}
    mixing = CrossModalMixing(2, bands).double()
    lengths = {"a": 12, "b": 8, "c": 21}
    x = {name: torch.randn(1, n, 2, dtype=torch.float64) for name, n in lengths.items()}
    m = torch.complex(*mixing.interference.pair())
    grids = {name: next_power_of_two(n) for name, n in lengths.items()}
    scale = {name: lengths[name] / math.sqrt(grids[name]) for name in bands}
    weighted = {}
    for name, band in bands.items():
        spectrum = torch.fft.rfft(x[name], n=grids[name], dim=1, norm="ortho")[:, : band.size]
        weighted[name] = torch.complex(*mixing.weights[name].pair()) * spectrum / scale[name]
    for present in (("a",), ("a", "c"), ("a", "b", "c")):
        found = mixing({name: x[name] for name in present})
        for to in present:
            rows = slice(mixing.starts[to], mixing.starts[to] + bands[to].size)
            total = 0
            for source in present:
                columns = slice(mixing.starts[source], mixing.starts[source] + bands[source].size)
                share = 1 if source == to else 1 / (len(present) - 1)
                total = total + share * (m[rows, columns] @ weighted[source])
            total = total * scale[to]
            total[:, 0] = total[:, 0].real + 0j  # the imaginary part of a mean has no effect
            full = torch.zeros(1, grids[to] // 2 + 1, 2, dtype=torch.complex128)
            full[:, : bands[to].size] = total
            expected = torch.fft.irfft(full, n=grids[to], dim=1, norm="ortho")[:, : lengths[to]]
            torch.testing.assert_close(found[to], expected)


def test_a_constant_carries_over_as_that_constant_whatever_the_lengths():
    mixing = CrossModalMixing(1, {"a": Line(1), "b": Line(1)}).double()
    mixing.weights["a"].set_(torch.ones(1, 1), torch.zeros(1, 1))
    mixing.weights["b"].set_(torch.zeros(1, 1), torch.zeros(1, 1))
    mixing.interference.re.data.fill_(1.0)
    mixing.interference.im.data.zero_()
    for n, to in itertools.product((1, 5, 64), (2, 32)):
        x = {"a": torch.full((1, n, 1), 3.0).double(), "b": torch.zeros(1, to, 1).double()}
        torch.testing.assert_close(mixing(x)["b"], torch.full((1, to, 1), 3.0).double())


def test_mixing_is_linear_and_gradients_are_right():
    mixing = CrossModalMixing(2, {"a": Line(3), "b": Plane(2, 2)}).double()
    x = {"a": torch.randn(1, 6, 2), "b": torch.randn(1, 3, 5, 2)}
    x = {name: value.double().requires_grad_() for name, value in x.items()}
    twice = mixing({name: 2 * value for name, value in x.items()})
    for name, value in mixing(x).items():
        torch.testing.assert_close(twice[name], 2 * value)
    torch.autograd.gradcheck(lambda a, b: tuple(mixing({"a": a, "b": b}).values()), (x["a"], x["b"]))


def test_a_missing_modality_has_no_part_in_the_gradient():
    layer = CrossModalResonance(4, {"a": Line(3), "b": Line(3), "c": Line(3)})
    out = layer({"a": torch.randn(2, 8, 4), "b": torch.randn(2, 5, 4)})
    sum(value.square().sum() for value in out.values()).backward()
    for part in (layer.mixing.interference.re.grad, layer.mixing.interference.im.grad):
        assert part[6:].abs().max() == 0 and part[:, 6:].abs().max() == 0
        assert part[:3, 3:6].abs().min() > 0 and part[3:6, :3].abs().max() > 0
    assert layer.mixing.weights["c"].magnitude.grad is None


def test_short_grids_lack_frequencies_and_long_ones_are_unchanged_by_what_is_beyond():
    mixing = CrossModalMixing(2, {"a": Line(9)}).double()
    x = torch.randn(1, 4, 2, dtype=torch.float64)  # 3 frequencies
    before = mixing({"a": x})["a"]
    mixing.interference.re.data[3:] = 7.0
    mixing.weights["a"].magnitude.data[3:] = 7.0
    torch.testing.assert_close(mixing({"a": x})["a"], before)


@pytest.mark.parametrize(
    "tokens, message",
    [
        ({}, "at least one of a, b, got none"),
        ({"z": torch.zeros(1, 4, 2)}, "at least one of a, b, got z"),
        ({"a": torch.zeros(1, 4, 3)}, r"a tokens \(batch, n, 2\), got \(1, 4, 3\)"),
        ({"b": torch.zeros(1, 4, 2)}, r"b tokens \(batch, rows, columns, 2\)"),
    ],
)
def test_the_layer_names_what_it_expected(tokens, message):
    with pytest.raises(ValueError, match=message):
        CrossModalResonance(2, {"a": Line(2), "b": Plane(2, 2)})(tokens)


# --------------------------------------------------------------------------- the network


@torch.inference_mode()
def test_the_printed_call():
    """The constructor of the source, at its printed size, without a table of 500,000 x 768 numbers."""
    net = MultimodalResonanceNet(text_vocab_size=500000, vision_input_size=(224, 224), hidden_dim=768, num_layers=8)
    net.eval()
    image, ids = torch.randn(1, 3, 224, 224), torch.tensor([[0, 499_999, 7]])
    assert net(vision=image, text=ids).shape == (1, 1000)
    assert net(vision=image, text=ids, audio=torch.randn(1, 2000)).shape == (1, 1000)
    assert count_parameters(net) < 0.1 * 500_000 * 768


@pytest.mark.parametrize("kind", [MultimodalResonanceNet, LateFusion, MultimodalTransformer])
def test_any_subset_gives_finite_logits_and_unit_vectors(kind):
    net, inputs = small(kind), example()
    outputs = []
    for names in fusion.SUBSETS:
        part = {name: inputs[name] for name in names}
        logits, vectors = net(**part), net.embed(**part)
        assert logits.shape == (2, 10) and logits.isfinite().all()
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))
        outputs.append(logits)
    assert all((a - b).abs().max() > 1e-4 for a, b in itertools.combinations(outputs, 2))


def test_a_zero_tensor_is_not_a_missing_modality():
    net, inputs = small(), example()
    missing = net(vision=inputs["vision"])
    assert (net(vision=inputs["vision"], audio=torch.zeros(2, 5248)) - missing).abs().max() > 1e-3
    torch.testing.assert_close(net(vision=inputs["vision"], audio=None), missing)


def test_late_fusion_adds_what_each_says_alone_and_ours_does_not():
    inputs = example()
    for kind, adds in ((LateFusion, True), (MultimodalResonanceNet, False)):
        net = small(kind)
        for layer in net.layers:
            layer.mixing.interference.re.data.add_(0.1)  # blocks between modalities that speak
        alone = sum(net(**{name: x}) for name, x in inputs.items())
        assert torch.allclose(net(**inputs), alone, atol=1e-4) == adds


def test_the_peers_share_fronts_and_heads():
    nets = [small(kind) for kind in (MultimodalResonanceNet, LateFusion, MultimodalTransformer)]
    for name in ("fronts", "heads", "norms", "projections"):
        assert len({count_parameters(getattr(net, name)) for net in nets}) == 1
    ours, late = parameters_in_use(nets[0]), parameters_in_use(nets[1])
    assert ours == count_parameters(nets[0]) and ours - late == 2 * 2 * 2 * (28 * 16 + 28 * 5 + 16 * 5)


def test_each_sample_is_its_own():
    net, inputs = small(), example()
    both = net(**inputs)
    one = net(**{name: x[:1] for name, x in inputs.items()})
    torch.testing.assert_close(both[:1], one, atol=1e-5, rtol=1e-4)


def test_audio_does_not_hear_the_level():
    net, inputs = small(), example()
    torch.testing.assert_close(net(audio=inputs["audio"]), net(audio=4 * inputs["audio"]), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("size", [(28, 28), (24, 32), (40, 20)])
def test_other_sizes_and_lengths(size):
    net = small()
    out = net(vision=torch.randn(2, 1, *size), audio=torch.randn(2, 300), text=torch.ones(2, 1, dtype=torch.long))
    assert out.shape == (2, 10) and out.isfinite().all()


def test_the_network_names_what_it_expected():
    net = small()
    with pytest.raises(ValueError, match="at least one of vision, audio, text, got none"):
        net()
    with pytest.raises(ValueError, match=r"one batch size .* vision 2, text 3"):
        net(vision=torch.zeros(2, 1, 28, 28), text=torch.zeros(3, 4, dtype=torch.long))
    with pytest.raises(ValueError, match="multiples of patch_size=4"):
        MultimodalResonanceNet(9, (30, 28), 8, 1, **SMALL)
    with pytest.raises(ValueError, match="above the band"):
        MultimodalResonanceNet(9, (8, 8), 8, 1, **SMALL, vision_frequencies=(4, 4))


def test_bfloat16_autocast_is_close():
    net, inputs = small(), example()
    with torch.autocast("cpu", torch.bfloat16):
        half = net(**inputs)
    torch.testing.assert_close(half.float(), net(**inputs), atol=0.05, rtol=0.05)


def test_operations_are_linear_in_tokens_and_those_of_attention_are_not():
    nets = {"ours": small(), "attention": small(MultimodalTransformer)}
    table = fusion.cost_growth(nets, (16, 32), min_seconds=1e-4).set_index(["model", "tokens"])["operations"]
    ratio = {name: table[name, 3 * 32**2] / table[name, 3 * 16**2] for name in nets}
    assert 3.5 < ratio["ours"] < 4.2 and ratio["attention"] > 6


# --------------------------------------------------------------------------- paired digits


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


@pytest.mark.parametrize("split", ["train", "held out"])
def test_every_sentence_is_true_and_only_hints_leave_a_choice(split):
    found = paired_digits.sentences(split)
    for sentence in found:
        possible = truths(sentence.text)
        assert sentence.digit in possible
        assert (len(possible) > 1) == (sentence.kind == "hint"), sentence
    assert {(s.digit, s.kind) for s in found} == set(itertools.product(range(10), KINDS))


def test_templates_are_disjoint_and_share_their_words():
    train, held_out = ({s.text for s in paired_digits.sentences(split)} for split in ("train", "held out"))
    assert not train & held_out
    words = [{word for text in texts for word in text.split()} for texts in (train, held_out)]
    assert words[1] <= words[0]


@pytest.mark.parametrize("split", ["train", "held out"])
def test_the_ceiling_of_text_is_what_a_lookup_gets(split):
    """The best guess for each text, counted by drawing."""
    generator = np.random.default_rng(0)
    pool = {}
    for s in paired_digits.sentences(split):
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


@pytest.fixture(scope="module")
def stand_ins():
    return load_digits(), load_scanned_digits()


@pytest.mark.parametrize("held_out", ["test", "validation"])
def test_the_split_shares_no_image_speaker_or_template(stand_ins, held_out):
    images, speech = stand_ins
    tested = set()
    for fold in range(3):
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
    kind_of = {s.text: s.kind for s in paired_digits.sentences("train")}
    kinds = [kind_of[paired_digits.words(row)] for row in drawn]
    assert all(abs(kinds.count(kind) / 4000 - 0.25) < 0.03 for kind in KINDS)


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


def test_an_empty_group_is_a_clear_error():
    with pytest.raises(ValueError, match=r"no item in groups \[1\]"):
        paired_digits.Pool(torch.zeros(2, 1), torch.tensor([0, 2]), 3)


# --------------------------------------------------------------------------- training and evaluation


def test_contrastive_is_least_for_what_belongs_together():
    labels = torch.tensor([0, 0, 1, 2])
    basis = torch.eye(4)[labels]
    together = fusion.contrastive(basis, basis, labels)
    assert together < fusion.contrastive(basis, basis.roll(1, 1), labels)
    # By hand: row 0 has logits (10, 10, 0, 0) and target (1/2, 1/2, 0, 0).
    two = math.log(2 + 2 * math.exp(-10))
    one = math.log(1 + 3 * math.exp(-10))
    assert together.item() == pytest.approx((2 * two + 2 * one) / 4, rel=1e-5)


def trained(name, data, steps):
    """Return a tiny network after so many steps, and the cross-entropy of all modalities on training pairs."""
    train, _ = paired_digits.paired_digits(*data, 0)
    net = fusion.network(name, 8, fusion.Settings(16, 1, steps, 16), seed=0)
    if steps:
        fusion.train_fusion(net, train, steps, rate=2e-2, seed=3, batch=16)
    inputs, labels = train.all_recordings(torch.Generator().manual_seed(0), 200)
    with torch.no_grad():
        return net, torch.nn.functional.cross_entropy(net.eval()(**inputs), labels).item()


@pytest.mark.parametrize("name", ["resonance", "late", "transformer"])
def test_training_learns(stand_ins, name):
    share = {"transformer": 0.95}.get(name, 0.85)  # attention is slower to start
    assert trained(name, stand_ins, 60)[1] < share * trained(name, stand_ins, 0)[1]


def test_training_is_reproducible(stand_ins):
    a, b = (trained("resonance", stand_ins, 4)[0].state_dict() for _ in range(2))
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_what_a_query_brings_back(stand_ins):
    settings = fusion.Settings(16, 1, 2, 16)
    found = fusion.trial("late", stand_ins, 0, settings, 1e-3, limit=40)
    table = fusion.brought_back(found, 4)
    assert len(table) == 6 * 4 and table.groupby(["query", "gallery"])["similarity"].is_monotonic_decreasing.all()
    assert (table["item_label"] == found.labels[table["item"].tolist()].numpy()).all()
    for (_, gallery), part in table.groupby(["query", "gallery"]):
        items = found.inputs[gallery][part["item"].tolist()].flatten(1)
        assert len(items.unique(dim=0)) == 4


def test_conditions_and_margins_count_what_they_say():
    table = fusion.conditions()
    assert len(table) == 1 + 3 * 4 + 3 and (table.set_index("condition").loc["clean"] == 0).all()
    net, inputs = small(), example()
    scores = fusion.accuracies(net, inputs, torch.tensor([1, 2]))
    sizes = scores.groupby("condition").size()
    assert sizes["clean"] == 7 and all(sizes[f"{name} missing"] == 3 for name in MODALITIES)
    assert sizes.sum() == 13 * 7 + 3 * 3
    margin = fusion.margins(scores.assign(model="ours", seed=0)).set_index("condition")
    part = scores[scores["condition"] == "audio missing"].set_index("modalities")["accuracy"]
    best = max(part["vision"], part["text"])
    assert margin.loc["audio missing", "margin"] == part["vision+text"] - best
    direct = 100 * (net(**inputs).argmax(1) == torch.tensor([1, 2])).float().mean().item()
    assert margin.loc["clean", "fused"] == pytest.approx(direct)


# --------------------------------------------------------------------------- retrieval


def test_retrieval_agrees_with_scikit_learn():
    from sklearn.metrics import average_precision_score

    generator = torch.Generator().manual_seed(0)
    query, gallery = (torch.randn(n, 5, generator=generator, dtype=torch.float64) for n in (23, 41))
    a, b = (torch.randint(4, (n,), generator=generator) for n in (23, 41))
    scores = retrieval_scores(query, gallery, a, b, at=(1, 3), size=7)
    similar = (query @ gallery.T).numpy()
    expected = np.mean([average_precision_score(b == label, row) for label, row in zip(a, similar, strict=True)])
    assert scores["mAP"] == pytest.approx(expected)
    order = np.argsort(-similar, axis=1)
    for k in (1, 3):
        hit = [(b.numpy()[row[:k]] == label).any() for row, label in zip(order, a.numpy(), strict=True)]
        assert scores[f"R@{k}"] == pytest.approx(np.mean(hit))


def test_retrieval_by_hand_and_at_its_ends():
    gallery = torch.eye(4)
    labels = torch.tensor([0, 1, 0, 1])
    query = torch.tensor([[3.0, 2.0, 1.0, 0.0]])
    scores = retrieval_scores(query, gallery, torch.tensor([1]), labels)
    assert scores == {"R@1": 0.0, "R@5": 1.0, "R@10": 1.0, "mAP": pytest.approx((1 / 2 + 2 / 4) / 2)}
    assert retrieval_scores(query, gallery, torch.tensor([7]), labels)["mAP"] == 0.0
    assert nearest(query, gallery, 3).tolist() == [[0, 1, 2]]
    with pytest.raises(ValueError, match="one label"):
        retrieval_scores(query, gallery, torch.tensor([1, 2]), labels)
    with pytest.raises(ValueError, match=r"\(q, d\) and a gallery"):
        retrieval_scores(query, torch.zeros(0, 4), torch.tensor([1]), torch.tensor([]))


def test_all_six_directions():
    vectors = {name: torch.eye(10)[torch.arange(20) % 10] for name in MODALITIES}
    table = all_directions(vectors, torch.arange(20) % 10)
    assert len(table) == 6 and (table[["R@1", "R@5", "R@10", "mAP"]] == 1).all(axis=None)
    assert {(a, b) for a, b in zip(table["query"], table["gallery"], strict=True)} == set(
        itertools.permutations(MODALITIES, 2)
    )
