"""Who debates, by the name a user gives: quotations of labelled texts, a served language model, or a local one."""

from __future__ import annotations

import re
from typing import Any

from steelyard.jobs.text_task import TextTask
from steelyard.language.debate import Debater
from steelyard.language.debaters import PromptDebater, QuotingDebater
from steelyard.pools import Pools

QUOTES = "quotes"


def named_debater(
    name: str,
    task: TextTask,
    pools: Pools,
    student: Any,
    *,
    model: str = "",
    turns: int = 3,
    words: int = 150,
    temperature: float = 0.8,
    max_tokens: int = 220,
) -> Debater:
    """The debater of that name.

    Parameters
    ----------
    name
        ``quotes`` (nearest labelled texts of the gold pool, found by the student's encoder), the address of a server with chat completions,
        such as vLLM's, or a Hugging Face causal model.
    task, pools, student
        What is debated, and by whom it is read.
    model
        Name the server knows the model by.
    turns
        Arguments of each side.
    words
        Longest argument.
    temperature, max_tokens
        Of the arguments of language models.

    Examples
    --------
    >>> named_debater("http://localhost:8000", None, None, None, model="small")  # doctest: +ELLIPSIS
    <steelyard.language.debaters.PromptDebater object at ...>
    """
    if name == QUOTES:
        from steelyard.encoders import offline_encoder

        encoder = getattr(student, "encoder", None) or offline_encoder()
        return QuotingDebater([task.texts[row] for row in pools.gold], task.y[pools.gold], encoder, nearest=max(6, turns))
    if re.match(r"https?://", name):
        from steelyard.sources.prompt_backends import OpenAICompatible

        def server(seed: int) -> OpenAICompatible:
            # The server is seeded by the debate's seed, so that debates differ and can be held again.
            return OpenAICompatible(name, model, temperature=temperature, max_tokens=max_tokens, parameters={"seed": seed})

        return PromptDebater(server, words=words)
    from steelyard.sources.local_lm import LocalCausalLM

    return PromptDebater(LocalCausalLM(name, mode="generate", max_tokens=max_tokens), words=words)
