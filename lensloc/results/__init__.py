"""The nouns that studies return."""
