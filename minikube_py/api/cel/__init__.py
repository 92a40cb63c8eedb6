"""CEL, the expression language in which definitions and policies say what is allowed."""
