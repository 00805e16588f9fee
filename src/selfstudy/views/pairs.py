"""Pairs of views that several methods share."""

from selfstudy.views.spec import View


def asymmetric_pair(size: tuple[int, int]) -> list[View]:
    """BYOL's two views of one (height, width): both jittered, one always blurred, the other sometimes and solarized.

    Images up to 64 px keep at least a fifth of their area (a twelfth of 32 px is nine pixels) and are never blurred.

    Source: Grill et al. 2020, arXiv:2006.07733, appendix B.
    """
    small = max(size) <= 64
    view = View(size, scale=(0.2 if small else 0.08, 1.0), jitter=(0.4, 0.4, 0.2, 0.1), grayscale=0.2)
    if small:
        return [view, view._replace(solarize=0.2)]
    return [view._replace(blur=1.0), view._replace(blur=0.1, solarize=0.2)]
