"""Wave <-> integers: HuBERT units at 50 Hz (semantic.py) and EnCodec codes at 75 Hz (acoustic.py)."""
