"""Node that loads an encoder, a network that finds the latent codes of photos."""

from __future__ import annotations

from comfy_api.latest import io

from ..nada.demo import ENCODERS as INCLUDED
from ..nada.photo.encoders.loading import describe, load_encoder
from ..nada.published.catalog import ENCODERS
from . import host
from .load import fetched
from .sockets import LOADING, NADAEncoder, known_options

DOWNLOADS = {f"(download) {model.label}": model for model in ENCODERS}


class NADALoadEncoder(io.ComfyNode):
    """Load an encoder from a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        names = [*host.files(host.ENCODERS), *INCLUDED, *DOWNLOADS]
        return io.Schema(
            node_id="NADALoadEncoder",
            display_name="Load Encoder (StyleGAN)",
            category=LOADING,
            description="Loads a network that finds the latent codes of a photo in one pass, or in a few: e4e, pSp or "
            "ReStyle. Files are read without executing anything in them.",
            inputs=[
                io.Combo.Input(
                    "encoder_name",
                    options=names,
                    default=names[0],
                    tooltip="Change this first. Files in models/stylegan_encoders, as their authors publish them "
                    "(.pt); after adding one, press R. demo and demo-person are included, for the generators of these "
                    "names. Entries with (download) are downloaded when first used; they go to models/stylegan, "
                    "because each file also holds a generator. Mind their licenses. An encoder works with the "
                    "generator that it was trained for: e4e and pSp of FFHQ with ffhq-1024.",
                )
            ],
            outputs=[NADAEncoder.Output("encoder", tooltip="The encoder, for Invert Photo.")],
            **known_options(
                search_aliases=["e4e", "psp", "restyle", "inversion", "encoder4editing", "pixel2style2pixel"]
            ),
        )

    @classmethod
    def fingerprint_inputs(cls, encoder_name: str | None) -> str:
        return host.file_key(host.ENCODERS, encoder_name, *DOWNLOADS, *INCLUDED)

    @classmethod
    @host.explained
    def execute(cls, encoder_name: str) -> io.NodeOutput:
        if encoder_name in DOWNLOADS:
            path, remarks = fetched(DOWNLOADS[encoder_name])
        elif encoder_name in INCLUDED:
            path, remarks = str(INCLUDED[encoder_name]), []
        else:
            path, remarks = host.file_path(host.ENCODERS, encoder_name), []
        encoder = load_encoder(path)
        facts = describe(encoder)
        codes = " x ".join(map(str, facts["codes"]))
        host.say(" | ".join([f"{facts['encoder']} ({facts['trunk']})", f"codes {codes}", *remarks]))
        return io.NodeOutput(encoder)
