"""What users ask of a node, answered: logs, and commands in containers."""
