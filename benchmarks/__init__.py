"""What Comity does in a second, measured on this machine: `make bench`, or `python -m benchmarks --help`."""
