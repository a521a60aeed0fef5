"""What a user sees of a build: a line for each step, what it wrote below it, and how long it took.

Steps of several stages may go side by side: what belongs to another step than the line above says to which.
"""

from typing import Any

_QUICK_SECONDS = 0.1


class Building:
    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._above = 0
        self._cached: set[int] = set()

    def line(self, progress: Any) -> str:
        """A BuildProgress message → text, perhaps none."""
        if self._quiet:
            return ""
        match progress.kind:
            case "begin":
                self._cached.discard(progress.step)
                self._above = progress.step
                first, *rest = progress.text.splitlines() or [""]
                more = " …" if rest else ""
                place = f"[{progress.step}/{progress.steps}] " if progress.step else ""
                return f"{place}{first}{more}\n"
            case "output":
                return f"{self._place(progress)}│ {progress.text}\n"
            case "cached":
                self._cached.add(progress.step)
                return f"{self._place(progress)}cached\n"
            case "done" if progress.step not in self._cached and progress.seconds >= _QUICK_SECONDS:
                return f"{self._place(progress)}{progress.seconds:.1f} s\n"
            case _:
                return ""

    def _place(self, progress: Any) -> str:
        return "   " if progress.step == self._above else f"   [{progress.step}/{progress.steps}] "
