"""What runs from a checkout and is not installed: the chaos drivers."""
