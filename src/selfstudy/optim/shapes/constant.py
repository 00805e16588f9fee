"""Constant: the learning rate stays at its peak."""

from selfstudy.optim.shapes import Shape


class Constant(Shape):
    """The peak learning rate throughout; ``optimizer.final_lr`` has no effect."""

    def __call__(self, done: float) -> float:
        """Return 1, for any progress."""
        return 1.0
