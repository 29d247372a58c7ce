"""The learner: collects a minimum batch, stops the actors, trains by PPO, publishes the new policy."""
