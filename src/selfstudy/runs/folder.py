"""The run folder: training writes it, and all other commands read it. Does not import torch."""

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from selfstudy.disk.atomic import replace_file
from selfstudy.errors import EnvironmentFault, RunFolderError, UsageError


class RunFolder:
    """The paths of the files of one run, and functions that write the small ones."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.reasons = self.path / "reasons.json"
        self.environment = self.path / "environment.json"
        self.metrics = self.path / "metrics.jsonl"
        self.health = self.path / "health.jsonl"
        self.readings = self.path / "readings.jsonl"
        self.inputs = self.path / "inputs.parquet"
        self.unreadable = self.path / "unreadable.jsonl"
        self.views = self.path / "views.png"
        self.checkpoints = self.path / "checkpoints"
        self.encoder = self.path / "encoder"
        self.evaluations = self.path / "evaluations.jsonl"
        self.pictures = self.path / "pictures"
        self.report = self.path / "report.html"

    @classmethod
    def existing(cls, path: str | Path) -> "RunFolder":
        """The folder of a run that was started.

        Raises:
            UsageError: there is no run at ``path``.
        """
        folder = cls(path)
        if not folder.config.is_file():
            raise UsageError(
                f"{str(path)!r} is not a run folder: it has no config.yaml\n'selfstudy pretrain' makes one"
            )
        return folder

    def create(self) -> None:
        """Make the folder, unless it exists.

        Raises:
            EnvironmentFault: the system refuses.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentFault(f"cannot make the run folder {self.path}: {error.strerror}") from None

    def is_used(self) -> bool:
        """True if the folder holds files other than the lock."""
        return self.path.is_dir() and any(item.name != ".lock" for item in self.path.iterdir())

    def refuse_if_used(self) -> None:
        """Raise if the folder holds files.

        Raises:
            RunFolderError: the folder is not empty.
        """
        if self.is_used():
            raise RunFolderError(
                f"{self.path} already holds files\n"
                "--resume continues that run, --overwrite moves it aside, --out names another folder"
            )

    def move_aside(self) -> Path:
        """Rename the folder to ``NAME.old-<time>``; return the new path."""
        aside = self.path.with_name(f"{self.path.name}.old-{time.strftime('%Y%m%d-%H%M%S')}")
        number = 1
        while aside.exists():
            aside, number = aside.with_name(f"{aside.name}-{number}"), number + 1
        self.path.rename(aside)
        return aside

    def append(self, file: Path, lines: Iterable[Mapping[str, object]]) -> None:
        """Add JSON lines to one of the folder's files."""
        with file.open("a", encoding="utf-8") as handle:
            handle.writelines(json.dumps(line) + "\n" for line in lines)

    def lines(self, file: Path) -> list[dict[str, Any]]:
        """The JSON objects in one of the folder's files, if it exists, without a line that a kill has cut off."""
        found: list[dict[str, Any]] = []
        if not file.is_file():
            return found
        with file.open(encoding="utf-8", errors="replace") as handle:
            for text in handle:
                try:
                    line = json.loads(text)
                except ValueError:
                    continue
                found += [line] if isinstance(line, dict) else []
        return found

    def replace(self, file: Path, text: str) -> None:
        """Replace one of the folder's files; after a kill it has its old content or the new one."""
        replace_file(file, text.encode("utf-8"), sync=False)

    def truncate_logs(self, step: int) -> None:
        """Delete the lines of steps after ``step``, the checkpoint that a resumed run starts from, from the logs."""
        for file in (self.metrics, self.health, self.readings):
            self._truncate(file, step)

    def _truncate(self, file: Path, step: int) -> None:
        if not file.is_file():
            return
        kept = []
        for line in file.read_text(encoding="utf-8").splitlines(keepends=True):
            try:
                at = json.loads(line)["step"]
                keep = line.endswith("\n") and (at is None or at <= step)  # None: measured once, for all steps
            except (ValueError, KeyError, TypeError):
                keep = False  # a line torn by the kill
            kept += [line] if keep else []
        self.replace(file, "".join(kept))
