"""Chemistry on strings: checks, properties, novelty and pictures, by RDKit and without torch."""
