"""Linear: the learning rate falls in a straight line, as in BERT's training (Devlin et al. 2019, arXiv:1810.04805)."""

from selfstudy.optim.shapes import Shape


class Linear(Shape):
    """A straight line from the peak to the last learning rate."""

    def __call__(self, done: float) -> float:
        """Return the fraction of the way that is left; see :class:`Shape`."""
        return 1.0 - done
