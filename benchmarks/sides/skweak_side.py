"""skweak's HMM and sequential vote on span votes: `skweak_side.py FOLDER`. Runs in the `skweak` environment.

The folder holds `documents.json`: {"types": [...], "fit": [...], "test": [...]}, a document being
{"tokens": [...], "votes": {source: [[start, end, type]]}}.
The answer, `skweak.json`, has for both models the spans of each test document.
"""

import contextlib
import io
import json
import sys
from pathlib import Path

import spacy
from clock import answer, timed
from skweak.generative import HMM
from skweak.voting import SequentialMajorityVoter
from spacy.tokens import Doc, Span

folder = Path(sys.argv[1])
vocabulary = spacy.blank("en").vocab


def as_doc(document: dict) -> Doc:
    doc = Doc(vocabulary, words=document["tokens"])
    for source, spans in document["votes"].items():
        doc.spans[source] = [Span(doc, start, end, label=kind) for start, end, kind in spans]
    return doc


def main() -> None:
    task = json.loads((folder / "documents.json").read_text())
    fit, test = ([as_doc(document) for document in task[part]] for part in ("fit", "test"))
    models = {"HMM": HMM("answer", task["types"]), "SequentialMajorityVoter": SequentialMajorityVoter("answer", task["types"])}
    spans, seconds = {}, {}
    for name, model in models.items():
        with contextlib.redirect_stdout(io.StringIO()):  # the HMM reports every iteration
            seconds[f"{name} fit"], _ = timed(lambda model=model: model.fit(fit))
            seconds[f"{name} predict"], answered = timed(lambda model=model: [model(doc) for doc in test])
        spans[name] = [[[span.start, span.end, span.label_] for span in doc.spans["answer"]] for doc in answered]
    (folder / "skweak.json").write_text(json.dumps(spans))
    answer(**seconds)


main()
