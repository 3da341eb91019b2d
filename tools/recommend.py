"""Write recommended settings into the files of the demo's generators, from which every adaptation reads them.

    python tools/recommend.py

Run it after the generators are trained again. Their tensors stay the same, bit for bit.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nada import load_generator, save_generator
from nada.demo import GENERATORS

# docs/paper_claims.md measures them, mostly at 100 iterations.
SETTINGS = {"iterations": 100, "batch": 4, "learning_rate": 0.006, "layers": "all", "views": 2}


def main() -> None:
    """Write the settings into each file, and check that the generator is unchanged."""
    for name, path in GENERATORS.items():
        generator = load_generator(path)
        before = generator.fingerprint()
        generator.metadata["recommended"] = SETTINGS
        save_generator(generator.half(), path)  # the files hold 16-bit numbers
        if load_generator(path).fingerprint() != before:
            raise SystemExit(f"{path} holds other tensors than before; restore it")
        print(f"{name}: {SETTINGS}")


if __name__ == "__main__":
    main()
