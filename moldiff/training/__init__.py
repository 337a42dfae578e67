"""From a configuration and a data set to a model on disk."""
