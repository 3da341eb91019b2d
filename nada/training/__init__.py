"""Training: the configuration, the goal in CLIP space, losses, trainable tensors, and the state to resume from."""
