# `make run` and `make test` set up everything they need.
.PHONY: run test lint types architecture check bench binary deb clean news

run: ; @packaging/venv postgres,redis && exec .venv/bin/python -m quay serve

# On every core, and one more, since the tests often wait for servers: make test TESTS=tests/unit
test: ; @packaging/venv dev && .venv/bin/python -m pytest -n $$(( $$(nproc) + 1 )) --dist loadfile $(TESTS)

lint: ; @packaging/venv dev && .venv/bin/ruff check . && .venv/bin/ruff format --check .

types: ; @packaging/venv dev && .venv/bin/mypy

architecture: ; @packaging/venv dev && .venv/bin/lint-imports && .venv/bin/python -m pytest tests/unit/test_architecture.py

# Everything but the tests.
check: lint types architecture

# Beside its peers, on this machine: make bench BENCH="--quick --only push".
bench: ; @packaging/venv dev && .venv/bin/python -m tests.benchmarks $(BENCH)

# One file that is all of Quay, in dist/.
binary: ; @packaging/binary

# The same as a package for Debian and Ubuntu.
deb: ; @packaging/deb

# The news of the next release, as it would read.
news: ; @packaging/venv dev && .venv/bin/towncrier build --draft

clean: ; rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .tox build dist *.egg-info
