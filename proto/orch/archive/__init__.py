"""Files as a tar stream between two machines that do not trust each other: pack on one side, unpack on the other."""
