"""Parse the command line, run one verb, and explain any failure in one line."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from .. import __version__
from ..checkpoint.metadata import strict_json
from ..errors import NadaError, UsageError, is_out_of_memory, printable
from ..generators.threads import use_threads
from . import adapt, align, evaluate, files, generate, models, photo, pick, presets, styles, sweep, text_edits
from .output import forgiving, show
from .parsing import escaped

FAILURE, USAGE, INTERRUPTED = 1, 2, 130  # exit codes
PACKAGE = __package__.rpartition(".")[0]  # "nada", or the name under which another program imports it
EPILOG = """\
examples:
  nada demo                                            photo -> sketch with the small models that are included
  nada adapt --generator ffhq.pkl --source photo --target sketch
  nada adapt --generator afhqdog.pkl --source dog --target pig --layers auto --iterations 200
  nada adapt --generator ffhq.pkl --preset sketch
  nada adapt --generator ffhq.pkl --style-images three_pictures/ --preset style-images
  nada adapt --resume nada-photo_to_sketch --iterations 400
  nada sweep styles.yaml                               many adaptations, and a page to compare them
  nada sweep best nada-styles --metric quality --min-diversity 0.3 --out styles/
  nada pick nada-photo_to_sketch 200                   save the state after 200 iterations as a generator
  nada generate --generator nada-photo_to_sketch/photo_to_sketch.safetensors --count 16
  nada evaluate --generator nada-photo_to_sketch/photo_to_sketch.safetensors
  nada generate --generator demo --style nada-demo/photo_to_sketch.style.safetensors:0.5
  nada style diff ffhq.pkl ffhq_sketch.pt sketch.safetensors     save a published adaptation as a style
  nada photo me.jpg --generator ffhq.pkl --style sketch.style.safetensors      your own photo in a style
  nada mapper --generator nada-dog_to_pig/dog_to_pig.safetensors --target pig
  nada align me.jpg --eyes 212,240,310,241             cut a face out as in FFHQ; without --eyes, the face is detected
  nada direction --generator ffhq.pkl --source face --target "smiling face"     save an edit as a style, no training
  nada models                                          list published models; nada models ffhq-1024 downloads one
  nada inspect ffhq.pkl
  nada convert ffhq.pkl ffhq.safetensors

exit codes: 0 done, 1 something failed, 2 wrong usage, 130 interrupted (what was trained is kept)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    with forgiving():
        try:
            return _run(argv)
        except UsageError as error:
            return _fail(error, USAGE)
        except KeyboardInterrupt:
            return _fail(NadaError("interrupted before the end; the results are incomplete"), INTERRUPTED)
        except Exception as error:
            if not (isinstance(error, (NadaError, OSError)) or is_out_of_memory(error)):
                raise  # a defect: its traceback helps
            return _fail(error, FAILURE)


def _run(argv: Sequence[str] | None) -> int:
    try:
        args = build_parser().parse_args(joined(sys.argv[1:] if argv is None else argv))
    finally:
        show("")  # flushes the help: argparse only writes it to a buffer, and a closed pipe would fail later
    _set_up_logging(args.command)
    use_threads(getattr(args, "threads", None))
    result = args.run(args)
    show(f"{strict_json(result) if args.json else args.show(escaped(result))}\n")
    if result.get("interrupted"):
        return INTERRUPTED
    return FAILURE if result.get("failed") or result.get("unfinished") else 0


def joined(words: Sequence[str]) -> list[str]:
    """The command's words with "sweep best" joined into one, since argparse takes "sweep FILE" as a verb too."""
    two = " ".join(words[:2])
    return [two, *words[2:]] if two == sweep.BEST else [*words]


def _fail(error: BaseException, code: int) -> int:
    print(f"nada: {printable(explain(error))}", file=sys.stderr)
    return code


def _set_up_logging(command: str) -> None:
    """Log this package's messages to stderr and silence other libraries, whose failures arrive as exceptions."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("nada: %(message)s"))
    logging.getLogger(PACKAGE).handlers = [handler]
    logging.getLogger(PACKAGE).setLevel(logging.INFO)
    logging.getLogger(PACKAGE).propagate = False
    for name in (None, "huggingface_hub"):
        logging.getLogger(name).addHandler(logging.NullHandler())
        logging.getLogger(name).setLevel(logging.CRITICAL)


class _OneLine(logging.Formatter):
    """Formatter that shows each message as one printable line, whatever names and texts from files it quotes."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def build_parser() -> argparse.ArgumentParser:
    """The parser of all verbs; each sets `run` (arguments -> result) and `show` (result -> text)."""
    parser = argparse.ArgumentParser(
        prog="nada",
        description="StyleGAN-NADA: adapt a StyleGAN2 generator to a new domain from two phrases.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for verb in (adapt, sweep, presets, pick, generate, align, photo, evaluate, styles, text_edits, files, models):
        verb.add(commands)
    return parser


def explain(error: BaseException) -> str:
    """One sentence for any failure that a user can meet."""
    if is_out_of_memory(error):
        return (
            "there is not enough memory; use a smaller --batch, --select-batch or --count if the command has them, "
            "fewer photos, one CLIP model, or another --device"
        )
    if isinstance(error, OSError):
        return f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
    return str(error)
