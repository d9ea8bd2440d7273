"""Archives: what is inside them, and unpacking them safely."""
