"""Fine-tuning a causal model on completions: `CausalStudent` against plain `transformers.Trainer` and TRL's `SFTTrainer`, same batches.

`python benchmarks/causal_throughput.py` on a CPU trains a small Llama; with a GPU a larger one, in bfloat16. Each side runs in fresh
processes, in turns. The model is random and the texts are made up: only time and memory are looked at.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np
from harness import median, paired_rounds, write_results

WORDS = 8_000
SHORTEST, LONGEST = 32, 96
ROUNDS = 3
SIZES = {
    "cuda": {"texts": 8192, "batch": 64, "hidden": 768, "layers": 12, "heads": 12},
    "cpu": {"texts": 256, "batch": 16, "hidden": 128, "layers": 2, "heads": 2},
}
SIDES = ("plain", "trl", "ours")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=SIDES, help="run one side here and print its figures")
    side = parser.parse_args().side
    if side:
        print(json.dumps(train(side)))
        return
    answers = paired_rounds({name: lambda name=name: child(name) for name in SIDES}, ROUNDS)
    device = answers["plain"][0]["device"]
    size = SIZES["cuda" if device != "cpu" else "cpu"]
    fields = ("texts per second", "texts_per_second"), ("texts per CPU second", "texts_per_cpu_second"), ("peak memory, MiB", "peak_mib")
    rows = []
    for what, field in fields:
        plain, trl, ours = (median(answers[name], field) for name in SIDES)
        names = {"transformers.Trainer": plain, "trl.SFTTrainer": trl, "CausalStudent": ours}
        rows.append({"what": what, **names, "ours / Trainer": ours / plain, "ours / SFTTrainer": ours / trl})
    write_results(
        f"causal_throughput_{'gpu' if device != 'cpu' else 'cpu'}",
        rows,
        title=f"Fine-tuning throughput of causal models on {device}",
        notes=f"One epoch over {size['texts']:,} prompts and texts of {SHORTEST} to {LONGEST} tokens each, batch {size['batch']}, prompts "
        f"masked, a random Llama of {size['layers']} layers × {size['hidden']} with {WORDS:,} words, float32 on a CPU and bfloat16 "
        "autocast on a GPU, tokenizing included on all sides, the same rows in each batch. "
        f"Median of {ROUNDS} rounds in turns. CausalStudent sends only the learned columns through the output layer. Peak memory is the "
        "device's allocator on a GPU, the process's on a CPU.",
    )


def child(side: str) -> dict:
    """One side in a fresh process."""
    finished = subprocess.run([sys.executable, __file__, "--side", side], capture_output=True, text=True, check=False)
    if finished.returncode:
        sys.exit(finished.stderr[-3000:])
    return json.loads(finished.stdout.strip().splitlines()[-1])


def train(side: str) -> dict:
    import torch

    warnings.simplefilter("ignore")
    gpu = torch.cuda.is_available()
    size = SIZES["cuda" if gpu else "cpu"]
    prompts, texts = made_up(size["texts"])
    step = {"ours": from_steelyard, "plain": from_transformers, "trl": from_trl}[side]
    few = 2 * size["batch"]
    step(*built(size), prompts[:few], texts[:few], size["batch"], gpu)
    if gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    model, tokenizer = built(size)
    start, busy = time.perf_counter(), time.process_time()
    step(model, tokenizer, prompts, texts, size["batch"], gpu)
    if gpu:
        torch.cuda.synchronize()
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    peak = torch.cuda.max_memory_allocated() / 2**20 if gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = {"texts_per_second": len(texts) / seconds, "texts_per_cpu_second": len(texts) / busy, "peak_mib": peak}
    return {"device": torch.cuda.get_device_name() if gpu else "cpu", **figures}


def made_up(n: int) -> tuple[list[str], list[str]]:
    rng = np.random.default_rng(0)
    lengths = rng.integers(SHORTEST, LONGEST + 1, (2, n))
    return tuple([" ".join(f"w{word}" for word in rng.integers(0, WORDS, length)) for length in side] for side in lengths)


def built(size: dict) -> tuple:
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[END]"]
    core = Tokenizer(WordLevel({word: i for i, word in enumerate(special + [f"w{i}" for i in range(WORDS)])}, unk_token="[UNK]"))
    core.pre_tokenizer = WhitespaceSplit()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=WORDS + 3,
        hidden_size=size["hidden"],
        intermediate_size=4 * size["hidden"],
        num_hidden_layers=size["layers"],
        num_attention_heads=size["heads"],
        max_position_embeddings=512,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=2,
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="[UNK]", pad_token="[PAD]", eos_token="[END]", model_max_length=512
    )
    return LlamaForCausalLM(config).to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer


def from_steelyard(model, tokenizer, prompts, texts, batch, gpu) -> None:
    from steelyard.completions import Completions
    from steelyard.training import CausalStudent

    student = CausalStudent((model, tokenizer), epochs=1, batch_size=batch, seed=42, progress=False, arguments={"bf16": gpu})
    student.fit(Completions(prompts, texts))


def common(batch: int, gpu: bool, folder: str) -> dict:
    timing = {"num_train_epochs": 1, "per_device_train_batch_size": batch, "learning_rate": 2e-5, "warmup_steps": 0.1, "seed": 42}
    quiet = {"save_strategy": "no", "report_to": "none", "disable_tqdm": True, "dataloader_pin_memory": gpu}
    return {"output_dir": folder, "bf16": gpu, **timing, **quiet}


def tokens(tokenizer, prompts, texts) -> list[dict]:
    contexts, answers = (tokenizer(part, add_special_tokens=False)["input_ids"] for part in (prompts, texts))
    answers = [[*answer, tokenizer.eos_token_id] for answer in answers]
    return [
        {"input_ids": context + answer, "labels": [-100] * len(context) + answer} for context, answer in zip(contexts, answers, strict=True)
    ]


def from_transformers(model, tokenizer, prompts, texts, batch, gpu) -> None:
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    rows = tokens(tokenizer, prompts, texts)
    with tempfile.TemporaryDirectory() as folder:
        collator = DataCollatorForSeq2Seq(tokenizer, padding=True)
        Trainer(model=model, args=TrainingArguments(**common(batch, gpu, folder)), train_dataset=rows, data_collator=collator).train()


def from_trl(model, tokenizer, prompts, texts, batch, gpu) -> None:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = Dataset.from_list(tokens(tokenizer, prompts, texts))
    with tempfile.TemporaryDirectory() as folder:
        options = {"max_length": None, "gradient_checkpointing": False, "dataset_kwargs": {"skip_prepare_dataset": True}}
        arguments = SFTConfig(**common(batch, gpu, folder), **options)
        SFTTrainer(model=model, args=arguments, train_dataset=rows, processing_class=tokenizer).train()


if __name__ == "__main__":
    main()
