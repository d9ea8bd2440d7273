"""Scoring: a restored dataset under its protocol, and the convention of scoring that gives a published number."""
