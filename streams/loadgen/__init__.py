"""Plays a marketplace on the real topics: a pure plan, a pure model, and what runs them."""
