#!/bin/sh
# The least that a pair can be on Conduit's own libraries, for `conduit-bench run --proxy floor=docs/benchmarks/proxies/floor.sh`:
# TLS and copied bytes, nothing else. crates/bench/src/floor.rs is all of it.
exec "$BENCH" floor
