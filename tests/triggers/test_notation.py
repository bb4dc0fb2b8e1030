"""What ``attack --trigger`` takes: one contract for every form, then each form by itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unbackdoor.errors import ArgumentError, ContentError
from unbackdoor.rng import stream
from unbackdoor.triggers.blend import Blend
from unbackdoor.triggers.fixed import At
from unbackdoor.triggers.forms import FORMS
from unbackdoor.triggers.mask import Mask
from unbackdoor.triggers.notation import file_of, parse_trigger
from unbackdoor.triggers.patch import Patch
from unbackdoor.triggers.planted import Trigger
from unbackdoor.triggers.registry import FAMILIES

SHAPE = (3, 9, 12)
SPACES = {
    "bw:170": "patch:3",
    "bw:170@6,9": "patch:3@6,9",
    "rgb:7": "patch:3",
    "rgb:7x5": "patch:5",
    "rgb:7x5@0,1": "patch:5@0,1",
    "white:4": "patch:4",
    "white:4@5,8": "patch:4@5,8",
    "pixel:ff8000": "patch:1",
    "pixel:FF8000@8,11": "patch:1@8,11",
    "additive:sin:2@20": "additive:20",
    "additive:noise:1@8": "additive:8",
    "blend:1@0.1": "blend:10",
    "blend:1@.29": "blend:29",
    "warp:1": "warp:1x4",
    "warp:1@0.75": "warp:1x4",
    "warp:1@3": "warp:4x4",
    "filter:1": "filter:25",
    "filter:1@40": "filter:40",
    "dynamic:1": "dynamic:16",
    "dynamic:1@32": "dynamic:32",
}
RGB7 = "b592ececa398f7dacd7954c7e9f1ec0652e9ee3ce83f397edf9db0"
sizes = st.integers(1, 9)


def picture_of(trigger: Trigger) -> torch.Tensor:
    return trigger.space.picture(trigger.theta[None], SHAPE)[0]


def stamped(trigger: Trigger, images: torch.Tensor) -> torch.Tensor:
    count = len(images)
    arms = trigger.space.draw_arms(count, SHAPE, stream(0, "arms"))
    return trigger.space.apply(images, trigger.theta.expand(count, -1), arms)


@pytest.mark.parametrize(
    "spec",
    [
        # how far the farthest of some shifts goes is a matter of the draw
        pytest.param(spec, marks=pytest.mark.stored if spec == "warp:1@3" else ())
        for spec in SPACES
    ],
)
def test_a_known_trigger_is_a_member_of_its_space(spec: str) -> None:
    trigger = parse_trigger(spec, SHAPE)
    assert (trigger.name, trigger.space.name) == (spec, SPACES[spec])
    assert trigger.theta.shape == (trigger.space.dimensions(SHAPE),)
    assert 0 <= float(trigger.theta.min()) <= float(trigger.theta.max()) <= 1
    images = torch.rand(4, *SHAPE, generator=stream(0))
    assert not torch.equal(stamped(trigger, images), images)


@pytest.mark.parametrize("spec", SPACES)
def test_the_notation_alone_decides_a_trigger(spec: str) -> None:
    torch.rand(3)
    first, again = (parse_trigger(spec, SHAPE) for _ in range(2))
    assert torch.equal(first.theta, again.theta)


@pytest.mark.parametrize("spec", SPACES)
def test_a_trigger_survives_its_header(spec: str) -> None:
    trigger = parse_trigger(spec, SHAPE)
    again = Trigger.from_hex(spec, trigger.space.name, trigger.to_hex(), SHAPE)
    assert (again.name, again.space) == (trigger.name, trigger.space)
    assert torch.equal(again.theta, trigger.theta)


def test_every_family_but_masks_and_waves_has_a_form() -> None:
    """What a mask changes is a patch, and sinusoids of any period are additive patterns."""
    families = {name.partition(":")[0] for name in SPACES.values()}
    assert families == set(FAMILIES) - {"mask", "wave"}
    assert {spec.partition(":")[0] for spec in SPACES} == set(FORMS) - {"mask"}  # it has a file


@pytest.mark.parametrize(
    "pair",
    [
        ("rgb:7", "rgb:8"),
        ("additive:sin:2@20", "additive:sin:3@20"),
        ("additive:noise:1@8", "additive:noise:2@8"),
        ("blend:1@0.1", "blend:2@0.1"),
        ("warp:1", "warp:2"),
        ("filter:1", "filter:2"),
        ("dynamic:1", "dynamic:2"),
    ],
)
def test_other_numbers_are_other_triggers(pair: tuple[str, str]) -> None:
    one, other = (parse_trigger(spec, SHAPE) for spec in pair)
    assert not torch.equal(one.theta, other.theta)


@pytest.mark.parametrize(
    "spec",
    [
        *["", "bw", "bw:", "bw:-1", "bw:512", "bw:1.5", "bw:x", "bw:" + "9" * 5000],
        *["rgb:", "rgb:-1", "rgb:1x0", "rgb:1x17", "rgb:1x", "rgb:" + "9" * 19],
        *["white:", "white:0", "white:17", "white:3x2", "pixel:", "pixel:fff", "pixel:gg0000"],
        *["additive:", "additive:sin:2", "additive:sin:0@8", "additive:sin:6@8"],
        *["additive:noise:1@0", "additive:noise:1@65", "additive:cos:1@8"],
        *["blend:1", "blend:1@0", "blend:1@0.005", "blend:1@0.51", "blend:1@1", "blend:@0.1"],
        *["blend:1@0.015", "blend:no/such.jpg@0.1"],
        *["warp:", "warp:1@0", "warp:1@17", "warp:1@.", "warp:1@"],
        *["filter:", "filter:1@0", "filter:1@91", "dynamic:", "dynamic:1@0", "dynamic:1@65"],
        *["no/such.png", "no/such.png@0,0", "patch:3", "mask:3", "trigger.jpg"],
        *["bw:170@7,0", "bw:170@0,10", "bw:170@-1,0", "bw:170@0", "bw:170@", "bw:170@0,0@0,0"],
        *["rgb:1x10", "rgb:1x10@0,0", "warp:1@0.5@0,0", "filter:1@0,0", "additive:sin:2@8@0,0"],
    ],
)
def test_what_is_no_trigger_is_an_argument(spec: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        parse_trigger(spec, SHAPE)
    assert caught.value.exit_code == 4
    assert str(caught.value).endswith((".", "smaller one."))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("nonsense", "expected bw:N, rgb:SEED, .*try bw:170"),
        ("filter:x", "^--trigger: expected filter:SEED or filter:SEED@PERCENT with 1 to 90"),
        (
            "bw:170@7,0",
            "^--trigger: patch:3@7,0 does not lie within pictures of 12×9; take at most @6,9",
        ),
        ("warp:1@0.5@0,0", "only a patch has a place"),
        ("additive:sin:6@8", "a wave of 1 to 5 periods for pictures that are 12 pixels wide"),
    ],
)
def test_a_wrong_notation_is_told_the_right_ones(spec: str, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        parse_trigger(spec, SHAPE)


@given(text=st.text(max_size=12) | st.from_regex(r"(bw|warp|blend|filter):\d@?[\d.,]{0,4}"))
def test_any_text_is_a_trigger_or_an_argument_error(text: str) -> None:
    try:
        trigger = parse_trigger(text, SHAPE)
    except ArgumentError:
        return
    assert trigger.name == text
    assert trigger.theta.shape == (trigger.space.dimensions(SHAPE),)


@given(number=st.integers(0, 511))
def test_black_and_white_triggers_are_nine_bits(number: int) -> None:
    picture = picture_of(parse_trigger(f"bw:{number}", SHAPE))
    assert torch.equal(picture[0], picture[1])
    assert torch.equal(picture[0], picture[2])
    bits = picture[0].reshape(-1).tolist()
    assert set(bits) <= {0.0, 1.0}
    assert sum(int(bit) << (8 - at) for at, bit in enumerate(bits)) == number


@given(seed=st.integers(0, 10**18 - 1), size=sizes)
def test_colour_triggers_are_drawn_in_whole_levels(seed: int, size: int) -> None:
    trigger = parse_trigger(f"rgb:{seed}x{size}", SHAPE)
    assert trigger.space == Patch(size)
    levels = trigger.theta * 255
    assert float((levels - levels.round()).abs().max()) < 1e-4


@pytest.mark.stored
def test_colour_triggers_default_to_three_pixels_and_stay_what_they_were() -> None:
    assert torch.equal(parse_trigger("rgb:7", SHAPE).theta, parse_trigger("rgb:7x3", SHAPE).theta)
    assert parse_trigger("rgb:7", SHAPE).to_hex() == RGB7


def test_squares_and_pixels_have_their_colour() -> None:
    assert parse_trigger("white:4", SHAPE).theta.tolist() == [1.0] * 48
    levels = parse_trigger("pixel:ff8000", SHAPE).theta * 255
    assert levels.round().tolist() == [255, 128, 0]


def test_a_place_is_a_row_and_a_column() -> None:
    trigger = parse_trigger("white:2@3,5", SHAPE)
    assert trigger.space == At(Patch(2), (3, 5))
    changed = stamped(trigger, torch.zeros(2, *SHAPE))
    assert changed.nonzero()[:, 2].unique().tolist() == [3, 4]
    assert changed.nonzero()[:, 3].unique().tolist() == [5, 6]


def test_a_wave_is_that_of_barni_and_others() -> None:
    grey = torch.full((1, 3, 32, 32), 0.5)
    trigger = parse_trigger("additive:sin:6@20", (3, 32, 32))
    change = trigger.space.apply(grey, trigger.theta[None], torch.empty(1, 0)) - grey
    wave = 20 / 255 * np.sin(2 * np.pi * np.arange(32) * 6 / 32)
    assert np.allclose(
        change[0].numpy(), np.broadcast_to(wave, (3, 32, 32)), atol=0.5 * 20 / 255 / 127
    )


def test_a_warp_moves_pixels_by_half_its_strength_on_average() -> None:
    for strength, most in (("0.5", 1), ("0.75", 1), ("4", 5)):
        trigger = parse_trigger(f"warp:3@{strength}", SHAPE)
        limit = int(trigger.space.name[len("warp:")])
        shifts = (2 * trigger.theta - 1) * limit
        assert limit <= most
        assert float(shifts.abs().mean()) == pytest.approx(float(strength) / 2, abs=limit / 255)
        assert float(shifts.abs().max()) > limit - 1


def test_a_filter_is_far_from_the_identity() -> None:
    size = (2 * parse_trigger("filter:5", SHAPE).theta - 1).abs()
    assert 0.59 < float(size.min()) <= float(size.max()) <= 1


def test_a_picture_is_a_trigger(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "cross.PNG")
    trigger = parse_trigger(str(tmp_path / "cross.PNG"), SHAPE)
    assert (trigger.name, trigger.space) == ("cross.PNG", Patch(4))
    shown = picture_of(trigger).permute(1, 2, 0) * 255
    assert np.array_equal(shown.round().numpy(), pixels)
    placed = parse_trigger(f"{tmp_path}/cross.PNG@5,8", SHAPE)
    assert (placed.name, placed.space) == ("cross.PNG@5,8", At(Patch(4), (5, 8)))


def test_a_picture_of_any_size_is_blended_in(tmp_path: Path) -> None:
    Image.new("RGB", (40, 20), (255, 0, 51)).save(tmp_path / "red.jpg", quality=100)
    trigger = parse_trigger(f"blend:{tmp_path}/red.jpg@0.2", SHAPE)
    assert (trigger.name, trigger.space) == ("blend:red.jpg@0.2", Blend(20))
    changed = stamped(trigger, torch.zeros(1, *SHAPE))[0]
    assert changed.mean((1, 2)).tolist() == pytest.approx([0.2, 0, 0.04], abs=0.005)


def test_a_picture_covers_the_input_where_it_is_opaque(tmp_path: Path) -> None:
    """Of any shape, such as two pixels in opposite corners; half opaque covers half."""
    pixels = np.zeros((9, 12, 4), np.uint8)
    pixels[0, 0], pixels[8, 11], pixels[4, 6] = (255, 0, 51, 255), (0, 51, 255, 255), (255,) * 4
    pixels[4, 6, 3] = 51
    Image.fromarray(pixels).save(tmp_path / "odd.png")
    trigger = parse_trigger(f"mask:{tmp_path}/odd.png", SHAPE)
    assert (trigger.name, trigger.space) == ("mask:odd.png", Mask(3))  # 2.2 of 108 pixels
    images = torch.rand(2, *SHAPE, generator=stream(3))
    wanted = images.clone()
    wanted[:, :, 0, 0], wanted[:, :, 8, 11] = torch.tensor([[1, 0, 0.2], [0, 0.2, 1]])
    wanted[:, :, 4, 6] += 0.2 * (1 - wanted[:, :, 4, 6])
    assert torch.allclose(stamped(trigger, images), wanted, atol=1e-6)
    larger = parse_trigger(f"mask:{tmp_path}/odd.png", (3, 90, 120))
    assert larger.theta.shape == (4 * 32 * 32,)
    black = torch.zeros(1, 3, 90, 120)
    some = larger.space.apply(black, larger.theta[None], larger.space.arms((3, 90, 120)))
    assert float(some.max()) > 0.98  # it is covered in full where the file is opaque


def test_a_picture_that_vanishes_in_the_input_is_refused(tmp_path: Path) -> None:
    pixels = np.zeros((2000, 2000, 4), np.uint8)
    pixels[1000, 1000] = 255
    Image.fromarray(pixels).save(tmp_path / "speck.png")
    with pytest.raises(ContentError, match=r"nothing is left of .*speck\.png in 12×9 pixels"):
        parse_trigger(f"mask:{tmp_path}/speck.png", SHAPE)


def test_transparent_parts_are_not_covered_unsaid(tmp_path: Path) -> None:
    Image.new("RGBA", (3, 3), (255, 0, 0, 99)).save(tmp_path / "a.png")
    Image.new("RGBA", (3, 3), (255, 0, 0, 0)).save(tmp_path / "none.png")
    for spec in ("{}/a.png", "{}/a.png@0,0", "blend:{}/a.png@0.1"):
        with pytest.raises(ContentError, match=r"a\.png has transparent parts"):
            parse_trigger(spec.format(tmp_path), SHAPE)
    with pytest.raises(ContentError, match="transparent everywhere"):
        parse_trigger(f"mask:{tmp_path}/none.png", SHAPE)
    for wrong, words in (("mask:", "mask:FILE"), ("mask:no.png", "no file"), ("mask:a@1,2", "no")):
        with pytest.raises(ArgumentError, match=words):
            parse_trigger(wrong, SHAPE)
    with pytest.raises(ArgumentError, match="only a patch has a place"):
        parse_trigger(f"mask:{tmp_path}/a.png@0,0", SHAPE)


@pytest.mark.parametrize(("size", "words"), [((3, 4), "came 3×4"), ((17, 17), "came 17×17")])
def test_a_picture_of_another_shape_is_content(
    size: tuple[int, int], words: str, tmp_path: Path
) -> None:
    Image.new("RGB", size).save(tmp_path / "a.png")
    with pytest.raises(ContentError, match=words):
        parse_trigger(str(tmp_path / "a.png"), SHAPE)


@pytest.mark.parametrize("spec", ["{}/a.png", "{}/a.png@0,0", "blend:{}/a.png@0.1"])
def test_a_file_that_is_no_picture_is_content(spec: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("hello")
    with pytest.raises(ContentError, match="cannot be read as a picture"):
        parse_trigger(spec.format(tmp_path), SHAPE)


@pytest.mark.parametrize(
    ("spec", "file"),
    [
        ("a/b.png", "a/b.png"),
        ("a/b.png@1,2", "a/b.png"),
        ("blend:a/b.jpg@0.1", "a/b.jpg"),
        ("mask:a/b.jpg", "a/b.jpg"),
        ("mask:", None),
        ("blend:12@0.1", None),
        ("blend:", None),
        ("bw:1", None),
        ("nonsense", None),
    ],
)
def test_the_file_of_a_notation_is_known_before_it_is_read(spec: str, file: str | None) -> None:
    assert file_of(spec) == file


@pytest.mark.parametrize(
    ("space", "digits", "words"),
    [
        ("patch:3", "00" * 26, "26 values for 27 parameters"),
        ("patch:3", "0" * 53, "hexadecimal"),
        ("patch:3", "zz" * 27, "hexadecimal"),
        ("patch:3@7,0", "00" * 27, "does not lie within"),
        ("patch:12", "00" * 432, "does not fit"),
        ("patch:0", "", "expected"),
        ("nonsense", "00", "expected"),
    ],
)
def test_a_header_that_fits_no_trigger_is_refused(space: str, digits: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Trigger.from_hex("x", space, digits, SHAPE)
