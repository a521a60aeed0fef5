"""orchctl schema: the JSON Schema of manifests."""

import json
import sys

import click


@click.command()
def command() -> None:
    """Print the JSON Schema of manifests, for editors.

    \b
    orchctl schema > orch.schema.json
    and in a manifest:  # yaml-language-server: $schema=./orch.schema.json
    """
    from orch.manifest import schema

    json.dump(schema.schema(), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")
