"""Studies: many runs of several methods, sampled, scored, and set side by side at equal cost."""
