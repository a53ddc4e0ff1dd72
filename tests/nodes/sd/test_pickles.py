"""What torch.save wrote is read where it lies, whatever the file's name, and nothing in it ever runs."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from graph.errors import MissingError
from nodes.sd.headers import Entry
from nodes.sd.pickles import read_entries
from nodes.sd.tensors import DTYPES

SUFFIXES = (".ckpt", ".pt", ".pth", ".bin", ".safetensors")
FORMATS = {"zip": True, "legacy": False}


class Callback:
    """As Lightning leaves them in checkpoints."""

    def __init__(self) -> None:
        self.best = torch.ones(2)


def saved(path: Path, tree: object, form: str = "zip") -> Path:
    torch.save(tree, path, _use_new_zipfile_serialization=FORMATS[form])
    return path


def values(path: Path) -> dict[str, torch.Tensor]:
    return {name: value(path, entry) for name, entry in read_entries(path).items()}


def value(path: Path, entry: Entry) -> torch.Tensor:
    with path.open("rb") as file:
        file.seek(entry.start)
        raw = torch.tensor(list(file.read(entry.size)), dtype=torch.uint8).view(DTYPES[entry.dtype])
    order = entry.order or tuple(range(len(entry.shape)))
    laid = raw.reshape([entry.shape[axis] for axis in order])
    return laid.permute([order.index(axis) for axis in range(len(order))])


def refused(path: Path) -> str:
    with pytest.raises(MissingError) as caught:
        read_entries(path)
    assert path.name in caught.value.message
    return caught.value.message


def same(expected: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]) -> bool:
    return expected.keys() == found.keys() and all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_weights_are_read_from_where_they_lie(form: str, suffix: str, tmp_path: Path) -> None:
    whole = torch.arange(24.0).reshape(4, 6)
    tensors = {
        "plain": whole,
        "rows": whole[1:3],
        "turned": whole.T,
        "channels_last": torch.arange(24).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last),
        "half": whole.half(),
        "bf16": whole.bfloat16(),
        "parameter": torch.nn.Parameter(whole + 1),
        "number": torch.tensor(3),
        "flag": torch.tensor([True, False]),
        "nothing": torch.empty(0, 3),
    }

    assert same(tensors, values(saved(tmp_path / f"weights{suffix}", tensors, form)))


@pytest.mark.parametrize("form", FORMATS)
def test_a_checkpoint_with_objects_of_unknown_classes_gives_its_weights(form: str, tmp_path: Path) -> None:
    net = torch.nn.Linear(2, 3)
    tree = {
        "state_dict": net.state_dict(),
        "callbacks": {Callback: {"best": torch.tensor(0.5, dtype=torch.float64)}},
        "hyper_parameters": Callback(),
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(2, dtype=torch.int16)}}}],
        "score": torch.zeros(3).numpy()[0],
    }

    assert same(net.state_dict(), values(saved(tmp_path / "old.ckpt", tree, form)))


@pytest.mark.parametrize(
    ("tree", "names"),
    [
        ({"params": {"a": 1}, "params_ema": {"b": 2}}, {"b"}),
        ({"params": {"a": 1}, "step": 7}, {"a"}),
        ({"model": {"a": 1, "deep": OrderedDict(b=2)}, "c": 3}, {"model.a", "model.deep.b", "c"}),
        ({"string_to_param": torch.nn.ParameterDict({"*": torch.nn.Parameter(torch.ones(1))})}, {"string_to_param.*"}),
        (torch.nn.Sequential(torch.nn.BatchNorm1d(1, affine=False)),
         {"0.running_mean", "0.running_var", "0.num_batches_tracked"}),
        (torch.ones(1), {""}),
    ],
)  # fmt: skip
def test_names_are_the_keys_down_to_a_weight(tree: Any, names: set[str], tmp_path: Path) -> None:
    def filled(node: Any) -> Any:
        if isinstance(node, dict):
            return type(node)((key, filled(part)) for key, part in node.items())
        return torch.ones(node) if isinstance(node, int) else node

    assert names == set(read_entries(saved(tmp_path / "nested.pt", filled(tree))))


def test_a_safetensors_file_is_told_by_its_content(tmp_path: Path) -> None:
    for count in range(1, 700, 8):  # some headers are as long as the first byte of a pickle says
        save_file({"w": torch.ones(2)}, tmp_path / "named.ckpt", {"note": "x" * count})
        assert {"w"} == set(read_entries(tmp_path / "named.ckpt"))


# What would run


class Runs:
    """A payload, which would leave a file behind."""

    def __init__(self, witness: Path, how: str) -> None:
        self.call = (os.system, (f"touch {witness}",))
        self.how = how

    def __reduce__(self) -> Any:
        if self.how == "state":
            return (Callback, (), {"best": 1}, None, None)
        return self.call


PAYLOADS: dict[str, Callable[[bytes], bytes]] = {
    "REDUCE": lambda shell: b"cos\nsystem\n(V" + shell + b"\ntR.",
    "STACK_GLOBAL": lambda shell: b"\x80\x04\x8c\x02os\x8c\x06system\x93(V" + shell + b"\ntR.",
    "INST": lambda shell: b"(V" + shell + b"\nios\nsystem\n.",
    "OBJ": lambda shell: b"(cos\nsystem\nV" + shell + b"\no.",
    "NEWOBJ": lambda shell: b"\x80\x02csubprocess\nPopen\n(V" + shell + b"\nt\x81.",
    "NEWOBJ_EX": lambda shell: b"\x80\x04csubprocess\nPopen\n(V" + shell + b"\nt}\x92.",
    "BUILD": lambda shell: b"\x80\x02cbuiltins\nexec\n)R}V__setstate__\ncos\nsystem\nsbV" + shell + b"\nb.",
    "GETATTR": lambda shell: b"cbuiltins\ngetattr\n(cos\nVsystem\ntR(V" + shell + b"\ntR.",
    "DOTTED": lambda shell: b"\x80\x04\x8c\x08builtins\x8c\x0f__import__.exec\x93(V" + shell + b"\ntR.",
    "EXTENSION": lambda shell: b"\x80\x02\x82\xf0(V" + shell + b"\ntR.",
    "REBUILD": lambda shell: (
        b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\nctorch\nTensor\n(V" + shell + b"\nt}tR."
    ),
    "OUTSIDE": lambda shell: b"\x80\x02cos\nsystem\n(V" + shell + b"\ntRQ.",
}


@pytest.fixture
def witness(tmp_path: Path) -> Path:
    return tmp_path / "was-run"


def zipped(path: Path, program: bytes, members: Mapping[str, bytes] = {}, **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("archive/data.pkl", program)
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def legacy(path: Path, program: bytes) -> Path:
    before = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    path.write_bytes(b"".join(before) + program + pickle.dumps([], 2))
    return path


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("write", [zipped, legacy, lambda path, program: path.write_bytes(program)])
def test_no_pickle_runs_code(payload: str, suffix: str, write: Any, witness: Path, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    write(path, PAYLOADS[payload](f"touch {witness}".encode()))

    with suppress(MissingError):
        assert {} == read_entries(path)
    assert not witness.exists()


def test_the_payloads_are_real(witness: Path) -> None:
    pickle.loads(PAYLOADS["REDUCE"](f"touch {witness}".encode()))

    assert witness.exists()


def test_a_checkpoint_with_a_payload_gives_its_weights_and_runs_nothing(witness: Path, tmp_path: Path) -> None:
    tree = {"state_dict": {"w": torch.ones(2)}, "evil": Runs(witness, "call"), "odd": Runs(witness, "state")}

    assert same({"w": torch.ones(2)}, values(saved(tmp_path / "model.ckpt", tree)))
    assert not witness.exists()


# What would eat time or memory


def nested(levels: int) -> bytes:
    """Dicts that hold the one before twice."""
    return b"\x80\x02}q\0" + b"".join(b"}(X\1\0\0\0aj" + place(n) + b"X\1\0\0\0bj" + place(n) + b"ur" + place(n + 1)
                                        for n in range(levels)) + b"."  # fmt: skip


def place(number: int) -> bytes:
    return struct.pack("<I", number)


def tuples(levels: int) -> bytes:
    return b")q\0" + b"".join(b"0j" + place(n) + b"j" + place(n) + b"\x86r" + place(n + 1) for n in range(levels))


BOMBS: dict[str, tuple[bytes, str]] = {
    "memo": (b"\x80\x02}r\xff\xff\xff\x7f.", ""),
    "nested": (nested(400), ""),
    "itself": (b"\x80\x02}q\0X\1\0\0\0ah\0s.", ""),
    "deep": (b"\x80\x02" + b"]" + b"\x85" * 200_000 + b".", ""),
    "hashed": (b"\x80\x02}" + tuples(400) + b"Ns.", ""),
    "steps": (b"\x80\x02" + b"N0" * 500_001 + b".", "more than 1000000 instructions"),
    "long-text": (b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b".", "cut short"),
    "long-bytes": (b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".", "cut short"),
    "digits": (b"\x80\x02I" + b"9" * 5000 + b"\n.", "limit"),
    "no-end": (b"\x80\x02}", "damaged"),
    "no-mark": (b"\x80\x02u.", "damaged"),
    "named-by-no-text": (b"\x80\x04NN\x93.", "damaged"),
    "unknown": (b"\x80\x02\xf7.", "damaged"),
    "buffer": (b"\x80\x05\x97.", "damaged"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_or_holds_nothing(name: str, tmp_path: Path) -> None:
    program, reason = BOMBS[name]
    path = zipped(tmp_path / "bomb.ckpt", program)

    if reason:
        assert reason in refused(path)
    else:
        assert {} == read_entries(path)


def tensor(shape: str, strides: str, offset: int = 0) -> bytes:
    """The pickle of {"w": a tensor on storage 0, which has 6 numbers}; shape and strides as opcodes."""
    return (
        b"\x80\x02}X\1\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\7\0\0\0storagectorch\nFloatStorage\n"
        b"X\1\0\0\0" + b"0X\3\0\0\0cpuK\6tQJ" + struct.pack("<i", offset) + b"("
        + shape.encode("latin-1") + b"t(" + strides.encode("latin-1") + b"t\x89}tRs."
    )  # fmt: skip


IMPOSSIBLE = {
    "fits": (tensor("K\2K\3", "K\3K\1"), ""),
    "beyond": (tensor("K\2K\4", "K\4K\1"), "cut short"),
    "offset": (tensor("K\2K\3", "K\3K\1", 1), "cut short"),
    "before": (tensor("K\2K\3", "K\3K\1", -1), "impossible shape or place"),
    "huge": (tensor("J\xff\xff\xff\x7fK\3", "K\3K\1"), "cut short"),
    "gaps": (tensor("K\2K\2", "K\4K\2"), "leave gaps"),
    "repeated": (tensor("K\2K\3", "K\0K\1"), "leave gaps"),
    "negative": (tensor("K\2K\3", "K\3J\xff\xff\xff\xff"), "impossible shape or place"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_a_tensor_that_its_storage_cannot_hold_is_named(name: str, tmp_path: Path) -> None:
    program, reason = IMPOSSIBLE[name]
    path = zipped(tmp_path / "weights.pt", program, {"archive/data/0": bytes(24)})

    if reason:
        assert reason in refused(path)
    else:
        assert (2, 3) == read_entries(path)["w"].shape


# What is damaged


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_cut_short_anywhere_is_refused(form: str, tmp_path: Path) -> None:
    data = saved(tmp_path / "whole.pt", {"a": torch.ones(40), "b": torch.ones(40)}, form).read_bytes()

    for length in range(0, len(data), 7):
        (tmp_path / f"{length}.pt").write_bytes(data[:length])
        refused(tmp_path / f"{length}.pt")


@pytest.mark.parametrize("form", FORMATS)
def test_a_flipped_byte_gives_weights_or_an_error_in_words(form: str, tmp_path: Path) -> None:
    data = saved(tmp_path / "whole.pt", {"a": torch.ones(2), "b": OrderedDict(c=torch.ones(2))}, form).read_bytes()

    for at in range(0, len(data), 3):
        (tmp_path / f"{at}.pt").write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        with suppress(MissingError):
            read_entries(tmp_path / f"{at}.pt")


def test_a_compressed_archive_is_refused_by_name(tmp_path: Path) -> None:
    path = zipped(tmp_path / "small.ckpt", b"\x80\x02}.", compression=zipfile.ZIP_DEFLATED)

    assert '"archive/data.pkl" in the zip is compressed or encrypted' in refused(path)


def test_names_that_climb_are_names_and_nothing_else(tmp_path: Path) -> None:
    path = zipped(tmp_path / "climbs.ckpt", b"\x80\x02}.", {"../../evil": b"x", "/etc/evil": b"x"})

    assert {} == read_entries(path)
    assert ["climbs.ckpt"] == os.listdir(tmp_path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "twice.ckpt", b"\x80\x02}.", {"archive/data.pkl": b"\x80\x02}."})

    assert '"archive/data.pkl" is in the zip twice' in refused(path)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"archive/byteorder": b"big"}, "big-endian"),
        ({"archive/constants.pkl": b""}, "TorchScript program"),
        ({"other/data.pkl": b""}, "not one that torch wrote"),
    ],
)
def test_other_archives_are_refused_by_what_they_are(members: dict[str, bytes], reason: str, tmp_path: Path) -> None:
    assert reason in refused(zipped(tmp_path / "other.pt", b"\x80\x02}.", members))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"GGUF\3\0\0\0" + bytes(90), "GGUF"),
        (b"archive/" + bytes(249) + b"ustar  " + bytes(300), "tar file of torch before 0.4"),
        (pickle.dumps({"w": [1.0]}, 4), "a pickle, but not one that torch wrote"),
        (b"PK\3\4" + bytes(90), "cut short"),
    ],
)
def test_other_files_are_refused_by_what_they_are(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "other.ckpt").write_bytes(content)

    assert reason in refused(tmp_path / "other.ckpt")


def test_a_file_saved_on_a_big_endian_machine_is_refused(tmp_path: Path) -> None:
    program = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": False}, {}))
    (tmp_path / "big.pth").write_bytes(program + pickle.dumps([], 2))

    assert "big-endian" in refused(tmp_path / "big.pth")


def test_large_archives_are_read_too(tmp_path: Path) -> None:
    """zip64: what torch writes for more than 65,535 members, or 4 GiB; forced here on every number."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in (("archive/data.pkl", tensor("K\2K\3", "K\3K\1")), ("archive/data/0", bytes(24))):
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(data)
    (tmp_path / "large.pt").write_bytes(content.getvalue())

    assert (2, 3) == read_entries(tmp_path / "large.pt")["w"].shape


def test_one_dict_that_a_thousand_objects_share_is_no_bomb(tmp_path: Path) -> None:
    def word(text: str) -> bytes:
        return b"X" + struct.pack("<I", len(text)) + text.encode()

    shared = b"}q\0(" + b"".join(word(f"k{n}") + b"N" for n in range(1000)) + b"u0"
    objects = b"".join(word(f"o{n}") + b"cx\ny\n)Rh\0bs" for n in range(1000))

    assert "names more than" in refused(zipped(tmp_path / "small.ckpt", b"\x80\x02" + shared + b"}" + objects + b"."))
