# `make` alone lists the targets. None of them needs an activated environment.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo serve test test-triton test-clients test-web test-cluster check checks coverage lint format protos proto-baseline bench models clean

comma := ,

# $(call step,heading,command) runs one check and says which one failed.
step = @printf '\n== %s\n' '$(1)'; { $(2); } || { printf '\nFAILED: %s\n' '$(1)' >&2; exit 1; }

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## create .venv with all three distributions and the tools (PYTHON=python3.11 or newer)

# Local paths alone, so that none of the three is ever looked for in an index.
DISTRIBUTIONS := -e client/python -e '.[dev]' -e training

$(INSTALLED): pyproject.toml client/python/pyproject.toml training/pyproject.toml tests/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'leyden needs Python 3.11 or newer; "$(PYTHON)" is not. Name one: make PYTHON=python3.11 …' >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python tests/checks/install.py $(DISTRIBUTIONS) -c tests/constraints.txt
	@touch $@

demo: install ## start a server, generate demo.png, stop the server
	@$(BIN)/leyden demo $(ARGS)

serve: install ## start a server; Ctrl-C stops it (ARGS="--port 9000": its options)
	@$(BIN)/leyden serve $(ARGS)

# Processes that the tests are spread over: one more than the two cores that are counted with, since
# tests wait for starts, stops and connections for half of their time. tests/support/spread.py says
# which tests stay together.
WORKERS ?= 3
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder

# $(call beside_lint,command) runs the checks beside a command. They report once they are done, amid
# the command's output; at the end it is said which of the two failed.
beside_lint = @report=$$(mktemp); trap 'rm -f "$$report"' EXIT; \
	{ $(MAKE) --no-print-directory checks >"$$report" 2>&1; code=$$?; cat "$$report"; exit $$code; } & lint=$$!; \
	$(1); tested=$$?; wait $$lint; checked=$$?; \
	test $$checked -eq 0 || { cat "$$report"; printf '\nFAILED: checks (make checks)\n'; } >&2; \
	test $$tested -eq 0 || printf '\nFAILED: tests (pytest)\n' >&2; \
	test $$checked -eq 0 && test $$tested -eq 0

test: install ## all checks and all tests side by side, and how much of the code they ran
	$(call beside_lint,$(PYTEST) --cov --cov-report=)
	@printf '\n%s%% of the Python was run by the tests (make coverage: by file).\n' "$$($(BIN)/coverage report --format=total)"
	@printf 'All checks and tests passed.\n'

test-triton: install ## unchanged clients of Triton's protocol, and a real tritonserver, in venvs of their own
	@$(BIN)/python tests/triton_clients/run.py $(ARGS)

test-clients: install ## every language's client, asked the same against real servers (ARGS="go rust": some)
	@$(BIN)/python tests/clients/run.py $(ARGS)
	@test -n "$(ARGS)" || $(BIN)/python tests/openai_npm/run.py

test-web: install ## the page, as it is built and in a real browser (ARGS="-k cancel": some tests)
	@$(BIN)/python tests/clients/web/run.py $(ARGS)

test-cluster: install ## what an operator relies on, with real tools around real servers (ARGS="PART": one part)
	@$(BIN)/python tests/cluster/run.py $(ARGS)

check: install ## the checks, and the tests of parts and of the client, in a few minutes
	$(call beside_lint,$(PYTEST) tests/unit tests/client)

coverage: ## which lines the last `make test` ran, by file, in build/coverage/index.html
	@$(BIN)/coverage report --skip-covered
	@$(BIN)/coverage html --quiet --directory build/coverage

# Beside the tests: those of Python and the protos. The other languages' take as long again, on the
# same cores, and need toolchains that the tests do without; `make test-clients` and `make test-web`
# run them too, so that CI misses none.
lint: checks ## the checks alone: format, style, types, protos, stubs, in every language
	$(call step,the clients of other languages$(comma) where their tools are,$(BIN)/python tests/clients/run.py lint && $(BIN)/python tests/clients/run.py stubs check)
	$(call step,the page,$(BIN)/python tests/clients/web/run.py lint)

checks: install
	$(call step,Python format (ruff format),$(BIN)/ruff format --check .)
	$(call step,Python style (ruff check),$(BIN)/ruff check .)
	$(call step,types (mypy),$(BIN)/mypy client/python/leyden_client client/python/leyden_cli server/leyden_server training/leyden_training tests)
	$(call step,proto style (buf lint),cd protos && ../$(BIN)/buf lint)
	$(call step,proto format (buf format),cd protos && ../$(BIN)/buf format --diff --exit-code)
	$(call step,proto compatibility (buf breaking),cd protos && ../$(BIN)/buf breaking --against baseline.binpb)
	$(call step,generated stubs,$(BIN)/python tests/checks/stubs.py check)

format: install ## format Python and protos, fix what ruff can fix
	@$(BIN)/ruff check --fix --quiet --exit-zero .
	@$(BIN)/ruff format .
	@cd protos && ../$(BIN)/buf format -w

protos: install ## regenerate the stubs of every language from protos/
	@$(BIN)/python tests/checks/stubs.py write
	@$(BIN)/python tests/clients/run.py stubs write

proto-baseline: install ## accept the protos of now as what later ones must not break
	@cd protos && ../$(BIN)/buf build --exclude-source-info -o baseline.binpb

bench: install ## measure on this machine: 45 minutes or so, with nothing else running
	@$(BIN)/python -m benchmarks

models: install ## train the embedded models anew, into runs/; Ctrl-C stops, the same goes on
	@$(BIN)/leyden-train all

clean: ## remove .venv and everything that was made
	rm -rf .venv .venv-triton build dist .mypy_cache .pytest_cache .ruff_cache .coverage demo.png client/rust/target
	rm -rf client/web/gen client/web/node_modules tests/openai_npm/node_modules
	rm -rf client/typescript/node_modules client/typescript/dist client/typescript/docs
	rm -rf client/java/target client/java/stubs/target
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
