# make help lists the targets. Only Go, git and make are needed beforehand;
# demo and test install what else is missing (scripts/setup).
.DEFAULT_GOAL := help
export CGO_ENABLED ?= 0
BIN := bin/dialer
ARGS ?=

.PHONY: help build demo test interop check race fuzz bench openapi clean setup-demo setup-test

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/dialer
	@go build -trimpath -o $(BIN) ./cmd/dialer

setup-demo:
	@scripts/setup demo

setup-test:
	@scripts/setup test

demo: setup-demo build ## a whole contact centre on this machine; ARGS="--for 60s --json"
	@$(BIN) demo $(ARGS)

# The end-to-end tests come last and one by one: they measure what a loaded
# machine would spoil (a commit slower than a second is not followed by its INVITE).
test: setup-test check build ## every test, those of concurrent code with the race detector
	CGO_ENABLED=1 go test -race -timeout 9m $$(go list ./... | grep -v '^dialer/cmd/dialer$$')
	CGO_ENABLED=1 go test -race -timeout 9m -parallel 1 ./cmd/dialer

interop: build ## calls with sipp, baresip and kamailio; docs/interop.md says what
	@scripts/setup interop
	go test -count=1 -v -run 'Sipp|Baresip|Kamailio|PopulationAndPhones' ./telephony/siptrunk
	go test -count=1 -v -parallel 1 -run 'Sipp|Baresip' ./cmd/dialer

check: ## formatting, vet, the layout of the folders
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo 'run gofmt -w on these'; exit 1; }
	@go vet ./...

fuzz: ## every fuzz target for FUZZTIME (default 20s)
	@scripts/fuzz $${FUZZTIME:-20s}

bench: ## every benchmark once, or those of BENCH=pattern
	go test -run '^$$' -bench '$(or $(BENCH),.)' -benchmem -benchtime $${BENCHTIME:-1s} \
		$$(grep -rl '^func Benchmark' --include='*_test.go' . | xargs -n1 dirname | sort -u)

sim: ## the tables of docs/pacing.md, about ten minutes; CELLS=base/20/0.2 for some of them
	@go run ./internal/pacingtables -cells '$(CELLS)' -seeds $${SEEDS:-1}

agreement: ## whole shifts of the engine beside the simulator's, in virtual time
	AGREEMENT=full go test -count=1 -timeout 60m -v -run EngineAgrees ./campaign

plots: ## draw the plots of docs/pacing.md
	@go run ./internal/pacingtables -plots docs

openapi: ## write api/openapi.yaml from the code
	go test ./api -run TestContractIsCommitted -update

clean: ## remove what build and demo made
	rm -rf bin .dialer
