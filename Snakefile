# The graph of the artifact: notebooks -> results -> ledger -> scoreboard -> paper and supplement.
# Called by run_all.sh; `snakemake --cores 2` alone runs the quick profile.  artifact/pipeline/runner.py runs one
# notebook; freshness.py says when a result is out of date; progress.py what a run prints.
import shlex
import sys
from pathlib import Path

from artifact.pipeline import freshness, progress
from artifact.pipeline.notebooks import check_profile, notebooks, result_folder, settings

PROFILE = check_profile(config.get("profile", "quick"))
# frozen: build the report from the results as they stand, without running a notebook again.
FROZEN = config.get("frozen") in (True, 1, "1", "true", "True")
RESULTS = f"data/results/{PROFILE}"
PDFS = [f"paper/build/{PROFILE}/{name}.pdf" for name in ("paper", "supplement")]
PYTHON = shlex.quote(sys.executable)
freshness.settle(PROFILE)
BY_RESULTS = {
    after: [name for name in notebooks() if (settings(name)["after"] == "results") == after] for after in (False, True)
}
# Written now: Snakemake looks only once, as it begins, at what is in a folder.
STAMPS = {} if FROZEN else {name: freshness.stamp(name, PROFILE) for name in notebooks()}
LEDGER_STAMP = freshness.ledger_stamp(PROFILE)
if FROZEN:
    BY_RESULTS[False] = [n for n in BY_RESULTS[False] if (result_folder(n, PROFILE) / "provenance.json").exists()]


onstart:
    jobs = [job for job in workflow.dag.needrun_jobs() if job.rule.name == "notebook"]
    progress.write_plan([job.wildcards.notebook for job in jobs], PROFILE, workflow.cores or 1)


def records(names):
    return [f"{RESULTS}/{name}/provenance.json" for name in names]


def notebook_inputs(wildcards):
    before = [f"{RESULTS}/claims.csv", f"{RESULTS}/measures.csv"] if wildcards.notebook in BY_RESULTS[True] else []
    return before if FROZEN else [STAMPS[wildcards.notebook], *before]


def notebook_threads(wildcards):
    # A notebook that times something takes every core, so that nothing runs beside it; the others take one, so that
    # their results do not depend on the machine's cores.
    return (workflow.cores or 2) if settings(wildcards.notebook)["timed"] else 1


def report_sources(wildcards):
    # All that the report is made from beside the results: its text, and every module that may write a part of it.
    globs = ["paper/*.tex", "paper/*.bib", "paper/*.csv", "paper/*/*.tex", "artifact/studies/*/tables.py",
             "artifact/studies/common/*.py", "artifact/pipeline/*.py"]
    return sorted(str(path) for pattern in globs for path in Path(".").glob(pattern))


# On a cluster too these run where Snakemake does: they take seconds, and a TeX may be there alone.
localrules: report, results, ledger, pdf


rule report:
    input:
        PDFS,

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
        LEDGER_STAMP,
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
        records(BY_RESULTS[False] + BY_RESULTS[True]),
        rules.ledger.output,
    output:
        PDFS,
    message:
        "paper and supplement, profile " + PROFILE
    shell:
        "exec {PYTHON} -m artifact.pipeline.report pdf --profile {PROFILE}"
