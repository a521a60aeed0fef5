"""What images are called, what they are made of, and how to speak to a registry.

Nothing is imported here: `import orch.oci.reference` must stay cheap.
"""
