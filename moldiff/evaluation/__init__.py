"""How molecules compare with others, and how likely a model finds them."""
