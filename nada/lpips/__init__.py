"""LPIPS, the perceptual distance of images, which the inversion of photos and the evaluation use."""
