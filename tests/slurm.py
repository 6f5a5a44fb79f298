"""The profile profiles/slurm against a real slurmctld and slurmd on this machine: by hand, as root.

    apt-get install -y slurm-wlm munge
    python tests/slurm.py            # minutes; prints a table and puts it into docs/cluster.md; 1 if a row says NO
    python tests/slurm.py --check    # the same, without writing

Everything happens in a copy of the code in a temporary folder, with three small notebooks.  Keys, sockets and logs of
munge and SLURM are there too.  While it runs /etc/slurm/slurm.conf, which must not exist before, leads there:
the executor drops SLURM_CONF from the environment of jobs.  No service of the system is started or changed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent)]

import psutil  # noqa: E402
from conftest import Tree  # noqa: E402

from artifact.files import ROOT, write_text  # noqa: E402

FOUND = Path("/etc/slurm/slurm.conf")  # where Debian's SLURM looks
PAGE = ROOT / "docs" / "cluster.md"
NODE = socket.gethostname().split(".")[0]
CORES, MEMORY = os.cpu_count(), psutil.virtual_memory().total // 2**20  # MiB
CONFIGURATION = f"""
ClusterName=one
SlurmctldHost={NODE}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={{folder}}/munge.socket
CredType=cred/munge
StateSaveLocation={{folder}}/state
SlurmdSpoolDir={{folder}}/spool
SlurmctldPidFile={{folder}}/slurmctld.pid
SlurmdPidFile={{folder}}/slurmd.pid
SlurmctldLogFile={{folder}}/slurmctld.log
SlurmdLogFile={{folder}}/slurmd.log
SlurmctldPort=16817
SlurmdPort=16818
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
MinJobAge=3600
ReturnToService=2
NodeName={NODE} NodeAddr=127.0.0.1 CPUs={CORES} RealMemory={MEMORY} State=UNKNOWN
PartitionName=all Nodes={NODE} Default=YES MaxTime=INFINITE State=UP
"""
NOTEBOOKS = {"01_first": False, "02_timed": True, "03_third": False}  # by name: whether it times something
SLOW = "import time; time.sleep(%d)"


@contextmanager
def slurm(folder: Path) -> Iterator[None]:
    """A munged, a slurmctld and a slurmd of our own, until the block ends."""
    for name in ("state", "spool"):
        (folder / name).mkdir()
    write_text(folder / "slurm.conf", CONFIGURATION.format(folder=folder).lstrip())
    FOUND.parent.mkdir(exist_ok=True)
    FOUND.symlink_to(folder / "slurm.conf")  # FileExistsError where this machine has a SLURM of its own
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    own = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
    daemons = [
        ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *own],
        ["slurmctld", "-D", "-f", f"{folder}/slurm.conf"],
        ["slurmd", "-D", "-f", f"{folder}/slurm.conf", "-N", NODE],
    ]
    running = []
    try:
        for daemon in daemons:
            with (folder / f"{daemon[0]}.txt").open("w") as said:
                running.append(subprocess.Popen(daemon, stdout=said, stderr=said))
            time.sleep(2)
        for _ in range(60):
            state = said_by("sinfo", "--noheader", "--format=%T")
            if "idle" in state:
                break
            time.sleep(1)
        else:
            logs = [(folder / f"{daemon[0]}.txt").read_text()[-1000:] for daemon in daemons]
            raise RuntimeError("the node did not become idle:\n" + "\n".join([state, *logs]))
        yield
    finally:
        for daemon in reversed(running):
            daemon.terminate()
            daemon.wait()
        FOUND.unlink()


def said_by(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout


def jobs() -> list[dict[str, str]]:
    """What SLURM says of every job so far: its fields by name."""
    blocks = said_by("scontrol", "show", "jobs").split("\n\n")
    return [dict(re.findall(r"(\w+)=(\S*)", block)) for block in blocks if "JobId=" in block]


def workflow(folder: Path) -> Tree:
    """A copy of the code with three small notebooks."""
    folder.mkdir()
    tree = Tree(folder)
    shutil.copytree(ROOT / "profiles", folder / "profiles")
    for name, timed in NOTEBOOKS.items():
        tree.add(name, SLOW % 5, Tree.result(name), timed=timed)
    return tree


def run(tree: Tree, *options: str) -> subprocess.CompletedProcess:
    """Run the notebooks of a workflow, by Snakemake as run_all.sh calls it."""
    targets = [str(tree.record(name).relative_to(tree.folder)) for name in NOTEBOOKS]
    command = tree.snakemake(*targets)
    command[command.index("--cores") + 1] = str(CORES)
    return tree.run([*command, *options])


def results(tree: Tree) -> dict[str, tuple[str, int]]:
    """The measures and the number of threads of each result that is there."""
    records = {name: tree.record(name) for name in NOTEBOOKS}
    there = {name: path for name, path in records.items() if path.exists()}
    return {
        n: ((p.parent / "measures.csv").read_text(), json.loads(p.read_text())["threads"]) for n, p in there.items()
    }


def rows(folder: Path) -> Iterator[tuple[str, str, bool]]:
    """What was tried, what was seen, and whether it is as it should be."""
    expected = workflow(folder / "local")
    run(expected)
    # No accounting here, so squeue; and looked at soon, for the jobs are short.
    without = ["--slurm-status-command", "squeue", "--slurm-no-account"]
    profile = ["--workflow-profile", "profiles/slurm", *without, "--slurm-init-seconds-before-status-checks", "5"]
    tree = workflow(folder / "cluster")
    done = run(tree, *profile)
    ended = jobs()
    states = [job["JobState"] for job in ended]
    same = results(tree) == results(expected) and len(results(tree)) == len(NOTEBOOKS)
    seen = f"{len(ended)} jobs, {', '.join(sorted(set(states)))}"
    yield "notebooks as jobs, results as on one machine", seen, same and states == ["COMPLETED"] * len(NOTEBOOKS)
    if not same:
        print(done.stdout[-3000:], done.stderr[-3000:], sep="\n")
    timed = [job for job in ended if job.get("OverSubscribe") == "NO"]
    others = [job for job in ended if job not in timed]
    apart = all(b["StartTime"] >= a["EndTime"] or b["EndTime"] <= a["StartTime"] for a in timed for b in others)
    yield "a notebook that times something has its node alone", f"{len(timed)} exclusive job", len(timed) == 1 and apart
    tree.add("01_first", SLOW % 60, Tree.result("01_first"))
    known = {job["JobId"] for job in ended}
    with subprocess.Popen(
        [*tree.snakemake(str(tree.record("01_first").relative_to(tree.folder))), *profile],
        cwd=tree.folder,
        env=tree.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        for _ in range(120):
            at_work = [job["JobId"] for job in jobs() if job["JobState"] == "RUNNING" and job["JobId"] not in known]
            if at_work:
                break
            time.sleep(0.5)
        time.sleep(5)
        said_by("scancel", *at_work)
        said = process.communicate()[0]
    clear = process.returncode != 0 and bool(at_work) and "CANCELLED" in said
    yield "a job cancelled: the run ends with an error that says so", f"status {process.returncode}", clear
    if not clear:
        print(said[-3000:])
    tree.add("01_first", SLOW % 5, Tree.result("01_first"))
    run(tree, *profile)
    after = [job for job in jobs() if job["JobId"] not in known | set(at_work)]
    again = results(tree) == results(expected)
    yield "the next run does what is missing, and nothing else", f"{len(after)} job", again and len(after) <= 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="do not write docs/cluster.md")
    check = parser.parse_args().check
    if missing := [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(name) is None]:
        print(f"not run on this machine: no {', '.join(missing)}; apt-get install -y slurm-wlm munge")
        return 2
    begin = time.monotonic()
    version = said_by("slurmctld", "-V").strip()
    with tempfile.TemporaryDirectory() as name, slurm(Path(name)):
        table = list(rows(Path(name)))
    lines = [
        f"{version}, one node of {CORES} cores, {time.strftime('%Y-%m-%d')}, {time.monotonic() - begin:.0f} s:",
        "",
    ]
    lines += ["| tried | seen | as it should be |", "|---|---|---|"]
    lines += [f"| {what} | {seen} | {'yes' if good else 'NO'} |" for what, seen, good in table]
    print("\n".join(lines))
    if not check:
        text = re.sub(
            r"(?<=<!-- slurm -->\n).*?(?=<!-- /slurm -->)",
            lambda _: "\n".join(lines) + "\n",
            PAGE.read_text(),
            flags=re.S,
        )
        write_text(PAGE, text)
    return 0 if all(good for *_, good in table) else 1


if __name__ == "__main__":
    sys.exit(main())
