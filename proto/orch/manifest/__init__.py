"""The user's words: YAML text → values, or every problem at once with its line; and back again."""
