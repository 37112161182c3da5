"""Folders of wav -> numbers. Reads sound, never the model, so that any system's output can be scored."""
