"""Recognize files that are no models by their first bytes, and say what they are and what to do."""

from __future__ import annotations

LOADABLE = (
    "what can be loaded: StyleGAN2 generators as rosinality .pt, NVIDIA .pkl (stylegan2, stylegan2-ada and their "
    "PyTorch versions), encoders with their generator, and .safetensors"
)
_AGAIN = "download the model itself"

# First bytes (for texts in lower case, without leading blanks), what the file is, and what to do.
_BINARY = (
    (b"\x89PNG", "a PNG image", "give a model, not a picture"),
    (b"\xff\xd8\xff", "a JPEG image", "give a model, not a picture"),
    (b"GIF8", "a GIF image", "give a model, not a picture"),
    (b"RIFF", "a WebP image or a media file", "give a model, not a picture"),
    (b"BM", "a BMP image", "give a model, not a picture"),
    (b"%PDF", "a PDF document", _AGAIN),
    (b"GGUF", "a GGUF language or diffusion model", LOADABLE),
    (b"\x89HDF", "an HDF5 file (Keras)", LOADABLE),
    (b"\x93NUMPY", "a NumPy array", LOADABLE),
    (b"\x1f\x8b", "a gzip archive", "unpack it, and load the model inside"),
    (b"7z\xbc\xaf", "a 7-Zip archive", "unpack it, and load the model inside"),
    (b"Rar!", "a RAR archive", "unpack it, and load the model inside"),
    (b"BZh", "a bzip2 archive", "unpack it, and load the model inside"),
    (b"\xfd7zXZ", "an xz archive", "unpack it, and load the model inside"),
    (b"\x7fELF", "a program", LOADABLE),
    (b"MZ", "a program", LOADABLE),
)
_TEXT = (
    (
        b"version https://git-lfs",
        "a git-lfs pointer that stands for the model",
        "run `git lfs pull`, or " + _AGAIN,
    ),
    (
        b"<!doctype html",
        "a web page saved under the model's name",
        _AGAIN + " in a browser; it may ask for a login",
    ),
    (b"<html", "a web page saved under the model's name", _AGAIN + " in a browser; it may ask for a login"),
    (b"<?xml", "an XML text, as servers send with an error", _AGAIN),
    (b"{", "a JSON text", LOADABLE),
)


def describe(head: bytes) -> str:
    """Return a sentence that says what a file that is no checkpoint is, and what to do.

    Args:
        head: first bytes of the file, a few hundred.
    """
    if not head:
        return f"the file is empty; {_AGAIN} again"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for signature, what, advice in _BINARY:
        if head.startswith(signature):
            return f"this is {what}, not a model; {advice}"
    for signature, what, advice in _TEXT:
        if text.startswith(signature):
            return f"this is {what}, not a model; {advice}"
    if head[257:262] == b"ustar":
        return "this is a tar archive; unpack it, and load the model inside (PyTorch before 0.2 also wrote them)"
    if not head.translate(None, bytes(range(32, 127)) + b"\t\r\n"):
        return f"this is a text, not a model; {LOADABLE}"
    if not any(head):
        return f"the file is full of zeros, as an interrupted download leaves it; {_AGAIN} again"
    return f"this is not a known kind of model file, or it is damaged at its beginning; {LOADABLE}"
