"""Goal-directed optimisation: methods that propose molecules, an oracle judges them, calls are limited."""
