# The commands of this project. `make demo` and `make test` install missing tools, through `make setup`.
CARGO ?= cargo
DEMO ?= demo
DISTRO ?= centos
export CARGO_TERM_COLOR ?= auto
# The first incremental compilation takes a fifth longer, so `make` uses this mode only if its state exists, because cargo was run without
# `make`. Cargo stores the results of the two modes separately: a change of the mode would recompile everything.
export CARGO_INCREMENTAL ?= $(if $(wildcard target/debug/incremental/*),1,0)
# The features and the profile of the tests: `make demo` and `make test` share the compiled code.
SHARED = --locked --workspace --all-features

.PHONY: demo test setup check lint clippy scripts unit fuzz kubectl bench packages publish-check clean

## Builds the sample distribution twice into a new mirror below ./demo and prints where to look; DISTRO=debian builds Debian
## packages, DISTRO=all both kinds.
demo:
	$(if $(filter all,$(DISTRO)),scripts/setup.sh demo-debian)
	scripts/setup.sh $(if $(filter debian,$(DISTRO)),demo-debian,demo) $(CARGO) build $(SHARED) --bin stx-builds
	target/debug/stx-builds demo --distro $(DISTRO) $(DEMO)
	@test '$(DISTRO)' != centos || echo 'to build Debian packages into the same mirror: DISTRO=debian make demo'

## All checks that a change must pass.
test:
	scripts/setup.sh test $(MAKE) clippy
	$(MAKE) scripts unit

## Installs the missing tools of `make test`, and reports each with its purpose.
setup:
	scripts/setup.sh test

lint: clippy scripts

clippy:
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(SHARED) --all-targets -- -D warnings
	$(CARGO) clippy --locked -p stx-layout -p stx-deb -p stx-retention -p stx-pipeline -p stx-executors -p stx-service -p stx-publish -p stx-images -p stx-pages -p stx-publish-s3 -p stx-trust -p stx-zsync -p stx-compare -- -D warnings
	$(CARGO) clippy --locked -p stx-builds -p stx-cli -- -D warnings
	$(CARGO) package --locked --offline --workspace --exclude stx-tests --no-verify --allow-dirty --quiet

scripts:
	shellcheck scripts/*.sh tests/it/packages/*.sh .ci/run recipes/sample/upstream
	grep -lE '^#!.*(bash|/sh)' -r recipes/sample recipes/sample-debian recipes/rehearsal | xargs shellcheck -x -P SCRIPTDIR

# Twice as many tests as processors run at the same time: many wait for servers, other programs and the clock. They also pass with three
# times as many as processors.
# Data that tests share, and files of programs that they kill, would stay in the directory for temporary files. So the tests have one of their
# own, which is removed at the end. It is open to other users: some tests run programs as them.
unit: export RUST_TEST_THREADS ?= $(shell echo $$(($$(nproc) * 2)))
unit:
	dir=$$(mktemp -dt stx.XXXX) && chmod 1777 "$$dir" && trap 'rm -rf --one-file-system "$$dir"' EXIT && \
	TMPDIR="$$dir" $(CARGO) test $(SHARED)

## Runs each fuzz target for FUZZ_SECONDS, one after another; needs cargo-fuzz: docs/fuzzing.md. Not part of `make test`.
FUZZ_SECONDS ?= 60
fuzz:
	scripts/fuzz.sh $(FUZZ_SECONDS)

## Runs phases through the real `kubectl exec`; needs kubectl 1.31 or newer, which Debian 12 does not have. Not part of `make test`.
kubectl:
	$(CARGO) test --locked -p stx-tests --all-features --test it -- --ignored places_kubectl

## Runs the benchmarks, which compare with other tools if there are any; those of publishing need 12 GiB and some minutes.
bench:
	scripts/setup.sh bench
	$(CARGO) bench --locked --workspace --all-features

## Makes a .deb and an .rpm in target/packages. The binary contains no paths of the directory in which it was built.
packages: export RUSTFLAGS += --remap-path-prefix=$(CURDIR)=stx-builds --remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)=cargo
packages:
	scripts/setup.sh packages
	$(CARGO) build --release --locked -p stx-cli --features full
	scripts/packages.sh target/release/stx-builds target/packages

## Checks that each crate could be published: packages it, and builds it from its package. Recompiles everything.
publish-check:
	$(CARGO) publish --workspace --dry-run --locked

clean:
	$(CARGO) clean
	rm -rf $(DEMO)
