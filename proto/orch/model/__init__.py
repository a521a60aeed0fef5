"""The values of the cluster: frozen, pure, and the same for every program.

What users write (specs) are pydantic models, which validate and document themselves; what the system makes by
the thousand (tasks, statuses, endpoints) are slots dataclasses.
"""
