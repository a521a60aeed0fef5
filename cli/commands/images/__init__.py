"""The verbs of `orchctl image`: each imported only when it is meant."""
