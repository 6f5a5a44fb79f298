#!/usr/bin/env bash
# From a checkout to the report: makes the environment, then hands over to Snakemake.  ./run_all.sh --help
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

TORCH=$(sed -n 's/^torch==/torch==/p' requirements.lock)
TEX_PACKAGES="latexmk texlive-latex-recommended texlive-latex-extra texlive-fonts-recommended texlive-science texlive-pictures cm-super lmodern"
WORDS="quick full report test setup lab refresh compare site clean"

usage() {
  cat <<'TEXT'
usage: ./run_all.sh [WORD] [--only NN] [--profile NAME] [--jobs N] [--force] [--dry-run] [-- OPTIONS]

  quick    every notebook, figure and both PDFs in minutes (the default) -> paper/build/quick/{paper,supplement}.pdf
  full     the reference run                                             -> paper/paper.pdf, paper/supplement.pdf
  report   both PDFs from the results as they are; of the notebooks only the scoreboard may run again
  test     ruff, the unit tests, and nbval over notebooks/
  setup    the environment (.venv, and a TeX where it may install one), nothing else
  lab      JupyterLab on notebooks/; in a container as root:  ./run_all.sh lab -- --allow-root --no-browser
  refresh  renew notebooks/ from the quick results, with the recorded costs, and the README's generated parts
  compare  a rerun beside the committed reference, verdict by verdict:  ./run_all.sh compare [A [B]]
           A and B: a profile, a folder of results, or HEAD; by default: full HEAD.  Exit 1 when a verdict differs
  site     the reference run as pages to read in a browser, without a network         -> build/site/index.html
  clean    remove the quick results, figures and PDFs, and all intermediate files; keeps .venv, data and `full`

  --only NN        run one notebook (again), and what it needs: ./run_all.sh full --only 08
  --profile NAME   quick, full, or another notebooks/NAME.yaml
  --jobs N         cores to use (default: all)
  --force          run every notebook again, current or not
  --dry-run        with any word: say what would be done, without looking for data, and change nothing but
                   Snakemake's own cache
  -- OPTIONS       go to Snakemake (quick, full, report), or to JupyterLab (lab)

Environment: PYTHON (which 3.11 to 3.13 to use), RESONANCE_DATA (a folder with the data files),
RESONANCE_TORCH_INDEX (a pip index for torch, say one with CPU builds).
TEXT
}

fail() { echo "run_all.sh: $*" >&2; exit 2; }
say() { echo "== $*"; }

# ---------------------------------------------------------------- arguments

word="" profile="" only="" jobs="" force="" dry="" extra=()
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) usage; exit 0 ;;
    --only | --profile | --jobs)
      [ -n "${2:-}" ] || fail "$1 needs a value; see --help"
      case "$1" in --only) only="$2" ;; --profile) profile="$2" ;; --jobs) jobs="$2" ;; esac
      shift ;;
    --force) force=1 ;;
    --dry-run) dry=1 ;;
    --) shift; extra=("$@"); break ;;
    -*) fail "unknown option '$1'; known: --only --profile --jobs --force --dry-run --help" ;;
    *)
      if [ "$word" = compare ]; then extra+=("$1"); shift; continue; fi
      [ -z "$word" ] || fail "two words, '$word' and '$1'; expected one of: $WORDS"
      case " $WORDS " in *" $1 "*) word="$1" ;; *) fail "unknown word '$1'; expected one of: $WORDS" ;; esac ;;
  esac
  shift
done
case "$word" in
  quick | full)
    [ -z "$profile" ] || [ "$profile" = "$word" ] || fail "word '$word' and --profile '$profile' disagree"
    profile="$word" action=run ;;
  "" | report) action=run ;;
  *)
    action="$word"
    [ -z "$profile$only$jobs$force" ] || fail "'$word' takes no options but --dry-run"
    [ "$word" = lab ] || [ "$word" = compare ] || [ ${#extra[@]} = 0 ] || fail "'$word' takes no options after --" ;;
esac
profile="${profile:-quick}"
known_profiles=quick
for file in notebooks/*.yaml; do
  if [ -e "$file" ]; then file="${file##*/}"; known_profiles="$known_profiles ${file%.yaml}"; fi
done
case " $known_profiles " in *" $profile "*) ;; *) fail "unknown profile '$profile'; known: $known_profiles" ;; esac
case "${jobs:-1}" in *[!0-9]*) fail "--jobs needs a whole number of at least 1, got '$jobs'" ;; esac
[ "${jobs:-1}" -ge 1 ] || fail "--jobs needs a whole number of at least 1, got '$jobs'"
jobs="${jobs:-$(getconf _NPROCESSORS_ONLN)}"
case "$action  ${extra[*]-} " in "run "*" --config "*) fail "--config is run_all.sh's own; use --profile" ;; esac
if [ -n "$only" ]; then
  [ "$word" != report ] || fail "'report' takes no --only"
  case "$only" in [0-9]) only="0$only" ;; esac
  ls notebooks/"${only%%_*}"_*.ipynb >/dev/null 2>&1 ||
    fail "no notebook '$only'; known: $(cd notebooks && ls ./*.ipynb | sed 's|^\./||; s|\.ipynb$||' | tr '\n' ' ')"
fi

# ---------------------------------------------------------------- environment

apt_prefix() { # prints how to call apt-get, or fails
  command -v apt-get >/dev/null || return 1
  if [ "$(id -u)" = 0 ]; then echo "env"; elif sudo -n true 2>/dev/null; then echo "sudo -n env"; else return 1; fi
}

apt_install() { # apt_install WHAT-FOR PACKAGE...
  local why="$1" prefix; shift
  if ! prefix=$(apt_prefix); then
    echo "run_all.sh: $why is missing and may not be installed from here. Run:  sudo apt-get install --no-install-recommends $*" >&2
    return 1
  fi
  say "installing $why"
  { $prefix DEBIAN_FRONTEND=noninteractive apt-get update -qq &&
    $prefix DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; } >>build/setup.log 2>&1 ||
    { echo "run_all.sh: installing $why failed; the last lines of build/setup.log:" >&2; tail -n 5 build/setup.log >&2; return 1; }
}

suits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; }

find_python() {
  local candidate
  if [ -n "${PYTHON:-}" ]; then set -- "$PYTHON"; else set -- python3 python3.13 python3.12 python3.11; fi
  for candidate in "$@"; do
    if suits "$candidate"; then command -v "$candidate"; return; fi
  done
  return 1
}

venv_stamp() { echo "$("$python" --version) $(cat requirements.lock pyproject.toml | cksum) $PWD"; }
venv_current() { [ "$(cat .venv/.complete 2>/dev/null)" = "$(venv_stamp)" ]; }

setup_python() {
  if venv_current; then return; fi
  say "setting up .venv with $("$python" --version) (log: build/setup.log)"
  rm -f .venv/.complete
  suits .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1 || {
    rm -rf .venv
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
      apt_install "python venv" "python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv" || exit 1
    fi
    "$python" -m venv .venv >>build/setup.log 2>&1 || fail "'$python -m venv' failed; see build/setup.log"
  }
  # pip writes a package's RECORD last: one without it, of an installation that was killed, may lack files, yet counts.
  local info
  for info in .venv/lib/python*/site-packages/*.dist-info; do [ -e "$info/RECORD" ] || rm -rf "$info"; done
  # torch first and alone: a later, looser requirement then cannot replace its build.
  { .venv/bin/python -m pip install --progress-bar off ${RESONANCE_TORCH_INDEX:+--index-url "$RESONANCE_TORCH_INDEX"} "$TORCH" &&
    .venv/bin/python -m pip install --progress-bar off -r requirements.lock &&
    .venv/bin/python -m pip install --progress-bar off --no-deps --no-build-isolation -e .; } >>build/setup.log 2>&1 ||
    { tail -n 15 build/setup.log >&2; fail "installing the locked packages failed; the whole log: build/setup.log"; }
  venv_stamp >.venv/.complete
}

has_tex() { { command -v latexmk && command -v pdflatex; } >/dev/null 2>&1 || command -v tectonic >/dev/null 2>&1; }

setup_tex() {
  has_tex && return
  case "$(uname -s)" in
    Linux) apt_install "TeX" $TEX_PACKAGES && has_tex ;;
    *) echo "run_all.sh: no TeX found. Install one that has latexmk, or tectonic (brew install tectonic), and run again." >&2; return 1 ;;
  esac
}

python=$(find_python) || fail "no Python 3.11 to 3.13 found (looked at: ${PYTHON:-python3 python3.13 python3.12 python3.11}); on Debian or Ubuntu: sudo apt-get install python3 python3-venv"

if [ -n "${RESONANCE_DATA:-}" ] && [ ! -d "$RESONANCE_DATA" ]; then
  echo "run_all.sh: RESONANCE_DATA=$RESONANCE_DATA is not a folder: data come from data/cache, the network, or stand-ins" >&2
fi

# ---------------------------------------------------------------- what needs no environment

REMOVED="build paper/build paper/generated .snakemake data/results/quick data/results/interactive figures/quick figures/interactive"
removed() { # prints what `clean` removes, of what is there
  local path
  for path in $REMOVED data/results/full/.*.partial; do [ ! -e "$path" ] || echo "$path"; done
}

if [ -n "$dry" ]; then
  case "$action" in
    clean) removed | sed 's/^/would remove /'; exit 0 ;;
    lab) say "would start: jupyter lab ${extra[*]+${extra[*]} }notebooks"; exit 0 ;;
    site) say "would write build/site from the results of the reference run"; exit 0 ;;
    compare) say "would compare two ledgers and write build/compare.csv"; exit 0 ;;
    test) say "would run ruff, the unit tests, and nbval over notebooks/"; exit 0 ;;
  esac
  if ! venv_current; then say "would set up .venv with $("$python" --version)"; fi
  if [ "$action" != refresh ] && ! has_tex; then say "would install TeX, or say how to"; fi
  if [ "$action" = setup ]; then exit 0; fi
  if ! venv_current; then say "what else '$profile' would do is known after: ./run_all.sh setup"; exit 0; fi
fi

# One run at a time. The kernel drops the lock when its last holder dies, however it dies; a workflow that outlived its
# run_all.sh is waited for, and its results are then found.
lock() {
  mkdir -p build
  exec 9>.run.lock
  "$python" -c '
import fcntl, sys
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    print("run_all.sh: waiting for the run that is at work in this folder (Ctrl-C to give up)", file=sys.stderr)
    fcntl.flock(9, fcntl.LOCK_EX)'
}

if [ -n "$dry" ]; then # RESONANCE_DRY: where the plan is written instead (artifact/pipeline/freshness.py)
  RESONANCE_DRY=$(mktemp -d)
  export RESONANCE_DRY PYTHONDONTWRITEBYTECODE=1
  trap 'rm -rf "$RESONANCE_DRY"' EXIT
else
  lock
fi

if [ "$action" = clean ]; then
  removed | while IFS= read -r path; do
    say "removing $path ($(du -sh "$path" | cut -f1))"
    rm -rf "$path"
  done
  say "kept: .venv, data/cache, data/results/full, figures/full, paper/paper.pdf, paper/supplement.pdf"
  exit 0
fi

setup_python
export PATH="$PWD/.venv/bin:$PATH"

# ---------------------------------------------------------------- the words

NOISE='^(Assuming unrestricted|Building DAG|Using shell|Select jobs|Execute [0-9]+ jobs|Complete log|Elapsed time'
NOISE="$NOISE|WorkflowError:\$|At least one job did not|Exiting because a job|RuleException:\$|CalledProcessError in|Command 'set -euo)"

snake() { # Snakemake, silent but for failures: each notebook says itself that it starts and ends (artifact/pipeline/progress.py)
  # --ignore-incomplete: outputs are renamed into place, so one that is there is whole, whenever a run was killed.
  local quiet="host reason rules progress"
  if [ -n "$dry" ]; then quiet="host reason"; fi
  # shellcheck disable=SC2086
  { snakemake "$@" --quiet $quiet --cores "$jobs" --nolock --rerun-triggers mtime --ignore-incomplete --keep-going \
    ${dry:+--dry-run} ${extra[@]+"${extra[@]}"} 2>&1 >&3 | (trap '' INT; grep --line-buffered -vE "$NOISE" >&2 || true); } 3>&1
}

case "$action" in
  setup) if setup_tex; then say "ready"; else say "ready, but without a TeX: no PDF can be built"; fi; exit 0 ;;
  lab) exec 9>&-; exec jupyter lab ${extra[@]+"${extra[@]}"} notebooks ;;
  compare) status=0; python -m artifact.pipeline.compare ${extra[@]+"${extra[@]}"} || status=$?; exit $status ;;
  site) python -m artifact.pipeline.site; exit ;;
  refresh) python -m artifact.pipeline.refresh ${dry:+--dry-run}; exit ;;
  test)
    status=0 started=$SECONDS
    say "ruff"
    ruff check . || status=1
    ruff format --check . || status=1
    say "unit tests, and nbval over notebooks/"
    # One process a core, each with one thread; a file's tests, and a notebook's cells, stay together, the longest first.
    OMP_NUM_THREADS=1 python -m pytest --numprocesses "$jobs" --dist loadfile --no-loadscope-reorder --nbval-lax --nbval-current-env --nbval-sanitize-with tests/nbval_sanitize.cfg tests notebooks || status=1
    if [ $status = 0 ]; then printf 'seconds,cores\n%s,%s\n' $((SECONDS - started)) "$jobs" >build/test_cost.csv; fi # for refresh
    exit $status ;;
esac

status=0 started=$SECONDS target=report config=("profile=$profile")
if [ "$word" = report ]; then config+=("frozen=1"); fi
if [ -n "$only" ]; then
  name=$(python -m artifact.pipeline.runner find "$only" --profile "$profile") || exit 1
  snake "data/results/$profile/$name/provenance.json" --forcerun "data/results/$profile/$name/provenance.json" --config "${config[@]}" || exit 1
  if [ -z "$dry" ]; then say "$name: data/results/$profile/$name, $((SECONDS - started)) s"; fi
  exit 0
fi
if [ -z "$dry" ] && ! setup_tex; then target=results status=1; started=$SECONDS; fi
snake "$target" ${force:+--forcerun notebook} --config "${config[@]}" || status=1
if [ -n "$dry" ]; then exit $status; fi
echo
# After a failure, too: of what is there, with the claims of a failed notebook as not measured.
if [ $status != 0 ]; then python -m artifact.pipeline.report ledger --profile "$profile" || true; fi
python -m artifact.pipeline.report summary --profile "$profile" || status=1
say "wall time after installation: $((SECONDS - started)) s"
if [ "$target" = results ]; then say "no PDF: TeX is missing (see above)"; fi
exit $status
