"""The picture of the cluster and its edits, the vocabulary of decisions, and what would be after them. Pure."""
