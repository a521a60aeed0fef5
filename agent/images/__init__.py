"""Names become root file systems. The door is `images.Images`; everything else is behind it.

Nothing is imported here: the unpacker's process starts through this package and must start fast.
"""
