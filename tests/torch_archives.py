"""Archives as torch writes them, put together by hand, and forged where a test asks for it."""

import zipfile

import numpy as np


def forge(path, program, storages=(), **entries):
    """Write a file as torch does: a pickle, and float32 storages."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        for index, numbers in enumerate(storages):
            archive.writestr(f"archive/data/{index}", np.asarray(numbers, "<f4").tobytes())
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def integers(*numbers):
    return b"(" + b"".join(b"I%d\n" % number for number in numbers) + b"t"


def tensor(key, count, offset, sizes, strides, storage=b"FloatStorage"):
    """The operations that torch writes for one tensor."""
    identifier = b"(Vstorage\nctorch\n%s\nV%d\nVcpu\nI%d\ntQ" % (storage, key, count)
    view = b"I%d\n" % offset + integers(*sizes) + integers(*strides)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + identifier + view + b"I00\nNtR"


def state_dictionary(path, tensors):
    """Write a state dictionary of contiguous tensors."""
    program, storages = b"(d", []
    for index, (name, array) in enumerate(tensors.items()):
        array = np.asarray(array, np.float32)
        strides = [int(step) // 4 for step in array.strides]
        one = tensor(index, array.size, 0, array.shape, strides)
        program += b"V%s\n" % name.encode() + one + b"s"
        storages.append(array.ravel())
    return forge(path, program + b".", storages)
