# Every command that the README names, and all that CI runs. `make help` lists them.

CARGO ?= cargo
# What `make demo` and `make bench` read; empty: a clip made on the spot.
INPUT ?=
# Where `make demo` writes.
OUT ?= demo-out
# Pairs of runs that `make bench` measures.
PAIRS ?= 3
# How many random scenarios `make simulate` plays, and the one that it replays if given.
N ?= 100000
SEED ?=
# The first seed of `make mutate`; from 1000000000 on the structure of files is changed.
FROM ?= 0
# What `make test-gpu` runs on, such as cuda:1, and a folder of clips to try besides: see crates/media/tests/media/on_gpu.rs.
GPU ?=
CLIPS ?=
# How long `make fuzz` goes on.
SECONDS ?= 3600
export INPUT OUT GPU CLIPS

CARGO_DENY_VERSION := 0.20.2
CARGO_FUZZ_VERSION := 0.13.2
# nextest packs many slow tests better; without it, cargo's own runner runs the same tests.
NEXTEST := $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo yes)

.DEFAULT_GOAL := help
.PHONY: help setup build demo test test-full test-gpu simulate simulate-bugs simulate-report mutate fuzz support check fix bench bench-gpu bench-memory clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what a build needs (apt-get, as root or with sudo), or say what is missing
	scripts/setup

build: setup ## build the `rungs` program in release mode
	$(CARGO) build --locked --release -p rungs-cli

demo: setup ## package a clip (INPUT=file, or a generated one) into OUT=demo-out, and check the result
	$(CARGO) build --locked --release -p rungs-cli -p rungs-testkit --bins
	scripts/demo

test: setup ## run all tests
	@scripts/setup tests
ifeq ($(NEXTEST),yes)
	$(CARGO) nextest run --locked --workspace --no-fail-fast
	# The engine built for interleaving has the same examples, under another name.
	$(CARGO) test --locked --workspace --exclude rungs-interleave --doc
else
	$(CARGO) test --locked --workspace --no-fail-fast
endif

test-full: setup ## run all tests in release mode with 20 000 random cases each, 200 kills and 10 000 damaged files, none skipped
	@scripts/setup tests
	PROPTEST_CASES=20000 KILLS=200 MUTANTS=10000 STRICT=1 $(CARGO) test --locked --workspace --release --no-fail-fast -- --include-ignored --skip on_gpu::

test-gpu: setup ## run the tests that take a GPU (GPU=cuda:0, CLIPS=folder), which fail if there is none
	$${GPU:+env RUNGS_GPU="$$GPU"} $${CLIPS:+env RUNGS_GPU_CLIPS="$$CLIPS"} \
		$(CARGO) test --locked --release -p rungs-media --test media -- --ignored --nocapture --test-threads=1 on_gpu::
	STRICT=1 RUNGS_GPU="$${GPU:-auto}" $(CARGO) test --locked --release -p rungs-engine --test kept -- --test-threads=1

SIMULATE := $(CARGO) run --locked --release -p rungs-testkit --bin rungs-simulate

simulate: setup ## play N=100000 random scenarios full of faults, or print every step of one (SEED=number)
	$(SIMULATE) -- $(if $(SEED),replay $(SEED),run --runs $(N))

simulate-bugs: setup ## plant each bug into the schedule, and see that the simulator finds it
	$(CARGO) test --locked -p rungs-testkit --features planted --test simulator
	$(SIMULATE) --features planted -- bugs

simulate-report: setup ## measure how good the placement is, and write the tables of docs/scheduling.md
	$(SIMULATE) -- report --into docs/scheduling.md

MUTATE := $(CARGO) run --locked --release -p rungs-testkit --bin rungs-mutate

mutate: setup ## package N=100000 damaged files from seed FROM=0 on, check each package, or do one again (SEED=number)
	$(MUTATE) -- --check-all $(if $(SEED),--seed $(SEED),--count $(N) --from $(FROM))

fuzz: setup ## give every parser bytes that grow cleverer, for SECONDS=3600 in all
	$(CARGO) fuzz --version || $(CARGO) install --locked --debug cargo-fuzz@$(CARGO_FUZZ_VERSION)
	scripts/fuzz $(SECONDS)

support: setup ## try many kinds of files, and write what passed into docs/support.md
	rm -rf target/support && mkdir -p target/support
	RUNGS_SUPPORT=$(CURDIR)/target/support $(CARGO) test --locked -p rungs-cli --test program -- --include-ignored inputs::
	scripts/support target/support > docs/support.md

check: setup ## formatting, lints (warnings are errors), licences, sources and known vulnerabilities of dependencies
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets --all-features -- -D warnings
	$(CARGO) deny --version || $(CARGO) install --locked --debug cargo-deny@$(CARGO_DENY_VERSION)
	$(CARGO) deny --locked --all-features check bans licenses sources
	CARGO="$(CARGO)" scripts/advisories

fix: setup ## format, and apply the fixes that clippy is sure of
	$(CARGO) clippy --workspace --all-targets --all-features --fix --allow-dirty --allow-staged
	$(CARGO) fmt --all

bench: setup ## time and memory against one ffmpeg command (INPUT=file, PAIRS=3)
	$(CARGO) build --locked --release -p rungs-cli -p rungs-testkit --bins
	$(CARGO) run --locked --release -p rungs-testkit --bin rungs-bench -- --pairs $(PAIRS) $${INPUT:+--input "$$INPUT"}

bench-gpu: setup ## pictures that GPUs decode and scale, against ffmpeg (INPUT=file of some minutes)
	$(CARGO) run --locked --release -p rungs-testkit --bin rungs-bench-gpu -- --input "$(INPUT)" --ffmpeg ffmpeg

bench-memory: setup ## peak memory of a file against ten times its length
	$(CARGO) build --locked --release -p rungs-cli -p rungs-testkit --bins
	$(CARGO) run --locked --release -p rungs-testkit --bin rungs-bench -- --tenfold $${INPUT:+--input "$$INPUT"}

clean: ## remove what was built and the demo's output
	$(CARGO) clean
	rm -rf demo-out
