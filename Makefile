# pgwarden: what a fresh Debian machine with a Rust toolchain needs, and nothing else.
#
#   make demo          the whole stack with sample data, until Ctrl-C
#   make demo-check    the same stack, driven through psql, then taken down
#   make test          every check and test that CI runs
#   make test-clients  every client of the compatibility suite on every path; writes docs/compatibility.md
#   make regress       PostgreSQL's own regression SQL with and without pgwarden; SOURCE=…/src/test/regress
#   make driver-suites the drivers' own test suites with and without pgwarden; SOURCES=folder of checkouts; writes docs/suites.md
#   make test-kill     pgwarden killed a hundred times under load, its audit log held against Postgres' own
#   make build         target/release/pgwarden
#   make fuzz          the readers against generated statements; SECONDS=600 for each test, SEED=7 for other statements
#   make regression-report FOLDER=…  docs/regression.md out of PostgreSQL's regression scripts
#   make bench         the whole proxy beside PgBouncer and HAProxy; ARGUMENTS=--quick for a minute's look
#   make bench-decide  judging alone
#   make bench-audit   the index of an audit log of ten million records; ARGUMENTS="--records 2000000" for a smaller one

CARGO ?= cargo
# The profile that demo-check builds in: `release` as for make demo, or `dev` to share the tests' build.
PROFILE ?= release
# The profile of make fuzz: `release` reads ten times as many statements, after a longer build.
FUZZ_PROFILE ?= release
OUTPUT = target/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))

# What install.sh puts below target/ comes before what the machine has.
export PATH := $(CURDIR)/target/clients/bin:$(PATH)

.PHONY: demo demo-check build test test-clients test-kill regress driver-suites lint bench bench-decide bench-audit install-demo install-test install-clients install-suites install-bench install-fuzz fuzz regression-report

demo: install-demo
	$(CARGO) build --locked --release
	target/release/pgwarden demo $(ARGUMENTS)

demo-check: install-demo
	$(CARGO) build --locked --profile $(PROFILE)
	$(OUTPUT)/pgwarden demo --check $(ARGUMENTS)

build: install-demo
	$(CARGO) build --locked --release

test: install-test lint
	$(CARGO) test --locked --no-fail-fast

test-clients: install-clients
	PGWARDEN_CLIENTS=all $(CARGO) test --locked --test clients -- --nocapture --test-threads=1

regress: install-test
	PGWARDEN_REGRESS="$(abspath $(SOURCE))" $(CARGO) test --locked --test regress -- --nocapture

driver-suites: install-suites
	PGWARDEN_SUITE_SOURCES="$(abspath $(SOURCES))" PGWARDEN_DRIVER_SUITES=$(or $(SUITES),all) \
		$(CARGO) test --locked --test driver_suites -- --nocapture

fuzz: install-fuzz
	PGWARDEN_FUZZ_SECONDS=$(or $(SECONDS),60) PGWARDEN_FUZZ_SEED=$(or $(SEED),1) \
		$(CARGO) test --locked --profile $(FUZZ_PROFILE) --test fuzz -- --include-ignored --skip postgres_own --nocapture --test-threads 2

regression-report: install-fuzz
	PGWARDEN_REGRESSION_FOLDER='$(FOLDER)' $(CARGO) test --locked --test regression -- --include-ignored
	PGWARDEN_REGRESSION_FOLDER='$(FOLDER)' $(CARGO) test --locked --test fuzz postgres_own -- --include-ignored --nocapture

test-kill: install-test
	PGWARDEN_KILLS=100 $(CARGO) test --locked --test audit_proof -- --nocapture

bench-audit:
	$(CARGO) bench --locked --bench audit_index -- $(ARGUMENTS)

bench: install-bench
	$(CARGO) build --locked --release
	python3 benches/proxy/run.py $(ARGUMENTS)

bench-decide:
	$(CARGO) bench --locked --bench decide $(ARGUMENTS)

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets

install-demo:
	scripts/install.sh demo

install-test:
	scripts/install.sh test

install-clients:
	scripts/install.sh clients

install-suites:
	scripts/install.sh suites

install-fuzz:
	scripts/install.sh fuzz

install-bench:
	scripts/install.sh bench
