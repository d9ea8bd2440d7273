"""Restoring: pictures of any size through any method, one by one, a folder or a dataset."""
