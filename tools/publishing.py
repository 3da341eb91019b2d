"""Fill in what only the publisher knows, and check everything that the Comfy Registry requires of this repository.

    python tools/publishing.py --publisher ID --repository https://github.com/OWNER/NAME
    python tools/publishing.py

The first form writes pyproject.toml; both check it, and what the archive would hold. The exit status is 1 if something
is missing.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = ROOT / "pyproject.toml"
REPOSITORY = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+?)(\.git)?/?")
PUBLISHER = re.compile(r"[a-z0-9](-?[a-z0-9])+")
PICTURES = {"Icon": "docs/icon.png", "Banner": "docs/banner.jpg"}
NEEDED = {"__init__.py", "pyproject.toml", "requirements.txt", "README.md", "LICENSE", "docs/troubleshooting.md"}
ROOMS = {"nada", "nodes", "web", "locales", "workflows", "docs"}
PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".bin")
MAX_BYTES = 30_000_000
# Words in texts that the registry's scanner refuses. A dot before eval is a network's own method.
ALARMING = re.compile(
    r"(?<![.\w])(eval|exec|compile|__import__)\(|\b(subprocess|ctypes|marshal|urllib|httpx|aiohttp)\b|\brequests\."
    r"|\bos\.(system|popen|environ|getenv|startfile)|\bimport (socket|requests)|\bpickle\.load|\bnew Function\("
)


def main() -> None:
    """Fill in the given values, and print what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--publisher", metavar="ID", help="id of the publisher on the registry")
    parser.add_argument("--repository", metavar="URL", help="address of the repository on GitHub")
    parser.add_argument("--branch", default="main", help="branch with the pictures (default: %(default)s)")
    options = parser.parse_args()
    if options.publisher or options.repository:
        if not (options.publisher and options.repository):
            parser.error("give --publisher and --repository together")
        try:
            text = filled(PROJECT.read_text("utf-8"), options.publisher, options.repository, options.branch)
        except ValueError as error:
            parser.error(str(error))
        PROJECT.write_text(text, "utf-8")
    problems = [*missing(PROJECT.read_text("utf-8")), *faults(archive())]
    print(*problems or ["ready: comfy node publish"], sep="\n")
    sys.exit(bool(problems))


def filled(text: str, publisher: str, repository: str, branch: str = "main") -> str:
    """Return pyproject.toml with the publisher's id and the addresses of repository, icon and banner.

    Raises:
        ValueError: a value does not have the form that the registry accepts.
    """
    if not PUBLISHER.fullmatch(publisher):
        raise ValueError(f"the publisher is {publisher!r}; an id has small letters, digits and single hyphens")
    if not (match := REPOSITORY.fullmatch(repository)):
        raise ValueError(f"the repository is {repository!r}; it must be https://github.com/OWNER/NAME")
    raw = f"https://raw.githubusercontent.com/{match[1]}/{branch}"
    text = _with_key(text, "project.urls", "Repository", f"https://github.com/{match[1]}")
    text = _with_key(text, "tool.comfy", "PublisherId", publisher)
    for key, path in PICTURES.items():
        text = _with_key(text, "tool.comfy", key, f"{raw}/{path}")
    return text


def _with_key(text: str, table: str, key: str, value: str) -> str:
    """Set a string in a table of a TOML text."""
    head, header, rest = text.partition(f"[{table}]\n")
    if not header:
        raise ValueError(f"pyproject.toml has no table [{table}]")
    body, separator, tail = rest.partition("\n[")
    lines = [line for line in body.rstrip("\n").split("\n") if not line.startswith(f"{key} ")]
    return head + header + "\n".join([*lines, f'{key} = "{value}"']) + "\n" + separator + tail


def missing(text: str) -> list[str]:
    """List what pyproject.toml lacks for the registry, one sentence each."""
    wanted = {"Repository": REPOSITORY, "PublisherId": PUBLISHER, "Icon": re.compile(r"https://\S+/docs/icon\.png")}
    found = dict(re.findall(r'^(\w+) = "(.*)"$', text, re.MULTILINE))
    return [
        f"pyproject.toml has no {key}; run this command with --publisher and --repository"
        for key, pattern in wanted.items()
        if not pattern.fullmatch(found.get(key, ""))
    ]


def tracked(*options: str) -> set[str]:
    """Paths of the repository's tracked files."""
    done = subprocess.run(["git", "ls-files", "-z", *options], cwd=ROOT, capture_output=True, check=True, text=True)
    return {name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()}


def archive() -> set[str]:
    """Paths of the files in the registry's archive: all tracked ones except those in .comfyignore."""
    return tracked() - tracked("--cached", "--ignored", "--exclude-from=.comfyignore")


def faults(names: set[str]) -> list[str]:
    """List the faults of an archive with these files, one sentence each."""
    found = [f"the archive lacks {name}" for name in sorted(NEEDED - names)]
    folders = {name.partition("/")[0] for name in names if "/" in name}
    found += [f"the archive has the folder {folder}; add it to .comfyignore" for folder in sorted(folders - ROOMS)]
    found += [f"the archive has the pickle {name}" for name in sorted(names) if name.endswith(PICKLES)]
    size = sum((ROOT / name).stat().st_size for name in names)
    if size > MAX_BYTES:
        found.append(f"the archive has {size / 1e6:.0f} MB; at most {MAX_BYTES / 1e6:.0f} are wanted")
    for name in sorted(name for name in names if name.endswith((".py", ".js", ".toml"))):
        if match := ALARMING.search((ROOT / name).read_text("utf-8")):
            found.append(f"{name} has {match[0]!r}, which alarms the registry's scanner")
    return found


if __name__ == "__main__":
    main()
