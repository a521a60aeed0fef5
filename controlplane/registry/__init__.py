"""The cluster's own image registry: the OCI distribution API over files, or over an object store.

Nothing is imported here: a control plane that serves no registry pays nothing for it.
"""
