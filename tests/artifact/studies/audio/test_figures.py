"""Figures and tables of the audio study."""

from __future__ import annotations

import math

import pandas as pd

from artifact.studies.audio import figures as plots_audio
from artifact.studies.audio.figures import LOOKS
from artifact.studies.audio.tables import METHODS
from artifact.studies.audio.tables import tables as audio_tables
from artifact.studies.audio.tasks import (
    NO_AUGMENTATION,
    OFFICIAL,
    RESONANCE,
    accuracies,
)
from artifact.studies.common.latex import Cells


def toy_predictions():
    rows = [
        (method, split, 0, speaker, digit, (digit + (k == 0)) % 10)
        for method in (RESONANCE, NO_AUGMENTATION)
        for split, speaker in ((OFFICIAL, "a"), ("a", "a"), ("b", "b"))
        for digit in range(10)
        for k in range(4)
    ]
    return pd.DataFrame(rows, columns=["method", "split", "seed", "speaker", "digit", "prediction"])


def test_accuracies_are_shares_of_right_answers():
    scores = accuracies(toy_predictions())
    assert len(scores) == 6 and scores["accuracy"].tolist() == [0.75] * 6
    assert scores["split"].tolist()[:3] == [OFFICIAL, "a", "b"]


def test_figures_show_what_they_are_given():
    predictions, scores = toy_predictions(), accuracies(toy_predictions())
    shown = plots_audio.confusion(predictions, RESONANCE).axes[0]
    assert {text.get_text() for text in shown.texts} == {"75", "25"} and len(shown.texts) == 20
    speakers = plots_audio.accuracy_by_speaker(scores, (OFFICIAL, "a", "b")).axes[0]
    assert [label.get_text() for label in speakers.get_xticklabels()] == ["official test", "a", "b"]
    ablation = plots_audio.ablation_accuracies(scores, RESONANCE)
    assert [axes.get_title() for axes in ablation.axes] == ["official test", "held-out speakers"]
    alone = plots_audio.ablation_accuracies(scores[scores["split"] == OFFICIAL], RESONANCE)
    assert [axes.get_title() for axes in alone.axes] == ["official test"]


def test_the_figure_of_sounds_has_a_point_a_fold_and_the_confusion_of_ours():
    rows = [
        (name, fold, label, (label + (fold == 1)) % 3) for name in LOOKS for fold in range(1, 6) for label in range(3)
    ]
    predictions = pd.DataFrame(rows, columns=["method", "fold", "label", "prediction"])
    left, right = plots_audio.environment(predictions, ("dog", "sea", "rain")).axes
    assert [text.get_text().replace("\n", " ") for text in left.get_yticklabels()] == list(LOOKS)
    assert [text.get_text() for text in right.get_xticklabels()] == ["dog", "sea", "rain"]
    assert sorted(text.get_text() for text in right.texts) == ["20"] * 3 + ["80"] * 3
    folds = [line.get_xdata() for line in left.lines if len(line.get_xdata()) == 5]
    assert len(folds) == len(LOOKS) and all(sorted(xs) == [0.0] + [100.0] * 4 for xs in folds)


def test_tables_have_a_row_a_method_and_a_column_a_speaker():
    values = {f"audio.{key}.{of}": 75.25 for key in METHODS for of in ("parameters", "official", "speakers")}
    values |= {f"audio.{key}.speaker.{name}": 50.5 for key in METHODS for name in ("ann", "bob")}
    values |= {f"audio.{key}.esc10": 66.25 for key in METHODS}
    values |= {f"audio.ablation.{key}.official": 90.5 for key in ("resonance", "zero_phases")}
    by_key = pd.DataFrame({"value": values, "ci_low": math.nan, "ci_high": math.nan})
    tables = audio_tables(Cells(by_key))
    names = {"audio", "audio_speakers", "audio_environment", "audio_ablation"}
    assert set(tables) == names | {"audio_published"}
    assert tables["audio_environment"].count("66.25") == len(METHODS) and "ESC-50" not in tables["audio_environment"]
    assert tables["audio_published"].count("printednum") == tables["audio_published"].count("cite") >= 5
    assert "ann & bob" in tables["audio_speakers"] and tables["audio"].count("75.25") == 3 * len(METHODS)
    assert "Phases fixed at zero" in tables["audio_ablation"] and "Learned" not in tables["audio_ablation"]
    empty = audio_tables(Cells(by_key.iloc[:0]))
    assert {empty[name] for name in names} == {""}
