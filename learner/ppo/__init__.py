"""PPO: advantages, losses, gradients, epochs, the trainer. Knows no files, no peers, no sockets."""
