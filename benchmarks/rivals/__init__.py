"""The rivals of StyleGAN-NADA on one harness: `python -m benchmarks.rivals --help`."""
