"""A language model behind a server (vLLM, Ollama, a hosted one) that writes solutions: the teacher of trace distillation.

It samples as a `Policy` does and, its weights being elsewhere, learns nothing. Every text is kept on disk as it arrives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from steelyard.completions import Completions
from steelyard.errors import SourceError
from steelyard.sources.prompt_backends import Answer, OpenAICompatible, Request
from steelyard.sources.response_cache import ResponseCache, response_key


class ServedWriter:
    """A model that answers `/v1/chat/completions`.

    Parameters
    ----------
    address
        Such as ``http://localhost:8000``.
    model
        Name the server knows the model by.
    max_new_tokens, top_p
        Length limit of a text, and the share of the probability that is drawn from.
    **options
        Of `OpenAICompatible`, such as `concurrency` or `api_key`.

    Notes
    -----
    This is how vLLM writes here: ``vllm serve FOLDER --served-model-name NAME``, in an environment of its own (its wheels bring CUDA and
    another NumPy), then ``ServedWriter("http://localhost:8000", "NAME")``. Such a folder is the ``model`` that `CausalStudent.save` writes.

    Examples
    --------
    >>> ServedWriter("http://localhost:8000", "small-reasoner").sample([]).texts
    ()
    """

    def __init__(self, address: str, model: str, *, max_new_tokens: int = 256, top_p: float = 1.0, **options: Any) -> None:
        self.address = address
        self.model = model
        self.max_new_tokens = max_new_tokens
        self.top_p = top_p
        self.options = options

    def sample(self, prompts: Sequence[str], n: int = 1, *, temperature: float = 1.0, seed: int = 0) -> Completions:
        """Draw n texts per prompt, the i-th with the server's seed `seed + i`; see `Policy.sample`.

        A text that used up its tokens, or that the server refused to write (then it is empty), is not finished.

        Raises
        ------
        SourceError
            The server does not answer, or not a single text came.
        """
        texts = np.full((len(prompts), n), "", dtype=object)
        finished = np.zeros((len(prompts), n), dtype=bool)
        reason: object = "no answer"
        with ResponseCache() as cache:
            for number in range(n):
                parameters = {"seed": seed + number, "top_p": self.top_p}
                backend = OpenAICompatible(
                    self.address,
                    self.model,
                    temperature=temperature,
                    max_tokens=self.max_new_tokens,
                    parameters=parameters,
                    **self.options,
                )
                keys = [response_key(backend=backend.identity, prompt=prompt) for prompt in prompts]
                known = cache.get(list(dict.fromkeys(keys)))
                missing = [row for row, key in enumerate(keys) if key not in known]
                for place, answer in backend.answer([Request(prompts[row]) for row in missing]):
                    if isinstance(answer, Answer):
                        kept = {"text": answer.text, "finished": answer.completion_tokens < self.max_new_tokens}
                        cache.put(keys[missing[place]], kept)
                        known[keys[missing[place]]] = kept
                    else:
                        reason = answer
                for row, key in enumerate(keys):
                    if key in known:
                        texts[row, number], finished[row, number] = known[key]["text"], known[key]["finished"]
        if len(prompts) and not any(texts.ravel()):
            raise SourceError(f"the server at '{self.address}' wrote none of {texts.size} texts ({reason}); check its address and model")
        rows = np.repeat(np.arange(len(prompts)), n)
        return Completions([prompts[int(row)] for row in rows], texts.ravel().tolist(), rows=rows, finished=finished.ravel())
