"""The rivals as switches of one trainer, with the source of each setting."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Method:
    """A few-shot method: fine-tuning of generator and discriminator (TGAN) with additions."""

    name: str
    source: str = field(repr=False)
    """Paper, and differences from it."""
    tests: tuple[str, ...] = field(repr=False)
    """Names of the tests of what distinguishes it."""
    version: int = 1
    """Number to raise whenever the method's code changes its images, so that its runs are done again."""
    trained_blocks: int | None = None
    """Number of the discriminator's last blocks that are trained, the others being frozen (FreezeD); None for all."""
    ada: bool = False
    """Whether to use adaptive discriminator augmentation."""
    miner_share: float = 0.0
    """Share of the steps in which a miner before the generator trains alone (MineGAN); 0 for no miner."""
    ewc: float = 0.0
    """Weight of elastic weight consolidation."""
    patches: bool = False
    """Whether whole images are judged only near anchors, and patches elsewhere (CDC)."""
    distance: float = 0.0
    """Weight of cross-domain distance consistency (CDC)."""
    self_correlation: float = 0.0
    """Weight of self-correlation consistency (RSSA)."""
    subspace: bool = False
    """Whether codes are drawn towards the span of those of the training pictures (RSSA)."""
    disturbance: float = 0.0
    """Weight of disturbance correlation consistency, every sixth step (RSSA)."""


# Tests of what all of these methods share.
GAN = (
    "test_adversarial_losses",
    "test_r1_of_logits_and_of_maps",
    "test_path_length_has_the_gradient_of_its_penalty",
)
METHODS = {
    method.name: method
    for method in (
        Method(
            "TGAN",
            "Wang et al., arXiv 1805.01677: all of both networks. Here and below, R1 is added to the loss of every "
            "16th iteration, where StyleGAN2 updates the weights once more, and the mean path length has no gradient.",
            GAN,
        ),
        Method(
            "FreezeD",
            "Mo et al., arXiv 2002.10964: the last three blocks of the discriminator train.",
            ("test_freezed_keeps_the_blocks_nearest_to_the_image",),
            trained_blocks=3,
        ),
        Method(
            "TGAN+ADA",
            "Karras et al., arXiv 2006.06676: the strength may rise to 1 in half a run; R1 of augmented "
            "images, which are moved with a windowed sinc instead of a wavelet filter.",
            (
                "test_moves_of_pixels_are_what_they_are_called",
                "test_moves_of_colors_are_what_they_are_called",
                "test_the_controller_steers_to_its_target",
            ),
            version=2,
            ada=True,
        ),
        Method(
            "MineGAN",
            "Wang et al., arXiv 1912.05270, in its StyleGAN2 form; the miner trains alone in 0.3 of the iterations, "
            "and the path length does not reach it.",
            ("test_minegan_trains_the_miner_alone_at_first",),
            version=2,
            miner_share=0.3,
        ),
        Method(
            "EWC",
            "Li et al., arXiv 2012.02780: no public code; the Fisher information has a mean of 1.",
            ("test_ewc", "test_the_fisher_information_is_that_of_the_generators_loss"),
            ewc=5e-2,
        ),
        Method(
            "CDC",
            "Ojha et al., arXiv 2104.06820; patches are judged after the shortcut of a block, and noise is constant.",
            ("test_cross_domain_distance_consistency", "test_cdc_judges_whole_images_near_anchors_only"),
            patches=True,
            distance=1000.0,
        ),
        Method(
            "RSSA",
            "Xiao et al., arXiv 2203.04121; the codes of at most ten pictures, by optimization; disturbance is that of "
            "close codes, as in the paper, in both layers of a resolution.",
            (
                "test_self_correlation_consistency",
                "test_disturbance_correlation_consistency",
                "test_rssa_draws_codes_towards_the_span_of_the_given_ones",
            ),
            patches=True,
            self_correlation=0.8,
            disturbance=0.4,
            subspace=True,
        ),
    )
}
