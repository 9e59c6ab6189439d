"""Entity F1 of ConditionalHMM on frozen MiniLM token embeddings, beside SequenceHMM and the vote. Needs `STEELYARD_DATA` and torch.

    python benchmarks/conditional_hmm_accuracy.py --cache FOLDER

Embedding the words takes about ten minutes on one core the first time; they are kept in FOLDER.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from harness import write_results
from ner_accuracy import SETS, difference, documents, score, source_subsets

from steelyard import Votes, datasets, label_models
from steelyard.encoders import offline_encoder
from steelyard.evaluation.sequences import spans_from_bio

LAYER, WORDS, BATCH = 4, 120, 16
SEEDS = (0, 1, 2)


def main() -> None:
    reads = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reads.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "steelyard_token_embeddings")
    cache = reads.parse_args().cache
    rows = []
    for name in SETS:
        data = datasets.load(name)
        words = {split: embedded(cache / f"{name}_{split}.npy", data[split]["tokens"].to_list()) for split in ("train", "valid", "test")}
        for subset, sources in source_subsets(data.votes["train"]).items():
            print(name, subset, file=sys.stderr, flush=True)
            rows += compared(name, f"{subset} ({len(sources)})", data, sources, words)
    write_results(
        "conditional_hmm_accuracy",
        rows,
        title="Entity F1 of the conditional hidden Markov model",
        notes="Fitted on the training documents' votes without labels; exact spans, micro F1 (%). A word's embedding is the mean over its "
        f"word pieces of layer {LAYER} of the offline MiniLM, frozen. ConditionalHMM: mean and spread of {len(SEEDS)} seeds; the "
        "interval is a paired bootstrap over documents (95 %) of seed 0 against SequenceHMM. The learning rate was set on the validation "
        "documents.",
    )


def compared(name: str, functions: str, data: datasets.Dataset, sources: list[str], words: dict[str, np.ndarray]) -> list[dict]:
    """One row per split and model."""
    fit = data.votes["train"].select(sources)
    plain, vote = label_models.SequenceHMM().fit(fit), label_models.MajorityVote().fit(fit)
    conditional = [label_models.ConditionalHMM(seed=seed).fit(fit, embeddings=words["train"]) for seed in SEEDS]
    rows = []
    for split in ("valid", "test"):
        votes: Votes = data.votes[split].select(sources)
        gold = [list(spans_from_bio(tags)) for tags in data[split]["label"].to_list()]
        spans = {name: documents(model.predict(votes), votes) for name, model in (("MajorityVote", vote), ("SequenceHMM", plain))}
        runs = [documents(model.predict(votes, embeddings=words[split]), votes) for model in conditional]
        where = {"set": name, "functions": functions, "split": split}
        rows += [where | {"model": model, **score(gold, found)} for model, found in spans.items()]
        scores = [score(gold, found) for found in runs]
        line = {key: float(np.mean([s[key] for s in scores])) for key in scores[0]}
        line |= {"F1 sd": float(np.std([s["F1"] for s in scores])), "over SequenceHMM": difference(gold, runs[0], spans["SequenceHMM"])}
        rows.append(where | {"model": "ConditionalHMM", **line})
    return rows


def embedded(file: Path, texts: list[list[str]]) -> np.ndarray:
    """(words, d) float16 means over each word's pieces; a document is read in windows of whole words."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        folder = offline_encoder().folder_or_name()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        model = transformers.AutoModel.from_pretrained(folder).eval()
        starts = np.cumsum([0, *map(len, texts)])
        windows = [(starts[i] + a, text[a : a + WORDS]) for i, text in enumerate(texts) for a in range(0, len(text), WORDS)]
        windows.sort(key=lambda window: -len(window[1]))
        vectors = np.zeros((starts[-1], model.config.hidden_size), np.float16)
        for first in range(0, len(windows), BATCH):
            part = windows[first : first + BATCH]
            read = tokenizer(
                [some for _, some in part], is_split_into_words=True, padding=True, truncation=True, max_length=512, return_tensors="pt"
            )
            with torch.inference_mode():
                hidden = model(**read, output_hidden_states=True).hidden_states[LAYER]
            for i, (start, some) in enumerate(part):
                pieces = [(at, word) for at, word in enumerate(read.word_ids(i)) if word is not None]
                places, owners = (torch.tensor(column) for column in zip(*pieces, strict=True))
                sums = torch.zeros(len(some), hidden.shape[2]).index_add_(0, owners, hidden[i, places])
                counts = torch.bincount(owners, minlength=len(some)).clamp(min=1)
                vectors[start : start + len(some)] = (sums / counts[:, None]).numpy()
        draft = file.with_suffix(".part.npy")
        np.save(draft, vectors)
        draft.replace(file)
    return np.load(file)


if __name__ == "__main__":
    main()
