"""The drawn world: pictures, captions, codes of individuals, checks and spoiled pictures."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from helpers.scripts import importable

FOLDER = Path(__file__).resolve().parents[2] / "tools" / "demo_world"


@pytest.fixture(scope="module", autouse=True)
def tools():
    """The scripts import each other by their bare names."""
    with importable(FOLDER):
        yield


@pytest.fixture
def individuals():
    from nada.demo.world import random_parameters

    return random_parameters(6, torch.Generator().manual_seed(7))


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.slow
def test_every_species_has_a_picture_in_every_style(drawn):
    from nada.demo.world import SPECIES, STYLES

    for kind in ((style, species) for style in STYLES for species in SPECIES):
        pictures = drawn(*kind)
        assert pictures.shape == (3, 3, 128, 128)
        assert pictures.min() >= -1
        assert pictures.max() <= 1
        assert pictures.std() > 0.06, kind


def test_equal_seeds_give_equal_pictures_and_grain_is_what_differs_otherwise(individuals):
    from nada.demo.world import draw

    individuals = individuals[:3]
    first, again, other = (draw(individuals, "dog", "photo", seeded(seed)) for seed in (1, 1, 2))
    torch.testing.assert_close(first, again)
    assert 0.005 < (first - other).abs().mean() < 0.03
    plain = [draw(individuals, "dog", "photo", seeded(seed), grain=0.0) for seed in (1, 2)]
    assert (plain[0] - plain[1]).abs().mean() < 1e-4


@pytest.mark.slow
def test_the_same_individual_is_nearest_in_other_styles_and_species(individuals):
    from nada.demo.world import draw

    poses = draw(individuals, "dog", "photo", seeded(), grain=0.0).mean(1, keepdim=True)
    for species, style in (("dog", "pixar"), ("cat", "photo"), ("bear", "photo")):
        other = draw(individuals, species, style, seeded(), grain=0.0).mean(1, keepdim=True)
        a, b = (F.avg_pool2d(x, 4).flatten(1) for x in (poses, other))
        nearest = torch.cdist(a - a.mean(0), b - b.mean(0)).argmin(1)
        assert (nearest == torch.arange(len(a))).sum() >= len(a) - 1, (species, style)


def test_pixel_art_is_constant_in_squares_and_sketches_have_no_color(individuals):
    from nada.demo.world import draw
    from nada.measure.picture_checks import chroma, darkness, variance_in_squares

    assert variance_in_squares(draw(individuals, "fox", "pixel", seeded())).max() < 1e-4
    assert variance_in_squares(draw(individuals, "fox", "photo", seeded())).min() > 0.01
    assert chroma(draw(individuals, "person", "sketch", seeded())).max() == 0
    assert darkness(draw(individuals, "pig", "neon", seeded())).max() < 0.2


def test_distance_to_truth_is_one_for_nothing_gained_and_zero_for_the_truth(individuals):
    from nada.demo.world import draw
    from nada.measure.picture_checks import distance_to_truth

    photo, true = (draw(individuals, "dog", style, seeded()) for style in ("photo", "neon"))
    assert distance_to_truth(photo, photo, true) == pytest.approx(1)
    assert distance_to_truth(true, photo, true) == 0
    half = distance_to_truth(0.5 * (photo + true), photo, true)
    assert half == pytest.approx(0.5, abs=0.01)
    with pytest.raises(ValueError, match="shapes differ"):
        distance_to_truth(photo[:2], photo, true)


@pytest.mark.slow
@pytest.mark.parametrize("style", ["pixel", "sketch", "neon"])
def test_true_drawings_pass_their_checks_and_smears_do_not(individuals, style):
    from judge_readings import normal_ranges
    from spoiled import smeared

    from nada.demo.world import draw
    from nada.measure.picture_checks import passed

    ranges = normal_ranges(style, 28)
    pictures = draw(individuals, "dog", style, seeded(3))
    assert passed(pictures, style, ranges).float().mean() >= 0.8
    assert passed(smeared(pictures, seeded()), style, ranges).float().mean() <= 0.2


def test_wrong_names_and_shapes_are_refused(individuals):
    from nada.demo.world import Parameters, draw, parameters_from_latents

    with pytest.raises(ValueError, match="no species 'cow'"):
        draw(individuals, "cow", "photo")
    with pytest.raises(ValueError, match="no style 'oil'"):
        draw(individuals, "dog", "oil")
    with pytest.raises(ValueError, match="no parameter 'wings'"):
        individuals.replaced(wings=1.0)
    with pytest.raises(ValueError, match="need the shape"):
        Parameters(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="or more"):
        parameters_from_latents(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="multiple of 32"):
        draw(individuals, "dog", "pixel", size=100)


def test_a_parameter_changes_what_it_is_named_after(individuals):
    from nada.demo.world import draw

    chosen = individuals[:3]

    def difference(**change: tuple[float, float]) -> torch.Tensor:
        low, high = (
            draw(chosen.replaced(**{k: v[i] for k, v in change.items()}), "dog", "photo", seeded(), grain=0.0, size=64)
            for i in (0, 1)
        )
        return (low - high).abs().mean((1, 2, 3))

    for name in ("yaw", "coat", "ear_kind", "hat", "glasses", "collar", "light_x", "place", "tone"):
        assert difference(**{name: (0.1, 0.95)}).min() > 1e-4, name


def test_captions_answer_with_a_phrase_for_every_answer(individuals):
    from captions import QUESTIONS, answer_captions, joined_captions, style_captions

    from nada.demo.world import SPECIES, STYLES

    pick = random.Random(1)
    assert len(style_captions(pick)) == len(STYLES)
    assert len(joined_captions(pick)) == len(STYLES) * len(SPECIES)
    for question in QUESTIONS:
        for species in SPECIES:
            for style in STYLES:
                answers = question.answer(individuals, species, style)
                assert answers.shape == (len(individuals),)
                assert answers.max() < len(question.phrases(species))
                if answers.max() >= 0:
                    assert all(answer_captions(question, species, pick))


def test_phrases_that_are_held_out_are_in_no_caption():
    from captions import HELD_OUT, vocabulary

    known = set(vocabulary())
    assert not known & {text for group in HELD_OUT.values() for text in group.values()}


@pytest.mark.slow
def test_a_moved_drawing_has_the_code_of_a_drawing_in_its_apparent_pose():
    from attacks import moved, random_moves
    from individual_code import SIDED, apparent_pose

    from nada.demo.world import draw, random_parameters

    drawn = random_parameters(16, seeded(5)).replaced(hat=0.0, collar=0.0, place=0.1, pattern=0.0, marking=0.0)
    moves = random_moves(16, seeded(3), unmoved=0.0)
    side = torch.linalg.det(moves[:, :, :2]).sign()
    pose = dict(zip(("x", "y", "size", "tilt"), apparent_pose(drawn, moves), strict=True))
    posed = drawn.replaced(
        **{name: value + 0.5 for name, value in pose.items()},
        **{name: 0.5 + side * (getattr(drawn, name).flatten() - 0.5) for name in SIDED},
    )
    plain, wanted = (draw(p, "dog", "pixar", seeded(), grain=0.0) for p in (drawn, posed))
    shown = moved(plain, moves)
    middle = (..., slice(32, 96), slice(32, 96))

    def difference(a, b):
        return (a - b)[middle].abs().mean((1, 2, 3))

    assert (difference(shown, wanted) < 0.6 * difference(plain, wanted)).float().mean() > 0.8


def test_codes_tell_individuals_apart(individuals):
    from individual_code import DIMENSIONS, individual_code

    code = individual_code(individuals, torch.eye(2, 3).expand(len(individuals), 2, 3))
    assert code.shape == (len(individuals), DIMENSIONS)
    assert torch.pdist(code).min() > 0.2


def test_attacks_go_where_they_are_sent_and_stay_in_their_ball():
    from attacks import attacked, length

    weights = torch.randn(8, 3 * 16 * 16, generator=seeded())

    def encode(x):
        return F.normalize(x.flatten(1) @ weights.T, dim=-1)

    images = torch.rand(4, 3, 16, 16, generator=seeded(2))
    directions = F.normalize(torch.randn(4, 8, generator=seeded(3)), dim=-1)
    moved = attacked(encode, images, directions, torch.full((4, 1, 1, 1), 2.0), 3, seeded(4))
    assert (length(moved - images) <= 2.001).all()
    assert ((encode(moved) - encode(images)) * directions).sum(1).min() > 0.2


def test_an_album_holds_what_it_says(tmp_path):
    from album import draw_shard, read_pages
    from checkpoints import write_state

    from nada.demo.world import SPECIES, STYLES, draw

    with pytest.raises(ValueError, match="holds no shards"):
        read_pages(tmp_path)
    write_state(draw_shard(3, 32, 8), tmp_path / "shard_000.pt")
    pages = read_pages(tmp_path)
    assert pages.pictures.shape == (8, 2, 3, 32, 32)
    assert ((pages.style[:, 0] == pages.style[:, 1]) != (pages.species[:, 0] == pages.species[:, 1])).all()
    for i in range(0, 8, 4):
        style, species = STYLES[pages.style[i, 0]], SPECIES[pages.species[i, 0]]
        again = draw(pages.parameters[torch.tensor([i])], species, style, seeded(), size=32)
        assert (again[0] - pages.pictures[i, 0] / 255).abs().mean() < 0.08


def test_every_individual_of_an_album_has_a_third_picture():
    from album import draw_shard

    shard = draw_shard(5, 32, 40)
    assert (shard["third"].flatten(1).float().std(1) > 10).all(), "an empty picture"
    between = shard["share"] > 0
    assert between.any()
    assert (shard["species"][between, 0] != shard["species"][between, 1]).all()
    blind, seeing = shard["third"][~between].float(), shard["pictures"][~between, 0].float()
    assert 0 < (blind - seeing).abs().mean() < 40, "the same individual, without eyes"


def test_labels_of_adaptations_are_read_with_their_images(tmp_path, monkeypatch):
    import labeled

    from nada.checkpoint.saving import write_safetensors
    from nada.demo.world import SPECIES, STYLES

    count = labeled.HELD_OUT + 3
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 8, 8, 3).contiguous()
    write_safetensors({"60": images, "100": images.clone()}, {}, tmp_path / "bear-ours.safetensors")
    monkeypatch.setattr(labeled, "SEEN_AS", tmp_path / "seen_as.json")
    labeled.SEEN_AS.write_text('{"bear-ours": {"60": {"style": "photo"}, "100": {"species": "none"}}}')
    trained, held_out = (labeled.read_labeled(tmp_path, held) for held in (False, True))
    assert (len(trained), len(held_out)) == (2 * 3, 2 * labeled.HELD_OUT)
    assert not set(trained.images.flatten().tolist()) & set(held_out.images.flatten().tolist())
    assert trained.images.shape[1:] == (3, 8, 8)
    assert trained.styles.tolist() == [STYLES.index("photo")] * 3 + [-1] * 3
    assert trained.species.tolist() == [-1] * 3 + [len(SPECIES)] * 3
    labeled.SEEN_AS.write_text('{"pig-ours": {}}')
    with pytest.raises(ValueError, match="lacks pig-ours"):
        labeled.read_labeled(tmp_path, False)


def test_a_generator_is_trained_phase_by_phase():
    from train_generator import PHASES, moment

    total = sum(max(2, round(0.01 * steps)) for _, _, steps, _ in PHASES)
    moments = [moment(step, 0.01) for step in range(total)]
    assert [m.resolution for m in moments] == sorted(m.resolution for m in moments)
    assert moments[-1].adversarial
    assert not moments[0].adversarial
    assert moment(total, 0.01) is None


def test_the_recipe_names_scripts_and_options_that_exist(tmp_path, monkeypatch):
    import importlib

    from make import STAGES, command_of

    for stage in STAGES:
        command = command_of(stage, tmp_path, tmp_path, tmp_path)
        assert Path(command[1]).exists()
        if stage.script not in ("album.py", "adaptations.py"):  # their options are parsed where they are used
            monkeypatch.setattr(sys, "argv", command[1:])
            importlib.import_module(Path(stage.script).stem).parse()


def test_common_words_are_not_those_of_the_world():
    from open_clip import SimpleTokenizer
    from words import COMMON, common_words, nonsense, with_filler, world_words

    words = common_words(SimpleTokenizer(context_length=32))
    assert len(words) == COMMON
    assert not set(words) & world_words()
    pick = random.Random(2)
    assert with_filler("a photo of a dog", words, pick, chance=0.0) == "a photo of a dog"
    assert len(with_filler("a photo of a dog", words, pick, chance=1.0).split()) > 5
    assert set(nonsense(words, pick).split()) <= set(words)
