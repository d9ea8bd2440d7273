# make demo: the whole pipeline at toy scale, from a fresh checkout to results/report/index.html.
# make test, make lint: the tests, the rules of style.
# make paper: all of the paper's tables and figures in miniature, and what must be true of them; kept in $PAPER where that is set
#   (with pdflatex: Debian's texlive-latex-recommended).
# make cluster: the workflow on SLURM clusters that the tests start on this machine (as root; Debian's slurmctld, slurmd, slurm-client,
#   munge, slurmdbd and mariadb-server).
# make docs: writes the generated pages and the drawing of the pipeline; a test fails while one of them is old.
# CI (.ci/run) runs all of these.
# Needs git, make and a Python of 3.11 or later with its venv module (make demo PYTHON=python3.12 takes another than python3).
PYTHON ?= python3
# The uv of the PATH, else one that is put into .venv; uv is in the project's dev group, so the sync leaves it there.
UV := $(or $(shell command -v uv),.venv/bin/uv)
# Where it is set, every job compiles anew all it imports, some ten seconds a job; an empty value counts as unset.
export PYTHONDONTWRITEBYTECODE :=
# The lock file is what is installed; uv is not to look for anything newer.
export UV_FROZEN := 1

.PHONY: demo test paper cluster lint docs install

demo: install
	$(UV) run snakemake --cores all
	@echo "The report: $(CURDIR)/results/report/index.html"

test: install
	$(UV) run pytest -n auto --dist worksteal

paper: install
	$(UV) run pytest -m paper tests/system/paper

cluster: install
	$(UV) run pytest -m cluster --durations 20 tests/system/slurm

lint: install
	$(UV) run ruff check
	$(UV) run ruff format --check
	$(UV) run snakefmt --check Snakefile workflow
	$(UV) run snakemake --lint
	$(UV) run lint-imports

docs: install
	$(UV) run python -m tools.docs

install: $(UV)
	$(UV) sync --frozen

.venv/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is missing or older than 3.11 ($$($(PYTHON) --version 2>&1)). Install a newer one, or name it: make demo PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "make: $(PYTHON) has no venv module. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check uv
