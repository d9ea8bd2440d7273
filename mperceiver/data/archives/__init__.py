"""Archives: reading their members, and unpacking them safely."""
