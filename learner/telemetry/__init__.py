"""Numbers about a run: metrics, episode statistics, TensorBoard records, statuses."""
