"""The steps of a stage by a faster runtime than torch. Which one is chosen here; each lives in one file."""

import importlib.util

ENGINES = ("auto", "torch", "onnx", "onnx-int8")
NEEDS = ("onnxruntime", "onnx")


class EngineError(ValueError):
    """An engine that is not there, or cannot do what is asked of it; the message says what to do."""


def choose_engine(engine: str, device: str) -> str:
    """The engine that decodes on a device: "auto" is onnx on a CPU where its packages are installed, and torch elsewhere.

    Raises:
        EngineError: an unknown engine, one whose packages are missing, or one that does not work on the device.
    """
    if engine not in ENGINES:
        raise EngineError(f"no engine {engine!r}; expected one of {', '.join(ENGINES)}")
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if engine == "auto":
        return "torch" if missing or device != "cpu" else "onnx"
    if engine != "torch" and device != "cpu":
        raise EngineError(f"the engine {engine!r} works on the CPU; on {device} leave it out, or give 'torch'")
    if engine != "torch" and missing:
        raise EngineError(f"the engine {engine!r} needs {' and '.join(missing)}: pip install 'accompgen[fast]'")
    return engine
