"""Parse a sweep file: base, grid, pairs and exclude become combinations of settings."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from reprlib import repr as shortened  # a full repr could exceed the memory, as aliases in YAML can expand endlessly
from typing import Any

import yaml

from ..errors import NadaError, UsageError
from ..files import existing_file
from ..measure.evaluate import EvaluateConfig
from ..settings import NamedSetting, check_text, settings_of
from ..training.config import AdaptConfig
from .ranking import Ranking

log = logging.getLogger(__name__)

MODELS = ("generator", "clip")
PICTURES = "style_images"
SETTINGS = settings_of(AdaptConfig)
NAMES = (*SETTINGS, *MODELS, PICTURES)
AIMS = ("target", PICTURES)  # settings that say what to adapt to; a job needs one of them
GROUPED = ("generator", "source", *AIMS)  # settings by which jobs are grouped for comparison
PARTS = ("name", "base", "grid", "pairs", "exclude", "evaluate", "halving", "keep")
HALVING = ("keep_best", "at", *settings_of(Ranking))
STYLE, GENERATOR, NONE = KEEP = ("style", "generator", "none")  # files to keep of a finished job
METRICS = ("quality", "diversity", "target rate")  # default columns of the page, if measured
COMPARED = 100  # number of images for comparisons, if the sweep does not say how to measure
MAX_BYTES, MAX_JOBS = 4 << 20, 100_000
Combination = dict[str, Any]
"""{name: value} of settings of `AdaptConfig`, of "generator" and "clip", and of "style_images", a tuple of paths."""


@dataclass(frozen=True)
class Evaluation:
    """Settings for measuring each result; see `EvaluateConfig`."""

    settings: dict[str, Any]
    """Settings of `EvaluateConfig`, except the texts."""
    clip: str | None = None
    """CLIP models to measure with; None for those of the job."""
    metrics: tuple[str, ...] = METRICS
    """Measures that the page and the tables show."""

    def config(self, target: str, source: str) -> EvaluateConfig:
        """Configuration for measuring an adaptation with these texts."""
        return EvaluateConfig(target, source, **self.settings)


@dataclass(frozen=True)
class Plan:
    """A sweep: combinations of settings in the order of their training."""

    name: str
    combinations: tuple[Combination, ...]
    evaluation: Evaluation | None = None
    halving: dict[str, Any] | None = None
    """Entries of `HALVING`, for `halving.Halving.parse`."""
    keep: str = STYLE


def read_sweep(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a sweep file in YAML or JSON.

    Raises:
        NadaError: the file cannot be read.
        UsageError: the file does not exist, is too large, is neither YAML nor JSON, is not a mapping, or gives a name
            twice in one.
    """
    file = existing_file(path, "give a sweep file as in docs/sweeps.md")
    try:
        if file.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path} has {file.stat().st_size} bytes; a sweep file may have at most {MAX_BYTES}")
        found = _parsed(file.read_text("utf-8"))
    except OSError as error:
        raise NadaError(f"{path} cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        if isinstance(error, NadaError):
            raise
        raise UsageError(f"{path} is not YAML: {' '.join(str(error).split())[:300]}") from error
    return _mapping(found, str(path))


class _Loader(yaml.SafeLoader):
    """YAML loader that refuses mappings with a name twice, of which YAML would keep the last."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)  # before entries of other mappings are merged into it (<<)
        keys = (key for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        _refuse_repeated(key.value for key in keys if key.tag != "tag:yaml.org,2002:merge")
        return node


def _parsed(text: str) -> Any:
    """Parse JSON, else YAML, which lacks some of JSON's escapes and its indentation with tabs."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError:
        return yaml.load(text, _Loader)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _refuse_repeated(name for name, _ in pairs)
    return dict(pairs)


def _refuse_repeated(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UsageError(f"the sweep file gives {shortened(name)} twice in one place; join the two entries")
        seen.add(name)


def make_plan(description: Mapping[str, Any], default_name: str = "sweep") -> Plan:
    """Make a plan from the description in a sweep file or on the command line.

    Args:
        description: "base": settings of all jobs; "grid": {setting: values}, of which every combination is a job;
            "pairs": list of settings that belong together, each combined with the axes of the grid that it does not
            set; "exclude": list of sets of settings, and jobs with all settings of a set are left out; "evaluate",
            "halving" and "keep".
        default_name: name of the sweep if the description has none.

    Raises:
        UsageError: a name is unknown, a value does not fit, or a combination has no target.
    """
    _known(description, PARTS, "the sweep")
    base = _settings(description.get("base"), "base")
    grid = {key: _axis(key, values) for key, values in _mapping(description.get("grid"), "grid").items()}
    pairs = [_settings(pair, "a pair") for pair in _list(description.get("pairs"), "pairs")]
    pairs = list({tuple(sorted(pair.items())): pair for pair in pairs}.values())  # options may have made some equal
    exclude = [_settings(rule, "an entry of exclude") for rule in _list(description.get("exclude"), "exclude")]
    found = list(_combined(base, grid, pairs))
    if lacking := next((settings for settings in found if not any(settings.get(aim) for aim in AIMS)), None):
        raise UsageError(
            f"a job has no target: {lacking}; give it a target text or style_images, in base, grid or its pair"
        )
    for rule in exclude:
        kept = [settings for settings in found if not rule.items() <= _full(settings).items()]
        if len(kept) == len(found):
            log.warning("the entry %s of exclude matches no job", rule)
        found = kept
    if not found:
        raise UsageError("the sweep has no jobs; give a target in base, grid or pairs, and exclude less")
    places = {seed: i for i, seed in enumerate(dict.fromkeys(settings.get("seed", 0) for settings in found))}
    found.sort(key=lambda settings: places[settings.get("seed", 0)])  # so that one picture of each comes early
    title = description.get("name") or default_name
    if not isinstance(title, str):
        raise UsageError(f"name is {shortened(title)}; it must be a text")
    check_text("name", title)
    halving = _mapping(description.get("halving"), "halving") or None
    _known(halving or {}, HALVING, "halving")
    if halving:
        moments = {"at": at} if isinstance(at := halving.get("at"), list) else {}
        known, single = settings_of(Ranking), {name: v for name, v in halving.items() if name not in moments}
        halving = moments | {name: _value(known.get(name), f"halving.{name}", v) for name, v in single.items()}
    compared = {"count": COMPARED, "seeds": 1} if halving else None
    evaluation = _evaluation(compared if (wanted := description.get("evaluate")) is None else wanted)
    if evaluation and (lacking := next((settings for settings in found if not settings.get("target")), None)):
        raise UsageError(
            f"a job without a target text cannot be measured: {lacking}; give it a target that describes its style "
            "images, and image_share: 1 to train towards the images alone"
        )
    return Plan(title, tuple(found), evaluation, halving, _keep(description.get("keep", STYLE)))


def changed(
    description: Mapping[str, Any], settings: Mapping[str, Any], halving: Mapping[str, Any], keep: str | None
) -> dict[str, Any]:
    """Change settings of a description: a single value of a setting goes to "base", several go to "grid".

    Pairs lose these settings. A pair that thereby has nothing to adapt to anymore is dropped.

    Args:
        description: see `make_plan`.
        settings: {name: value, or list of values}.
        halving: entries of `HALVING`.
        keep: one of `KEEP`, or None for no change.

    Raises:
        UsageError: a part of the description has the wrong type.
    """
    base, grid = (dict(_mapping(description.get(name), name)) for name in ("base", "grid"))
    for name, value in settings.items():
        base.pop(name, None), grid.pop(name, None)
        values = value if isinstance(value, list) else [value]
        if len(values) > 1:
            grid[name] = values
        else:
            base[name] = values[0]
    found = {**description, "base": base, "grid": grid}
    if "pairs" in description:
        pairs = [_mapping(pair, "a pair") for pair in _list(description["pairs"], "pairs")]
        kept = [{name: value for name, value in pair.items() if name not in settings} for pair in pairs]
        aimless = lambda pair: not any(pair.get(aim) for aim in AIMS)
        found["pairs"] = [new for old, new in zip(pairs, kept, strict=True) if aimless(old) or not aimless(new)]
    if halving:
        found["halving"] = _mapping(description.get("halving"), "halving") | dict(halving)
    return found | {"keep": keep} if keep else found


def target_lines(text: str) -> list[str]:
    """Split a text into targets, one per line, without empty lines and repetitions."""
    return list(dict.fromkeys(line for part in text.splitlines() if (line := part.strip())))


def _combined(
    base: Combination, grid: Mapping[str, Sequence[Any]], pairs: Sequence[Combination]
) -> Iterator[Combination]:
    """Yield all combinations: each pair, or none, with all values of the grid."""
    alone = any(aim in grid or (not pairs and aim in base) for aim in AIMS)  # otherwise only the pairs have targets
    count = 0
    for pair in [*([{}] if alone else []), *pairs]:
        fixed = base | pair
        axes = {key: values for key, values in grid.items() if key not in pair}
        for values in product(*axes.values()):
            count += 1
            if count > MAX_JOBS:
                raise UsageError(f"the sweep has more than {MAX_JOBS} jobs; split it into several")
            yield fixed | dict(zip(axes, values, strict=True))


def _full(settings: Combination) -> Combination:
    """Fill a combination up with defaults, which entries of `exclude` may name too."""
    return {name: setting.default for name, setting in SETTINGS.items()} | {PICTURES: ()} | settings


def _settings(value: Any, what: str) -> Combination:
    found = _mapping(value, what)
    _known(found, NAMES, what)
    return {name: _checked(name, part) for name, part in found.items()}


def _axis(name: str, values: Any) -> list[Any]:
    _known({name: values}, NAMES, "grid")
    found = [_checked(name, value) for value in _list(values, f"grid.{name}")]
    if not found:
        raise UsageError(f"grid.{name} has no values; write a list, or leave it out")
    return list(dict.fromkeys(found))


def _checked(name: str, value: Any) -> Any:
    """Check the value of a setting, and return it; numbers that YAML reads as texts (1e-3) become numbers."""
    if name == PICTURES:
        return _paths(value)
    _single(name, value)
    if name in MODELS:
        if not isinstance(value, str) or not value.strip():
            raise UsageError(f"{name} is {value!r}; it must be a text")
        check_text(name, value)
        return value
    setting = SETTINGS[name]
    value = _number(setting, value)
    setting.check(value)
    return value


def _paths(value: Any) -> tuple[str, ...]:
    """Check the style images of one target, a path or a list of paths, and return them as a tuple."""
    paths = value if isinstance(value, list) else [value]
    for path in paths:
        if not isinstance(path, str) or not path.strip():
            raise UsageError(
                f"{PICTURES} is {shortened(value)}; it must be the path of a picture or of a folder of pictures, or a "
                "list of such paths"
            )
        check_text(PICTURES, path)
    return tuple(paths)


def _single(name: str, value: Any) -> None:
    """Refuse a list or a mapping where a single value is expected."""
    if isinstance(value, (list, dict)):
        raise UsageError(
            f"{name} is {shortened(value)}; it must be one value. Put several values of a setting into grid"
        )


def _value(setting: NamedSetting | None, name: str, value: Any) -> Any:
    """Return the single value of a setting, with numbers that YAML reads as texts (1e-3) as numbers."""
    _single(name, value)
    return _number(setting, value) if setting else value


def _number(setting: NamedSetting, value: Any) -> Any:
    if isinstance(value, str) and float in setting.kinds:
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _evaluation(value: Any) -> Evaluation | None:
    """Read "evaluate", and check its values."""
    if value is None:
        return None
    found = _mapping(value, "evaluate")
    names = {name: known for name, known in settings_of(EvaluateConfig).items() if name not in ("target", "source")}
    _known(found, (*names, "clip", "metrics"), "evaluate")
    metrics = _list(found.get("metrics", list(METRICS)), "evaluate.metrics")
    if not all(isinstance(metric, str) for metric in metrics):
        raise UsageError(f"evaluate.metrics is {shortened(metrics)}; it must be a list of names, such as quality")
    clip = found.get("clip")
    if clip is not None:
        _checked("clip", clip)
    settings = {name: _value(known, f"evaluate.{name}", found[name]) for name, known in names.items() if name in found}
    evaluation = Evaluation(settings, clip, tuple(metrics))
    evaluation.config("any", "")  # checks the values
    return evaluation


def _keep(value: Any) -> str:
    if value is None:  # in YAML, none is a text, but null is None
        return NONE
    if value not in KEEP:
        raise UsageError(f"keep is {shortened(value)}; it must be one of {', '.join(KEEP)}")
    return str(value)


def _known(value: Mapping[str, Any], names: Sequence[str], what: str) -> None:
    if unknown := [name for name in value if name not in names]:
        raise UsageError(f"{what} has an unknown entry {unknown[0]!r}; there are: {', '.join(names)}")


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UsageError(f"{what} is {shortened(value)}; it must be a mapping of names and values")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise UsageError(f"{what} is {shortened(value)}; it must be a list")
    return value
