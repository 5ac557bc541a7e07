"""Policies: each is one way to decide how many pilots there should be. All of them are pure, and know no scheduler."""
