"""`nada style diff`, `merge` and `show`: make styles from generators, apply them, describe them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from ..checkpoint import save_generator
from ..errors import UsageError
from ..files import atomic_path
from ..styles.files import load_style, save_style
from ..styles.preview import preview_of, preview_picture
from ..styles.style import Style
from .parsing import GENERATOR_HELP, STYLE_HELP, add_command, show_tree
from .shared import check_target, load_base, styled

DTYPES = {"float16": torch.float16, "float32": torch.float32}


def add(commands: Any) -> None:
    """Add the verb `style` with its subcommands `diff`, `merge` and `show` to the parser."""
    style = commands.add_parser(
        "style", help="make, mix and describe styles: adaptations as small files with a strength"
    )
    verbs = style.add_subparsers(dest="style_command", required=True, metavar="COMMAND")

    diff = add_command(verbs, "diff", "save the difference of two generators as a style", _diff, show_tree)
    diff.add_argument("base", metavar="BASE", help=f"generator that training started from: {GENERATOR_HELP}")
    diff.add_argument("adapted", metavar="ADAPTED", help="adapted generator, given in the same ways")
    diff.add_argument("target", type=Path, metavar="OUT.safetensors", help="style file to write")
    diff.add_argument(
        "--rank",
        type=int,
        metavar="R",
        help="rank of the low-rank approximation of large matrices: a smaller file, with some loss (default: exact)",
    )
    diff.add_argument(
        "--dtype", choices=DTYPES, default="float16", help="dtype of the stored weights (default: %(default)s)"
    )
    diff.add_argument("--name", default="", help="display name of the style (default: the target text)")
    diff.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")

    merge = add_command(verbs, "merge", "save a generator with styles applied", _merge, show_tree)
    merge.add_argument("base", metavar="BASE", help=f"generator to apply the styles to: {GENERATOR_HELP}")
    merge.add_argument("styles", nargs="+", metavar="STYLE[:STRENGTH]", help=STYLE_HELP)
    merge.add_argument(
        "--out", type=Path, required=True, metavar="OUT.safetensors", dest="target", help="generator file to write"
    )
    merge.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")

    shown = add_command(verbs, "show", "describe a style: recipe, base, size", _show, show_tree)
    shown.add_argument("file", type=Path, metavar="STYLE", help="style file")
    shown.add_argument(
        "--preview", type=Path, metavar="PNG", help="file to write the preview to: before above, after below"
    )
    shown.add_argument("--overwrite", action="store_true", help="replace PNG if it exists")


def run_diff(
    base: str,
    adapted: str,
    target: Path,
    *,
    rank: int | None = None,
    dtype: str = "float16",
    name: str = "",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Save the difference of two generators as a style with a preview.

    Args:
        base: generator before the adaptation, a file or name.
        adapted: generator after the adaptation.
        target: style file to write, .safetensors.
        rank: rank of the approximation of large matrices; None stores them exactly.
        dtype: "float16" or "float32".
        name: display name of the style.
        overwrite: whether an existing file is replaced.

    Raises:
        UsageError: the target has another ending, or exists without `overwrite`.
        NadaError: a file cannot be read, or the generators do not belong together.
    """
    check_target(target, overwrite)
    before, after = load_base(base), load_base(adapted)
    # Compare before making pictures: generators that do not belong together are refused here.
    style = Style.between(before, after, rank, DTYPES[dtype], name=name, fallback=Path(adapted).stem)
    style = style.with_preview(preview_of(before, after))
    save_style(style, target, new=not overwrite)
    return {"file": str(target), "bytes": target.stat().st_size, **summary(style)}


def run_merge(base: str, styles: list[str], target: Path, *, overwrite: bool = False) -> dict[str, Any]:
    """Save a generator with styles applied, each given as FILE or FILE:STRENGTH.

    Raises:
        UsageError: the target has another ending, or exists without `overwrite`.
    """
    check_target(target, overwrite)
    generator = styled(load_base(base), styles)
    save_generator(generator, target, new=not overwrite)
    applied = [f"{entry['name']} x {entry['strength']:g}" for entry in generator.metadata["styles"]]
    notes = generator.metadata.get("notes", [])
    return {"file": str(target), "bytes": target.stat().st_size, "styles": applied, "notes": notes}


def run_show(file: Path, *, preview: Path | None = None, overwrite: bool = False) -> dict[str, Any]:
    """Describe a style file, and write its preview to the PNG file `preview` if given.

    Raises:
        UsageError: the style has no preview, or the PNG file has another ending, or exists without `overwrite`.
    """
    if preview is not None:
        check_target(preview, overwrite, ".png")
    style = load_style(file)
    result = {"file": str(file), "bytes": file.stat().st_size, **summary(style)}
    if preview is None:
        return result
    if not style.preview:
        raise UsageError(f"{file} has no preview picture; leave out --preview")
    with atomic_path(preview, new=not overwrite) as temp:
        preview_picture(style.preview).save(temp, "PNG")
    return {**result, "preview": str(preview)}


def summary(style: Style) -> dict[str, Any]:
    """Describe a style as plain data."""
    config = style.base["config"]
    return {
        "name": style.name,
        "kind": style.kind,
        "tensors": len(style.deltas),
        "number_bytes": style.size,
        "lost": f"{100 * style.error:.2g} %",
        "base": {k: v for k, v in style.base.items() if k != "config"} | {"resolution": config["resolution"]},
        "recipe": style.recipe,
        "notes": style.notes,
    }


def _diff(args: argparse.Namespace) -> dict[str, Any]:
    options = {"rank": args.rank, "dtype": args.dtype, "name": args.name, "overwrite": args.overwrite}
    return run_diff(args.base, args.adapted, args.target, **options)


def _merge(args: argparse.Namespace) -> dict[str, Any]:
    return run_merge(args.base, args.styles, args.target, overwrite=args.overwrite)


def _show(args: argparse.Namespace) -> dict[str, Any]:
    return run_show(args.file, preview=args.preview, overwrite=args.overwrite)
