"""Search a model's traced graph for products of two tensors that both depend on the input.

Attention scores are such products (queries with keys), as is every other comparison of two tokens; a mixing by weights
is not, for one of its factors does not depend on the input.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.fx.experimental.proxy_tensor import make_fx

# Contractions: operators that sum products of their two factors over an axis; the places of those factors.
CONTRACTIONS = {"mm": (0, 1), "bmm": (0, 1), "addmm": (1, 2), "baddbmm": (1, 2), "dot": (0, 1), "mv": (0, 1)}


def token_products(model: nn.Module, *inputs: Tensor) -> list[str]:
    """Names of the operators that multiply the inputs with one another across tokens, in the order of the graph.

    These are fused attention, softmax, and every contraction both of whose factors depend on the input.
    """
    with torch.no_grad():
        graph = make_fx(model.train(), pre_dispatch=False)(*inputs).graph
    nodes = list(graph.nodes)
    from_input = set(nodes[: len(inputs)])
    found = []
    for node in nodes[len(inputs) :]:
        depends = [argument in from_input for argument in node.all_input_nodes]
        if not any(depends):
            continue
        from_input.add(node)
        name = str(node.target).removeprefix("aten.").split(".")[0]
        factors = [node.args[i] for i in CONTRACTIONS.get(name, ())]
        both = bool(factors) and all(isinstance(f, Node) and f in from_input for f in factors)
        if both or "attention" in name or "softmax" in name:
            found.append(name)
    return found


def structure(model: nn.Module, *inputs: Tensor) -> dict[str, int]:
    """Number of convolutions, and of products of tokens with tokens, in a model's graph for these inputs."""
    with torch.no_grad():
        names = [str(node.target) for node in make_fx(model)(*inputs).graph.nodes]
    return {"convolutions": sum("conv" in n for n in names), "token products": len(token_products(model, *inputs))}
