"""Read PyTorch's containers, and inert stand-ins for PyTorch's and NVIDIA's functions inside pickles.

A torch file is a pickle in which storages are persistent ids ("storage", type, key, device, elements), and the numbers
lie elsewhere: in entries of a zip archive (since 1.6), or after the pickle (before 1.6, and inside NVIDIA's pickles).
"""

from __future__ import annotations

import struct
from typing import Any

from ..errors import CheckpointError
from .inert import MAX_NAME, MAX_STEPS, Callables, Global, PickleMachine, Record
from .numpy_values import as_window, numpy_scalar
from .tensors import STORAGE_TYPES, Storage, TensorView
from .window import Cursor, Window
from .zip_entries import read_directory

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_VERSION = 1001
NESTED_STEPS = 1000  # a storage takes about 50


class NestedStorage(Storage):
    """A storage inside an NVIDIA pickle: a whole legacy torch file as one byte string, read when it is needed."""

    def __init__(self, data: Any):
        self.data = data

    def open(self) -> Storage:
        """Return the storage in the byte string.

        Raises:
            CheckpointError: the byte string holds anything else.
        """
        cursor = Cursor(as_window(self.data))
        if PickleMachine(cursor, {}, steps=NESTED_STEPS).run() != LEGACY_MAGIC:
            raise CheckpointError("the file is damaged or hostile: the numbers of a tensor are not a torch storage")
        storage = read_legacy_torch(cursor, {}, NESTED_STEPS)
        if type(storage) is not Storage:
            raise CheckpointError("the file is damaged or hostile: the numbers of a tensor are something else")
        return storage.open()


class StorageIds:
    """Resolver of persistent ids: makes one storage for each key, and keeps it."""

    def __init__(self) -> None:
        self.by_key: dict[str, Storage] = {}
        self.elements: dict[str, int] = {}

    def __call__(self, pid: Any) -> Any:
        match pid:
            case ("module", Global() as name, _, _):
                return name  # legacy files of whole modules hold a class's name and source code
            case ("storage", Global(path=path), str() as key, _, int() as elements):
                return self._storage(path, key, elements)
            case ("storage", Global(path=path), str() as key, _, int() as elements, None):
                return self._storage(path, key, elements)
            case ("storage", Global(), str(), _, int(), _):
                raise CheckpointError("the file is from a PyTorch before 0.4; save it again with a newer one")
        raise CheckpointError("the file is damaged or hostile: its pickle refers to something that is not a tensor")

    def _storage(self, path: str, key: str, elements: int) -> Storage:
        name = path.rpartition(".")[2]
        if name not in STORAGE_TYPES or path.partition(".")[0] != "torch":
            raise CheckpointError(f"a tensor is stored as {path}; only ordinary dense tensors can be loaded")
        if key not in self.by_key:
            self.by_key[key] = Storage(STORAGE_TYPES[name])
            self.elements[key] = elements
        return self.by_key[key]


def read_legacy_torch(cursor: Cursor, callables: Callables, steps: int = MAX_STEPS) -> Any:
    """Read a torch file from before PyTorch 1.6.

    Args:
        cursor: a cursor after the file's magic number.
        callables: see `PickleMachine`.
        steps: largest number of instructions, for each of the four pickles that follow.

    Raises:
        CheckpointError: the file is damaged, hostile, or from a big-endian machine.
    """
    version = PickleMachine(cursor, {}, steps=steps).run()
    system = PickleMachine(cursor, {}, steps=steps).run()
    if version != LEGACY_VERSION or not isinstance(system, dict) or system.get("little_endian") is not True:
        raise CheckpointError("the file is damaged, or was saved by PyTorch on a big-endian machine")
    ids = StorageIds()
    root = PickleMachine(cursor, callables, ids, steps).run()
    keys = PickleMachine(cursor, {}, steps=steps).run()
    if not isinstance(keys, list) or any(not isinstance(key, str) for key in keys) or {*keys} != {*ids.by_key}:
        raise CheckpointError("the file is damaged: its list of tensors does not match its tensors")
    for key in keys:
        (elements,) = struct.unpack("<q", cursor.take(8))
        if elements != ids.elements[key]:
            raise CheckpointError("the file is damaged: the size of a tensor is told in two ways")
        storage = ids.by_key[key]
        storage.window = cursor.skip(elements * storage.dtype.itemsize)
    return root


def read_torch_zip(window: Window, scripted: bool = False) -> Any:
    """Read a torch file of PyTorch 1.6 or later.

    Args:
        window: the whole file.
        scripted: whether to accept a TorchScript archive. Its code is not read; its modules become records whose state
            holds parameters, buffers and submodules by name.

    Raises:
        CheckpointError: the archive holds something else, or is damaged, compressed, hostile, or big-endian.
    """
    entries = read_directory(window)
    pickles = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise CheckpointError("this is a zip archive, but not a PyTorch file; unpack it, and load the model inside")
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}constants.pkl" in entries and not scripted:
        raise CheckpointError(
            "this is a TorchScript archive (a compiled program); load the checkpoint it was made from, or, if it is "
            "OpenAI's CLIP, give it as the CLIP: ARCHITECTURE@FILE"
        )
    if f"{root}byteorder" in entries and entries[f"{root}byteorder"].open().read() != b"little":
        raise CheckpointError("the file was saved by PyTorch on a big-endian machine; save it again on an ordinary one")
    ids = StorageIds()
    tree = PickleMachine(Cursor(entries[pickles[0]].open()), CALLABLES, ids).run()
    for key, storage in ids.by_key.items():
        if (entry := entries.get(f"{root}data/{key}")) is None:
            continue  # Storage.open raises an error if this tensor is needed
        storage.window = entry.open().part(0, ids.elements[key] * storage.dtype.itemsize)
    return tree


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> TensorView:
    if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise CheckpointError("the file is damaged or hostile: a tensor is not built of numbers")
    return TensorView(storage, offset, shape, strides)


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


def _reconstruct_persistent_obj(meta: Any) -> Record:
    """Return a record of an NVIDIA module by its class name; the source code beside it is not read."""
    match meta:
        case {"class_name": str() as name, "state": state} if len(name) <= MAX_NAME:
            return Record(name, state=state)
    raise CheckpointError("the file is damaged or hostile: a network has no class name or no state")


def _empty_dict(*pairs: Any) -> dict[Any, Any]:
    if pairs:
        raise CheckpointError("the file was written by Python 2; save it again with Python 3")
    return {}


CALLABLES: Callables = {
    "collections.OrderedDict": _empty_dict,
    "dnnlib.util.EasyDict": _empty_dict,
    "numpy.core.multiarray.scalar": numpy_scalar,
    "numpy._core.multiarray.scalar": numpy_scalar,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch.storage._load_from_bytes": NestedStorage,
    "torch_utils.persistence._reconstruct_persistent_obj": _reconstruct_persistent_obj,
}
