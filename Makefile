# make demo      the whole pipeline at toy scale, from a fresh checkout to results/report/demo/index.html
# make test      the tests, but for those of `paper` and `cluster`, and the coverage of the package
# make gpu       tries the tests for a GPU on the processor; on a GPU, benchmarks/gpu.sh runs them
# make fuzz      damaged files of every kind, from another seed each time: MINUTES=10 for each of the fifteen kinds
# make paper     all of the paper's tables and figures in miniature, and checks of what they print. Needs pdflatex (Debian:
#                texlive-latex-recommended). PAPER=folder keeps what was built there
# make cluster   the workflow on SLURM clusters that the tests start on this machine. Needs root, and from Debian slurmctld, slurmd,
#                slurm-client, munge, slurmdbd and mariadb-server
# make rivals    all-in-one methods at toy width, each trained for the same CPU time, and their table in docs/rivals.md: about 90 minutes
#                on two cores. The same command continues after a stop. Runs nothing beside it: seconds are counted
# make lint      style, types, import contracts, the workflow's rules (what the hooks in .pre-commit-config.yaml run before a commit), and the
#                links of the documentation
# make docs      writes the generated pages; a test fails while one of them is out of date
# make docs-site the documentation as a site in site/, for reading without a network; a link that leads nowhere ends it
# make install   the environment in .venv, exactly as uv.lock describes it; every other target does it first
# .ci/run does lint, the tests, the cluster's and the demo. Needs git, make, and Python 3.11 or later with its venv module.

# The Python that the environment is built with: make demo PYTHON=python3.12
PYTHON ?= python3
# uv from the PATH. Where there is none it is installed into .venv, and stays there: it is one of the project's dev dependencies.
UV := $(or $(shell command -v uv),.venv/bin/uv)
# If this variable is set, every job compiles all that it imports again, some ten seconds a job. An empty value counts as not set.
export PYTHONDONTWRITEBYTECODE :=
# Without a home directory that can be written (a service account's), uv, snakemake and dvc keep their caches and settings here.
ifneq ($(shell test -d "$$HOME" -a -w "$$HOME" && echo yes),yes)
export XDG_CACHE_HOME ?= $(CURDIR)/.cache
export XDG_CONFIG_HOME ?= $(CURDIR)/.config
endif
# Install what uv.lock names; never look for newer versions.
export UV_FROZEN := 1

.PHONY: demo test gpu fuzz paper cluster rivals lint docs docs-site install

demo: install
	$(UV) run python -m tools.demo --cores all

test: install
	$(UV) run pytest -n auto --dist worksteal --cov

MINUTES ?= 1
fuzz: install
	FUZZ_SECONDS=$$(($(MINUTES) * 60)) FUZZ_SEED=$${FUZZ_SEED:-$$$$} $(UV) run pytest -n auto tests/fuzz

gpu: install
	$(UV) run pytest -m gpu --gpu-device cpu -W default tests/gpu

paper: install
	$(UV) run pytest -m paper tests/system/paper

cluster: install
	$(UV) run pytest -m cluster --durations 20 tests/system/slurm

rivals: install
	$(UV) run snakemake --cores 2 --configfile config/rivals.yaml --set-threads train_network=1 train_drm=1 train_branches=1 train_predictor=1
	$(UV) run python -m tools.rivals

lint: install
	$(UV) run ruff check
	$(UV) run ruff format --check
	$(UV) run snakefmt --check Snakefile workflow
	$(UV) run snakemake --lint
	$(UV) run lint-imports
	$(UV) run mypy
	$(UV) run python -m tools.site

docs: install
	$(UV) run python -m tools.docs

docs-site: install
	$(UV) run python -m tools.site

install: $(UV)
	$(UV) sync --frozen

.venv/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is missing or older than 3.11 ($$($(PYTHON) --version 2>&1)). Install a newer one, or name it: make demo PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "make: $(PYTHON) has no venv module. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check uv
