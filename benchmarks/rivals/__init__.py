"""Compare StyleGAN-NADA with its rivals on one harness: `python -m benchmarks.rivals --help`."""
