"""Faults injected: what each one costs, what it says, and whether the next run gives what an undisturbed one gives.

    python tests/faults.py            # ten minutes; prints the table, writes paper/faults.csv; 1 if a row says NO
    python tests/faults.py --check    # the same, without writing
    python tests/faults.py --only disk    # some of the faults: the other rows stay

Everything happens in a copy of the code in a temporary folder, with a workflow of three small notebooks and a report of
one page.  The faults that need a small or a read-only file system mount one in a name space of their own, where the
system lets a user (or root) make one; else their rows say that they were not run.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import http.server
import io
import logging
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent)]
NAMESPACE = "RESONANCE_FAULTS_MOUNTS"  # set in the process that may mount
KILLS = 10

import pandas as pd  # noqa: E402
import psutil  # noqa: E402
import torch  # noqa: E402
from conftest import Tree  # noqa: E402

from artifact.files import PAPER, ROOT, write_text  # noqa: E402
from resonance import ResonanceNet, ResonanceTrainer  # noqa: E402
from resonance.training.checkpoint import load_weights, save_weights  # noqa: E402

Row = tuple[str, str, bool]  # what is lost, the message, whether the next run equals an undisturbed one


class NotRun(RuntimeError):
    """A fault that cannot be made on this machine; the message says what it needs."""


# --------------------------------------------------------------------------- a small workflow

OPENED = """
import time
import numpy as np, pandas as pd
from matplotlib.figure import Figure
from artifact.pipeline.ledger import Experiment, read_ledger
e = Experiment("{name}", seed=seed)
"""
MEASURED = """
x = np.random.default_rng(seed).standard_normal({rows})
table = e.save("table", pd.DataFrame({{"x": x}}))
figure = Figure((2, 2)); figure.subplots().plot(table["x"][:20]); e.figure("x", figure)
time.sleep(0.5)
e.measure("{name}.mean", table["x"].mean())
"""
REPORT = r"""\documentclass{article}\newcommand{\num}[2][]{#2}\begin{document}\input{\generated/macros}
\csname val@01_first.mean\endcsname, \csname val@02_second.mean\endcsname\end{document}
"""
NAMES = ("01_first", "02_second", "99_last")
MADE = ("data", "figures", "build", "paper/build", "paper/generated", ".snakemake")


class Workflow(Tree):
    """A small artifact with the real engine and script, to break."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        for name in ("run_all.sh", "requirements.lock", "pyproject.toml"):
            shutil.copy(ROOT / name, folder)
        for path in (folder / "artifact" / "studies").iterdir():
            if path.is_dir() and path.name != "common":
                shutil.rmtree(path)
        for name in ("results.csv", "rule_changes.csv"):
            shutil.copy(ROOT / "paper" / name, folder / "paper")
        for name in ("supplement", "paper"):
            (folder / "paper" / f"{name}.tex").write_text(REPORT)
        for name, rows in zip(NAMES[:2], (50, 100_000), strict=True):
            self.add(name, OPENED.format(name=name), MEASURED.format(name=name, rows=rows), "e.close()")
        total = 'e.save("ledger", read_ledger(e.profile)[1])'
        self.add("99_last", OPENED.format(name="99_last"), total, "e.close()", after="results")
        self.environment |= {"PYTHON": sys.executable, "RESONANCE_DATA": str(folder), "OMP_NUM_THREADS": "1"}
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)  # ten starts of Python a run: they would all compile
        self.program("python", f'exec "{sys.executable}" "$@"')
        self.program("snakemake", f'exec "{sys.executable}" -m snakemake "$@"')
        if not (shutil.which("latexmk") and shutil.which("pdflatex")):  # what is tested here is not TeX
            self.program("pdflatex", "")
            made = 'cat "$last" ../../../generated/quick/macros.tex >"${last%.tex}.pdf"; : >"${last%.tex}.log"'
            self.program("latexmk", f"for last; do :; done; {made}")
        stamp = 'echo "$("$0" --version) $(cat requirements.lock pyproject.toml | cksum) $PWD" >.venv/.complete'
        subprocess.run(["bash", "-c", stamp, sys.executable], cwd=folder, check=True)

    def program(self, name: str, lines: str) -> None:
        path = self.folder / ".venv" / "bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/usr/bin/env bash\n{lines}\n")
        path.chmod(0o755)

    def reset(self) -> None:
        for name in MADE:
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen:
        """Begin `./run_all.sh` in a session of its own; what it says goes to a file."""
        said = tempfile.TemporaryFile("w+", dir=self.folder)  # noqa: SIM115 - read when the process has ended
        command = ["bash", "run_all.sh", *(arguments or ["quick", "--jobs", "2"])]
        options = {"cwd": self.folder, "env": self.environment | environment, "stdout": said, "stderr": said}
        process = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL, **options)
        process.said = said
        return process

    def end(self, process: subprocess.Popen) -> str:
        process.wait(timeout=600)
        process.said.seek(0)
        return process.said.read()

    def whole(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Run `./run_all.sh` to its end; return its status and what it said."""
        process = self.start(*arguments, **environment)
        said = self.end(process)
        return process.returncode, said

    def finished(self) -> dict[str, bytes]:
        """Each finished notebook's record, which says when it ran."""
        records = {name: self.record(name) for name in NAMES}
        return {name: path.read_bytes() for name, path in records.items() if path.exists()}

    def results(self) -> dict[str, bytes]:
        """Every table, figure and page, without the seconds that a run took."""
        found = {}
        for path in sorted((self.folder / "data" / "results").rglob("*.csv")):
            found[str(path)] = pd.read_csv(path).drop(columns="seconds", errors="ignore").to_csv().encode()
        pages = [*(self.folder / "figures").rglob("*.*"), *(self.folder / "paper" / "build" / "quick").glob("*.pdf")]
        found |= {str(path): path.read_bytes() for path in pages if path.exists()}
        return {path.removeprefix(str(self.folder)): content for path, content in found.items()}

    def left(self) -> list[Path]:
        """What an unfinished step left behind in the places of results."""
        return [p for part in ("data", "figures") for p in (self.folder / part).rglob(".*") if p.name != ".lock"]


class Reference:
    """The workflow and a training run, both undisturbed: what each gives, and how long the workflow takes."""

    def __init__(self, place: Path):
        self.place, self.tree = place, Workflow(place / "work")
        self.weights = train(place / "whole")

    @cached_property
    def undisturbed(self) -> tuple[dict[str, bytes], float]:
        self.tree.reset()
        started = time.time()
        status, said = self.tree.whole()
        seconds, results = time.time() - started, self.tree.results()
        assert status == 0 and len(results) == 9 + 2 + 4 + 1, said  # of notebooks, the ledger, figures, the PDF
        print(f"undisturbed: {seconds:.0f} s", flush=True)
        return results, seconds

    @property
    def work(self) -> Workflow:
        """The workflow, empty, once it is known what it gives undisturbed."""
        assert self.undisturbed
        self.tree.reset()
        return self.tree

    def resumed(self, before: dict[str, bytes]) -> tuple[str, bool]:
        """Run on after a fault: whether what had been finished was lost, and whether all is as if undisturbed."""
        status, said = self.tree.whole()
        after = self.tree.finished()
        again = sorted(name for name in before if before[name] != after.get(name))
        lost = f"finished results: {', '.join(again)}" if again else "the unfinished step"
        found, wanted = self.tree.results(), self.undisturbed[0]
        same = status == 0 and found == wanted and not self.tree.left()
        if not same:
            other = [path for path in found.keys() | wanted.keys() if found.get(path) != wanted.get(path)]
            print(f"{said}\nother than undisturbed: {other}, left: {self.tree.left()}")
        return lost, same


def line_of(said: str, pattern: str) -> str:
    """The first line that matches, in words that do not depend on where this ran; an error where none does."""
    line = next((line.strip() for line in said.splitlines() if re.search(pattern, line)), None)
    if line is None:
        raise AssertionError(f"no line with {pattern!r} in:\n{said}")
    line = re.sub(r"/[\w./-]*/faults-\w+/(?:work/)?", "", line)
    line = re.sub(r"^[\w.]+\.(?=\w+Error: )", "", line)
    return re.sub(r"\b[0-9a-f]{64}\b", "...", re.sub(r"-[0-9a-f]{16}\.", "-....", re.sub(r":\d{4,5}/", "/", line)))


# --------------------------------------------------------------------------- faults of the workflow


def killed(reference: Reference, draw: random.Random) -> Row:
    """Each run is killed and the next one goes on; a run that ends before it is killed is compared and begun anew."""
    (results, seconds), work = reference.undisturbed, reference.work
    lost, kills, same = set(), 0, True
    while kills < KILLS:
        before, process = work.finished(), work.start()
        try:
            process.wait(draw.uniform(0.02, 0.9) * seconds)
        except subprocess.TimeoutExpired:
            kills += 1
            kill(process, kills % 3)
        else:
            same &= process.returncode == 0 and work.results() == results
        after = work.finished()
        lost |= {name for name in before if before[name] != after.get(name)}
        if process.returncode == 0:
            work.reset()
    more, equal = reference.resumed(work.finished())
    lost = f"finished results: {', '.join(sorted(lost))}" if lost else more
    return lost, "none: the process is dead; the next run names the notebooks that it still runs", same and equal


def kill(process: subprocess.Popen, whom: int) -> None:
    """Kill the script alone, its workflow alone, or all of a run."""
    script = psutil.Process(process.pid)
    below = script.children(recursive=True)
    for victim in ([script, *below], [script], below[:1] or [script])[whom]:
        with suppress(psutil.Error):
            victim.kill()
    process.wait()


def two_runs(reference: Reference, draw: random.Random) -> Row:
    work = reference.work
    first, second = work.start(), work.start()
    said = [work.end(process) for process in (first, second)]
    assert first.returncode == second.returncode == 0, said
    starts = [line for line in "\n".join(said).splitlines() if line.endswith(" starts")]
    lost = "nothing" if len(starts) == len(NAMES) else f"time: {len(starts)} starts of {len(NAMES)} notebooks"
    return lost, line_of("\n".join(said), "waiting"), reference.resumed(work.finished())[1]


def no_tex(reference: Reference, draw: random.Random) -> Row:
    work = reference.work
    tools = work.folder / "tools"
    tools.mkdir(exist_ok=True)
    names = "bash sh env cat cksum sed grep getconf rm mkdir tail id ls tr cut uname dirname sleep which"
    for name in names.split():
        if (path := shutil.which(name)) and not (tools / name).exists():
            (tools / name).symlink_to(path)
    hidden = [work.folder / ".venv" / "bin" / name for name in ("latexmk", "pdflatex")]
    for path in hidden:
        if path.exists():
            path.rename(path.with_suffix(".away"))
    status, said = work.whole(PATH=str(tools))
    for path in hidden:
        if path.with_suffix(".away").exists():
            path.with_suffix(".away").rename(path)
    assert status != 0 and len(work.finished()) == len(NAMES), said
    lost, same = reference.resumed(work.finished())
    return lost.replace("the unfinished step", "the PDF"), line_of(said, "TeX is missing"), same


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """A file system mounted on a folder; NotRun where this process may not mount."""
    if not os.environ.get(NAMESPACE):
        raise NotRun("needs mount name spaces (root, or unshare --user)")
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", *options, str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def full_disk(reference: Reference, draw: random.Random) -> Row:
    """A disk of its own for data, too small for the table of the second notebook; then a larger one."""
    work = reference.work
    with mounted(work.folder / "data", "-t", "tmpfs", "-o", "size=1m", "tmpfs"):
        status, said = work.whole()
        before = work.finished()
        assert status != 0 and before and "02_second" not in before, said
        assert not work.left(), work.left()
        subprocess.run(["mount", "-o", "remount,size=64m", str(work.folder / "data")], check=True)
        lost, same = reference.resumed(before)
    return lost, line_of(said, "No space left"), same


def read_only(reference: Reference, draw: random.Random) -> Row:
    work = reference.work
    assert work.whole("quick", "--only", "01")[0] == 0
    folder = work.folder / "data" / "results"
    before = work.finished()
    with mounted(folder, "--bind", str(folder)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        status, said = work.whole()
    assert status != 0 and "Traceback" not in said, said
    lost, same = reference.resumed(before)
    return lost, line_of(said, "[Rr]ead-only"), same


# --------------------------------------------------------------------------- downloads and installation

CONTENT = b"date,a\n2020-01-01,1.0\n" * 5000
FETCH = """
import sys
from artifact.datasets.files import Source, fetch
path = fetch(Source("x.csv", sys.argv[1], sys.argv[2], "none"))
print("content", path and path.read_bytes().count(b"2020"))
"""


class Server:
    """A local web server that answers each request with the next of the given bodies, the last one for ever.

    A body may be cut: half of it is sent, and the connection closed.
    """

    def __init__(self, *bodies: tuple[bytes, bool]):
        self.requests = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body, cut = bodies[min(outer.requests, len(bodies) - 1)]
                outer.requests += 1
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2] if cut else body)

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def fetch(self, work: Workflow) -> tuple[int, str]:
        url, digest = f"http://127.0.0.1:{self.http.server_port}/x.csv", hashlib.sha256(CONTENT).hexdigest()
        done = work.python("-c", FETCH, url, digest)
        return done.returncode, done.stdout + done.stderr


def download(reference: Reference, *bad: tuple[bytes, bool], pattern: str) -> Row:
    """Bad bodies for ever, then a good one: nothing bad is kept, and the message says so."""
    work, cache = reference.tree, reference.tree.folder / "data" / "cache"
    work.environment |= {"RESONANCE_DATA": str(work.folder), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    shutil.rmtree(cache, ignore_errors=True)
    _, said = Server(*bad).fetch(work)
    kept = [path.name for path in cache.iterdir() if path.name != ".lock"]
    status, then = Server((CONTENT, False)).fetch(work)
    once, after_one = Server(*bad[:1], (CONTENT, False)).fetch(work)  # from the cache: nothing is fetched
    shutil.rmtree(cache)
    once, after_one = Server(*bad[:1], (CONTENT, False)).fetch(work)  # bad once, then good: made good in one run
    same = status == once == 0 and "content 5000" in then and "content 5000" in after_one
    return f"kept: {kept}" if kept else "the download", line_of(said, pattern), same


def corrupt_download(reference: Reference, draw: random.Random) -> Row:
    return download(reference, (b"x" * len(CONTENT), False), pattern="CorruptDataError: ")


def half_download(reference: Reference, draw: random.Random) -> Row:
    return download(reference, (CONTENT, True), pattern="CorruptDataError: ")


BACKEND = """
import pathlib, zipfile
def get_requires_for_build_editable(config_settings=None): return []
def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "small-1.0-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(folder) / name, "w") as file:
        file.writestr("small-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: small\\nVersion: 1.0\\n")
        file.writestr("small-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        file.writestr("small-1.0.dist-info/RECORD", "")
    return name
"""


def wheel(folder: Path, name: str, files: int) -> None:
    """Write a wheel of many small modules and one program."""
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as file:
        for index in range(files):
            file.writestr(f"{name}/m{index}.py", f"value = {index}\n")
        file.writestr(f"{name}/__init__.py", "def main(): print('whole')\n")
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/entry_points.txt", f"[console_scripts]\n{name}-program = {name}:main\n")
        file.writestr(f"{info}/RECORD", "")


def interrupted_install(reference: Reference, draw: random.Random) -> Row:
    """Three kills at random moments of an installation of small packages, and one just before pip writes its record."""
    folder = reference.place / "install"
    (folder / "wheels").mkdir(parents=True)
    (folder / "notebooks").mkdir()
    shutil.copy(ROOT / "run_all.sh", folder)
    for name, files in (("torch", 300), ("other", 600)):
        wheel(folder / "wheels", name, files)
    (folder / "requirements.lock").write_text("torch==1.0\nother==1.0\n")
    build = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    (folder / "pyproject.toml").write_text(build + '[project]\nname = "small"\nversion = "1.0"\n')
    (folder / "backend.py").write_text(BACKEND)
    (folder / "tools").mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RESONANCE_", "PIP_", "PYTHON"))}
    environment |= {"PYTHON": sys.executable, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder / "wheels")}
    environment |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_CONFIG_FILE": os.devnull}
    for name in ("latexmk", "pdflatex"):  # no TeX is installed for this
        (folder / "tools" / name).write_text("#!/bin/sh\n")
        (folder / "tools" / name).chmod(0o755)
    environment["PATH"] = f"{folder / 'tools'}:{environment['PATH']}"

    def setup(**options) -> subprocess.Popen:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            ["bash", "run_all.sh", "setup"], cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True, **options
        )

    def whole() -> bool:
        done = setup()
        said = "".join(done.communicate(timeout=600))
        site = next((folder / ".venv" / "lib").glob("python*/site-packages"))
        modules = {name: len(list((site / name).glob("m*.py"))) for name in ("torch", "other")}
        programs = [folder / ".venv" / "bin" / f"{name}-program" for name in ("torch", "other")]
        run = all(p.exists() and subprocess.run([p], capture_output=True).stdout == b"whole\n" for p in programs)
        if not (done.returncode == 0 and modules == {"torch": 300, "other": 600} and run):
            print(said, modules, (folder / "build" / "setup.log").read_text()[-2000:])
            return False
        return True

    started = time.time()
    same = whole()
    seconds = time.time() - started
    for _ in range(3):
        shutil.rmtree(folder / ".venv")
        process = setup(start_new_session=True)
        time.sleep(draw.uniform(0.1, 0.95) * seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        same &= whole()
    site = next((folder / ".venv" / "lib").glob("python*/site-packages"))
    for path in (site / "other-1.0.dist-info" / "RECORD", folder / ".venv" / "bin" / "other-program"):
        path.unlink()
    (folder / ".venv" / ".complete").unlink()
    (site / "other" / "m7.py").write_text("")
    same &= whole()
    same &= (site / "other" / "m7.py").read_text() == "value = 7\n"
    return "the unfinished step", "none: the process is dead; the next run sets up what is missing", same


# --------------------------------------------------------------------------- training and its files


def train(folder: Path, *, spoilt: Callable[[int, int], bool] = lambda epoch, index: False) -> bytes:
    """Train a small net from its checkpoint, if there is one; return its weights."""
    torch.manual_seed(0)
    model = ResonanceNet(3, 5, 8, 1, dropout=0.1)

    def batches(epoch: int) -> Iterator[torch.Tensor]:
        for index in range(12):
            x = torch.randn(4, 16, 3, generator=torch.Generator().manual_seed(100 * epoch + index))
            yield torch.full_like(x, float("nan")) if spoilt(epoch, index) else x

    ResonanceTrainer(model, 1e-2).fit(batches, 3, checkpoint=folder)
    return b"".join(value.numpy().tobytes() for value in model.state_dict().values())


class Stop(Exception):
    pass


def stopped(folder: Path, epoch: int = 3) -> None:
    """A run that was stopped in an epoch: its folder has the checkpoint of the epoch before."""

    def stop(now: int, index: int) -> bool:
        if (now, index) == (epoch, 6):
            raise Stop
        return False

    try:
        train(folder, spoilt=stop)
    except Stop:
        return


def error_of(call: Callable[[], object]) -> str:
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    raise AssertionError("expected an error")


def truncated_checkpoint(reference: Reference, draw: random.Random) -> Row:
    """Each of its files cut at a random place: refused.  Half-written files of a run that was killed: ignored."""
    folder, whole = reference.place, reference.weights
    same, said = True, ""
    for index, kind in enumerate(("weights-*", "state-*", "checkpoint.json")):
        place = folder / f"training{index}"
        stopped(place)
        (path,) = place.glob(kind)
        for left in (f"new-{path.name}", f".{path.name}.123.part", "weights-0123456789abcdef.safetensors"):
            (place / left).write_bytes(path.read_bytes()[: draw.randrange(path.stat().st_size)])
        copy = folder / f"{index} copy"
        shutil.copytree(place, copy)
        same &= train(copy) == whole  # what a kill leaves beside a whole checkpoint does not matter
        os.truncate(path, draw.randrange(path.stat().st_size))
        message = error_of(lambda place=place: train(place))
        said = said or message
        assert path.name in message and "expected" in message, message
        shutil.rmtree(place)
        same &= train(place) == whole
    return "the checkpoint: train again from the start", line_of(said, "damaged"), same


def truncated_weights(reference: Reference, draw: random.Random) -> Row:
    path = reference.place / "model.safetensors"
    torch.manual_seed(1)
    model, other = ResonanceNet(3, 5, 8, 1), ResonanceNet(3, 5, 8, 1)
    before = [p.clone() for p in other.parameters()]
    for size in (0, 5, *(draw.random() for _ in range(5))):
        save_weights(model, path)
        os.truncate(path, int(size * path.stat().st_size) if size < 1 else size)
        said = error_of(lambda: load_weights(other, path))
        assert "expected a whole safetensors file" in said, said
    same = all(torch.equal(a, b) for a, b in zip(before, other.parameters(), strict=True))
    save_weights(model, path)
    load_weights(other, path)
    same &= all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    return "the file: save it again; the model is unchanged", line_of(said, "safetensors"), same


def full_disk_checkpoint(reference: Reference, draw: random.Random) -> Row:
    """A disk with room for one checkpoint and part of the next, at several sizes."""
    folder, same, said = reference.place / "training", True, ""
    size = sum(path.stat().st_size for path in (reference.place / "whole").iterdir())
    for share in (1.2, 1.5, 1.9):
        with mounted(folder, "-t", "tmpfs", "-o", f"size={int(share * size)}", "tmpfs"):
            said = error_of(lambda: train(folder))
            subprocess.run(["mount", "-o", "remount,size=16m", str(folder)], check=True)
            same &= (folder / "checkpoint.json").exists() and train(folder) == reference.weights
    return "the steps since the last checkpoint", line_of(said, "Error"), same


def nan_batches(reference: Reference, draw: random.Random) -> Row:
    """Batches of NaN: one is left out; ten in a row end the run, which resumes when the data are mended."""
    folder, said = reference.place / "nan", io.StringIO()
    handler = logging.StreamHandler(said)
    logging.getLogger("resonance").addHandler(handler)
    train(folder / "one", spoilt=lambda epoch, index: (epoch, index) == (2, 3))
    logging.getLogger("resonance").removeHandler(handler)
    assert "step 16, epoch 2, batch 3" in said.getvalue(), said.getvalue()
    message = error_of(lambda: train(folder / "many", spoilt=lambda epoch, index: epoch == 3))
    return "the spoilt steps", line_of(message, "in a row"), train(folder / "many") == reference.weights


FAULTS: dict[str, Callable[[Reference, random.Random], Row]] = {
    f"the workflow killed by SIGKILL at {KILLS} random moments": killed,
    "a full disk under the results": full_disk,
    "a full disk under a checkpoint": full_disk_checkpoint,
    "a corrupt download": corrupt_download,
    "a half download": half_download,
    "no TeX": no_tex,
    "an interrupted installation": interrupted_install,
    "two runs at once": two_runs,
    "a read-only folder of results": read_only,
    "a truncated checkpoint": truncated_checkpoint,
    "a truncated safetensors file": truncated_weights,
    "batches of NaN": nan_batches,
}


def table(only: str, seed: int) -> list[dict[str, str]]:
    """Inject the faults whose names match; one row each."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as place:
        reference = Reference(Path(place))
        for name, inject in FAULTS.items():
            if not re.search(only, name):
                continue
            try:
                lost, message, same = inject(reference, random.Random(f"{seed} {name}"))
                row = {"lost": lost, "message": message, "equal": "yes" if same else "NO"}
            except NotRun as error:
                row = {"lost": "", "message": f"not run: {error}", "equal": ""}
            except Exception as error:
                traceback.print_exc()
                row = {"lost": "?", "message": f"{type(error).__name__} (see what was printed)", "equal": "NO"}
            rows.append({"fault": name, **row})
            print("\n  ".join(f"{key}: {value}" for key, value in rows[-1].items()), flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="do not write paper/faults.csv")
    parser.add_argument(
        "--only", default="", metavar="PATTERN", help="the faults whose names match; the other rows stay"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    options = parser.parse_args()
    if NAMESPACE not in os.environ and shutil.which("unshare"):
        kinds = ["--mount"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--mount"]
        if subprocess.run(["unshare", *kinds, "true"], capture_output=True).returncode == 0:
            os.environ[NAMESPACE] = "1"
            os.execvp("unshare", ["unshare", *kinds, sys.executable, *sys.argv])
    torch.set_num_threads(1)
    rows = table(options.only, options.seed)
    if not options.check:
        path = PAPER / "faults.csv"
        known = list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []
        found = {row["fault"]: row for row in [*known, *rows]}
        text = io.StringIO()
        writer = csv.DictWriter(text, ["fault", "lost", "message", "equal"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(found[name] for name in FAULTS if name in found)
        write_text(path, text.getvalue())
    return int(any(row["equal"] == "NO" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
