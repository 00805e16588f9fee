"""WSD: warm-up, stable, decay: the learning rate falls only at the end (Hu et al. 2024, arXiv:2404.06395)."""

from pydantic import Field

from selfstudy.optim.shapes import Shape


class WarmupStableDecay(Shape):
    """The peak learning rate, then a straight line.

    A straight line is one of the two best of the decays that Hägele et al. 2024, arXiv:2405.18392, section 3, compare.
    """

    decay: float = Field(0.2, gt=0, le=1, description="fraction of the steps after the warm-up in which the rate falls")

    def __call__(self, done: float) -> float:
        """Return the fraction of the way that is left; see :class:`Shape`."""
        return min(1.0, (1.0 - done) / self.decay)
