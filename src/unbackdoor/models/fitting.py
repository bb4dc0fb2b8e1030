"""The tensors of a file, laid on those of a network: first their names, then their values.

Trainers and wrappers put words before and into the names of tensors. They are taken off where what
is left are the names of the network; whatever else stands in the file is left out only if it is too
little to be a layer, and that is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unbackdoor.errors import ContentError, listed, printable

WHOLE, MASK = "_orig", "_mask"
"""What torch.nn.utils.prune makes of the name of a tensor: its values, and which of them count."""
COUNTED = "num_batches_tracked"
"""How many batches a BatchNorm has seen: older files lack it, and no answer depends on it."""
AVERAGED = "n_averaged"
"""What AveragedModel keeps beside the network that it averages."""
WRAPPER = re.compile(
    r"(?<![^.])(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
"""Parts of names that come from DataParallel and AveragedModel, torch.compile, and their like."""
ANCHORS = 8
"""Names of a network by which it is looked for in a file; some of them may be missing there."""
LISTED, EACH = 4, 2


@dataclass(frozen=True)
class Named:
    """The tensors of a file under the names of a network.

    Args:
        state: name → tensor.
        notes: what was understood, a few words each.

    """

    state: dict[str, Tensor]
    notes: tuple[str, ...] = ()


def of_name(state: Mapping[str, Tensor], key: str) -> Tensor | None:
    """Return the tensor of a name, or of the first that ends in it; None where there is none."""
    if key in state:
        return state[key]
    return next((tensor for name, tensor in state.items() if name.endswith(f".{key}")), None)


def named(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], what: str) -> Named:
    """Return the tensors of a file under the names that a network has for them.

    Args:
        state: as the file names them.
        wanted: of the network.
        what: the file, as a sentence about it begins.

    Raises:
        ContentError: the network is in the file several times, or other layers stand beside it.

    """
    came, state = state, unmasked(state, wanted)
    fits = all(name in state or name.endswith(COUNTED) for name in wanted)
    found = Named(dict(state)) if fits and state.keys() <= wanted.keys() else None
    found = found or _unwrapped(state, wanted, what)
    masked = [name for name in state if name not in came]
    if masked:
        shown = listed(masked, EACH)
        found = Named(found.state, (f"the masks of pruning were applied to {shown}", *found.notes))
    return _counted(found, wanted)


def _counted(found: Named, wanted: Mapping[str, Tensor]) -> Named:
    """Return the tensors with each count as one number, and 0 for those that are missing."""
    counts = {name: want for name, want in wanted.items() if name.endswith(COUNTED)}
    state, notes = dict(found.state), list(found.notes)
    missing = [name for name in counts if name not in state]
    if missing:
        notes.append(f"the count {COUNTED} is missing {len(missing)} times and was set to 0")
    for name, want in counts.items():
        if name in missing:
            state[name] = torch.zeros_like(want)
        elif state[name].numel() == 1:
            state[name] = state[name].reshape(want.shape)
    return Named(state, tuple(notes))


def unmasked(state: Mapping[str, Tensor], wanted: Iterable[str] = ()) -> dict[str, Tensor]:
    """Return tensors with the masks of pruning applied, as the network applies them.

    Args:
        state: as a file names them.
        wanted: names of the network, whose own tensors may end in the same words.

    """
    own = set(wanted)
    plain = dict(state)
    for whole, values in state.items():
        name = whole.removesuffix(WHOLE)
        mask = state.get(name + MASK)
        if whole == name or mask is None or name in state or {whole, name + MASK} & own:
            continue
        if mask.shape == values.shape and bool(((mask == 0) | (mask == 1)).all()):
            del plain[whole], plain[name + MASK]
            plain[name] = mask.to(values.dtype) * values
    return plain


def _unwrapped(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], what: str) -> Named:
    """Return the tensors without the words before and in their names, as far as that fits."""
    as_it_is = Named(dict(state))
    bare, own = _bare(state), _bare(wanted)
    if len(bare) < len(state) or len(own) < len(wanted):
        return as_it_is  # two tensors would get one name
    outer = _first_part(list(own))
    inner = {name.removeprefix(outer): full for name, full in own.items()}
    needed = [name for name in inner if not name.endswith(COUNTED)]
    scores = {
        prefix: sum(prefix + name in bare for name in needed)
        for prefix in _prefixes(bare, needed[:ANCHORS])
    }
    if not scores:
        return as_it_is
    most = max(scores.values())
    best = [prefix for prefix, score in scores.items() if score == most]
    if len(best) > 1 and most == len(needed):
        best = [
            one
            for one in best
            if all(state[bare[one + name]].shape == wanted[inner[name]].shape for name in needed)
        ]
        if not best:  # the layers of another network
            return as_it_is
    if len(best) > 1 and most == len(needed):
        shown = " and ".join(repr(printable(prefix)[:80]) for prefix in best[:LISTED])
        raise ContentError(
            f"{what} holds such a network {len(best)} times (under {shown}), and the one that is "
            f"not scanned could be the one that is deployed; save the one that you use alone."
        )
    prefix = best[0]
    taken = {bare[prefix + n]: full for n, full in inner.items() if prefix + n in bare}
    left = [name for name in bare if bare[name] not in taken and _outside(name, prefix)]
    if most == len(needed):
        _check_left_out({name: state[bare[name]] for name in left}, prefix, what)
    else:
        left = []
    notes = _notes(taken, [bare[name] for name in left]) if most == len(needed) else ()
    gone = {bare[name] for name in left}
    chosen = {taken.get(key, key): x for key, x in state.items() if key not in gone}
    return Named(chosen, notes)


def _bare(names: Iterable[str]) -> dict[str, str]:
    """Return names without the parts that wrappers add → as they are."""
    return {WRAPPER.sub("", name): name for name in names}


def _first_part(names: Sequence[str]) -> str:
    """Return the first part of names, with its dot, where all share it."""
    first, dot, _ = names[0].partition(".") if names else ("", "", "")
    return first + dot if dot and all(name.startswith(first + dot) for name in names) else ""


def _prefixes(bare: Iterable[str], anchors: Sequence[str]) -> list[str]:
    """Return what stands before some names of a network in a file, each once."""
    found = {
        name.removesuffix(anchor): None
        for name in bare
        for anchor in anchors
        if name == anchor or name.endswith(f".{anchor}")
    }
    return list(found)


def _outside(name: str, prefix: str) -> bool:
    return name == AVERAGED or not name.startswith(prefix)


def _check_left_out(left: Mapping[str, Tensor], prefix: str, what: str) -> None:
    """Raise if what stands beside a network could be a layer: more than a row, or counts."""
    layers = [
        name
        for name, tensor in left.items()
        if tensor.is_floating_point() and tensor.numel() > max(tensor.shape, default=1)
    ]
    if layers:
        shown = listed(layers, EACH)
        raise ContentError(
            f"{what} holds other layers ({shown}) beside the network under {prefix!r}, and "
            f"they could be deployed with it; name the whole by --arch, or save the network alone: "
            f"torch.save({{k: v for k, v in state.items() if k.startswith({prefix!r})}}, FILE)."
        )


def _notes(taken: Mapping[str, str], left: Sequence[str]) -> tuple[str, ...]:
    """Say what stood before and in the names, and what was left out."""
    renamed = [(key, full) for key, full in taken.items() if key != full]
    notes: list[str] = []
    if renamed:
        key, full = renamed[0]
        before = key.removesuffix(full)
        if all(key == before + full for key, full in taken.items()):
            notes.append(f"their names began with {printable(before)!r}")
        else:
            notes.append(f"the tensor {full!r} is {printable(key)!r} there, and others likewise")
    if left:
        shown = listed(left, EACH)
        notes.append(f"{shown} beside the network was left out")
    return tuple(notes)


def fill(module: nn.Module, state: Mapping[str, Tensor], spec: str, arch: str) -> None:
    """Copy tensors into a network; every one must be there, with its shape and kind.

    Args:
        module: the network.
        state: under its names.
        spec: the file, as the user wrote it.
        arch: the network, as the user or the file names it.

    Raises:
        ContentError: one does not fit; the sentence names it, and the cause.

    """
    wanted = module.state_dict()
    surplus = [key for key in state if key not in wanted]
    missing = [key for key in wanted if key not in state]
    shapes = {
        key: f"{key} has shape {tuple(state[key].shape)}, not {tuple(want.shape)}"
        for key, want in wanted.items()
        if key in state and state[key].shape != want.shape
    }
    if surplus or missing or shapes:
        problems = [f"{key} is surplus" for key in surplus[: EACH if missing else LISTED]]
        problems += [f"{key} is missing" for key in missing]
        problems += shapes.values()
        count = len(surplus) + len(missing) + len(shapes)
        remedy = _remedy(wanted, state, surplus, missing, list(shapes))
    else:
        problems = [
            problem
            for key, want in wanted.items()
            if (problem := _unlike(key, state[key], want.dtype))
        ]
        count, remedy = len(problems), "save or fetch the weights anew"
    if problems:
        shown = "; ".join(printable(problem)[:120] for problem in problems[:LISTED])
        more = f" and {count - LISTED} more" if count > LISTED else ""
        raise ContentError(
            f"MODEL: the tensors of {spec} do not fit {arch}: {shown}{more}; {remedy}."
        )
    module.load_state_dict(dict(state))


def _unlike(key: str, have: Tensor, want: torch.dtype) -> str:
    """Return why the values of a tensor cannot be taken, nothing where they can."""
    if have.dtype != want and not (have.is_floating_point() and want.is_floating_point):
        return f"{key} is {have.dtype}, not {want}"
    if not bool(have.to(want).isfinite().all()):
        return f"{key} holds values that are not finite in {want}"
    return ""


def _remedy(
    wanted: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    surplus: Sequence[str],
    missing: Sequence[str],
    shapes: Sequence[str],
) -> str:
    """Return what to do about tensors that do not fit, by the cause."""
    if missing and not surplus and not shapes and len(missing) < len(wanted):
        return "save the whole model.state_dict(), or check --arch"
    if shapes and not surplus and not missing:
        rows = {(state[key].shape[:1], wanted[key].shape[:1]) for key in shapes}
        same = all(state[key].shape[1:] == wanted[key].shape[1:] for key in shapes)
        if len(rows) == 1 and same and list(shapes) == list(wanted)[-len(shapes) :]:
            ((have, want),) = ((first.numel(), other.numel()) for first, other in rows)
            return f"it has {have} classes and the network {want}, make the network for {have}"
    return "check --arch"
