"""Experiment files, one YAML an experiment; installed as the package data of `moldiff.configs`."""
