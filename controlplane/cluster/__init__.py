"""The picture of the cluster, the vocabulary of decisions, and what the picture would be after them. Pure."""
