"""Steps: the learning rate is multiplied by a factor at some points of training, as ResNets were first trained."""

from pydantic import Field

from selfstudy.config import Share
from selfstudy.optim.shapes import Shape


class Steps(Shape):
    """A staircase.

    Source: He et al. 2016, arXiv:1512.03385, section 3.4, where the rate is divided by 10 each time.
    """

    at: list[Share] = Field([0.5, 0.75], description="fractions of the steps after the warm-up where the rate drops")
    factor: Share = Field(0.1, description="factor of the rate at each of them")

    def __call__(self, done: float) -> float:
        """Return the fraction of the way that is left; see :class:`Shape`."""
        return float(self.factor ** sum(done >= point for point in self.at))
