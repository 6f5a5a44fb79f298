"""The holographic memory: the physics it claims to be, its limits, its bookkeeping, its gradients."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from resonance import HolographicMemory
from resonance.keys import LAST_KEY
from resonance.memory import capacity_of


def waves(carriers, aperture: int) -> torch.Tensor:
    """The references R (carriers, X), R_f[x] = e^{2 pi i f x / X}, in complex128."""
    x = torch.arange(aperture, dtype=torch.float64)
    return torch.exp(2j * math.pi * torch.as_tensor(carriers, dtype=torch.float64)[:, None] * x / aperture)


def intensity(patterns: torch.Tensor, carriers, aperture: int) -> torch.Tensor:
    """The printed recording, sum_i |P_i[y] + R_i[x]|^2, (dim, X), an exposure at a time."""
    exposures = zip(patterns.to(torch.complex128), waves(carriers, aperture), strict=True)
    return sum((p[:, None] + r).abs().square() for p, r in exposures)


def readout(hologram: torch.Tensor, carriers) -> torch.Tensor:
    """The printed readout, (1/X) sum_x H[y, x] R_f[x], (carriers, dim)."""
    aperture = hologram.shape[1]
    return waves(carriers, aperture) @ hologram.to(torch.complex128).T / aperture


def noise(*shape: int, kind=torch.float64, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=kind, generator=torch.Generator().manual_seed(seed))


def error(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a.to(b.dtype) - b).norm() / b.norm()).item()


def full(dim: int, count: int, *, dtype=torch.float64, seed: int = 0, **options):
    memory = HolographicMemory(dim, count, **options).to(dtype)
    kind = torch.float64.to_complex() if memory.complex_patterns else torch.float64
    patterns = noise(dim, count, kind=kind, seed=seed).T.contiguous()
    memory.encode(patterns)
    return memory, patterns


# --------------------------------------------------------------------------- physics


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(2, 70), st.booleans(), st.data())
def test_every_capacity_up_to_the_limit_is_exact(dim, aperture, is_complex, data):
    most = capacity_of(aperture, complex_patterns=is_complex)
    if most == 0:
        return
    count = data.draw(st.sampled_from([most, max(1, most - 1), 1]))
    memory, patterns = full(dim, count, aperture=aperture, complex_patterns=is_complex, seed=dim + aperture)
    torch.testing.assert_close(memory.reconstruct(memory.keys()), patterns, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("aperture", [2, 3, 8, 9, 31, 64])
def test_the_hologram_is_the_printed_intensity(aperture):
    memory, patterns = full(5, aperture - 1, aperture=aperture)
    turn = torch.tensor([1.0, 1j], dtype=torch.complex128)[torch.arange(len(patterns)) % 2]  # the second in quadrature
    turned = patterns * turn[:, None]
    carriers = torch.arange(len(patterns)) // 2 + 1
    torch.testing.assert_close(memory.hologram, intensity(turned, carriers, aperture), rtol=1e-12, atol=1e-12)
    assert memory.hologram.min() >= 0
    if aperture > 2:
        memory, patterns = full(5, capacity_of(aperture, complex_patterns=True), complex_patterns=True)
        carriers = torch.arange(len(patterns)) + 1
        wanted = intensity(patterns, carriers, memory.aperture)
        torch.testing.assert_close(memory.hologram, wanted, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(readout(wanted, carriers), patterns, rtol=1e-12, atol=1e-12)


def test_the_hologram_after_overwriting_and_forgetting_is_that_of_what_is_held():
    memory, patterns = full(5, 4, complex_patterns=True)
    new = noise(2, 5, kind=torch.complex128, seed=1)
    assert memory.encode(new, overwrite="oldest") == [4, 5]
    held = torch.cat([new, patterns[2:]])
    for forgotten, kept in ((None, [0, 1, 2, 3]), (4, [1, 2, 3]), (2, [1, 3])):
        if forgotten is not None:
            memory.forget(forgotten)
        wanted = intensity(held[kept], torch.tensor(kept) + 1, memory.aperture)
        torch.testing.assert_close(memory.hologram, wanted, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(memory.energy[kept], held[kept].abs().square().sum(1))


def test_a_hologram_with_a_gradient_leaves_none_in_the_memory():
    memory, _ = full(5, 4)
    memory.set_hologram(torch.rand(5, 5, dtype=torch.float64, requires_grad=True))
    assert not memory.hologram.requires_grad


@pytest.mark.parametrize("aperture", [16, 17])
def test_past_the_limit_the_twin_falls_on_another_pattern(aperture):
    most = (aperture - 1) // 2
    patterns = noise(most + 1, 7, kind=torch.complex128)
    carriers = range(1, most + 2)
    hologram = intensity(patterns, carriers, aperture)
    read = readout(hologram, carriers)
    # For even X the last carrier is its own twin, X/2; for odd X it is the twin of the one before.
    twin = patterns[-1] if aperture % 2 == 0 else patterns[-2]
    torch.testing.assert_close(read[-1], patterns[-1] + twin.conj(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(read[: most - 1], patterns[: most - 1], rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match=f"at most {most} complex patterns"):
        HolographicMemory(7, most + 1, aperture=aperture, complex_patterns=True)


@pytest.mark.parametrize("aperture", [4, 5])
def test_no_linear_readout_holds_more_real_patterns(aperture):
    # Any references: X patterns would take X fringes and a background that is alike for every x, X + 1 directions.
    generator = torch.Generator().manual_seed(0)
    fringes = torch.randn(aperture, aperture, generator=generator, dtype=torch.float64)
    unknown = torch.cat([fringes, torch.ones(1, aperture, dtype=torch.float64)])
    assert torch.linalg.matrix_rank(unknown) == aperture < len(unknown)
    with pytest.raises(ValueError, match=f"at most {aperture - 1} real patterns"):
        HolographicMemory(3, aperture, aperture=aperture)


def test_the_default_aperture_is_the_smallest():
    for capacity in (1, 2, 7, 10):
        assert capacity_of(HolographicMemory(2, capacity).aperture - 1) < capacity
        aperture = HolographicMemory(2, capacity, complex_patterns=True).aperture
        assert capacity_of(aperture - 1, complex_patterns=True) < capacity


# --------------------------------------------------------------------------- precision


@pytest.mark.parametrize(("dim", "count"), [(512, 250), (1024, 500), (2048, 1000)])
def test_float32_is_exact_at_the_sizes_of_the_table(dim, count):
    memory, patterns = full(dim, count, dtype=torch.float32, aperture=dim)
    assert error(memory.reconstruct(memory.keys()), patterns) < 1e-6  # required: 1e-4
    assert memory.hologram.shape == (dim, dim)


def test_one_at_a_time_is_as_exact():
    memory = HolographicMemory(128, 100)
    patterns = noise(100, 128)
    for pattern in patterns:
        memory.encode(pattern)
    assert error(memory.reconstruct(memory.keys()), patterns) < 1e-6


def test_ten_thousand_writes_do_not_drift():
    memory = HolographicMemory(64, 60)
    patterns = noise(60, 64)
    memory.encode(patterns)
    for turn in range(5000):
        memory.forget(memory.keys()[-1])
        memory.encode(noise(64, seed=turn))
    assert error(memory.reconstruct(range(59)), patterns[:59]) < 5e-6  # required: 1e-4
    assert error(memory.reconstruct(), noise(64, seed=4999)) < 1e-6  # a new pattern has none of the old rounding errors
    level = memory.background.double()
    held = memory.reconstruct(memory.keys()).double()
    torch.testing.assert_close(level, (held.square() + 1).sum(dim=0), rtol=1e-4, atol=0.0)


def test_low_precision_storage_costs_what_its_rounding_costs():
    for dtype, bound in ((torch.bfloat16, 5e-3), (torch.float16, 1e-3)):
        memory, patterns = full(256, 200, dtype=dtype)
        read = memory.reconstruct(memory.keys())
        assert read.dtype == dtype and 1e-5 < error(read.double(), patterns) < bound
        assert memory.recall(patterns)[0] == memory.keys()


def test_moves_between_dtypes_keep_patterns_and_keys():
    memory, patterns = full(33, 20, dtype=torch.float64)
    memory.forget([3, 4])
    memory = memory.float().double().float()
    assert memory.index.key.dtype == torch.int64 and len(memory) == 18
    assert error(memory.reconstruct(9), patterns[9]) < 1e-6
    assert memory.reconstruct(9).dtype == torch.float32


@pytest.mark.parametrize("device", ["cuda"])
def test_moves_to_a_device(device):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    memory, patterns = full(33, 20, dtype=torch.float32)
    memory = memory.to(device)
    memory.encode(noise(33), overwrite="oldest")
    assert error(memory.reconstruct(9).cpu(), patterns[9]) < 1e-6
    assert memory.recall(patterns[9].to(device) + 0.1)[0] == 9


def test_autocast_does_not_touch_the_recording():
    patterns = noise(20, 32)
    with torch.autocast("cpu", torch.bfloat16):
        memory = HolographicMemory(32, 20)
        memory.encode(patterns)
        assert error(memory.reconstruct(memory.keys()), patterns) < 1e-6
        assert error(memory.correlate(patterns.float()), patterns @ patterns.T) < 1e-6


# --------------------------------------------------------------------------- verbs


@pytest.mark.parametrize("is_complex", [False, True])
def test_a_batch_equals_its_patterns_in_turn(is_complex):
    a, b = (HolographicMemory(12, 7, complex_patterns=is_complex).double() for _ in range(2))
    patterns = noise(19, 12, kind=torch.complex128 if is_complex else torch.float64)
    for batch in patterns.split([3, 2, 11, 3]):
        a.encode(batch, overwrite="oldest")
        for pattern in batch:
            b.encode(pattern, overwrite="oldest")
    assert a.keys() == b.keys() == list(range(12, 19))
    torch.testing.assert_close(a.reconstruct(a.keys()), patterns[12:], rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(b.reconstruct(b.keys()), patterns[12:], rtol=1e-11, atol=1e-11)


def test_encode_takes_numpy_and_lists_of_keys_and_returns_keys():
    memory = HolographicMemory(6, 10)
    array = np.arange(12.0).reshape(2, 6)
    assert memory.encode(array[0]) == 0
    assert memory.encode(array, key=[40, 7]) == [40, 7]
    assert memory.encode(torch.ones(6)) == 41  # one above the highest so far
    assert memory.encode(np.ones((1, 6)), key=np.array([5])) == [5]
    assert memory.keys() == [0, 40, 7, 41, 5] and len(memory) == 5 and 7 in memory and 8 not in memory
    torch.testing.assert_close(memory.reconstruct(torch.tensor([7, 40])), torch.tensor(array[::-1].copy()).float())
    torch.testing.assert_close(memory.reconstruct(), torch.ones(6))
    assert memory.reconstruct([]).shape == (0, 6)
    assert memory.encode(torch.zeros(6)) == 42  # a lower key between does not set it back


def test_the_last_is_read_by_default_also_after_forgetting():
    memory = HolographicMemory(3, 4).double()
    patterns = noise(4, 3)
    memory.encode(patterns)
    torch.testing.assert_close(memory.reconstruct(), patterns[3])
    memory.forget(3)
    torch.testing.assert_close(memory.reconstruct(), patterns[2])
    memory.encode(patterns[0], key=9)  # takes the free slot, and is the last
    torch.testing.assert_close(memory.reconstruct(), patterns[0])
    assert memory.keys() == [0, 1, 2, 9]


@pytest.mark.parametrize("is_complex", [False, True])
def test_forgetting_is_exact(is_complex):
    memory, patterns = full(16, 9, complex_patterns=is_complex)
    light = noise(4, 16, kind=patterns.dtype, seed=1)
    before = memory.correlate(light)
    memory.forget([2, 5, 5])
    after = memory.correlate(light)
    assert memory.keys() == [0, 1, 3, 4, 6, 7, 8] and len(memory) == 7
    kept = torch.tensor(memory.keys())
    torch.testing.assert_close(after[:, kept], before[:, kept], rtol=1e-12, atol=1e-12)
    assert after[:, [2, 5]].abs().max() < 1e-13
    torch.testing.assert_close(memory.reconstruct(kept), patterns[kept], rtol=1e-12, atol=1e-12)
    rebuilt = HolographicMemory(16, 9, complex_patterns=is_complex).double()
    rebuilt.encode(patterns)
    rebuilt.forget([2, 5])
    torch.testing.assert_close(memory.hologram, rebuilt.hologram)


def test_clear_and_forgetting_all_leave_nothing():
    for empty in (lambda m: m.clear(), lambda m: m.forget(m.keys())):
        memory, _ = full(8, 5)
        empty(memory)
        assert len(memory) == 0 and memory.keys() == [] and torch.count_nonzero(memory.hologram) == 0
        assert memory.encode(torch.ones(8)) == 5  # keys are not given twice


def test_the_oldest_give_way_and_the_rest_stay():
    memory, patterns = full(8, 5)
    new = noise(2, 8, seed=5)
    assert memory.encode(new, overwrite="oldest") == [5, 6] and memory.keys() == [2, 3, 4, 5, 6]
    torch.testing.assert_close(
        memory.reconstruct(memory.keys()), torch.cat([patterns[2:], new]), rtol=1e-12, atol=1e-12
    )


def test_recall_from_noise_and_from_a_part():
    memory, patterns = full(128, 60, dtype=torch.float32)
    large = patterns * 3.0
    memory.forget(range(30))
    memory.encode(large[:30], key=range(100, 130))  # patterns of two sizes: the nearest, not the largest
    keys = [*range(100, 130), *range(30, 60)]
    stored = torch.cat([large[:30], patterns[30:]])
    noisy = stored + noise(60, 128, seed=3)
    found, read = memory.recall(noisy)
    assert found == keys and error(read, stored) < 1e-6
    erased = noisy.clone()
    known = noise(60, 128, seed=4) > 0.7  # a quarter
    erased[~known] = float("nan")
    assert memory.recall(erased, known=known)[0] == keys
    half = torch.arange(128) < 64
    key, one = memory.recall(erased[5].nan_to_num(), known=half & known[5])
    assert key == 105 and error(one, large[5]) < 1e-6
    assert memory.recall(noisy[40].numpy(), known=half.numpy())[0] == 40


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 20), st.integers(1, 20), st.booleans(), st.integers(0, 10**6), st.data())
def test_recall_is_the_nearest_pattern(dim, count, is_complex, seed, data):
    memory, patterns = full(dim, count, complex_patterns=is_complex, seed=seed)
    cues = noise(3, dim, kind=patterns.dtype, seed=seed + 1)
    gone = data.draw(st.sets(st.integers(0, count - 1), max_size=count - 1))
    memory.forget(list(gone))
    held = torch.tensor(memory.keys())
    for known in (None, torch.arange(dim) % 2 == 0):
        part = torch.ones(dim, dtype=torch.bool) if known is None else known
        distance = torch.cdist(torch.view_as_real(cues[:, part] + 0j).flatten(1), _real(patterns[held][:, part]))
        assert memory.recall(cues, known=known)[0] == held[distance.argmin(dim=1)].tolist()


def _real(patterns: torch.Tensor) -> torch.Tensor:
    return torch.view_as_real(patterns + 0j).flatten(1)


def test_a_changed_hologram_is_read_as_it_is():
    memory, patterns = full(32, 20, aperture=64)
    hologram = memory.hologram
    memory.set_hologram(hologram + 3.0)  # a level more is no fringe
    torch.testing.assert_close(memory.hologram, hologram + 3.0)
    torch.testing.assert_close(memory.reconstruct(range(20)), patterns, rtol=1e-12, atol=1e-12)
    memory.set_hologram(hologram + 0.1 * noise(32, 64, seed=1))
    # (1/X) sum_x n[x] cos(2 pi f x / X) has the variance s^2 / 2X.
    expected = 0.1 / math.sqrt(2 * 64)
    assert (memory.reconstruct(range(20)) - patterns).square().mean().sqrt().item() == pytest.approx(expected, rel=0.1)


# --------------------------------------------------------------------------- persistence


@pytest.mark.parametrize("by", ["state dict", "safetensors", "copy"])
def test_all_of_it_survives(by, tmp_path):
    memory, _ = full(10, 6, dtype=torch.float32)
    memory.forget([1, 4])
    memory.encode(torch.ones(10), key=77)
    if by == "copy":
        other = copy.deepcopy(memory)
    else:
        other = HolographicMemory(10, 6)
        other.encode(noise(10))  # what it held is gone
        state = memory.state_dict()
        if by == "safetensors":
            save_file(state, tmp_path / "memory.safetensors")
            state = load_file(tmp_path / "memory.safetensors")
        other.load_state_dict(state)
    assert other.keys() == memory.keys() == [0, 2, 3, 5, 77]
    assert torch.equal(other.reconstruct(other.keys()), memory.reconstruct(memory.keys()))
    assert other.encode(torch.zeros(10)) == 78 == memory.encode(torch.zeros(10))
    with pytest.raises(RuntimeError, match="capacity 6"):
        other.encode(torch.zeros(10))
    assert all(not buffer.is_complex() for buffer in other.buffers())


# --------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("is_complex", [False, True])
def test_the_reading_is_what_it_says_and_differentiable(is_complex):
    memory, patterns = full(6, 5, complex_patterns=is_complex)
    cue = noise(3, 6, kind=patterns.dtype, seed=1).requires_grad_(True)
    weights = noise(2, 5, seed=2).requires_grad_(True)
    torch.testing.assert_close(memory.correlate(cue), (cue.conj() @ patterns.T).real, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(memory.superpose(weights), weights.to(patterns.dtype) @ patterns, rtol=1e-11, atol=1e-11)
    assert torch.autograd.gradcheck(memory.correlate, (cue,))
    assert torch.autograd.gradcheck(memory.superpose, (weights,))
    assert torch.autograd.gradgradcheck(lambda c: memory.correlate(c).square(), (cue,))


def test_a_reading_keeps_its_gradient_through_later_writes():
    memory, patterns = full(6, 5)
    cue = noise(6).requires_grad_(True)
    first = memory.correlate(cue)
    memory.encode(noise(6, seed=9), overwrite="oldest")
    first.sum().backward()
    torch.testing.assert_close(cue.grad, patterns.sum(dim=0), rtol=1e-11, atol=1e-11)


# --------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("call", "kind", "says"),
    [
        (lambda m: m.encode(torch.ones(5)), ValueError, r"\(4,\) or a batch \(m, 4\), got \(5,\)"),
        (lambda m: m.encode(torch.ones(0, 4)), ValueError, "batch"),
        (lambda m: m.encode(torch.ones(1, 1, 4)), ValueError, "batch"),
        (lambda m: m.encode(torch.tensor([1.0, float("nan"), 0, 0])), ValueError, "finite"),
        (lambda m: m.encode(torch.full((4,), 1e300, dtype=torch.float64)), ValueError, "overflows"),
        (lambda m: m.encode(torch.full((4,), 1e19)), ValueError, "energy"),
        (lambda m: m.encode(torch.ones(4) + 1j), TypeError, "complex_patterns=True"),
        (lambda m: m.encode(torch.ones(2, 4)), RuntimeError, "capacity 3"),
        (lambda m: m.encode(torch.ones(4), overwrite="newest"), ValueError, "'oldest'"),
        (lambda m: m.encode(torch.ones(4), key=1), ValueError, "key 1 is in use"),
        (lambda m: m.encode(torch.ones(2, 4), key=[5, 5], overwrite="oldest"), ValueError, "twice"),
        (lambda m: m.encode(torch.ones(2, 4), key=[5]), ValueError, "2 keys"),
        (lambda m: m.encode(torch.ones(4), key=[5]), ValueError, "one key"),
        (lambda m: m.encode(torch.ones(4), key=-1), ValueError, "whole numbers"),
        (lambda m: m.encode(torch.ones(4), key=LAST_KEY + 1), ValueError, "whole numbers"),
        (lambda m: m.encode(torch.ones(4), key="a"), TypeError, "whole numbers"),
        (lambda m: m.encode(torch.ones(4), key=1.0), TypeError, "whole numbers"),
        (lambda m: m.reconstruct(9), KeyError, "no pattern has key 9"),
        (lambda m: m.reconstruct([0, 9]), KeyError, "key 9"),
        (lambda m: m.forget(9), KeyError, "key 9"),
        (lambda m: m.forget(None), TypeError, "whole numbers"),
        (lambda m: m.recall(torch.ones(5)), ValueError, "cue"),
        (lambda m: m.recall(torch.ones(4), known=torch.ones(3)), ValueError, "known"),
        (lambda m: m.recall(torch.full((4,), float("inf"))), ValueError, "finite cue"),
        (lambda m: m.correlate(torch.ones(5)), ValueError, "cues"),
        (lambda m: m.superpose(torch.ones(4)), ValueError, "one a carrier"),
        (lambda m: m.set_hologram(torch.ones(4, 5)), ValueError, "hologram"),
        (lambda m: HolographicMemory(4, 4, aperture=4), ValueError, "at most 3 real"),
        (lambda m: HolographicMemory(4, 2, aperture=4, complex_patterns=True), ValueError, "at most 1 complex"),
        (lambda m: HolographicMemory(0, 4), ValueError, "dim >= 1"),
        (lambda m: HolographicMemory(4, 0), ValueError, "capacity >= 1"),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(call, kind, says):
    memory = HolographicMemory(4, 3)
    memory.encode(torch.eye(4)[:2])
    before = copy.deepcopy(memory.state_dict())
    with pytest.raises(kind, match=says):
        call(memory)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), memory.state_dict().values(), strict=True))


def test_an_empty_memory_says_so():
    memory = HolographicMemory(4, 3)
    for call in (memory.reconstruct, lambda: memory.recall(torch.ones(4))):
        with pytest.raises(LookupError, match="empty"):
            call()
    assert memory.correlate(torch.ones(4)).abs().max() == 0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("complex_patterns", [False, True])
def test_reading_is_one_graph_for_every_number_of_cues(complex_patterns):
    torch.manual_seed(0)

    class Reading(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.memory = HolographicMemory(6, 5, complex_patterns=complex_patterns)

        def forward(self, cue):
            return self.memory.superpose(torch.softmax(self.memory.correlate(cue), -1))

    reading, cues = Reading(), torch.randn(7, 6)
    reading.memory.encode(torch.randn(4, 6))
    batch = torch.export.Dim("batch", min=1)
    exported = torch.export.export(reading, (cues[:3],), dynamic_shapes=({0: batch},)).module()
    compiled = torch.compile(reading, backend="eager", fullgraph=True)
    for count in (1, 7):
        for graph in (exported, compiled):
            torch.testing.assert_close(graph(cues[:count]), reading(cues[:count]))
    assert reading(cues[:0]).shape == (0, 6)
