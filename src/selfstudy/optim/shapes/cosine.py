"""Cosine: the learning rate falls along half a cosine (Loshchilov & Hutter 2017, arXiv:1608.03983)."""

from selfstudy.ops.schedules import half_cosine
from selfstudy.optim.shapes import Shape


class Cosine(Shape):
    """Half a cosine, without restarts."""

    def __call__(self, done: float) -> float:
        """Return the fraction of the way that is left; see :class:`Shape`."""
        return half_cosine(done)
