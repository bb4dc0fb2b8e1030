"""Links, pipes and devices; hub folders, pictures, labels and results."""

from __future__ import annotations

import json
import os
from pathlib import Path

import safetensors.torch
import torch
from PIL import Image

from corpus import Corpus, hostile


@hostile
def link_in_a_circle(c: Corpus, name: str) -> list[str]:
    path = c.folder / f"{name}.pt"
    path.symlink_to(path)
    return c.scan(path)


@hostile
def device_for_a_model(c: Corpus, name: str) -> list[str]:
    (c.folder / f"{name}.pt").symlink_to("/dev/zero")
    return c.scan(c.folder / f"{name}.pt")


@hostile
def pipe_for_a_model(c: Corpus, name: str) -> list[str]:
    os.mkfifo(c.folder / f"{name}.safetensors")
    return c.scan(c.folder / f"{name}.safetensors")


@hostile
def folder_for_a_model(c: Corpus, name: str) -> list[str]:
    (c.folder / f"{name}.pt").mkdir()
    return c.scan(c.folder / f"{name}.pt")


@hostile
def name_that_no_file_can_have(c: Corpus, name: str) -> list[str]:
    return c.scan(Path("x" * 5000 + "\0.pt"))


def hub(c: Corpus, name: str, config: object) -> Path:
    folder = c.folder / name
    folder.mkdir()
    text = config if isinstance(config, bytes) else json.dumps(config).encode()
    (folder / "config.json").write_bytes(text)
    safetensors.torch.save_file({"a": torch.zeros(1)}, folder / "model.safetensors")
    return folder


@hostile
def hub_folder_that_brings_code(c: Corpus, name: str) -> list[str]:
    config = {
        "architectures": ["EvilForImageClassification"],
        "auto_map": {"AutoModel": "evil.Evil"},
    }
    folder = hub(c, name, config)
    (folder / "evil.py").write_text(f"open({str(c.canary)!r}, 'w')\n")
    return c.scan(folder, arch=None)


@hostile
def hub_folder_with_a_link_out(c: Corpus, name: str) -> list[str]:
    folder = hub(c, name, {"architectures": ["ViTForImageClassification"]})
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("/etc/passwd")
    return c.scan(folder, arch=None)


@hostile
def hub_folder_with_a_nested_config(c: Corpus, name: str) -> list[str]:
    return c.scan(hub(c, name, b"[" * 1_000_000), arch=None)


@hostile
def hub_folder_of_a_language_model(c: Corpus, name: str) -> list[str]:
    return c.scan(hub(c, name, {"architectures": ["GPT2LMHeadModel"]}), arch=None)


@hostile
def hub_folder_of_a_giant_network(c: Corpus, name: str) -> list[str]:
    """A name of timm that stands for 7 GB of weights, and a file of four bytes of them."""
    return c.scan(hub(c, name, {"architecture": "vit_gigantic_patch14_224"}), arch=None)


def pictures(c: Corpus, name: str) -> Path:
    for label in "ab":
        (c.folder / name / label).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(c.folder / name / label / "0.png")
    return c.folder / name


@hostile
def picture_bomb(c: Corpus, name: str) -> list[str]:
    folder = pictures(c, name)
    Image.new("1", (20_000, 20_000)).save(folder / "a" / "1.png")
    return ["scan", "shipped:clean", "--data", str(folder)]


@hostile
def many_pictures_that_grow(c: Corpus, name: str) -> list[str]:
    folder = pictures(c, name)
    Image.new("L", (4096, 4096)).save(folder / "a" / "0.png")
    for index in range(1, 12):
        os.link(folder / "a" / "0.png", folder / "a" / f"{index}.png")
    return ["scan", "shipped:clean", "--data", str(folder)]


@hostile
def picture_that_is_a_program(c: Corpus, name: str) -> list[str]:
    folder = pictures(c, name)
    program = f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n({c.canary}) (w) file closefile\n"
    (folder / "a" / "1.png").write_text(program)
    return ["scan", "shipped:clean", "--data", str(folder)]


@hostile
def picture_through_a_link(c: Corpus, name: str) -> list[str]:
    folder = pictures(c, name)
    secret = c.folder / "secret.png"
    Image.new("RGB", (8, 8)).save(secret)
    (folder / "a" / "1.png").symlink_to(secret)
    return ["scan", "shipped:clean", "--data", str(folder)]


@hostile
def picture_that_is_a_pipe(c: Corpus, name: str) -> list[str]:
    folder = pictures(c, name)
    os.mkfifo(folder / "a" / "1.png")
    return ["scan", "shipped:clean", "--data", str(folder)]


@hostile
def picture_that_is_cut(c: Corpus, name: str) -> list[str]:
    folder = pictures(c, name)
    path = folder / "a" / "0.png"
    path.write_bytes(path.read_bytes()[:45])
    return ["scan", "shipped:clean", "--data", str(folder)]


@hostile
def labels_of_a_device(c: Corpus, name: str) -> list[str]:
    return c.scan(Path("shipped:clean"), "--labels", "/dev/zero", arch=None)


@hostile
def labels_that_are_nested(c: Corpus, name: str) -> list[str]:
    path = c.folder / f"{name}.json"
    path.write_bytes(b'{"a":' * 200_000)
    return c.scan(Path("shipped:clean"), "--labels", str(path), arch=None)


@hostile
def result_that_is_nested(c: Corpus, name: str) -> list[str]:
    path = c.folder / f"{name}.json"
    path.write_bytes(b'{"kind":"scan","settings":' + b"[" * 500_000)
    return ["report", str(path), "-o", str(c.folder / f"{name}.html")]


@hostile
def result_of_a_device(c: Corpus, name: str) -> list[str]:
    return ["report", "/dev/zero", "-o", str(c.folder / f"{name}.html")]
