# The graph of the artifact: notebooks -> results -> ledger -> scoreboard -> report.
# Called by run_all.sh; `snakemake --cores 2` alone runs the quick profile.  How one notebook is run, and when its
# result counts as out of date, stands in artifact/pipeline/runner.py.
import shlex
import sys

from artifact.pipeline import runner

PROFILE = runner.check_profile(config.get("profile", "quick"))
# frozen: build the report from the results as they stand, without running a notebook again.
FROZEN = config.get("frozen") in (True, 1, "1", "true", "True")
RESULTS = f"data/results/{PROFILE}"
PYTHON = shlex.quote(sys.executable)
runner.settle(PROFILE)
BY_RESULTS = {
    after: [name for name in runner.notebooks() if (runner.settings(name)["after"] == "results") == after]
    for after in (False, True)
}
if FROZEN:
    BY_RESULTS[False] = [n for n in BY_RESULTS[False] if (runner.result_folder(n, PROFILE) / "provenance.json").exists()]


def records(names):
    return [f"{RESULTS}/{name}/provenance.json" for name in names]


def notebook_inputs(wildcards):
    before = [f"{RESULTS}/claims.csv", f"{RESULTS}/measures.csv"] if wildcards.notebook in BY_RESULTS[True] else []
    return before if FROZEN else [runner.stamp(wildcards.notebook, PROFILE), *before]


def notebook_threads(wildcards):
    # A notebook that times something takes every core, so that nothing runs beside it; the others take one, so that
    # their results do not depend on the machine's cores.
    return (workflow.cores or 2) if runner.settings(wildcards.notebook)["timed"] else 1


def report_sources(wildcards):
    from pathlib import Path

    return [str(path) for path in [*sorted(Path("paper").glob("*.*")), *sorted(Path("paper/sections").glob("*.tex"))]
            if path.suffix in (".tex", ".bib", ".csv")]


rule report:
    input:
        f"paper/build/{PROFILE}/report.pdf",

rule results:
    input:
        records(BY_RESULTS[False] + BY_RESULTS[True]),
        f"{RESULTS}/claims.csv",

rule notebook:
    wildcard_constraints:
        notebook=r"\d\d_\w+",
    input:
        notebook_inputs,
    output:
        RESULTS + "/{notebook}/provenance.json",
    threads: notebook_threads
    message:
        "notebook {wildcards.notebook}, profile " + PROFILE
    shell:
        "exec {PYTHON} -m artifact.pipeline.runner run {wildcards.notebook} --profile {PROFILE} --threads {threads}"

rule ledger:
    input:
        records(BY_RESULTS[False]),
        "paper/claims.csv",
    output:
        f"{RESULTS}/claims.csv",
        f"{RESULTS}/measures.csv",
    message:
        "ledger, profile " + PROFILE
    shell:
        "exec {PYTHON} -m artifact.pipeline.report ledger --profile {PROFILE}"

rule pdf:
    input:
        report_sources,
        "artifact/pipeline/report.py",
        "artifact/pipeline/tables.py",
        records(BY_RESULTS[False] + BY_RESULTS[True]),
        rules.ledger.output,
    output:
        f"paper/build/{PROFILE}/report.pdf",
    message:
        "report, profile " + PROFILE
    shell:
        "exec {PYTHON} -m artifact.pipeline.report pdf --profile {PROFILE}"
