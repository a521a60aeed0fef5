"""Makes the protobuf stubs, so that a wheel and an editable install both have them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parent


class StubsHook(BuildHookInterface):
    """Runs protoc before every build."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Write `*_pb2.py`, `*_pb2.pyi` and the gRPC stubs beside their `.proto` files."""
        make_stubs()


def make_stubs() -> None:
    """Generate all stubs; raises CalledProcessError with protoc's own words when a file is wrong."""
    source = ROOT / "proto"
    files = sorted(str(path.relative_to(source)) for path in source.rglob("*.proto"))
    subprocess.run(
        [
            sys.executable, "-m", "grpc_tools.protoc", "-I.",
            "--python_out=.", "--grpc_python_out=.", "--mypy_out=.", "--mypy_grpc_out=.",
            *files,
        ],
        cwd=source,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"},
        check=True,
    )  # fmt: skip


if __name__ == "__main__":
    make_stubs()
