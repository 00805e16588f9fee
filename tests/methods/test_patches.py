"""Patches: stage by stage against plain formulas, and the data that it refuses."""

SMALL = {"sizes": (16, 12), "filters": (8, 12), "patch": 4, "dimensions": 6}
