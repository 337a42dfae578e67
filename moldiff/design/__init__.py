"""Design: molecules around pieces that stay, by frozen tokens of the fragment writing."""
