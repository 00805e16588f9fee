"""Invented records for tests."""


def record(method="simclr", seed=0, knn=50.0, **changes):
    """Return a record as one run would write it."""
    scores = [
        {"features": features, "probe": probe, "accuracy": accuracy, "protocol": f"{probe} as usual"}
        for features, shift in (("raw pixels", -20), ("untrained encoder", -10), ("pretrained encoder", 0))
        for probe, accuracy in (("knn", knn + shift), ("linear", knn + shift + 5))
    ]
    return {
        "data": "cifar10",
        "method": method,
        "family": "contrastive",
        "uses_labels": False,
        "encoder": "resnet10t",
        "seed": seed,
        "precision": "bf16",
        "duration": "3 minutes",
        "steps": 300 + seed,
        "images_per_second": 1500.0,
        "health": {"verdict": "healthy"},
        "scores": scores,
        "circumstances": {
            "commit": "0123456789abcdef",
            "date": "2026-11-24T10:00:00Z",
            "versions": {"torch": "2.14.1"},
            "hardware": {"processors": 2, "model": "AMD EPYC"},
        },
    } | changes
