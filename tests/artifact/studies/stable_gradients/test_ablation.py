"""The ablation: variants that differ in coordinates alone, replicas equal to single runs, paired comparisons."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from artifact.datasets.images import Images
from artifact.peers.cartesian import to_cartesian
from artifact.studies.common.statistics import paired_difference
from artifact.studies.stable_gradients.ablation import (
    CARTESIAN,
    FAST_PHASE,
    NATURAL,
    ONE_RATE,
    OPTIMIZERS,
    TWO_RATES,
    UNTRAINED,
    VARIANTS,
    Replicas,
    ablate,
    cells_won,
    chosen_rates,
    compare_steadiness,
    compare_variants,
    judge,
    kindest,
    rates_failed,
    readings,
)
from artifact.studies.stable_gradients.ablation import test_scores as scores_of
from artifact.studies.stable_gradients.tasks import Classification, Forecasting, Identification
from resonance.forecasting import Series, evaluate, forecast_task
from resonance.polar import natural_polar_step, parameter_roles
from resonance.spectral import analysis, synthesis


def small_tasks():
    rng = np.random.default_rng(0)
    walk = rng.standard_normal((400, 2)).cumsum(axis=0)
    labels = rng.integers(0, 10, 120)
    pictures = (rng.random((120, 6, 6)) * 0.5 + labels[:, None, None] / 20).astype(np.float32)
    images = Images("drawn", (pictures[:80], labels[:80]), (pictures[80:], labels[80:]))
    series = Series("drawn", walk, ("a", "b"), period=12, step="hour")
    return {
        "identification": Identification(k=6, channels=2, n=16, batch=4),
        "forecasting": Forecasting(forecast_task(series, 12), lookback=24, rank=3, batch=4),
        "classification": Classification(images, hidden=8, layers=1, batch=8),
    }


TASKS = small_tasks()


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tensors are tiny here: a second thread only waits for the first."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# --------------------------------------------------------------------------- coordinates


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.key)
@pytest.mark.parametrize("name", TASKS)
def test_every_variant_starts_from_the_same_map(name, variant):
    task = TASKS[name]
    scores = [Replicas(task, a, [0.1], [3, 4]).score("test") for a in (CARTESIAN, variant)]
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5, atol=1e-7)


# --------------------------------------------------------------------------- replicas


def one_run(task, variant, optimizer, rate, seed, steps):
    """Train one model by torch alone: the oracle of `Replicas`.  Batches are those of the first seed of a stack."""
    model = task.model(seed)
    if variant.cartesian:
        model = to_cartesian(model)
    groups = [
        {"params": [p], "lr": rate * (variant.phase_ratio if role == "phase" else 1)}
        for role, _, p in parameter_roles(model)
    ]
    optimiser = optimizer(groups, lr=rate)
    for inputs, target in task.batches([seed], steps):
        optimiser.zero_grad()
        task.loss(model(*(x[0] for x in inputs)), target[0]).backward()
        if variant.natural:
            with natural_polar_step(model):
                optimiser.step()
        else:
            optimiser.step()
    return model


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("variant", (CARTESIAN, TWO_RATES, NATURAL), ids=lambda variant: variant.key)
@pytest.mark.parametrize("name", TASKS)
def test_a_replica_is_what_one_run_would_be(name, variant, optimizer):
    task, rates, seeds = TASKS[name], [0.003, 0.02], [7, 19]
    replicas = Replicas(task, variant, rates, seeds).train(OPTIMIZERS[optimizer], 4)
    for i, j in ((0, 1), (1, 0)):
        alone = one_run(task, variant, OPTIMIZERS[optimizer], rates[i], seeds[j], 4)
        for parameter_name, parameter in alone.named_parameters():
            mine = replicas.parameters[parameter_name][i, j]
            # Adam turns rounding of a gradient near zero into a step: a hundredth of the largest step may differ.
            torch.testing.assert_close(mine, parameter.detach(), rtol=1e-4, atol=4e-2 * rates[i])


def test_a_replica_that_diverges_leaves_the_others_alone():
    task = TASKS["forecasting"]
    wild = Replicas(task, ONE_RATE, [1e12, 0.01], [1]).train(torch.optim.SGD, 8)
    calm = Replicas(task, ONE_RATE, [0.01], [1]).train(torch.optim.SGD, 8)
    scores = wild.score("test")
    assert scores[0, 0] == math.inf
    np.testing.assert_allclose(scores[1], calm.score("test")[0], rtol=1e-5)


def test_natural_step_follows_cartesian_descent():
    task = TASKS["identification"]
    ends = {}
    for variant in (CARTESIAN, NATURAL, ONE_RATE):
        replicas = Replicas(task, variant, [1e-3], [1, 2]).train(torch.optim.SGD, 20)
        p = replicas.parameters
        ends[variant] = (
            (p["re"], p["im"])
            if variant.cartesian
            else tuple(p["magnitude"] * turn for turn in (p["phase"].cos(), p["phase"].sin()))
        )
    gap = {
        variant: sum((a - b).square().sum() for a, b in zip(ends[variant], ends[CARTESIAN], strict=True))
        for variant in ends
    }
    moved = sum((a - b).square().sum() for a, b in zip(ends[CARTESIAN], task.model(1).pair(), strict=True))
    assert gap[NATURAL] < 1e-4 * moved


# --------------------------------------------------------------------------- tasks


def test_identification_loss_is_the_squared_error_of_the_signal():
    task = TASKS["identification"]
    inputs, target = next(task.batches([5], 1))
    weight = task.model(9)
    out = weight(*(x[0] for x in inputs))
    error = [a - b for a, b in zip(out, target[0], strict=True)]
    padded = [torch.cat([torch.zeros_like(part[:, :1]), part], dim=1) for part in error]  # DC is left out
    signal = synthesis(*padded, task.n)
    torch.testing.assert_close(task.loss(out, target[0]), signal.square().sum() / task.batch, rtol=1e-4, atol=1e-4)


def test_identification_scores_the_truth_zero_and_silence_one():
    task = TASKS["identification"]
    replicas = Replicas(task, CARTESIAN, [0.1], [5, 15])
    truth = task.filters([5, 15])
    replicas.parameters = {"re": truth[None, :, 0].clone(), "im": truth[None, :, 1].clone()}
    assert (replicas.score("test") == 0).all()
    replicas.parameters["re"][0, 0] *= 1.2  # the imaginary part of one weight may carry the most
    replicas.parameters["im"][0, 0] *= 1.2
    assert (replicas.score("test")[0] == [1.0, 0.0]).all()
    replicas.parameters = {name: torch.zeros_like(p) for name, p in replicas.parameters.items()}
    assert (replicas.score("test") == 1).all()


def test_the_start_knows_nothing_of_the_filter():
    task = Identification()
    phases = torch.stack([torch.atan2(*task.filters([seed])[0].flip(0)) for seed in range(0, 200, 10)])
    starts = torch.stack([task.model(seed).phase.detach() for seed in range(0, 200, 10)])
    assert (phases - starts).cos().mean().abs() < 0.05  # 5120 angles: a standard error of 0.01


def test_forecasting_scores_every_test_window():
    task = TASKS["forecasting"]
    replicas = Replicas(task, CARTESIAN, [0.1], [2])
    expected = evaluate(to_cartesian(task.model(2)), task.windows["test"])[0]
    assert replicas.score("test").item() == pytest.approx(expected, rel=1e-5)


def test_classification_splits_share_no_image_and_are_standardised_by_training():
    task = TASKS["classification"]
    sizes = {name: len(labels) for name, (_, labels) in task.splits.items()}
    assert sizes == {"train": 60, "validation": 20, "test": 40}
    images = task.splits["train"][0]
    assert abs(images.mean()) < 1e-5 and abs(images.std() - 1) < 1e-2
    rows = torch.cat([x.flatten(1) for x, _ in task.splits.values()])
    assert len(rows.unique(dim=0)) == 120


def test_classification_counts_what_is_no_number_as_wrong():
    task = TASKS["classification"]
    labels = task.splits["test"][1]
    perfect = nn.functional.one_hot(labels, 10).float()[:, None]  # a sequence of one row
    assert task.score(lambda x: perfect, [0], "test") == 0
    assert task.score(lambda x: torch.full((len(x), 1, 10), math.nan), [0], "test") == 1


@pytest.mark.parametrize("name", TASKS)
def test_batches_differ_by_seed_and_step_and_repeat(name):
    task = TASKS[name]
    first, second = list(task.batches([0, 10], 2)), list(task.batches([0, 10], 2))
    for (inputs, target), (again, target_again) in zip(first, second, strict=True):
        assert torch.equal(inputs[0], again[0]) and torch.equal(target, target_again)
        assert not torch.equal(inputs[0][0], inputs[0][1])
    assert not torch.equal(first[0][0][0], first[1][0][0])
    assert torch.equal(next(task.batches([10], 1))[0][0][0], first[0][0][0][1])


# --------------------------------------------------------------------------- tuning, test, comparisons


@pytest.fixture(scope="module")
def results():
    grid = {"SGD": [0.01, 0.1, 1e9], "Adam": [0.01, 0.1]}
    run = [ablate(task, grid, steps=4, tuning_seeds=2, seeds=3) for task in TASKS.values()]
    return pd.concat(run, ignore_index=True)


def test_ablate_is_whole_and_repeats(results):
    per_task = 2 + 3 + len(VARIANTS) * (3 * 2 + 3 + 2 * 2 + 3)
    assert (results.groupby("task").size() == per_task).all()
    again = ablate(TASKS["classification"], {"SGD": [0.01, 0.1, 1e9]}, steps=4, tuning_seeds=2, seeds=3)
    same = results[(results["task"] == "classification") & results["optimizer"].isin(["none", "SGD"])]
    pd.testing.assert_frame_equal(again, same.reset_index(drop=True))


def test_the_rate_is_the_best_on_validation_and_is_what_was_tested(results):
    chosen = chosen_rates(results).set_index(["task", "optimizer", "variant"])
    assert len(chosen) == 3 * 2 * len(VARIANTS)
    trained = results[results["variant"] != UNTRAINED]
    for key, group in trained.groupby(["task", "optimizer", "variant"]):
        validation = group[group["split"] == "validation"].groupby("rate")["score"].mean()
        assert chosen.loc[key, "rate"] == validation.idxmin()
        assert set(group.loc[group["split"] == "test", "rate"]) == {validation.idxmin()}
    assert not chosen.loc["forecasting"].loc["Adam", "inside"].any()  # a grid of two has no inside
    failed = rates_failed(results)
    assert failed["score"].between(0, 3).all() and (failed.groupby(["task", "variant", "optimizer"]).size() == 2).all()


@pytest.mark.parametrize(
    "bad, says", [({"rates": {"Lion": [0.1]}}, "Lion"), ({"seeds": 0}, "50"), ({"tuning_seeds": 51}, "51")]
)
def test_ablate_refuses_what_it_cannot_do(bad, says):
    call = {"rates": {"SGD": [0.1, 0.2]}, "steps": 1, "tuning_seeds": 1, "seeds": 1} | bad
    with pytest.raises(ValueError, match=says):
        ablate(TASKS["identification"], **call)


def test_tuning_and_test_share_no_seed(monkeypatch):
    seen = []
    task = Identification(k=2, channels=1, n=8, batch=2)
    model = task.model
    monkeypatch.setattr(task, "model", lambda seed: seen.append(seed) or model(seed))
    ablate(task, {"SGD": [0.1, 0.2]}, steps=1, tuning_seeds=50, seeds=50)
    assert len(set(seen)) == 100 and np.diff(sorted(set(seen))).min() >= 10  # a seed's draws use seed .. seed + 2


def test_a_grid_widens_for_each_variant_until_its_best_rate_is_inside():
    task = TASKS["forecasting"]
    grid = {"SGD": [1e-5, 1e-3]}  # far too small: each variant needs larger rates
    options = {"steps": 4, "tuning_seeds": 2, "seeds": 1}
    narrow, wide = (ablate(task, grid, wider=wider, **options) for wider in (0, 4))
    assert not chosen_rates(narrow)["inside"].any() and (chosen_rates(narrow)["rate"] == 1e-3).all()
    chosen = chosen_rates(wide).set_index("variant")
    assert chosen["inside"].all() and (chosen["rate"] >= 0.1).all()
    validation = wide[(wide["split"] == "validation") & (wide["variant"] == ONE_RATE.name)]
    rates = validation.groupby("rate")["score"].mean()
    assert {1e-5, 1e-3, 0.1} <= set(rates.index) and len(validation) == 2 * len(rates)
    assert rates.idxmin() == chosen.loc[ONE_RATE.name, "rate"]
    before = narrow[(narrow["split"] == "validation") & (narrow["variant"] == ONE_RATE.name)]
    assert validation[validation["rate"] <= 1e-3]["score"].tolist() == before["score"].tolist()


def test_rates_that_only_some_variants_tried_do_not_count_as_steadier():
    rows = [("a", "none", UNTRAINED, "validation", 0.0, seed, 1.0, False) for seed in (0, 1)]
    for variant, rates in ((ONE_RATE, (0.1, 1.0)), (TWO_RATES, (0.1, 1.0, 10.0))):
        rows += [("a", "SGD", variant.name, "validation", r, seed, 0.5 / r, False) for r in rates for seed in (0, 1)]
    table = pd.DataFrame(rows, columns=["task", "optimizer", "variant", "split", "rate", "seed", "score", "diverged"])
    table.loc[(table["rate"] == 0.1) & (table["seed"] == 1), "score"] = 2.0  # one seed does not train there
    failed = rates_failed(table).pivot(index="variant", columns="seed", values="score")
    assert failed.loc[ONE_RATE.name].tolist() == failed.loc[TWO_RATES.name].tolist() == [1, 1]
    chosen = chosen_rates(table).set_index("variant")
    assert chosen["trains"].all()  # at 1.0, every seed
    assert chosen["rate"].to_dict() == {ONE_RATE.name: 1.0, TWO_RATES.name: 10.0}
    assert not chosen["inside"].any()


def test_what_diverged_in_tuning_is_marked_and_never_chosen(results):
    wild = results[(results["rate"] == 1e9) & (results["task"] == "forecasting")]
    assert len(wild) and wild["diverged"].all() and (wild["split"] == "validation").all()
    assert np.isfinite(results.loc[results["split"] == "test", "score"]).all()


def drawn_results(shift: dict[str, float], noise: float = 0.01, seeds: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for task in ("a", "b"):
        level = rng.standard_normal(seeds)  # shared by the variants: pairing takes it away
        for variant in VARIANTS:
            for seed in range(seeds):
                score = level[seed] + shift.get(variant.name, 0.0) + noise * rng.standard_normal()
                rows.append((task, "SGD", variant.name, "test", 0.1, seed, score, False))
    return pd.DataFrame(rows, columns=["task", "optimizer", "variant", "split", "rate", "seed", "score", "diverged"])


def test_pairs_find_what_the_means_hide():
    table = drawn_results({NATURAL.name: -0.1, TWO_RATES.name: 0.1})
    against = compare_variants(table, CARTESIAN)
    assert len(against) == 2 * 4 and (against["p_holm"] >= against["p"]).all()
    assert cells_won(against, (NATURAL,)) == ["a by SGD", "b by SGD"]
    assert cells_won(against, (NATURAL,), better=False) == []
    assert cells_won(against, (ONE_RATE, TWO_RATES), better=False) == ["a by SGD", "b by SGD"]
    assert cells_won(against, (ONE_RATE, FAST_PHASE)) == []
    natural = against[against["variant"] == NATURAL.name]
    assert ((natural["low"] < -0.1) | (natural["difference"] < -0.08)).all() and (natural["high"] < 0).all()
    spread = scores_of(table).set_index(["task", "variant"]).loc[("a", NATURAL.name)]
    assert spread["low"] < spread["mean"] - 0.3  # the level between seeds, which pairing removed


def test_holm_by_hand():
    against = compare_variants(drawn_results({NATURAL.name: -0.02}), CARTESIAN).sort_values("p")
    steps = against["p"].to_numpy() * np.arange(len(against), 0, -1)
    np.testing.assert_allclose(against["p_holm"], np.minimum(np.maximum.accumulate(steps), 1))


def test_no_variant_is_compared_with_itself_or_judged_as_cartesian():
    against = compare_variants(drawn_results({}), ONE_RATE)
    assert set(against["variant"]) == {TWO_RATES.name, FAST_PHASE.name, NATURAL.name}


def test_paired_difference_is_scipys_t_test_and_survives_ties():
    from scipy import stats

    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 7))
    mean, low, high, p = paired_difference(a, b)
    test = stats.ttest_rel(a, b)
    assert p == pytest.approx(test.pvalue) and mean == pytest.approx((a - b).mean())
    assert (low, high) == pytest.approx(tuple(test.confidence_interval()))
    assert paired_difference([1, 2], [1, 2])[3] == 1.0
    assert paired_difference([2, 3], [1, 2])[3] == 0.0
    assert math.isnan(paired_difference([2], [1])[3])


def test_judge():
    assert judge(["x"] * 6, [], 6) == "holds"
    assert judge(["x"], [], 6) == "holds if"
    assert judge(["x"], ["y"], 6) == judge([], [], 6) == "false as printed"


def test_the_kindest_reading_counts():
    lost, mixed, some = ([], ["b"]), (["a"], ["b"]), (["a"], [])
    assert kindest({"one": lost, "two": some, "three": mixed}, 6) == ("two", "holds if")
    assert kindest({"one": lost, "two": mixed}, 6) == ("two", "false as printed")
    assert kindest({"one": some, "two": (list("abcdef"), [])}, 6) == ("two", "holds")


def test_readings_are_of_each_variant_against_the_baseline():
    ends = compare_variants(drawn_results({ONE_RATE.name: -0.1, TWO_RATES.name: 0.1}), CARTESIAN)
    steady = compare_variants(drawn_results({ONE_RATE.name: 0.1, TWO_RATES.name: -0.1}), CARTESIAN)
    cells = ["a by SGD", "b by SGD"]
    assert readings(ends, steady, (ONE_RATE, TWO_RATES)) == {
        f"{ONE_RATE.name}: ends better": (cells, []),
        f"{ONE_RATE.name}: trains at more rates": ([], cells),
        f"{TWO_RATES.name}: ends better": ([], cells),
        f"{TWO_RATES.name}: trains at more rates": (cells, []),
    }


def test_training_at_more_rates_needs_more_than_one_seed_to_say_so():
    """Each seed counts the rates at which it ends below its untrained score; a difference must show over the seeds."""
    rows = [("a", "none", UNTRAINED, "validation", 0.0, seed, 1.0, False) for seed in range(5)]
    for variant in VARIANTS:
        rows += [("a", "SGD", variant.name, "validation", r, s, 0.5, False) for r in (0.1, 1.0) for s in range(5)]
    table = pd.DataFrame(rows, columns=["task", "optimizer", "variant", "split", "rate", "seed", "score", "diverged"])
    fails = (table["variant"] == ONE_RATE.name) & (table["rate"] == 1.0)
    for seeds, won in (([0], []), (range(5), ["a by SGD"])):
        results = table.assign(score=table["score"].mask(fails & table["seed"].isin(seeds), 2.0))
        steadiness = compare_steadiness(results, ONE_RATE)
        assert (steadiness["difference"] == -len(seeds) / 5).all()
        assert cells_won(steadiness, (TWO_RATES,)) == won and cells_won(steadiness, (TWO_RATES,), better=False) == []


def test_analysis_of_a_stack_is_that_of_each():
    """The engine's own gradient rules hold under two nested maps, as the replicas use them."""
    x = torch.randn(2, 3, 16, 2)
    stacked = torch.vmap(torch.vmap(lambda s: torch.cat(analysis(s[None], 5))))(x)
    alone = torch.stack([torch.cat(analysis(s[None], 5)) for s in x.flatten(0, 1)]).unflatten(0, (2, 3))
    torch.testing.assert_close(stacked, alone)
