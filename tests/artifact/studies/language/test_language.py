"""The language models: one map computed three ways, writing by recurrence, states that are kept, a fair study."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from artifact.datasets import characters as text_corpus
from artifact.datasets import corpora, files, registry
from artifact.datasets.characters import character_corpus
from artifact.peers.language import GPT, RotaryAttention, RotaryGPT
from artifact.studies.common.growth import FLOPS
from artifact.studies.language import protocol as language_protocol
from artifact.studies.language import study as language_study
from artifact.studies.language import writing as language_writing
from artifact.studies.language.ablations import ARMS, OPEN
from artifact.studies.language.study import FAMILIES, RESONANCE, TRANSFORMER, Run, loss_on, scheduled, windows
from artifact.studies.language.tasks import Language
from resonance.language import LanguageModel, ResonanceLM, sample
from resonance.polar import count_parameters

VOCAB, CONTEXT = 11, 48


def model_of(kind: str, dtype=torch.float64) -> LanguageModel:
    torch.manual_seed(0)
    if kind in ("GPT", "rotary"):
        model = (GPT if kind == "GPT" else RotaryGPT)(VOCAB, 16, 2, 4, CONTEXT)
    elif kind in ARMS:
        model = ARMS[kind](VOCAB, 16, 2, 4)
    else:
        model = ResonanceLM(VOCAB, 16, 2, 4, 2 if kind == "recall" else 0)
    with torch.no_grad():  # far from the start, where every branch is small
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.to(dtype).eval()


KINDS = ("resonance", "recall", "rotary", "GPT")


@pytest.fixture(params=KINDS)
def model(request):
    return model_of(request.param)


def ids_of(*shape, seed=0):
    return torch.randint(VOCAB, shape, generator=torch.Generator().manual_seed(seed))


# --------------------------------------------------------------------------- one map, three ways


@settings(max_examples=15, deadline=None)
@given(kind=st.sampled_from(KINDS), batch=st.integers(1, 3), n=st.integers(1, 40), data=st.data())
def test_extend_and_step_are_forward(kind, batch, n, data):
    model, ids = model_of(kind), ids_of(batch, n, seed=n)
    cuts = sorted(files.draw(st.lists(st.integers(0, n), max_size=3)))
    with torch.no_grad():
        whole, parts, state = model(ids), [], model.initial_state(batch)
        for start, end in zip([0, *cuts], [*cuts, n], strict=True):
            if end - start == 1:
                logits, state = model.step(ids[:, start], state)
                parts.append(logits[:, None])
            elif end > start:
                logits, state = model.extend(ids[:, start:end], state)
                parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-9, atol=1e-9)


def test_no_logit_depends_on_a_later_id(model):
    embedded = {}
    model.embedding.register_forward_hook(lambda module, inputs, out: embedded.update(h=out.retain_grad() or out))
    for position in (0, 7, 22):
        model.zero_grad()
        model(ids_of(2, 23))[:, position].square().sum().backward()
        gradient = embedded["h"].grad.abs().sum(dim=(0, 2))
        assert gradient[position + 1 :].max() <= 1e-9 * gradient.max() if position < 22 else True
        assert gradient[position] > 0 and (gradient[: position + 1] > 0).all()  # and it does on every earlier one


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precision_stays_near(dtype):
    for kind in KINDS:
        exact, ids = model_of(kind), ids_of(2, 30)
        with torch.no_grad():
            near, far = model_of(kind, dtype)(ids).double(), exact(ids)
        assert (near - far).norm() / far.norm() < (1e-5 if dtype == torch.float32 else 0.1)


# --------------------------------------------------------------------------- writing


def test_what_the_recurrence_writes_is_what_the_parallel_form_finds_likeliest(model):
    prompt = ids_of(3, 9)
    written = model.generate(prompt, 20, top_k=1)
    with torch.no_grad():
        likeliest = model(written[:, :-1]).argmax(dim=-1)
    assert torch.equal(written[:, :9], prompt) and torch.equal(written[:, 9:], likeliest[:, 8:])


def test_a_generator_decides_what_is_drawn(model):
    def written(seed, **options):
        return model.generate(ids_of(2, 5), 30, generator=torch.Generator().manual_seed(seed), **options)

    before = torch.get_rng_state()
    assert torch.equal(written(1), written(1)) and not torch.equal(written(1), written(2))
    assert torch.equal(torch.get_rng_state(), before)  # the global source is left alone
    assert torch.equal(written(1, temperature=1e-6), model.generate(ids_of(2, 5), 30, top_k=1))
    assert model.generate(ids_of(2, 5), 0).shape == (2, 5)


def test_draws_follow_the_tempered_softmax_of_the_likeliest():
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]]).repeat(20000, 1)
    drawn = sample(logits, 0.5, 3, torch.Generator().manual_seed(0)).bincount(minlength=4) / 20000
    expected = F.softmax(torch.tensor([0.0, 2.0, 4.0, -torch.inf]), dim=0)
    assert (drawn - expected).abs().max() < 0.012 and drawn[3] == 0


@pytest.mark.parametrize(
    ("prompt", "options", "error", "message"),
    [
        (torch.zeros(1, 0, dtype=torch.long), {}, ValueError, "at least one"),
        (torch.zeros(4, dtype=torch.long), {}, ValueError, r"\(batch, n\)"),
        (torch.tensor([[0, VOCAB]]), {}, ValueError, f"0..{VOCAB - 1}, got {VOCAB}"),
        (torch.tensor([[-1, 0]]), {}, ValueError, "got -1"),
        (torch.zeros(1, 3), {}, TypeError, "integer dtype"),
        ([[1, 2]], {}, TypeError, "tensor of integers"),
        (None, {"temperature": 0.0}, ValueError, "temperature > 0"),
        (None, {"temperature": math.nan}, ValueError, "temperature > 0"),
        (None, {"temperature": -1.0}, ValueError, "temperature > 0"),
        (None, {"top_k": 0}, ValueError, "top_k >= 1"),
        (None, {"max_new_tokens": -1}, ValueError, "max_new_tokens >= 0"),
    ],
)
def test_bad_prompts_and_settings(model, prompt, options, error, message):
    prompt = ids_of(1, 4) if prompt is None else prompt
    with pytest.raises(error, match=message):
        model.generate(prompt, **{"max_new_tokens": 3, **options})


@pytest.mark.parametrize("kind", ["GPT", "rotary"])
def test_a_gpt_goes_on_past_its_context_and_says_where_it_ends(kind):
    gpt = model_of(kind)
    written = gpt.generate(ids_of(2, CONTEXT + 5), 2 * CONTEXT, top_k=1)
    assert written.shape == (2, 3 * CONTEXT + 5)
    with pytest.raises(ValueError, match=f"at most {CONTEXT} ids, got {CONTEXT + 1}"):
        gpt(ids_of(1, CONTEXT + 1))


def test_rotary_scores_depend_on_distance_alone():
    layer = RotaryAttention(16, 2, 64).double()
    query, key = torch.randn(2, 1, 2, 1, 8, dtype=torch.float64)
    scores = [(layer._placed(query, t + 5) * layer._placed(key, t)).sum(-1) for t in (0, 17, 58)]
    torch.testing.assert_close(scores[0], scores[1], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(scores[0], scores[2], rtol=1e-6, atol=1e-6)
    assert not torch.allclose(scores[0], (layer._placed(query, 9) * layer._placed(key, 0)).sum(-1))


def test_a_resonance_model_writes_past_its_longest_time_scale():
    torch.manual_seed(0)
    model = ResonanceLM(VOCAB, 8, 1, 4, longest=16).eval()
    assert model.generate(ids_of(1, 100), 60).shape == (1, 160)


# --------------------------------------------------------------------------- the state


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_is_kept_and_goes_on(kind, tmp_path):
    model, ids = model_of(kind), ids_of(2, 30)
    with torch.no_grad():
        _, state = model.extend(ids[:, :20], model.initial_state(2))
        assert all(len(tensor) == 2 and not tensor.is_complex() for tensor in state.values())
        model.save_state(state, tmp_path / "state.safetensors")
        torch.save(state, tmp_path / "state.pt")
        expected = model.extend(ids[:, 20:], state)[0]
        for kept in (
            model.load_state(tmp_path / "state.safetensors"),
            torch.load(tmp_path / "state.pt", weights_only=True),
        ):
            torch.testing.assert_close(model.extend(ids[:, 20:], kept)[0], expected, rtol=0, atol=0)


def test_a_state_of_another_model_is_refused(tmp_path):
    ours = model_of("resonance")
    ours.save_state(model_of("recall").initial_state(2), tmp_path / "s.safetensors")
    with pytest.raises(ValueError, match="state of another model"):
        ours.load_state(tmp_path / "s.safetensors")


def test_the_state_does_not_grow():
    model = ResonanceLM(VOCAB, 16, 2, 4, 2)
    sizes = {n: language_writing.state_bytes(model.extend(ids_of(1, n), model.initial_state(1))[1], n) for n in (4, 64)}
    assert sizes[4] == sizes[64]
    state = language_writing.states_after(RotaryGPT(VOCAB, 16, 2, 4, 65), 64)
    assert language_writing.state_bytes(state, 64) == 2 * 2 * 64 * 16 * 4 + 2 * 8  # layers, K and V; the two lengths


# --------------------------------------------------------------------------- start, size, ablations


def test_the_printed_sizes_and_one_rule_for_the_start():
    ours, gpt, published = ResonanceLM(65, 128, 4, 32), RotaryGPT(65, 128, 4, 4, 64), GPT(65, 128, 4, 4, 64)
    sizes = [count_parameters(ours), count_parameters(gpt), published.customary_parameters]
    assert min(sizes) > 0.75e6 and max(sizes) < 0.85e6 and ours.std == gpt.std and published.std == 0.02
    for model in (ours, gpt, published):
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear):
                end = name.split(".")[-1] in ("out", "output_projection")
                assert module.weight.std().item() == pytest.approx(
                    model.std / math.sqrt(8) if end else model.std, rel=0.03
                ), name
                assert not module.bias.any()


@pytest.mark.parametrize("size", [{"vocab_size": 0}, {"hidden_dim": 0}, {"num_layers": 0}, {"recall_heads": -1}])
def test_sizes_that_make_no_model(size):
    with pytest.raises(ValueError, match="expected"):
        ResonanceLM(**{"vocab_size": 5, "hidden_dim": 8, "num_layers": 1, "num_resonators": 2, **size})


@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_is_the_same_map_three_ways_and_learns(arm):
    model, ids = model_of(arm), ids_of(2, 17)
    with torch.no_grad():
        _, state = model.extend(ids[:, :16], model.initial_state(2))
        torch.testing.assert_close(model.step(ids[:, 16], state)[0], model(ids)[:, -1], rtol=1e-9, atol=1e-9)
    model(ids).logsumexp(dim=-1).sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_arms_change_what_they_name():
    assert F.silu(torch.tensor(OPEN, dtype=torch.float64)).item() == pytest.approx(1, abs=1e-12)
    size = (VOCAB, 16, 1, 8)
    (shiftless,), (blind,), (same,) = (ARMS[n](*size).mixers for n in ("no token shift", "no memory", "one time scale"))
    x = torch.randn(1, 9, 16)
    assert torch.equal(shiftless.shift(x), x)
    y, z = blind.mixing(x), x.clone()
    z[:, :4] = 7.0
    torch.testing.assert_close(blind.mixing(z)[:, 4:], y[:, 4:])  # what came before changes nothing but its rounding
    torch.testing.assert_close(
        same.mixing.time_scales(), torch.full((8,), 32.0, dtype=torch.float64), rtol=1e-4, atol=0
    )
    assert same.mixing.frequencies().abs().max().item() == pytest.approx(0.5, abs=1e-4)
    assert ARMS["8 resonators"](*size).mixers[0].mixing.num_resonators == 8
    (ungated,) = ARMS["no output gate"](*size).mixers
    with torch.no_grad():
        mixed = ungated.mixing(ungated.input_projection(ungated.shift(x))[0])
        torch.testing.assert_close(ungated(x), ungated.output_projection(mixed))


# --------------------------------------------------------------------------- text


@pytest.mark.skipif(not registry.available("tinyshakespeare"), reason="tinyshakespeare: not to be had")
def test_tinyshakespeare_is_what_was_published_and_cut_as_it_was():
    corpus = text_corpus.load_tinyshakespeare()
    assert len(corpus.symbols) == 65 and not corpus.stand_in
    assert len(corpus.parts["train"]) == 1_003_854 and len(corpus.parts["report"]) == 111_540  # nanoGPT's split
    assert torch.equal(torch.cat([corpus.parts["fit"], corpus.parts["choice"]]), corpus.parts["train"])
    assert corpus.decode(corpus.parts["train"][:14]) == "First Citizen:"
    assert torch.equal(corpus.encode("Citizen"), corpus.parts["train"][6:13])


def test_a_stand_in_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(text_corpus, "fetch", lambda source: None)
    with pytest.warns(UserWarning, match="not to be had"):
        corpus = text_corpus.load_tinyshakespeare()
    assert corpus.stand_in and "stand-in" in corpus.dataset and len(corpus.parts["train"]) > 500_000
    assert not registry.available("tinyshakespeare")


def test_characters_and_words_are_cut_without_overlap(monkeypatch):
    corpus = character_corpus("toy", "abcde" * 20)
    assert [len(corpus.parts[name]) for name in ("fit", "choice", "train", "report")] == [85, 5, 90, 10]
    with pytest.raises(ValueError, match=r"\['z'\]"):
        corpus.encode("az")
    with pytest.raises(ValueError, match="at least 20"):
        character_corpus("toy", "abc")
    texts = ["the cat and the dog . " * 10 + "zebra " * 20]
    monkeypatch.setattr(corpora, "load_books", lambda: corpora.Books("toy", ("one",), texts))
    words = text_corpus.load_words(3)
    assert words.symbols == ("<other>", "the", "zebra") or words.symbols[:2] == ("<other>", "the")
    assert words.decode(words.parts["report"][-2:]) in ("zebra zebra", "<other> <other>")
    with pytest.raises(ValueError, match="vocab_size >= 2"):
        text_corpus.load_words(1)


# --------------------------------------------------------------------------- the study


def test_windows_are_text_and_its_successor():
    ids, batches = torch.arange(100), windows(torch.arange(100), 8, 5, torch.Generator().manual_seed(0))
    x, y = next(batches)
    assert x.shape == (5, 8) and torch.equal(y, x + 1) and torch.equal(x[:, 1:], x[:, :-1] + 1)
    drawn = {int(row[0]) for _ in range(400) for row in next(batches)[0]}
    assert drawn == set(range(92))  # every place, the last one included
    with pytest.raises(ValueError, match="more than 100 ids"):
        next(windows(ids, 100, 1, torch.Generator()))


def test_the_loss_is_of_every_position_once():
    model, ids = model_of("resonance"), ids_of(1, 201)[0]
    with torch.no_grad():
        rows = ids[:-1].view(20, 10), ids[1:].view(20, 10)
        expected = F.cross_entropy(model(rows[0]).flatten(0, 1), rows[1].flatten()).item()
    assert loss_on(model, ids, 10) == pytest.approx(expected, rel=1e-12)
    assert (
        loss_on(model, ids[:200], 10)
        == pytest.approx(  # the last, broken window is left out
            F.cross_entropy(model(rows[0][:19]).flatten(0, 1), rows[1][:19].flatten()).item(), rel=1e-12
        )
    )
    assert loss_on(model, ids, 10, limit=50) != pytest.approx(expected, rel=1e-6)


def test_the_rate_rises_and_falls_to_a_tenth():
    shares = np.linspace(0, 1, 201)
    rates = np.array([scheduled(share) for share in shares])
    top = int(rates.argmax())
    assert rates[top] == pytest.approx(1) and (np.diff(rates[: top + 1]) > 0).all() and (np.diff(rates[top:]) < 0).all()
    assert rates[-1] == pytest.approx(0.1) and scheduled(3.0) == pytest.approx(0.1)


def test_a_causal_attention_is_counted_at_half_and_its_gradient_at_five_products_of_two():
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 4, 64, 16, requires_grad=True) for _ in range(3))

    def step(causal):
        return lambda: F.scaled_dot_product_attention(query, key, value, is_causal=causal).sum().backward()

    full = 2 * 2 * 4 * 64 * 64 * 32
    assert language_study.operations_of(step(False)) == full + 5 * full // 2
    assert language_study.operations_of(step(True)) == (full + 5 * full // 2) // 2
    linear, x = torch.nn.Linear(8, 16), torch.randn(3, 8)
    assert language_study.operations_of(lambda: linear(x).sum().backward()) == 2 * 2 * 3 * 8 * 16
    assert set(FLOPS) & set(language_study.ATTENTION)


@pytest.fixture
def toy(monkeypatch):
    """A text in which each character says the next but one, small models, no folder of the artifact."""
    text = "".join(np.random.default_rng(0).choice(["abc", "bca", "xyx"], 3000))
    monkeypatch.setattr(language_study, "corpus", lambda *_: character_corpus("toy", text))
    for name, value in {"DIM": 16, "LAYERS": 1, "RESONATORS": 4}.items():
        monkeypatch.setattr(language_study, name, value)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_learns_repeats_and_keeps_to_its_budget(toy, family):
    run = Run(family, 16, 8, 2e-2, tokens=128 * 60, curve=400)
    outcome = language_study.train(run)
    first, last = outcome.curve.iloc[0], outcome.curve.iloc[-1]
    assert (
        last["tokens"] == 128 * 60
        and last["steps"] == 60
        and outcome.loss < 1.0 < math.log(6) < first["training"] + 0.3
    )
    assert (outcome.curve[["seconds", "tokens", "operations", "mark"]].diff().dropna() > 0).all(axis=None)
    assert outcome.loss == language_study.train(run).loss
    timed = language_study.train(Run(family, 16, 8, 2e-2, seconds=0.3))
    assert 0.3 <= timed.curve["seconds"].iloc[-1] < 0.6 and timed.curve["mark"].iloc[-1] == 1
    assert timed.row["budget"] == "seconds" and outcome.row["budget"] == "tokens"
    model = outcome.model()
    assert loss_on(model, language_study.corpus().parts["report"], 16) == pytest.approx(outcome.loss)


def test_a_choosing_run_never_sees_the_report(toy, monkeypatch):
    seen = []
    monkeypatch.setattr(language_study, "loss_on", lambda model, ids, *_: seen.append(ids) or 0.0)
    parts = language_study.corpus().parts
    for choosing, part in ((True, "choice"), (False, "report")):
        seen.clear()
        language_study.train(Run(RESONANCE, 16, 4, 1e-3, tokens=256, choosing=choosing))
        assert seen and all(torch.equal(ids, parts[part]) for ids in seen)


def test_a_rate_that_breaks_a_run_is_said(toy):
    with pytest.raises(FloatingPointError, match="take a lower rate"):
        language_study.train(Run(TRANSFORMER, 16, 4, float("inf"), tokens=4096))
    with pytest.raises(ValueError, match="either seconds or tokens"):
        Run(RESONANCE, 16, 4, 1e-3)
    with pytest.raises(ValueError, match="unknown family"):
        language_study.train(Run("GPT-5", 16, 4, 1e-3, tokens=64))


def test_a_finished_run_is_read_back_until_the_study_is_forgotten(toy, tmp_path, monkeypatch):
    run, calls = Run(RESONANCE, 16, 4, 1e-3, tokens=128), []
    train = language_study.train
    monkeypatch.setattr(language_study, "train", lambda run: calls.append(run) or train(run))
    first = language_study._trained(tmp_path, run)
    (again,) = language_study.outcomes([run], kept=tmp_path)
    assert len(calls) == 1 and again.loss == first.loss and again.row == first.row
    pd.testing.assert_frame_equal(again.curve, first.curve)
    assert all(torch.equal(again.weights[name], first.weights[name]) for name in first.weights)
    monkeypatch.setattr(language_study, "_code", lambda: b"other code")
    assert language_study._read(tmp_path, run) is None
    language_study.forget(tmp_path)
    assert not list(tmp_path.iterdir())


def test_writing_is_timed_for_both_families():
    table = language_writing.generation_costs([32, 256], VOCAB, rounds=1, min_seconds=0.01)
    kept = table.pivot(index="context", columns="family", values="bytes")
    assert (table["seconds"] > 0).all() and kept.loc[32, RESONANCE] == kept.loc[256, RESONANCE]
    assert kept.loc[256, TRANSFORMER] > 7 * kept.loc[32, TRANSFORMER]


def test_the_task_of_equal_quality():
    task = Language(effort=0.005)
    for family in task.sizes:
        sizes = [count_parameters(task.model(family, size)) for size in task.sizes[family]]
        assert sizes == sorted(set(sizes)) and len(sizes) == 4 and len(task.tries[family]) == 3
    task.limit = 1024
    first = task.scores("resonance", 32, 4e-3, 0)
    assert first == task.scores("resonance", 32, 4e-3, 0) and all(0 < error < 5 for error in first)
    step, items = task.inference(task.model("Transformer", 32))
    assert items == 1 and len(step()) == 1


# --------------------------------------------------------------------------- the protocol


def outcome_of(family, context, seed, tokens, loss, budget="seconds"):
    used = {"mark": 1.0, "seconds": 9.0, "tokens": tokens, "steps": 3, "operations": 2e12, "validation": loss}
    run = Run(family, context, 4, 1e-3, seed, **({"seconds": 9.0} if budget == "seconds" else {"tokens": tokens}))
    return language_study.Outcome(run, pd.DataFrame([used]), loss, 1000, {})


def test_tries_are_as_many_for_each_family_and_never_of_a_reported_seed():
    runs = language_protocol.tries([256], {RESONANCE: [1e-3, 2e-3], TRANSFORMER: [3e-3, 4e-3]}, 1.0, judged=64)
    assert [(run.family, run.rate) for run in runs] == [
        (RESONANCE, 1e-3),
        (TRANSFORMER, 3e-3),
        (RESONANCE, 2e-3),
        (TRANSFORMER, 4e-3),
    ]
    reported = language_protocol.equal_time([256], {(family, 256): 1e-3 for family in FAMILIES}, 1.0, 3)
    assert all(run.choosing and run.seed not in {r.seed for r in reported} for run in runs)
    assert not any(run.choosing for run in reported) and len(reported) == 6
    with pytest.raises(ValueError, match="as many rates"):
        language_protocol.tries([256], {RESONANCE: [1e-3], TRANSFORMER: [1e-3, 2e-3]}, 1.0)
    table = pd.DataFrame({"family": ["a", "a"], "context": [1, 1], "rate": [1e-3, 2e-3], "loss": [2.0, 1.5]})
    assert language_protocol.chosen(table) == {("a", 1): 2e-3}


def test_at_equal_tokens_the_faster_of_each_pair_runs_anew():
    timed = [outcome_of(RESONANCE, 256, 0, 500, 1.6), outcome_of(TRANSFORMER, 256, 0, 800, 1.7)]
    timed += [outcome_of(RESONANCE, 256, 1, 900, 1.62), outcome_of(TRANSFORMER, 256, 1, 700, 1.74)]
    runs = language_protocol.equal_tokens(timed, 2)
    assert language_protocol.equal_tokens(timed, 1) == runs[:1]
    assert [(run.family, run.seed, run.tokens, run.seconds) for run in runs] == [
        (TRANSFORMER, 0, 500, None),
        (RESONANCE, 1, 700, None),
    ]
    again = [outcome_of(run.family, 256, run.seed, run.tokens, 1.8, "tokens") for run in runs]
    ends = language_protocol.finals(timed, again)
    at_tokens = ends[ends["budget"] == "tokens"].pivot(index="seed", columns="family", values="loss")
    assert at_tokens.loc[0].to_dict() == {RESONANCE: 1.6, TRANSFORMER: 1.8}
    assert at_tokens.loc[1].to_dict() == {RESONANCE: 1.8, TRANSFORMER: 1.74}
    facts = language_protocol.measures(ends)
    assert facts["language.seconds.256.ahead"][0] == pytest.approx(0.11)
    assert facts["language.tokens.256.ahead"][0] == pytest.approx(0.07)
    assert facts["language.seconds.256.gpt.tokens"][0] == pytest.approx(750e-6)


def test_marks_are_met_missed_or_not_judged():
    nothing = (float("nan"), float("nan"))
    facts = {
        "language.seconds.256.ahead": (0.02, "nats", nothing),
        "language.seconds.256.resonance": (1.61, "nats", nothing),
        "language.seconds.256.resonance.tokens": (9.0, "", nothing),
        "language.tokens.256.ahead": (-1.0, "nats", nothing),
    }
    marks = {"published": 1.88, "within": 0.05, "aim": 1.60}
    table = language_protocol.judged_marks(1.92, facts, marks).set_index("mark")["met"]
    assert table.to_dict() == {"control": "met", "no worse, context 256": "met", "aim, context 256": "missed"}
    facts["language.seconds.256.ahead"] = (-0.001, "nats", nothing)
    assert list(language_protocol.judged_marks(1.94, facts, marks)["met"]) == ["missed"] * 3
    assert set(language_protocol.judged_marks(1.9, facts, marks, why_not="stand-in")["met"]) == {"stand-in"}
