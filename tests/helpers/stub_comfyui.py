"""Stand-in for ComfyUI's modules, sufficient to import and call the nodes without ComfyUI."""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from PIL import Image, ImageOps

import nada

ROOT = Path(__file__).parents[2]
PACK = "nada_pack_under_test"
DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"


class Cancelled(BaseException):
    """ComfyUI's interrupt: not an Exception, so that only `finally` notices it."""


class OldCancelled(Exception):
    """The interrupt of earlier supported versions of ComfyUI, an Exception."""


@dataclass
class Socket:
    """An input or output of a schema."""

    type: str
    id: str
    options: dict[str, Any]

    @property
    def is_widget(self) -> bool:
        return self.type in ("INT", "FLOAT", "STRING", "COMBO", "BOOLEAN", DYNAMIC_COMBO)

    def nested(self) -> list[Socket]:
        """Inputs of the entries of a dynamic combo, which the frontend shows only for the chosen entry."""
        return [inner for entry in self.options["options"] for inner in entry.inputs] if self.is_dynamic else []

    @property
    def is_dynamic(self) -> bool:
        return self.type == DYNAMIC_COMBO


@dataclass
class Schema:
    """Options that ComfyUI 0.8.0 supports, so that a newer one fails here."""

    node_id: str
    display_name: str = ""
    category: str = ""
    inputs: list = field(default_factory=list)
    outputs: list = field(default_factory=list)
    description: str = ""
    is_output_node: bool = False


@dataclass
class Choice:
    """An entry of a dynamic combo, with inputs of its own."""

    key: str
    inputs: list[Socket]


class Node:
    """Base class of nodes. ComfyUI passes the running prompt to output nodes, {id: {"class_type", "inputs"}}."""

    hidden = SimpleNamespace(prompt=None)


class NodeOutput:
    """Return value of a node."""

    def __init__(self, *args: Any, ui: Any = None):
        self.args, self.ui = args, ui


class Host:
    """The host's behavior towards the nodes, and a record of theirs."""

    def __init__(self, folder: Path):
        self.folder, self.texts, self.progress = folder, [], []
        self.cancel_after: int | None = None  # number of progress updates
        self.cancelled: type[BaseException] = Cancelled
        self.device = torch.device("cpu")  # ComfyUI's compute device

    def check(self) -> None:
        if self.cancel_after is not None and len(self.progress) >= self.cancel_after:
            raise self.cancelled


def send_picture(kind: str, picture: Image.Image, limit: int | None) -> None:
    """Encode a preview as the server does, whose process ends if that fails."""
    shown = picture if limit is None else ImageOps.contain(picture, (limit, limit))
    shown.save(BytesIO(), kind, quality=95, compress_level=1)


def comfy_type(name: str) -> SimpleNamespace:
    def make(id: str | None = None, **options: Any) -> Socket:
        return Socket(name, id, options)

    return SimpleNamespace(Input=make, Output=make)


def combo(id: str, options: list[str], **rest: Any) -> Socket:
    return Socket("COMBO", id, {"options": options, **rest})


def dynamic_combo(id: str, options: list[Choice], **rest: Any) -> Socket:
    return Socket(DYNAMIC_COMBO, id, {"options": options, "default": options[0].key, **rest})


def modules(host: Host) -> dict[str, ModuleType]:
    """The stand-in modules by name."""

    def module(name: str, **contents: Any) -> ModuleType:
        made = ModuleType(name)
        vars(made).update(contents)
        return made

    class ProgressBar:
        def __init__(self, total: int):
            self.total = total

        def update_absolute(self, value: int, total: int, preview: Any = None) -> None:
            if preview:
                send_picture(*preview)
            host.progress.append((value, preview))

    io = SimpleNamespace(
        ComfyNode=Node,
        Schema=Schema,
        NodeOutput=NodeOutput,
        Input=Socket,
        Custom=comfy_type,
        Image=comfy_type("IMAGE"),
        Mask=comfy_type("MASK"),
        Int=comfy_type("INT"),
        Float=comfy_type("FLOAT"),
        String=comfy_type("STRING"),
        Boolean=comfy_type("BOOLEAN"),
        Combo=SimpleNamespace(Input=combo),
        DynamicCombo=SimpleNamespace(Input=dynamic_combo, Option=Choice),
    )

    class Shown(torch.Tensor):
        def as_dict(self) -> dict[str, Any]:
            return {"images": [self]}

    animations = SimpleNamespace(get_save_animated_webp_ui=lambda images, prefix, **options: images)
    ui = SimpleNamespace(
        PreviewImage=lambda image, cls: image.as_subclass(Shown),
        PreviewText=lambda text: text,
        ImageSaveHelper=animations,
    )
    memory = module(
        "comfy.model_management",
        get_torch_device=lambda: host.device,
        free_memory=lambda needed, device: None,
        intermediate_device=lambda: torch.device("cpu"),
        soft_empty_cache=lambda: None,
        throw_exception_if_processing_interrupted=host.check,
        InterruptProcessingException=Cancelled,
        OOM_EXCEPTION=torch.OutOfMemoryError,
    )
    utils = module("comfy.utils", ProgressBar=ProgressBar)
    server = SimpleNamespace(send_progress_text=lambda text, node: host.texts.append(text))
    return {
        "comfy": module("comfy", model_management=memory, utils=utils),
        "comfy.model_management": memory,
        "comfy.utils": utils,
        "comfy_api": module("comfy_api"),
        "comfy_api.latest": module("comfy_api.latest", io=io, ui=ui, ComfyExtension=object),
        "comfy_execution": module("comfy_execution"),
        "comfy_execution.utils": module(
            "comfy_execution.utils", get_executing_context=lambda: SimpleNamespace(node_id="1")
        ),
        "folder_paths": folder_module(module, host.folder),
        "server": module("server", PromptServer=SimpleNamespace(instance=server)),
    }


def folder_module(module: Any, folder: Path) -> ModuleType:
    known: dict[str, tuple[list[str], set[str]]] = {}

    def add(name: str, path: str) -> None:
        known.setdefault(name, ([], set()))[0].append(path)

    cache: dict[str, dict[Path, float]] = {}

    def listed(name: str) -> list[str]:
        """As in ComfyUI, folders seen before are looked at again, which fails if one is gone."""
        roots = known.get(name, ([], set()))[0]
        for root in cache.get(name, {}):
            root.stat()
        cache[name] = {path: path.stat().st_mtime for path in map(Path, roots) if path.is_dir()}
        return sorted(p.relative_to(root).as_posix() for root in roots for p in Path(root).rglob("*") if p.is_file())

    def full_path(name: str, file: str) -> str | None:
        return next((str(path) for root in known[name][0] if (path := Path(root, file)).is_file()), None)

    def full_path_or_raise(name: str, file: str) -> str:
        if path := full_path(name, file):
            return path
        raise FileNotFoundError(f"Model in folder '{name}' with filename '{file}' not found.")

    def save_path(prefix: str, root: str) -> tuple[str, str, int, str, str]:
        """As in ComfyUI, the counter is one more than the highest of the files whose names begin the same."""
        target = Path(root, prefix)
        target.parent.mkdir(parents=True, exist_ok=True)
        numbers = (re.match(re.escape(target.name) + r"_(\d+)_", path.name) for path in target.parent.iterdir())
        return str(target.parent), target.name, 1 + max((int(n[1]) for n in numbers if n), default=0), "", prefix

    return module(
        "folder_paths",
        folder_names_and_paths=known,
        models_dir=str(folder / "models"),
        get_output_directory=lambda: str(folder / "output"),
        add_model_folder_path=add,
        get_folder_paths=lambda name: known[name][0],
        get_filename_list=listed,
        filename_list_cache=cache,
        get_full_path=full_path,
        get_full_path_or_raise=full_path_or_raise,
        get_save_image_path=save_path,
    )


def load_pack(name: str = PACK) -> ModuleType:
    """Import the repository as ComfyUI does, under a name of ComfyUI's choice. The library stays the same module."""
    ours = {key: module for key, module in sys.modules.items() if key.split(".")[0] == nada.__name__}
    sys.modules |= {f"{name}.{key}": module for key, module in ours.items()}
    spec = importlib.util.spec_from_file_location(name, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    pack = importlib.util.module_from_spec(spec)
    sys.modules[name] = pack
    spec.loader.exec_module(pack)
    return pack


def forget_pack(name: str = PACK) -> None:
    """Undo `load_pack`, so that the next call imports the modules again."""
    for key in [key for key in sys.modules if key == name or key.startswith(f"{name}.")]:
        del sys.modules[key]
