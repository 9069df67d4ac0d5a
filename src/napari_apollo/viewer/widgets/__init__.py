"""The tools that people dock; each is a form over functions that a script can call."""
