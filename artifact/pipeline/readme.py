"""The generated parts of README.md, from the ledger of the reference run."""

from __future__ import annotations

import re

import pandas as pd

from artifact.pipeline.ledger import read_ledger
from artifact.pipeline.runner import RunError
from artifact.pipeline.tables import STEPS, lengths_of, remark_on, speed_rows


def readme_parts() -> dict[str, str]:
    """Return the generated parts of README.md, from the reference run."""
    claims, measures = read_ledger("full")
    judged = claims[claims["verdict"] != "not measured"].astype(object)
    judged = judged.where(judged.notna(), "")
    rows = ["| claim | as printed | verdict | condition, or what is true | notebook |", "|---|---|---|---|---|"]
    for _, claim in judged.iterrows():
        cells = [f"`{claim['id']}`", claim["printed"], f"**{claim['verdict']}**", remark_on(claim)]
        cells.append(f"`{claim['notebook']}`")
        rows.append("| " + " | ".join(str(c).replace("|", "\\|") for c in cells) + " |")
    rest = len(claims) - len(judged)
    if rest:
        rows += ["", f"{rest} of {len(claims)} claims are not measured yet."]
    verdicts = "\n".join(rows)
    value = measures.set_index("key")
    rows = ["| result | value [95% interval] | command |", "|---|---|---|"]
    for label, key, command, digits in (
        ("ETTh1-96 test MSE, `ResonanceTimeSeriesNet`", "forecast.resonance.mse", "08", 4),
        ("its real parameters", "forecast.resonance.parameters", "08", 0),
        ("ETTh1-96 test MSE, closed-form ridge (control)", "forecast.ridge.mse", "08", 4),
        ("ETTh1-96 test MSE, DLinear", "forecast.dlinear.mse", "08", 4),
        ("ETTh1-96 test MSE, FITS form (control: published 0.372)", "forecast.fits.mse", "08", 4),
        ("ETTh1-96 test MSE, Transformer on patches", "forecast.transformer.mse", "08", 4),
        ("MNIST test accuracy, `ResonanceVisionNet`", "vision.long.accuracy", "09", 4),
        ("its real parameters", "vision.long.parameters", "09", 0),
        ("spoken digits, official test, %, `ResonanceAudioNet`", "audio.resonance.official", "10", 2),
        ("spoken digits by speakers never heard, %", "audio.resonance.speakers", "10", 1),
        ("the same, a Transformer on the same frames", "audio.transformer.speakers", "10", 1),
        ("three modalities less the best one alone, points, worst condition", "fusion.least_margin", "11", 1),
        ("all modalities, all conditions: ours less late fusion, points", "fusion.fused.less_late", "11", 1),
        (
            "film reviews, ten folds: ours less a Transformer, points",
            "documents.reviews.resonance_minus_transformer",
            "12",
            1,
        ),
        ("Transformer's parameters over ours at equal quality, forecasting", "equal.forecasting.parameters", "05", 1),
        (
            "nats a character, Shakespeare, three minutes, context 256, `ResonanceLM`",
            "language.seconds.256.resonance",
            "13",
            3,
        ),
        ("the same, a GPT of the same size", "language.seconds.256.gpt", "13", 3),
        ("context 1,024, `ResonanceLM`", "language.seconds.1024.resonance", "13", 3),
        ("context 1,024, GPT", "language.seconds.1024.gpt", "13", 3),
        (
            "causal layer, forward and backward, n = 16,384: times faster than attention",
            "causal.auto.k16.ratio.16384",
            "15",
            1,
        ),
        ("one token after 16,384: times faster than with a key-value cache", "causal.step.ratio.16384", "15", 1),
        ("state of the causal layer, kB", "causal.step.state", "15", 1),
        (
            "64 pairs among 8,192 tokens recalled, %, with a hologram, width 128",
            "recall16.accuracy.8192.512.64.d128.delta",
            "16",
            1,
        ),
        ("the same without it", "recall16.accuracy.8192.512.64.d128.alone", "16", 1),
        ("spoken digits frame by frame, %, at the end of the word", "live.resonance.end", "14", 1),
        ("milliseconds of a frame of 20 ms, 99th percentile", "live.resonance.p99", "14", 2),
        ("parameters of 1,000,000 x 768 embeddings, % of a table", "vocabulary.percent", "07", 2),
        ("perplexity against the full table, %, at a tenth of its parameters", "vocabulary.gap.words.full", "07", 1),
        ("operations of a resonance layer, forward, n = 8192 (law: n log n)", "cost.fft.operations", "03", 0),
        ("operations of a Transformer layer, forward, n = 8192", "cost.transformer.operations", "03", 0),
        ("operations of a resonance layer by the linear-time engine, same n", "cost.fast.operations", "03", 0),
        ("time of that Transformer layer over that of the resonance layer, FFT", "cost.speedup.fft", "03", 1),
        ("the same, linear-time engine", "cost.speedup.fast", "03", 1),
        ("frequencies missed, Cartesian SGD", "ablation.identification.sgd.cartesian", "01", 3),
        ("frequencies missed, polar SGD with one rate", "identification.polar_one_rate_sgd", "01", 3),
        ("frequencies missed, natural polar SGD", "identification.natural_polar_sgd", "01", 3),
        ("relative error of the corrected phase gradient", "gradients.corrected.phase_error", "01", None),
        (
            "relative error of 1000 real patterns of 2048 in a hologram, float32",
            "capacity.memory.2048.error",
            "02",
            None,
        ),
        ("complex patterns that 512 pixels of reference read exactly (the limit)", "capacity.limit.patterns", "02", 0),
        (
            "share of Shannon's capacity at which codebook patterns are read from one trace",
            "cleanup.graded.reached",
            "02",
            2,
        ),
        (
            "information about white noise at 10 dB kept by half of the spectrum",
            "information.retained.white.2",
            "04",
            3,
        ),
        (
            "next-day bits of ETTh1 kept by the frequencies the rule chose",
            "information.past.information.retained",
            "04",
            3,
        ),
        ("how many frequencies those are", "information.past.information.k", "04", 0),
        ("exponent of the mixing's time in n, 4096 to 1,048,576", "growth.exponent", "05", 2),
        (
            "values recalled over 262,144 tokens, with bridges (without: chance is 0.125)",
            "context.recall.bridges",
            "06",
            3,
        ),
    ):
        rows.append(f"| {label} | {_plain(value.loc[key], digits)} | `./run_all.sh full --only {command}` |")
    return {"verdicts": verdicts, "results": "\n".join(rows), "performance": performance(value["value"])}


def performance(value: pd.Series) -> str:
    """Return the README's tables of speed and of long contexts."""
    rows = ["| ours | against | n | times faster | aim |", "|---|---|---|---|---|"]
    for ours, peer, n, ratio, aim in speed_rows(value):
        reached = "" if aim is None else f"{aim:g}" if ratio >= aim else f"{aim:g}, missed"
        rows.append(f"| {ours} | {peer} | {n:,} | {ratio:.1f} | {reached} |")
    rows += ["", "| model, one step | n | seconds | peak of the process (GB) |", "|---|---|---|---|"]
    for key, (model, task) in STEPS.items():
        for n in lengths_of(value, f"context.{key}.", ".seconds"):
            seconds, peak = (value[f"context.{key}.{n}.{part}"] for part in ("seconds", "peak"))
            rows.append(f"| {model}, {task} | {n:,} | {seconds:.2f} | {peak:.2f} |")
    return "\n".join(rows)


def _plain(row: pd.Series, digits: int | None) -> str:
    def show(x: float) -> str:
        return f"{x:.1e}" if digits is None else f"{x:,.{digits}f}"

    interval = "" if pd.isna(row["ci_low"]) else f" [{show(row['ci_low'])}, {show(row['ci_high'])}]"
    return show(row["value"]) + interval


def renew_readme(text: str, parts: dict[str, str]) -> str:
    """Return README text with each part between its markers <!-- name --> and <!-- /name --> replaced."""
    for name, part in parts.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        text, found = re.subn(pattern, lambda m, part=part: m[1] + part + "\n" + m[2], text, flags=re.S)
        if found != 1:
            raise RunError(f"README.md: expected one pair of markers for {name!r}, found {found}")
    return text
