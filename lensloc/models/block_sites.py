"""The blocks of any module, found by its structure: where units live if nothing else is said."""

from collections.abc import Iterator, Mapping, Sequence

from torch import nn

_LISTS = (nn.ModuleList, nn.Sequential, nn.ModuleDict)
# Parts of one block that stand side by side, not behind one another.
_SIDE_BY_SIDE = ("expert",)


def block_sites(module: nn.Module) -> dict[str, tuple[str, ...]]:
    """Return the outputs of a module's blocks as sites: name -> names of modules, in order.

    Blocks are what stands in lists (``ModuleList``, ``Sequential``) and has at least two parts with
    weight matrices. Where an element of a list is itself no more than a list of blocks of one kind
    (a stage), what it holds are the blocks. Lists that belong to different parts of the module
    (encoder and decoder, text and picture) are sites of their own.

    A site's name is ``block``, or ``resid_post`` where all blocks are of one shape, so that a unit
    is the same dimension in all of them; with the part's name in place of ``post`` where there are
    several parts.

    Returns:
        The sites; none if no blocks were found.

    Example:
        >>> def layer():
        ...     return nn.TransformerEncoderLayer(8, 2, 16)
        >>> block_sites(nn.Sequential(nn.Linear(4, 8), nn.Sequential(layer(), layer())))
        {'resid_post': ('1.0', '1.1')}
        >>> block_sites(nn.Linear(4, 8))
        {}
    """
    by_parent: dict[str, list[str]] = {}
    for parent, path in _blocks(module, "", None):
        by_parent.setdefault(parent, []).append(path)
    several = len(by_parent) > 1
    names = _names(list(by_parent))
    found: dict[str, tuple[str, ...]] = {}
    for parent, paths in by_parent.items():
        alike = _of_one_shape([module.get_submodule(path) for path in paths])
        if several:
            name = f"resid_{names[parent]}" if alike else names[parent]
        else:
            name = "resid_post" if alike else "block"
        found[name] = tuple(paths)
    return found


def layers_of_longest_list(module: nn.Module) -> tuple[str, ...]:
    """Return the parts with weight matrices of the list that holds most of them, in order.

    They are what units can be said to live in where a module has no blocks.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
        >>> layers_of_longest_list(net)
        ('0', '2')
        >>> layers_of_longest_list(nn.Linear(2, 2))
        ()
    """
    found: tuple[str, ...] = ()
    for name, part in module.named_modules():
        if not isinstance(part, _LISTS):
            continue
        own = tuple(
            f"{name}.{each}" if name else each
            for each, child in part.named_children()
            if any(weight.ndim > 1 for weight in child.parameters())
        )
        found = own if len(own) > len(found) else found
    return found


def _blocks(module: nn.Module, path: str, stream: str | None) -> Iterator[tuple[str, str]]:
    """Return each block's stream (the module that holds the outermost list) and name."""
    is_list = isinstance(module, _LISTS)
    for name, child in module.named_children():
        inside = f"{path}.{name}" if path else name
        if not is_list or not _is_composite(child):
            # What stands beside the blocks in a list is no stage of them.
            if not is_list or isinstance(child, _LISTS):
                yield from _blocks(child, inside, stream)
            continue
        within = stream if stream is not None else path.rpartition(".")[0]
        if isinstance(child, _LISTS) or _is_stage(child):
            yield from _blocks(child, inside, within)
        else:
            yield within, inside


def _is_composite(module: nn.Module) -> bool:
    """Say whether a module has at least two parts that have weight matrices of their own."""
    n = 0
    for part in module.modules():
        n += any(weight.ndim > 1 for weight in part.parameters(recurse=False))
        if n > 1:
            return True
    return False


def _is_stage(module: nn.Module) -> bool:
    """Say whether a module holds a list of blocks that are all of one kind."""
    for name, part in module.named_modules():
        if not isinstance(part, _LISTS) or any(word in name for word in _SIDE_BY_SIDE):
            continue
        weighty = [each for each in part.children() if any(True for _ in each.parameters())]
        kinds = {type(each) for each in weighty}
        if len(kinds) == 1 and all(map(_is_composite, weighty)):
            return True
    return False


def _names(parents: Sequence[str]) -> Mapping[str, str]:
    """Return a name for every part: the words in which their paths differ."""
    found = {}
    for parent in parents:
        words = [
            word
            for word in parent.split(".")
            if not all(word in other.split(".") for other in parents) and not word.isdigit()
        ]
        found[parent] = "_".join(words[:1]) or parent.replace(".", "_") or "main"
    if len(set(found.values())) < len(found):
        return {parent: parent.replace(".", "_") or "main" for parent in parents}
    return found


def _of_one_shape(blocks: Sequence[nn.Module]) -> bool:
    """Say whether what blocks have in common has the same shape in all of them."""
    shapes = [{name: tuple(p.shape) for name, p in block.named_parameters()} for block in blocks]
    shared = set.intersection(*map(set, shapes))
    return bool(shared) and all(len({each[name] for each in shapes}) == 1 for name in shared)
