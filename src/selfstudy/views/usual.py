"""Views that several methods share: as in their papers for large images, milder for small ones.

Crops of small images keep at least a fifth of the area (a twelfth of 32 px would be 9 px wide); they are never blurred.
"""

from selfstudy.views.spec import View, is_small


def mild(size: tuple[int, int], count: int) -> View:
    """``count`` views of this (height, width) with MoCo v2's augmentation (Chen et al. 2020, arXiv:2003.04297)."""
    blur = 0.0 if is_small(size) else 0.5
    return View(size, count=count, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), grayscale=0.2, blur=blur)


def mild_pair(size: tuple[int, int], channels: int = 3) -> list[View]:
    """MoCo v2's two views of one (height, width)."""
    return [mild(size, count=2)]


def strong_pair(size: tuple[int, int], channels: int = 3) -> list[View]:
    """SimCLR's two views of one (height, width); half the colour strength for small images.

    Source: Chen et al. 2020, arXiv:2002.05709, appendix A, and B.9 for small images.
    """
    view = View(size, count=2, scale=(0.08, 1.0), jitter=(0.8, 0.8, 0.8, 0.2), grayscale=0.2, blur=0.5)
    return [view._replace(scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), blur=0.0) if is_small(size) else view]


def asymmetric_pair(size: tuple[int, int], channels: int = 3) -> list[View]:
    """BYOL's two views of one (height, width): one always blurred, one rarely blurred and sometimes solarized.

    Source: Grill et al. 2020, arXiv:2006.07733, appendix B.
    """
    small = is_small(size)
    view = View(size, scale=(0.2 if small else 0.08, 1.0), jitter=(0.4, 0.4, 0.2, 0.1), grayscale=0.2)
    if small:
        return [view, view._replace(solarize=0.2)]
    return [view._replace(blur=1.0), view._replace(blur=0.1, solarize=0.2)]
