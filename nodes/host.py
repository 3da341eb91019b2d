"""Access to ComfyUI for the nodes: folders, devices, progress and image layouts. No other module imports its own."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import comfy.model_management as memory
import comfy.utils
import folder_paths
import numpy as np
import torch
from comfy_execution.utils import get_executing_context
from PIL import Image
from server import PromptServer
from torch import Tensor, nn

from ..nada import NadaError, UsageError, file_stamp, printable
from ..nada.errors import is_out_of_memory as nada_is_out_of_memory
from ..nada.generators import Generator
from ..nada.pictures.convert import as_saved
from ..nada.runs.folder import SNAPSHOTS
from ..nada.runs.result_folder import STYLE_ENDING

GENERATORS, CLIPS = "stylegan", "open_clip"  # folders below ComfyUI's models/
STYLES, MAPPERS, DIRECTIONS = "stylegan_styles", "stylegan_mappers", "stylegan_directions"
CODES, RUNS, ENCODERS = "stylegan_latents", "stylegan_runs", "stylegan_encoders"
FILES = {  # endings of the files that the nodes list; CLIP models are folders
    GENERATORS: (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".pkl"),
    STYLES: (".safetensors",),
    MAPPERS: (".safetensors",),
    DIRECTIONS: (".safetensors", ".npy", ".npz", ".pt"),
    CODES: (".safetensors", ".npy", ".npz", ".pt"),
    RUNS: (".safetensors",),
    ENCODERS: (".safetensors", ".pt", ".pth"),
}
SAVED = (GENERATORS, STYLES, MAPPERS, RUNS)  # kinds with a folder below output/ too
CLIP_CONFIG = "open_clip_config.json"
MAX_PREFIX = 180  # bytes of a file name, which most file systems limit to 255; a counter and an ending are added
EVERYTHING = 1e30  # bytes: more than any device has, so that every other model makes room
Cancelled = memory.InterruptProcessingException
MAX_PREVIEW = 8192  # largest side of a live picture in px; JPEG, in which ComfyUI sends it, ends at 65500
TEXT_PAUSE = 0.3  # seconds between two texts on a node


def register_folders() -> None:
    """Register the pack's folders in models/ and output/, after those that extra_model_paths.yaml added."""
    for kind in (CLIPS, *FILES):
        folder_paths.add_model_folder_path(kind, os.path.join(folder_paths.models_dir, kind))
    for kind in SAVED:
        folder_paths.add_model_folder_path(kind, _saved_folder(kind))
    for kind, ours in FILES.items():  # a new folder name has an empty set of endings, which means every file
        paths, endings = folder_paths.folder_names_and_paths[kind]
        folder_paths.folder_names_and_paths[kind] = (paths, {*endings, *ours})


def _saved_folder(kind: str) -> str:
    return os.path.join(folder_paths.get_output_directory(), kind)


def files(kind: str) -> list[str]:
    """Return the names of the user's files of a kind, relative to their folders. Styles of runs are listed too."""
    found = [name for name in _listed(kind) if name.lower().endswith(FILES[kind])]
    return [*found, *run_styles()] if kind == STYLES else found


def run_styles() -> list[str]:
    """Return the names of the styles in run folders: snapshots, and results of `nada adapt`."""
    return [name for name in _listed(RUNS) if name.endswith(STYLE_ENDING)]


def _listed(kind: str) -> list[str]:
    """Return the names of all files in the folders of a kind, also after one of the folders was deleted."""
    try:
        return folder_paths.get_filename_list(kind)
    except FileNotFoundError:  # ComfyUI looks for changes in all folders that its cache knows, and fails if one is gone
        folder_paths.filename_list_cache.pop(kind, None)
        return folder_paths.get_filename_list(kind)


def file_path(kind: str, name: str) -> str:
    """Return the path of a file that `files` lists.

    Args:
        kind: the kind of file, such as `STYLES`: a name of ComfyUI's model folders.
        name: the file's name in the list.

    Raises:
        FileNotFoundError: the file is gone.
    """
    if kind == STYLES and (path := folder_paths.get_full_path(RUNS, name)):
        return path
    return folder_paths.get_full_path_or_raise(kind, name)


def file_key(kind: str, name: str | None, *others: str) -> str:
    """Return the cache key of a widget that names a file: the file's stamp, so that a replaced file is loaded again.

    Args:
        kind: as for `file_path`.
        name: value of the widget; None if it comes through a link, whose own node decides.
        others: entries of the widget that are no files; each is its own key.

    Raises:
        FileNotFoundError: the file is gone.
    """
    return name or "" if name is None or name in others else file_stamp(file_path(kind, name))


def download_folder(kind: str = GENERATORS) -> Path:
    """Return the folder for downloads of a kind: its first folder, which extra_model_paths.yaml may have set."""
    return Path(folder_paths.get_folder_paths(kind)[0])


def cache_folder() -> Path:
    """Return the cache folder of converted generators. It is not in models/stylegan, or the loader would list them."""
    return Path(folder_paths.models_dir) / f"{GENERATORS}_converted"


def runs_folder() -> Path:
    """Return the folder of runs, which lets a cancelled training resume and repeats none."""
    return download_folder(RUNS)


def runs() -> list[str]:
    """Return the names of the run folders that hold snapshots, those of `nada adapt` among them."""
    marker = f"/{SNAPSHOTS}/"
    names = (name.replace(os.sep, "/") for name in run_styles())
    return sorted({name.partition(marker)[0] for name in names if marker in name})


def run_path(name: str) -> Path:
    """Return the folder of a run that `runs` lists.

    Raises:
        UsageError: there is no such folder, or the name leads out of the folders for runs.
    """
    for root in map(os.path.abspath, folder_paths.get_folder_paths(RUNS)):
        path = os.path.abspath(os.path.join(root, name))
        if path.startswith(root + os.sep) and os.path.isdir(path):
            return Path(path)
    raise UsageError(f"there is no run {name!r} in models/{RUNS} or output/{RUNS}; press R and choose another")


def detector_folder() -> Path:
    """Return the folder of face detectors: models/detection, as in newer versions of ComfyUI."""
    return Path(folder_paths.models_dir) / "detection"


def clip_folders() -> list[str]:
    """Return the names of the folders in models/open_clip that hold a model: a configuration and weights."""
    found = (Path(root).glob(f"*/{CLIP_CONFIG}") for root in folder_paths.get_folder_paths(CLIPS))
    return sorted({config.parent.name for configs in found for config in configs})


def clip_path(name: str) -> str | None:
    """Return the path of a file or folder in models/open_clip; None if there is none, or if it lies outside."""
    for root in folder_paths.get_folder_paths(CLIPS):
        path = os.path.normpath(os.path.join(root, name))
        if path.startswith(os.path.normpath(root) + os.sep) and os.path.exists(path):
            return path
    return None


def next_save_path(prefix: str, kind: str = GENERATORS) -> Path:
    """Return a free path output/<kind>/<prefix>_00001_.safetensors, and make its folder.

    Raises:
        UsageError: the prefix is empty, too long, no file name, or leads out of the folder.
    """
    check_prefix(prefix, kind)
    root = os.path.abspath(_saved_folder(kind))
    try:
        os.makedirs(root, exist_ok=True)
        folder, name, counter, _, _ = folder_paths.get_save_image_path(prefix, root)
    except OSError as error:
        raise UsageError(f"filename_prefix is {prefix!r}, which cannot be a file name here: {error}") from error
    return Path(folder) / f"{name}_{counter:05}_.safetensors"


def check_prefix(prefix: str, kind: str = "") -> None:
    """Check the beginning of a file name, which a user should not learn after minutes of work.

    Args:
        prefix: as it is on the node.
        kind: folder below ComfyUI's output folder that files of this kind are saved in.

    Raises:
        UsageError: it is empty, too long, no file name, or leads out of the folder.
    """
    root = os.path.abspath(_saved_folder(kind))
    if not prefix.strip() or prefix.endswith(("/", "\\")):
        raise UsageError("filename_prefix names no file; write for example 'sketch' or 'styles/sketch'")
    if not prefix.isprintable():
        raise UsageError(f"filename_prefix is {prefix[:80]!r}; it must be one line without control characters")
    if max(len(part.encode()) for part in re.split(r"[/\\]", prefix)) > MAX_PREFIX:
        raise UsageError(f"filename_prefix is {prefix[:40]!r}...; use names of at most {MAX_PREFIX} bytes")
    if not os.path.abspath(os.path.join(root, prefix)).startswith(root + os.sep):
        raise UsageError(f"filename_prefix is {prefix!r}; files are saved below output/{kind} only")


def save_cancelled(save: Callable[[Any, Path], None], content: Any, name: str, kind: str, words: str) -> str:
    """Save the result of a training that stopped early where its loader lists it, in place of an earlier `name`.

    Args:
        save: writes `content` to a path.
        content: the result.
        name: file name without ending.
        kind: the kind of file, such as `STYLES`.
        words: what was saved, for the node: a sentence that the file's name completes.

    Returns:
        Text for the end of a line on the node: `words` and the file's name, or why it was not saved.
    """
    try:
        save(content, Path(_saved_folder(kind)) / "cancelled" / f"{name}.safetensors")
    except NadaError as error:
        return f" | {error}"
    return f" | {words} cancelled/{name}"


def relative_to_output(path: Path) -> str:
    """Return a saved file's path relative to ComfyUI's output folder, for the node."""
    return os.path.relpath(path, os.path.dirname(folder_paths.get_output_directory()))


def saved(path: Path) -> str:
    """Return a sentence for a file just saved: "saved stylegan/sketch_00001_.safetensors (1.2 MB)"."""
    return f"saved {relative_to_output(path)} ({path.stat().st_size / 1e6:.1f} MB)"


def normal_tensors() -> torch.inference_mode:
    """Return a context in which tensors can be trained; ComfyUI runs nodes in inference mode, whose tensors cannot."""
    return torch.inference_mode(False)


@contextmanager
def on_device(*modules: nn.Module | Generator, needs: float = EVERYTHING) -> Iterator[torch.device]:
    """Move modules to ComfyUI's compute device, and back to the CPU at the end, also after an error.

    Args:
        modules: changed in place.
        needs: bytes to free on the device first, by unloading other models.
    """
    device = memory.get_torch_device()
    if device.type != "cpu":
        memory.free_memory(needs, device)
    try:
        _move(modules, device)
        yield device
    finally:
        _move(modules, torch.device("cpu"))
        memory.soft_empty_cache()


def _move(modules: tuple[nn.Module | Generator, ...], device: torch.device) -> None:
    with normal_tensors():  # in inference mode a round trip would leave tensors that cannot be trained
        for module in modules:
            module.to(device)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error means that memory ran out, so that a smaller batch could help.

    ComfyUI is asked first, because it clears the error of some devices, which would otherwise come up again. It does
    not know the errors of CPUs, of Apple's GPUs and of cuBLAS.
    """
    known = getattr(memory, "is_oom", None)  # ComfyUI 0.17
    return (known(error) if known else isinstance(error, memory.OOM_EXCEPTION)) or nada_is_out_of_memory(error)


def soft_empty_cache() -> None:
    """Give unused memory back to the device."""
    memory.soft_empty_cache()


class Progress:
    """Progress bar, picture and text on the running node. Its updates raise `Cancelled` when the user cancels."""

    def __init__(self, total: int):
        self.total, self.done, self.bar = total, 0, comfy.utils.ProgressBar(total)
        self._last_text = 0.0

    def update(self, done: int, picture: Image.Image | None = None) -> None:
        """Show the progress, and a picture of any size if there is one; raise `Cancelled` if the user cancels."""
        check_cancelled()  # the bar checks only when it redraws
        self.done = done
        if picture and max(picture.size) > MAX_PREVIEW:  # a picture that ComfyUI cannot send ends its process
            picture = picture.copy()
            picture.thumbnail((MAX_PREVIEW, MAX_PREVIEW))
        self.bar.update_absolute(done, self.total, ("JPEG", picture, None) if picture else None)

    def add(self, more: int = 0) -> None:
        """Show that `more` of the total are done; raise `Cancelled` if the user cancels."""
        self.update(self.done + more)

    def text_is_due(self) -> bool:
        """Return True a few times a second, because a text may have to wait for the device."""
        now = time.monotonic()
        due = now - self._last_text > TEXT_PAUSE
        self._last_text = now if due else self._last_text
        return due


def check_cancelled() -> None:
    """Raise ComfyUI's own exception if the user has pressed Cancel."""
    memory.throw_exception_if_processing_interrupted()


def say(text: str) -> None:
    """Show a line of text on the running node. Control characters, perhaps quoted from a file, are escaped."""
    context, server = get_executing_context(), PromptServer.instance
    if context is not None and server is not None:
        server.send_progress_text(printable(text), context.node_id)


def prompt_inputs(node: type[Any], names: Iterable[str]) -> dict[str, Any]:
    """Return values that the prompt gives the running node for inputs that its schema does not have.

    ComfyUI silently drops inputs that a node no longer has.

    Args:
        node: class of the running node, an output node, because only those see the prompt.
        names: inputs to look for.

    Raises:
        UsageError: one of them is a link to another node, whose value ComfyUI does not compute.
    """
    context, prompt = get_executing_context(), node.hidden.prompt or {}
    inputs = prompt.get(context.node_id, {}).get("inputs", {}) if context else {}
    found = {name: inputs[name] for name in names if name in inputs}
    for name, value in found.items():
        if isinstance(value, list):
            raise UsageError(
                f"{name} is a link, but this node has no input of that name any more; write the value itself into the "
                "prompt, or use NADA Training Options"
            )
    return found


def explained(execute: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a node's `execute`: show the sentence of a `NadaError` on the node too, not only in a dialog."""

    @wraps(execute)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return execute(*args, **kwargs)
        except NadaError as error:
            say(str(error))
            raise

    return wrapper


def to_image(images: Tensor) -> Tensor:
    """Convert images [N, C, H, W] in [-1, 1], clamped here, to ComfyUI's IMAGE [N, H, W, 3 or 4 with alpha] in [0, 1].

    Save Image keeps alpha, and takes no image of one channel.
    """
    return _as_output(((as_saved(images) + 1) / 2).clamp(0, 1).movedim(1, -1))


def from_image(image: Tensor) -> Tensor:
    """Convert ComfyUI's IMAGE [N, H, W, C] in [0, 1] to normal tensors [N, 3, H, W] in [-1, 1], without alpha."""
    with normal_tensors():
        return image[..., :3].movedim(-1, 1).float().clone() * 2 - 1


def to_mask(masks: Tensor) -> Tensor:
    """Convert masks [N, 1, H, W] in [0, 1] to ComfyUI's MASK [N, H, W]."""
    return _as_output(masks[:, 0])


def picture_to_image(picture: Image.Image) -> Tensor:
    """Convert an RGB picture to ComfyUI's IMAGE [1, H, W, 3] in [0, 1]."""
    return _as_output(torch.from_numpy(np.array(picture)).float().div(255)[None])


def _as_output(image: Tensor) -> Tensor:
    dtype = getattr(memory, "intermediate_dtype", lambda: torch.float32)()  # ComfyUI 0.18
    return image.to(memory.intermediate_device(), dtype).contiguous()
