"""Fuzz the readers guided by coverage.

    pip install atheris
    python tests/helpers/checkpoint_atheris.py -runs=9999

It starts from the valid files of `checkpoint_fuzz`, and keeps every damaged file that reaches new code. The rules are
the same. Options are libFuzzer's; a folder as first argument stores the found files between runs.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

from helpers.checkpoint_fuzz import Guard, corpus

with atheris.instrument_imports(include=["nada.checkpoint"]):
    for name in [name for name in sys.modules if name.startswith("nada.checkpoint")]:
        del sys.modules[name]  # imported above without instrumentation
    from nada.checkpoint import load_generator

from nada.errors import CheckpointError

SECONDS = 10  # limit for one file, on an idle machine


def main() -> None:
    guard = Guard()
    with tempfile.TemporaryDirectory() as temporary:
        model, seeds = Path(temporary) / "model", Path(temporary) / "seeds"
        seeds.mkdir()
        for i, data in enumerate(corpus(Path(temporary))):
            (seeds / str(i)).write_bytes(data)
            model.write_bytes(data)
            load_generator(model)  # imports what torch imports late
        longest = max(path.stat().st_size for path in seeds.iterdir())

        def read(data: bytes) -> None:
            model.write_bytes(data)
            try:
                with guard.watching():
                    load_generator(model)
            except CheckpointError as error:
                if not str(error).isprintable():
                    raise AssertionError("the message is not one printable line") from error
            assert not guard.seen, guard.seen

        found, options = [a for a in sys.argv[1:] if a[0] != "-"], [a for a in sys.argv[1:] if a[0] == "-"]
        limits = [f"-max_len={longest + 1000}", f"-timeout={SECONDS}", "-rss_limit_mb=2000", "-len_control=0"]
        atheris.Setup([sys.argv[0], *limits, *options, *found, str(seeds)], read)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
