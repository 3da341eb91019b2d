"""Face detectors. Each needs an optional package or a model that must be downloaded."""
