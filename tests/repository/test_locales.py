"""Texts of ComfyUI in other languages: complete, and with the same names and numbers as the schemas."""

from __future__ import annotations

import asyncio
import re

import pytest

from tools.locales import LOCALES, SYNTAX, categories, english, flat, read, texts

LITERAL = re.compile(r"[\w./%:-]*[\d_/%][\w./%:-]*|\.\w+")  # numbers, files, models; not plain words
OTHERS = sorted(path.name for path in LOCALES.iterdir() if path.name != "en")


@pytest.fixture
def schemas(host):
    return [node.define_schema() for node in asyncio.run(host.nodes.NADAExtension().get_node_list())]


def test_english_is_what_the_schemas_say(schemas):
    assert read("en", "nodeDefs") == english(schemas), "run python tools/locales.py"
    assert list(read("en", "main")["nodeCategories"]) == categories(schemas)


@pytest.mark.parametrize("language", OTHERS)
def test_every_text_is_translated(schemas, language):
    translated, wanted = flat(read(language, "nodeDefs")), flat(texts(schemas))
    assert translated.keys() == wanted.keys()
    assert list(read(language, "main")["nodeCategories"]) == categories(schemas)
    for key, text in translated.items():
        assert text.strip(), f"{key} is empty"
        if key.endswith(("tooltip", "description")):
            assert text != wanted[key], f"{key} is not translated"


@pytest.mark.parametrize("language", OTHERS)
def test_names_and_numbers_are_kept(schemas, language):
    translated = flat(read(language, "nodeDefs"))
    for key, text in flat(texts(schemas)).items():
        if not key.endswith(".name"):
            lost = [word for word in literals(text) if word not in translated[key]]
            assert not lost, f"{key} says nothing of {lost}"


def literals(text: str) -> list[str]:
    """Parts of a text that are the same in every language."""
    return [word.rstrip(".:") for word in LITERAL.findall(text)]


@pytest.mark.parametrize("language", ["en", *OTHERS])
def test_nothing_is_garbled_by_the_frontend(language):
    for name in ("nodeDefs", "main"):
        for key, text in flat(read(language, name)).items():
            assert not SYNTAX.search(text), f"{key} has a character with a meaning in the frontend's messages: {text}"
