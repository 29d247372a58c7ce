"""Programs that run from a checkout and are not installed: the chaos drivers."""
