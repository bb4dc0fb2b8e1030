"""Values beside tensors that look like those which are left out, and do more."""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Callable

from corpus import Corpus, hostile
from pickled import opens, tensor, text

NUMBER = b"cnumpy.core.multiarray\nscalar\n"
STATE = b"(K\x03X\x01\0\0\0<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
BYTES = b"c_codecs\nencode\n" + text("\0" * 8) + text("latin1") + b"\x86R"
TYPE = b"cnumpy\ndtype\n" + text("f8") + b"\x89\x88\x87R"
GROWN = b"K\0" + b"".join(b"q\x7fh\x7f\x86" for _ in range(64))


def inner(c: Corpus) -> bytes:
    """A pickle inside the pickle, as numpy unpickles what is said to be a number of objects."""
    held = pickle.dumps(io.BytesIO, 2)[:-1] + b"0" + opens(c) + b"."
    return b"c_codecs\nencode\n" + text(held.decode("latin1")) + text("latin1") + b"\x86R"


VALUES: dict[str, Callable[[Corpus], bytes]] = {
    "a_numpy_scalar_of_objects": lambda c: (
        NUMBER + TYPE.replace(b"f8", b"O8") + STATE + inner(c) + b"\x86R"
    ),
    "a_numpy_scalar_that_is_called": lambda c: NUMBER + TYPE + STATE + opens(c) + b"\x86R",
    "a_numpy_scalar_around_a_call": lambda c: (
        NUMBER + opens(c) + b"0" + TYPE + STATE + BYTES + b"\x86R"
    ),
    "a_numpy_scalar_around_a_call_in_a_tuple": lambda c: (
        (
            NUMBER
            + TYPE
            + b"(K\x03"
            + opens(c)
            + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
            + BYTES
        )
        + b"\x86R"
    ),
    "a_numpy_scalar_of_another_codec": lambda c: (
        NUMBER + TYPE + STATE + BYTES.replace(text("latin1"), text("rot13")) + b"\x86R"
    ),
    "a_numpy_type_with_fields": lambda c: (
        NUMBER + TYPE + STATE.replace(b"NNN", b"N" + opens(c) + b"}") + BYTES + b"\x86R"
    ),
    "a_numpy_type_that_hashes_for_ever": lambda c: (
        NUMBER + TYPE + STATE.replace(b"NNN", b"N" + GROWN + b"N") + BYTES + b"\x86R"
    ),
    "a_numpy_array": lambda c: (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85"
        + b"c_codecs\nencode\n"
        + text("b")
        + b"\x85R\x87R"
    ),
    "a_numpy_function": lambda c: (
        b"cnumpy.core.multiarray\nfromfile\n" + text("/etc/passwd") + b"\x85R"
    ),
    "a_namespace_with_a_call": lambda c: (
        b"cargparse\nNamespace\n)\x81}" + text("x") + opens(c) + b"sb"
    ),
    "a_namespace_that_is_called": lambda c: b"cargparse\nNamespace\n" + opens(c) + b"\x85R",
    "a_namespace_of_tensors": lambda c: (
        b"cargparse\nNamespace\n)\x81}" + text("model") + tensor() + b"sb"
    ),
    "a_dictionary_with_a_factory": lambda c: (
        b"ccollections\ndefaultdict\ncos\nsystem\n\x85R" + text(f"touch {c.canary}") + b"K\x01s"
    ),
    "a_path_that_is_made": lambda c: b"cpathlib\nPosixPath\n" + opens(c) + b"\x85R",
    "a_device_that_is_made": lambda c: b"ctorch\ndevice\n" + opens(c) + b"\x85R",
    "a_number_kept_twice": lambda c: (
        b"K\x01q\x07" + NUMBER + TYPE + STATE + b"q\x07" + BYTES + b"\x86R0" + b"h\x07"
    ),
}


def beside(name: str, made: Callable[[Corpus], bytes]) -> Callable[[Corpus, str], list[str]]:
    def make(c: Corpus, name: str) -> list[str]:
        state = b"}" + text("stem.weight") + tensor() + b"s"
        content = b"\x80\x02}(" + text("state_dict") + state + text("best") + made(c) + b"u."
        return c.zipped(name, content, ("m/data/0", struct.pack("<4f", 1, 2, 3, 4)))

    make.__name__ = f"pickle_beside_tensors_{name}"
    return make


for what, made in VALUES.items():
    hostile(beside(what, made))
