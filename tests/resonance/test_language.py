"""Language models, ours and the GPTs of the same class: one map three ways, causal, generation, states on file."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from artifact.peers.language import GPT, RotaryGPT
from resonance.language import LanguageModel, ResonanceLM, sample

VOCAB, CONTEXT = 11, 48
KINDS = ("resonance", "recall", "rotary", "GPT")


def model_of(kind: str, dtype=torch.float64) -> LanguageModel:
    torch.manual_seed(0)
    if kind in ("GPT", "rotary"):
        model = (GPT if kind == "GPT" else RotaryGPT)(VOCAB, 16, 2, 4, CONTEXT)
    else:
        model = ResonanceLM(VOCAB, 16, 2, 4, 2 if kind == "recall" else 0)
    with torch.no_grad():  # far from the start, where every branch is small
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.to(dtype).eval()


@pytest.fixture(params=KINDS)
def model(request):
    return model_of(request.param)


def ids_of(*shape, seed=0):
    return torch.randint(VOCAB, shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=15, deadline=None)
@given(kind=st.sampled_from(KINDS), batch=st.integers(1, 3), n=st.integers(1, 40), data=st.data())
def test_extend_and_step_are_forward(kind, batch, n, data):
    model, ids = model_of(kind), ids_of(batch, n, seed=n)
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=3)))
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
        (torch.tensor([[0, VOCAB]]), {}, ValueError, rf"0..{VOCAB - 1}, got \[{VOCAB}\]"),
        (torch.tensor([[-1, 0]]), {}, ValueError, r"got \[-1\]"),
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


def test_a_resonance_model_writes_past_its_longest_time_scale():
    torch.manual_seed(0)
    model = ResonanceLM(VOCAB, 8, 1, 4, longest=16).eval()
    assert model.generate(ids_of(1, 100), 60).shape == (1, 160)


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


@pytest.mark.parametrize("size", [{"vocab_size": 0}, {"hidden_dim": 0}, {"num_layers": 0}, {"recall_heads": -1}])
def test_sizes_that_make_no_model(size):
    with pytest.raises(ValueError, match="expected"):
        ResonanceLM(**{"vocab_size": 5, "hidden_dim": 8, "num_layers": 1, "num_resonators": 2, **size})


def test_an_empty_batch_is_empty():
    assert model_of("resonance", torch.float32)(ids_of(0, 5)).shape == (0, 5, VOCAB)
