"""Read the float arrays of a TensorFlow checkpoint (format V2, one data file) without TensorFlow.

The index is a LevelDB table (github.com/google/leveldb, doc/table_format.md). Its keys are the
names of the variables; its values are messages of tensorflow/core/protobuf/tensor_bundle.proto,
which say where in the data file each array lies.
"""

from pathlib import Path

import numpy as np

FOOTER_BYTES, MAGIC = 48, (0xDB4775248B80FB57).to_bytes(8, "little")
FLOAT32 = 1  # DT_FLOAT of tensorflow/core/framework/types.proto


class BundleError(ValueError):
    """The index is no table, is cut off, or uses what this reader does not know."""


def read_bundle(index: Path, data: Path) -> dict[str, np.ndarray]:
    """Variable name -> float32 array, for each float variable of the checkpoint.

    Raises:
        BundleError: the files are not an index and its only data file, both whole and uncompressed.
        OSError: a file cannot be read.
    """
    table, stored = Path(index).read_bytes(), np.memmap(data, np.uint8, "r")
    if len(table) < FOOTER_BYTES or table[-8:] != MAGIC:
        raise BundleError(f"{index} does not end as a LevelDB table; expected an index file")
    arrays = {}
    try:
        # the footer holds two handles: of a block not used here, and of the block of blocks
        _, at = _handle(table, len(table) - FOOTER_BYTES)
        blocks, _ = _handle(table, at)
        for _, place in _entries(table, *blocks):
            for name, value in _entries(table, *_handle(place, 0)[0]):
                if name and (array := _array(_message(value), stored)) is not None:
                    arrays[name.decode()] = array
    except (IndexError, KeyError) as error:
        raise BundleError(f"{index} is cut off or damaged") from error
    return arrays


def _array(entry, stored):
    """The array that a BundleEntryProto describes, or None where it holds no floats."""
    if entry[1][0] != FLOAT32:
        return None
    if 3 in entry:
        raise BundleError("a checkpoint of more than one data file cannot be read")
    # a field of value 0 is left out: the offset of the first array, and a size of 0
    offset, size = entry.get(4, [0])[0], entry.get(5, [0])[0]
    dimensions = _message(entry[2][0]).get(2, []) if 2 in entry else []
    shape = [_message(dimension).get(1, [0])[0] for dimension in dimensions]
    values = stored[offset : offset + size]
    if len(values) != size or size != 4 * np.prod(shape, dtype=int):
        place = f"bytes {offset} to {offset + size} of {len(stored)}"
        raise BundleError(f"an array of shape {shape} should lie at {place}: files do not match")
    return np.frombuffer(values.tobytes(), "<f4").reshape(shape)


def _entries(table, offset, size):
    """Key and value of each entry of a block; a key is stored by how it differs from the last."""
    # behind a block stand one byte that names its compression, and a checksum
    if table[offset + size] != 0:
        raise BundleError(f"block at byte {offset} is compressed; expected an uncompressed table")
    restarts = int.from_bytes(table[offset + size - 4 : offset + size], "little")
    at, end, key = offset, offset + size - 4 - 4 * restarts, b""
    while at < end:
        shared, at = _varint(table, at)
        added, at = _varint(table, at)
        length, at = _varint(table, at)
        key = key[:shared] + table[at : at + added]
        yield key, table[at + added : at + added + length]
        at += added + length


def _handle(table, at):
    """((offset, size), where it ends): the place of a block."""
    offset, at = _varint(table, at)
    size, at = _varint(table, at)
    return (offset, size), at


def _message(data):
    """Field number -> values of a protobuf message: integers, or bytes of strings and messages."""
    fields, at = {}, 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(data, at)
        elif kind == 2:
            length, at = _varint(data, at)
            value, at = data[at : at + length], at + length
        elif kind == 5:
            value, at = int.from_bytes(data[at : at + 4], "little"), at + 4
        else:
            raise BundleError(f"field {number} is of wire type {kind}; expected 0, 2 or 5")
        fields.setdefault(number, []).append(value)
    return fields


def _varint(data, at):
    """(value, where it ends) of an integer of seven bits a byte, the lowest first."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
