# make check is what a change must pass; the other targets measure and search.
# Whatever is built or downloaded goes to .build, which git ignores.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.PHONY: check format tidy-diff vet lint race nested 32bit test tidy bench fuzz cover soak clean

GO ?= go
BUILD := $(CURDIR)/.build
# Directories of the nested modules, each with a go.mod of its own.
NESTED := $(sort $(patsubst %/go.mod,%,$(shell find * -mindepth 1 -name go.mod -not -path '*/testdata/*')))
IN_NESTED := $(CURDIR)/.ci/nested

# Tools, pinned. One of this version on PATH is used; else it is built once.
GOLANGCI_LINT_VERSION := 2.15.0
LINTER := $(BUILD)/golangci-lint-$(GOLANGCI_LINT_VERSION)/golangci-lint
ifeq ($(shell golangci-lint version --short 2>/dev/null),$(GOLANGCI_LINT_VERSION))
LINTER := $(shell command -v golangci-lint)
endif

## check: everything a change must pass, cheapest first
check: format tidy-diff vet lint race nested 32bit

format:
	@echo '--- gofmt'
	unformatted=$$(gofmt -l .)
	if [[ -n $$unformatted ]]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi

tidy-diff:
	@echo '--- go mod tidy -diff'
	GOWORK=off $(GO) mod tidy -diff

vet:
	@echo '--- go vet'
	$(GO) vet ./...

lint: $(LINTER)
	@echo '--- golangci-lint'
	$(LINTER) run ./...

race:
	@echo '--- go test -race'
	$(GO) test -race -shuffle=on ./...

# Nested modules, without the workspace: a requirement it would hide is missed.
nested: $(LINTER)
	@for m in $(NESTED); do
		echo "--- $$m"
		$(IN_NESTED) $$m $(GO) mod tidy -diff
		$(IN_NESTED) $$m $(GO) vet ./...
		(cd $$m && $(LINTER) run ./...)
		$(IN_NESTED) $$m $(GO) test -race -shuffle=on ./...
	done

# Atomics, hashes and sizes on a platform with 32-bit words.
32bit: export GOARCH := 386
32bit: export CGO_ENABLED := 0
32bit:
	@echo '--- 32 bit'
	$(GO) vet ./...
	$(GO) build ./...
	for m in $(NESTED); do $(IN_NESTED) $$m $(GO) build -o /dev/null ./...; done
	if $(GO) test -run='^$$' ./internal/canonical >/dev/null 2>&1; then
		$(GO) test ./internal/...
	else
		echo 'built and vetted only: this system does not run 32-bit programs'
	fi

## test: the tests of all modules, without the race detector
test:
	$(GO) test ./...
	for m in $(NESTED); do $(IN_NESTED) $$m $(GO) test ./...; done

## tidy: go.mod and go.sum of all modules
tidy:
	GOWORK=off $(GO) mod tidy
	for m in $(NESTED); do $(IN_NESTED) $$m tidy; done

## bench: benchmarks of PKG matching BENCH, COUNT times; compare two runs with benchstat
BENCH ?= .
COUNT ?= 6
PKG ?= ./...
bench:
	@mkdir -p $(BUILD)
	for m in . $(if $(filter ./...,$(PKG)),$(NESTED)); do
		$(GO) test -C $$m -run='^$$' -bench='$(BENCH)' -benchmem -count=$(COUNT) $(PKG)
	done | tee $(BUILD)/bench.txt
	if ! grep -q '^Benchmark' $(BUILD)/bench.txt; then echo "no benchmark in PKG=$(PKG) matches BENCH='$(BENCH)'" >&2; exit 1; fi

## fuzz: each fuzz target whose "file:name" matches FUZZ, in any case, for FUZZTIME
FUZZ ?= .
FUZZTIME ?= 20s
fuzz:
	@all=$$(grep -rhoHE --include='*_test.go' '^func Fuzz\w+' . | sed 's/:func /:/' | sort)
	targets=$$(grep -iE '$(FUZZ)' <<<"$$all" || true)
	if [[ -z $$targets ]]; then
		echo "no fuzz target matches FUZZ='$(FUZZ)'; there are:" >&2
		echo "$$all" >&2
		exit 1
	fi
	while IFS=: read -r file name; do
		echo "--- $$name in $$(dirname $$file)"
		$(GO) test -C $$(dirname $$file) -run='^$$' -fuzz="^$$name\$$" -fuzztime=$(FUZZTIME) . </dev/null
	done <<<"$$targets"

## cover: statements covered by the tests of the whole root module
cover:
	mkdir -p $(BUILD)
	$(GO) test -coverpkg=./... -coverprofile=$(BUILD)/cover.txt ./...
	$(GO) tool cover -html=$(BUILD)/cover.txt -o $(BUILD)/cover.html
	$(GO) tool cover -func=$(BUILD)/cover.txt | tail -1

## soak: the tests named TestSoak..., each for SOAK, under the race detector
SOAK ?= 60s
soak: export GATEHOUSE_SOAK := $(SOAK)
soak:
	@for dir in $$(grep -rlE --include='*_test.go' '^func TestSoak' . | xargs -r dirname | sort -u); do
		$(GO) test -C $$dir -v -race -count=1 -timeout=0 -run='^TestSoak' .
	done

clean:
	rm -rf $(BUILD)

$(BUILD)/%/golangci-lint:
	GOBIN=$(@D) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v$(GOLANGCI_LINT_VERSION)
