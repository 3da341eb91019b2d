"""Published models by name: what there is, how large, under which license, and where.

Nothing here is downloaded by itself; `nada.downloading` fetches what a user picks. Sizes and hashes are those that the
publishers and their mirrors state. Where only the ends of a hash are known, only these are compared; where none is
known, the first download records what it got.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from ..errors import UsageError

NVIDIA = "NVIDIA Source Code License: research and evaluation only"
UNSTATED = "not stated by the publisher"
MIT = "MIT"
_ADA = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained"
_NGC = "https://api.ngc.nvidia.com/v2/models/nvidia/research/stylegan2/versions/1/files"
_TENSORFLOW = "https://nvlabs-fi-cdn.nvidia.com/stylegan2/networks"
_MIRROR = "https://huggingface.co/aaronb/StyleGAN2/resolve/main"
_STYLEGENE = "https://huggingface.co/wmpscc/StyleGene/resolve/main"
_ADAPTED = "https://huggingface.co/rinong/stylegan-nada-models/resolve/main"
_DISTILLED = "https://storage.googleapis.com/self-distilled-stylegan"


@dataclass(frozen=True)
class Published:
    """A generator that somebody offers for download."""

    name: str
    """What to call it here; its file is saved under this name."""
    resolution: int
    """In pixels."""
    content: str
    """What it makes."""
    url: str
    license: str
    megabytes: int
    """About."""
    size: int | None = None
    """In bytes, where it is known."""
    sha256: str = ""
    """Of the file; "ab12...ef34" where only its ends are known, "" where nothing is."""
    form: str = "rosinality .pt"
    """Who wrote the file."""

    @property
    def file(self) -> str:
        """Name of the file here."""
        return self.name + self.url[self.url.rindex(".") :]

    @property
    def label(self) -> str:
        """One line for a list: name, size and the short form of the license."""
        short = {NVIDIA: "NVIDIA, non-commercial", UNSTATED: "license unknown"}.get(self.license, self.license)
        return f"{self.name} ({self.megabytes} MB, {short})"


def agrees(known: str, sha256: str) -> bool:
    """Whether a hash is the known one, as far as that is known."""
    head, dots, tail = known.partition("...")
    return sha256.startswith(head) and sha256.endswith(tail) if dots or not known else sha256 == known


def _row(name: str, resolution: int, content: str, url: str, size: int, **more: str) -> Published:
    """A row from an exact size in bytes, or from one in megabytes (below a million)."""
    exact = size if size >= 1_000_000 else None
    more.setdefault("license", NVIDIA)
    return Published(name, resolution, content, url, megabytes=ceil(size / 1e6) if exact else size, size=exact, **more)


_FACES, _ART = "faces (FFHQ)", "faces in paintings (MetFaces)"
_FFHQ = "646c7e7c5e3fc4cf8e83dcfe5dce505cc74b61d8982c09563932aa15c4baf18c"
_STYLEGENE_FFHQ = "d0d7c5e71531c816b8cf01037393ee4fb65ed09dcb6434cc0197771e3051199b"
_E4E = "2ace1d9a8c05c10a399bcd500b8dda118f759ff1aac89dbdab7435f2136a0999"
_ADA_FFHQ = "a205a346e86a9ddaae702e118097d014b7b8bd719491396a162cca438f2f524c"
_NGC_FFHQ_512 = "d2b1c92f41ce8a64c55f7a75ef06c4c0eef9e17b1eb29aae8c10fb37b3e60478"
_NGC_CAT = "17a83abee464242f8bb40dc6363d33c2fb087066b68fc0147677fdbf21f7a7a9"
_TF_FFHQ = "adf127ea7bb8a7788c8bdeda3c9937f7310b669b09ecf799ca53a631ff46948d"
# Copies with the names of rosinality's code: the generator alone, a third of NVIDIA's files.
_MIRRORS = (
    _row("ffhq-1024", 1024, _FACES, f"{_MIRROR}/stylegan2-ffhq-config-f.pt", 132_717_355, sha256=_FFHQ),
    _row("metfaces-1024", 1024, _ART, f"{_MIRROR}/ada/metfaces.pt", 133),
    _row("afhqdog-512", 512, "dogs (AFHQ)", f"{_MIRROR}/ada/afhqdog.pt", 124),
    _row("afhqcat-512", 512, "cats (AFHQ)", f"{_MIRROR}/ada/afhqcat.pt", 124),
    _row("afhqwild-512", 512, "wild animals (AFHQ)", f"{_MIRROR}/ada/afhqwild.pt", 124),
    _row("car-512", 512, "cars (LSUN; 512x384 between black bars)", f"{_MIRROR}/stylegan2-car-config-f.pt", 123_949_595,
         sha256="c69f161f..."),
    _row("cat-256", 256, "cats (LSUN)", f"{_MIRROR}/stylegan2-cat-config-f.pt", 120_878_283, sha256="ff103687..."),
    _row("church-256", 256, "churches (LSUN)", f"{_MIRROR}/stylegan2-church-config-f.pt", 120_878_283,
         sha256="596f59f0..."),
    _row("horse-256", 256, "horses (LSUN)", f"{_MIRROR}/stylegan2-horse-config-f.pt", 120_878_283,
         sha256="894bc6a0..."),
    _row("brecahad-512", 512, "breast tissue under the microscope (BreCaHAD)", f"{_MIRROR}/ada/brecahad.pt", 124),
    _row("ffhq-1024-ada", 1024, _FACES, f"{_MIRROR}/ada/ffhq.pt", 133),
    _row("ffhq-1024-stylegene", 1024, _FACES, f"{_STYLEGENE}/stylegan2-ffhq-config-f.pt", 132_729_083,
         sha256=_STYLEGENE_FFHQ),
    _row("ffhq-1024-e4e", 1024, f"{_FACES}; the generator in the encoder e4e", f"{_STYLEGENE}/e4e_ffhq_encode.pt",
         1_201_649_680, sha256=_E4E, form="e4e .pt"),
)  # fmt: skip
_PICKLED = (
    *(
        _row(f"{name}-nvidia", resolution, content, f"{_ADA}/{name.partition('-')[0]}.pkl", size, sha256=sha256,
             form="NVIDIA .pkl")
        for name, resolution, content, size, sha256 in (
            ("ffhq-1024", 1024, _FACES, 381_624_121, _ADA_FFHQ),
            ("metfaces-1024", 1024, _ART, 382, "880a460d...5f76f"),
            ("afhqdog-512", 512, "dogs (AFHQ)", 364, "f124ff3f...3662"),
            ("afhqcat-512", 512, "cats (AFHQ)", 364, ""),
            ("afhqwild-512", 512, "wild animals (AFHQ)", 364, ""),
        )
    ),
    *(
        _row(f"{name}-ngc", int(size_name.partition("x")[0]), content, f"{_NGC}/stylegan2-{source}-{size_name}.pkl",
             size, sha256=sha256, form="NVIDIA .pkl")
        for name, source, size_name, content, size, sha256 in (
            ("ffhq-512", "ffhq", "512x512", _FACES, 364, _NGC_FFHQ_512),
            ("ffhq-256", "ffhq", "256x256", _FACES, 357, ""),
            ("ffhq-1024", "ffhq", "1024x1024", _FACES, 382, ""),
            ("ffhqu-1024", "ffhqu", "1024x1024", "faces, not aligned (FFHQ-U)", 382, ""),
            ("ffhqu-256", "ffhqu", "256x256", "faces, not aligned (FFHQ-U)", 357, ""),
            ("metfaces-1024", "metfaces", "1024x1024", _ART, 382, ""),
            ("afhqcat-512", "afhqcat", "512x512", "cats (AFHQ)", 364, _NGC_CAT),
            ("afhqdog-512", "afhqdog", "512x512", "dogs (AFHQ)", 364, ""),
            ("afhqwild-512", "afhqwild", "512x512", "wild animals (AFHQ)", 364, ""),
            ("afhqv2-512", "afhqv2", "512x512", "animals (AFHQ v2)", 364, ""),
            ("celebahq-256", "celebahq", "256x256", "faces (CelebA-HQ)", 296, ""),
            ("lsundog-256", "lsundog", "256x256", "dogs (LSUN)", 296, ""),
        )
    ),
    *(
        _row(f"{name}-tensorflow", resolution, content,
             f"{_TENSORFLOW}/stylegan2-{name.partition('-')[0]}-config-f.pkl", size, sha256=sha256,
             form="NVIDIA TensorFlow .pkl")
        for name, resolution, content, size, sha256 in (
            ("ffhq-1024", 1024, _FACES, 381_673_535, _TF_FFHQ),
            ("car-512", 512, "cars (LSUN; 512x384 between black bars)", 364_027_523, "e1618eee..."),
            ("cat-256", 256, "cats (LSUN)", 357_418_027, "08940fd6..."),
            ("church-256", 256, "churches (LSUN)", 357_418_027, "4090c5f8..."),
            ("horse-256", 256, "horses (LSUN)", 357_418_027, "cbc73372..."),
        )
    ),
    *(
        _row(f"{name}-distilled", resolution, f"{content} (Self-Distilled StyleGAN)",
             f"{_DISTILLED}/{source}_pytorch.pkl", size, license=UNSTATED, form="NVIDIA .pkl")
        for name, source, resolution, content, size in (
            ("dogs-1024", "dogs_1024", 1024, "dogs", 382),
            ("lions-512", "lions_512", 512, "lions", 364),
            ("elephants-512", "elephants_512", 512, "elephants", 364),
            ("parrots-512", "parrots_512", 512, "parrots", 364),
            ("horses-256", "horses_256", 256, "horses", 357),
        )
    ),
)  # fmt: skip
# What the authors of StyleGAN-NADA made of FFHQ. The publisher says MIT; NVIDIA's license binds derivatives.
_STYLES = tuple(
    _row(f"nada-{style}-1024", 1024, f"faces as {style} (adapted from FFHQ)", f"{_ADAPTED}/{style}.pt", 132_724_587)
    for style in ("anime", "elf", "ghibli", "pixar", "ssj", "thanos")
)
PUBLISHED: tuple[Published, ...] = (*_MIRRORS, *_STYLES, *_PICKLED)
"""Generators, the smaller files first."""


@dataclass(frozen=True)
class PublishedClip:
    """A CLIP model that somebody offers for download."""

    name: str
    """As `--clip` takes it."""
    architecture: str
    """What open_clip calls the network that these weights were trained in."""
    repository: str
    """On the Hugging Face hub."""
    revision: str
    """Of the repository: its state that is known."""
    megabytes: int
    """About."""
    size: int | None = None
    """In bytes, where it is known."""
    sha256: str = ""
    """Of the file, where it is known."""
    license: str = MIT

    @property
    def file(self) -> str:
        """Name of the file here."""
        return f"{self.architecture}.openai.safetensors"

    @property
    def url(self) -> str:
        """Where the file is."""
        return f"https://huggingface.co/{self.repository}/resolve/{self.revision}/{HUB_FILE}"


HUB_FILE = "open_clip_model.safetensors"
PUBLISHED_CLIPS = (
    PublishedClip(
        "ViT-B/32",
        "ViT-B-32-quickgelu",
        "timm/vit_base_patch32_clip_224.openai",
        "a6f597a30f7b82c51704746581f9a4e41421e878",
        606,
        605_143_284,
        "e6d1bd7789aa45192b3bf90570a789b478bae1b74ebcce7eddd908e83a2b7c31",
    ),
    PublishedClip(
        "ViT-B/16",
        "ViT-B-16-quickgelu",
        "timm/vit_base_patch16_clip_224.openai",
        "977e3dd0ec55ab8da155f2fbeb6b5f54948b6e3d",
        599,
    ),
)
"""OpenAI's, the pair of the paper, as safetensors."""


def find_published(name: str) -> Published | PublishedClip:
    """The generator or CLIP model of that name.

    Raises:
        UsageError: there is none.
    """
    models: tuple[Published | PublishedClip, ...] = (*PUBLISHED, *PUBLISHED_CLIPS)
    for model in models:
        if model.name == name:
            return model
    raise UsageError(f"there is no published model {name!r}; `nada models` lists them, such as {PUBLISHED[0].name}")
