"""Fine-tuning an encoder on soft labels: `StudentTrainer` against plain `transformers.Trainer`, the same model, texts and batches.

`python benchmarks/student_throughput.py` on a CPU trains a small encoder; with a GPU a BERT-base-sized one, in bfloat16.
Each side runs in fresh processes, in turns, and loads the same folder. The model is random and the texts are made up: only time and memory
are looked at. On a CPU the memory is what training takes on top of a process that has trained before, so that imports do not count.
"""

import argparse
import ctypes
import json
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np
from harness import median, paired_rounds, write_results
from sides.clock import peak_growth

WORDS = 20_000
LENGTH = 126
ROUNDS = 3
SIZES = {
    "cuda": {"texts": 8192, "batch": 64, "hidden": 768, "layers": 12, "heads": 12},
    "cpu": {"texts": 384, "batch": 32, "hidden": 256, "layers": 4, "heads": 4},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=["ours", "plain"], help="run one side here and print its figures")
    side = parser.parse_args().side
    if side:
        print(json.dumps(train(side)))
        return
    answers = paired_rounds({name: lambda name=name: child(name) for name in ("plain", "ours")}, ROUNDS)
    plain, ours = answers["plain"], answers["ours"]
    device = plain[0]["device"]
    size = SIZES["cuda" if device != "cpu" else "cpu"]
    rows = [
        {
            "what": what,
            "transformers.Trainer": median(plain, field),
            "StudentTrainer": median(ours, field),
            "ours / plain": median(ours, field) / median(plain, field),
        }
        for what, field in (("texts per second", "texts_per_second"), ("peak memory, MiB", "peak_mib"))
    ]
    write_results(
        f"student_throughput_{'gpu' if device != 'cpu' else 'cpu'}",
        rows,
        title=f"Fine-tuning throughput on {device}",
        notes=f"One epoch over {size['texts']:,} texts of {LENGTH + 2} tokens, batch {size['batch']}, a random BERT of {size['layers']} "
        f"layers × {size['hidden']}, float32 on a CPU and bfloat16 autocast on a GPU, tokenizing included on both sides. Median of "
        f"{ROUNDS} rounds in turns, loading the model included. Peak memory is the device's allocator on a GPU; on a CPU, by how much the "
        "process's resident memory at its peak exceeds that before the run.",
    )


def child(side: str) -> dict:
    """One side in a fresh process."""
    finished = subprocess.run([sys.executable, __file__, "--side", side], capture_output=True, text=True, check=False)
    if finished.returncode:
        sys.exit(finished.stderr[-3000:])
    return json.loads(finished.stdout.strip().splitlines()[-1])


def train(side: str) -> dict:
    import torch

    gpu = torch.cuda.is_available()
    size = SIZES["cuda" if gpu else "cpu"]
    texts, probabilities = made_up(size["texts"])
    step = from_steelyard if side == "ours" else from_transformers
    with tempfile.TemporaryDirectory() as folder:
        for part in built(size):
            part.save_pretrained(folder)

        def run(n: int) -> float:
            start = time.perf_counter()
            step(folder, texts[:n], probabilities[:n], size["batch"], gpu)
            if gpu:
                torch.cuda.synchronize()
            return time.perf_counter() - start

        run(2 * size["batch"])
        if gpu:
            torch.cuda.reset_peak_memory_stats()
        else:
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        growth, seconds = peak_growth(lambda: run(len(texts)))
    peak = torch.cuda.max_memory_allocated() if gpu else growth
    return {"device": torch.cuda.get_device_name() if gpu else "cpu", "texts_per_second": len(texts) / seconds, "peak_mib": peak / 2**20}


def made_up(n: int) -> tuple[list[str], np.ndarray]:
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{word}" for word in row) for row in rng.integers(0, WORDS, (n, LENGTH))]
    return texts, rng.dirichlet([1.0, 1.0], n).astype(np.float32)


def built(size: dict) -> tuple:
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.processors import TemplateProcessing
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    core = Tokenizer(WordLevel({word: i for i, word in enumerate(special + [f"w{i}" for i in range(WORDS)])}, unk_token="[UNK]"))
    core.pre_tokenizer = WhitespaceSplit()
    core.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=WORDS + 4,
        hidden_size=size["hidden"],
        num_hidden_layers=size["layers"],
        num_attention_heads=size["heads"],
        intermediate_size=4 * size["hidden"],
        num_labels=2,
    )
    return BertForSequenceClassification(config), PreTrainedTokenizerFast(tokenizer_object=core, unk_token="[UNK]", pad_token="[PAD]")


def from_steelyard(folder, texts, probabilities, batch, gpu) -> None:
    from steelyard import Targets
    from steelyard.training import StudentTrainer

    student = StudentTrainer(folder, epochs=1, batch_size=batch, progress=False, arguments={"bf16": gpu})
    student.fit(texts, Targets(probabilities, classes=["a", "b"]))


def from_transformers(folder, texts, probabilities, batch, gpu) -> None:
    from torch.utils.data import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, Trainer, TrainingArguments

    warnings.simplefilter("ignore")
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    encoded = tokenizer(texts, truncation=True, max_length=512)

    class Rows(Dataset):
        def __len__(self) -> int:
            return len(texts)

        def __getitem__(self, i: int) -> dict:
            return {
                "input_ids": encoded["input_ids"][i],
                "attention_mask": encoded["attention_mask"][i],
                "labels": int(probabilities[i].argmax()),
            }

    with tempfile.TemporaryDirectory() as output:
        arguments = TrainingArguments(
            output_dir=output,
            num_train_epochs=1,
            per_device_train_batch_size=batch,
            learning_rate=2e-5,
            weight_decay=0.01,
            warmup_steps=0.1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            bf16=gpu,
        )
        Trainer(model=model, args=arguments, train_dataset=Rows(), data_collator=DataCollatorWithPadding(tokenizer)).train()


if __name__ == "__main__":
    main()
