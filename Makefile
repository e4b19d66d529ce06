# Coir's commands; `make` lists them. Each does its own set-up and asks
# nothing. The work is done by the scripts in tools/.
.DEFAULT_GOAL := help
PREFIX ?= /usr/local
MINUTES ?= 1
export PYTHON CC JOBS

.PHONY: help demo test test-matrix sanitize bench conformance soak fuzz \
	lint format install wheel dist clean

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | \
	    while IFS='|' read -r name text; do \
	        printf '  make %-12s %s\n' "$$name" "$$text"; done

demo: ## build, then run the example programs and show time and memory
	@tools/run.sh demo

test: ## build and run all tests on the default interpreter (PYTHON=)
	@tools/test.sh

test-matrix: ## Python 3.11 to 3.15, a debug build, AArch64, clang, build options
	@tools/matrix.sh

sanitize: ## the C tests under ASan+UBSan, TSan and valgrind
	@tools/sanitize.sh

bench: ## benchmarks beside the peers (SUITE=greenlet|gevent|http|core|loop|...)
	@tools/run.sh bench $(if $(SUITE),--suite $(SUITE))

conformance: ## others' tests (SUITE=greenlet|gevent|eventlet|stdlib|stdlib-eventlet|...)
	@tools/run.sh conformance --suite $(or $(SUITE),greenlet) \
	    $(if $(ONLY),--only '$(ONLY)') $(if $(CASES),--cases $(CASES)) \
	    $(if $(VERSIONS),--versions $(VERSIONS))

soak: ## for as long as you like (SUITE=greenlet|gevent|echo MINUTES=1)
	@tools/run.sh soak-$(or $(SUITE),greenlet) --minutes $(MINUTES)

fuzz: ## programs of bytes against a model (TARGET=loop|http MINUTES=1 JOBS=)
	@tools/fuzz.sh $(or $(TARGET),loop) $(MINUTES)

lint: ## formats, static analysis, warnings as errors, types
	@tools/lint.sh

format: ## rewrite the sources in the project's format
	@tools/lint.sh --fix

install: ## libcoir, headers and coir.pc (PREFIX=/usr/local DESTDIR=)
	@DESTDIR='$(DESTDIR)' tools/install.sh '$(PREFIX)'

wheel: ## the Python package as a wheel, in dist/
	@tools/dist.sh wheel

dist: ## wheel and source archive, in dist/
	@tools/dist.sh wheel sdist

clean: ## remove all that was built, and .venv (caches outside stay)
	rm -rf build dist .venv
