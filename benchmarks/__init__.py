"""Measurements beside peers; `make bench` writes docs/benchmarks.md."""
