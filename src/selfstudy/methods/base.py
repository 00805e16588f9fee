"""The one abstraction every method shares: views in, loss out, and two hooks around the optimizer step."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from selfstudy.errors import UsageError
from selfstudy.methods.reads import Images, Reads, from_old_flags
from selfstudy.ops.schedules import Progress
from selfstudy.optim.groups import ParameterGroup, parameter_groups
from selfstudy.views.spec import Spec


class MethodConfig(BaseModel):
    """Base of every method's ``Config``: frozen, closed, validated once when it is built."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StepOutput(NamedTuple):
    """What one forward pass of a method gives back.

    Attributes:
        loss: () float32, to call ``backward`` on.
        metrics: detached scalar tensors to log; names are nouns (``accuracy``, ``teacher_entropy``).
        embedding: (B, D), the encoder's output for the first view, detached: monitors need no second forward. Under
            autocast it may be in half precision; the loop hands it on in float32.
    """

    loss: Tensor
    metrics: dict[str, Tensor]
    embedding: Tensor | None


class Setting(NamedTuple):
    """A value of a default recipe, and why it has it."""

    value: Any
    reason: str


class DataFacts(NamedTuple):
    """What a method's default recipe may depend on.

    Attributes:
        num_images: or rows of text.
        image_size: (height, width) in pixels; (1, T) of rows of T tokens.
        channels: of images; 1 for text.
        batch_size: images or rows per step.
        total_steps: of the whole run, or a guess for a budget in minutes.
        width: D of a text encoder; 0 where the encoder is not known yet.
        trained: whether a text encoder begins with weights that were learnt before.
    """

    num_images: int
    image_size: tuple[int, int]
    channels: int
    batch_size: int
    total_steps: int
    width: int = 0
    trained: bool = False

    @property
    def short(self) -> bool:
        """Whether there are too few steps for the settings of the papers, which train for a hundred thousand."""
        return self.total_steps < 10_000

    def square_root_rate(self, rate: float, at: int = 256) -> Setting:
        """The learning rate that grows with the square root of the batch size, as suits adaptive optimizers."""
        value = rate * (self.batch_size / at) ** 0.5
        return Setting(value, f"{rate:g} x sqrt(batch size {self.batch_size} / {at})")

    def text_rate(self, rate: float, at: int) -> Setting:
        """The square-root rule for an encoder 256 wide; a wider one takes less (Yang et al. 2022, arXiv:2203.03466)."""
        value = rate * (self.batch_size / at) ** 0.5 * 256 / self.width
        return Setting(value, f"{rate:g} x sqrt(batch size {self.batch_size} / {at}) x 256 / width {self.width}")

    def linear_rate(self, rate: float, at: int = 256) -> Setting:
        """The learning rate that grows with the batch size (Goyal et al. 2017, arXiv:1706.02677)."""
        return Setting(rate * self.batch_size / at, f"{rate:g} x batch size {self.batch_size} / {at} (linear rule)")

    def momentum(self, turnovers: float, at_most: float) -> Setting:
        """The momentum with which a teacher is replaced by its student so many times in the run."""
        value = round(min(at_most, max(0.9, 1 - turnovers / self.total_steps)), 5)
        return Setting(
            value, f"at first the teacher turns over about {turnovers:g} times in {self.total_steps:,} steps"
        )

    def if_short(self, **values: Any) -> dict[str, Setting]:
        """Settings for short runs alone; nothing for a long one, which has the method's defaults."""
        return {name: Setting(value, f"for {self.total_steps:,} steps") for name, value in values.items() if self.short}


class Recipe(NamedTuple):
    """Optimizer settings and method settings that suit the data, each with the reason it has its value.

    Attributes:
        optimizer: settings of :class:`selfstudy.config.OptimizerConfig` (``name``, ``lr``, ``weight_decay``, ...).
        method: settings of the method's own ``Config``.
        reasons: ``"optimizer.lr" -> "0.06 x 512 / 256"``, for the comments of ``config.yaml``.
    """

    optimizer: dict[str, Any]
    method: dict[str, Any]
    reasons: dict[str, str]

    @classmethod
    def of(
        cls,
        optimizer: str,
        rate: Setting,
        method: Mapping[str, Setting] | None = None,
        *,
        weight_decay: float = 1e-4,
        warmup: float = 0.05,
        clip: float = 0.0,
        beta2: float = 0.999,
    ) -> "Recipe":
        """An optimizer by name with its learning rate, the method's settings, and the reasons of both."""
        own = method or {}
        return cls(
            {"name": optimizer, "lr": rate.value, "weight_decay": weight_decay, "warmup": warmup}
            | ({"clip": clip} if clip else {})
            | ({"beta2": beta2} if beta2 != 0.999 else {}),
            {name: setting.value for name, setting in own.items()},
            {"optimizer.lr": rate.reason, **{f"method.{name}": setting.reason for name, setting in own.items()}},
        )


class Method(nn.Module):
    """A pretext task around an encoder: usable in any PyTorch loop.

    A subclass names its paper in the docstring, holds a frozen ``Config``, and defines ``default_views``, ``recipe``,
    ``chance_loss`` and ``forward``. Everything that must survive a restart is a registered submodule or a persistent
    buffer. No subclass is subclassed again.

    Attributes:
        family: one of ``selfstudy.methods.FAMILIES``.
        reads: what it learns from, such as ``Images(tokens=True)`` or ``Text(head="causal")``; plain images by default.

    Args:
        encoder: images (B, C, H, W) to vectors (B, D), with D as its ``embed_dim``.
        config: the method's settings; its defaults when left out.

    Raises:
        UsageError: an encoder without ``embed_dim``, or without tokens where they are needed.
    """

    Config: ClassVar[type[MethodConfig]]
    config: MethodConfig
    family: ClassVar[str]
    reads: ClassVar[Reads] = Images()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.reads = from_old_flags(vars(cls)) or cls.reads

    def __init__(self, encoder: nn.Module, config: MethodConfig | None = None) -> None:
        super().__init__()
        if not isinstance(getattr(encoder, "embed_dim", None), int):
            raise UsageError(
                f"{type(self).__name__} needs an encoder with an integer embed_dim, {type(encoder).__name__} has none\n"
                "it is the length D of the vectors (B, D) that the encoder gives; set encoder.embed_dim = D"
            )
        self.reads.check(encoder, type(self).__name__)
        self.encoder, self.embed_dim = encoder, int(encoder.embed_dim)  # type: ignore[arg-type]  # checked above
        self.config = config or self.Config()

    @staticmethod
    def default_views(size: tuple[int, int], channels: int = 3) -> Sequence[Spec]:
        """The paper's views at this (height, width), and whatever else it needs of every image.

        A method for text gets (1, T), with T the longest row in tokens, and asks for :class:`Tokens`.
        """
        raise NotImplementedError

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """Default settings for data of this size."""
        raise NotImplementedError

    def chance_loss(self, batch_size: int) -> tuple[float, str] | None:
        """The loss of a model that has learnt nothing, with its formula, or None when the paper implies no such value.

        ``(6.236, "ln(2B - 1)")``.
        """
        return None

    def uniform_entropy(self) -> float | None:
        """The entropy ln K of targets that say nothing, of methods that log ``teacher_entropy``, else None.

        Apart from ``chance_loss``, which may be unknown or count other terms as well. A method whose loss has such
        terms logs the one for these targets as ``image_loss``: it cannot fall below their entropy.
        """
        return None

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """The loss for one batch.

        ``views`` holds one tensor per spec of ``default_views``, in that order (a view taken ``count`` times, ``count``
        times): views (B, C, h, w) float32, normalised; draws (B, count) float32; labels (B,) int64.
        """
        raise NotImplementedError

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Have torch compile the encoder, and copies of it that teach, as it would :meth:`forward` of any module."""
        for module in self.modules():
            if isinstance(module, type(self.encoder)):
                module.compile(*args, **kwargs)

    def parameter_groups(self) -> list[ParameterGroup]:
        """The trainable parameters, by how they are trained; by default weights and, without decay, all others.

        Settings of the optimizer, such as the factor of each layer, apply on top of it.
        """
        return parameter_groups(self)

    def before_step(self, progress: Progress) -> None:
        """Called when gradients are final and the optimizer has not moved yet."""
        return None

    def after_step(self, progress: Progress) -> None:
        """Called once per optimizer step, after it: teachers and prototypes move here."""
        return None

    def representation(self) -> tuple[str, nn.Module]:
        """The encoder users take away and which one it is: ``("student", encoder)`` unless a teacher is better."""
        return "student", self.encoder

    def prototype_scores(self, embedding: Tensor) -> Tensor | None:
        """How well each prototype fits embeddings (B, D) of the ``representation``: (B, K); None without prototypes."""
        return None

    def pictures(self, views: list[Tensor]) -> dict[str, Tensor]:
        """What the task looks like on the first of ``views``, which are as in ``forward``: pictures of it by name.

        ``{"masked": ..., "reconstruction": ...}``, each (B, C, H, W) and normalised like the view; none by default.
        """
        return {}
