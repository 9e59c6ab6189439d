"""What text and token students share: building a Hugging Face model with a head, training it in a run folder, saving and reading it.

A run folder holds `checkpoints/` while training, then `model/` (safetensors, tokenizer) and, written last, `student.json` with the
fingerprint of the run: the same call again reads the finished model, or goes on from the last whole checkpoint after a kill.
"""

from __future__ import annotations

import copy
import hashlib
import os
import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from accelerate import PartialState
from transformers import AutoTokenizer, set_seed

from steelyard.encoders import TextEncoder, quiet
from steelyard.errors import ConfigError, TrainingError
from steelyard.storage import check_output, config_hash, read_json, write_json
from steelyard.training.base import DESCRIPTION, Student
from steelyard.training.objective_trainer import Schedule
from steelyard.training.objectives import Objective
from steelyard.training.rows import TrainingRows

RUN = "run.json"
_LEARNED = ("truncated", "history", "stopped")
_HEADS = {"classifier", "score", "classification_head", "logits_proj"}


class FineTunedStudent(Student):
    """Base of the students that fine-tune a Hugging Face model; a subclass names its `auto` class and writes `fit` and `predict_proba`."""

    auto: ClassVar[Any]
    learning_rates: ClassVar[dict[str, float]]

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the student: weights as safetensors, everything else as JSON."""
        self._check_fitted()
        save_model(self.model_, self.tokenizer_, Path(folder))
        parameters = {**self._parameters(), "on": self.on}
        learned = {name: getattr(self, f"{name}_", None) for name in _LEARNED}
        self._describe(Path(folder), parameters=parameters, **learned)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read a fine-tuned student that `save` or a finished run wrote."""
        folder = Path(folder)
        content = cls._description(folder)
        student = cls(str(folder / "model"), **content["parameters"])
        student.model_, student.tokenizer_ = load_model(cls.auto, folder)
        student.classes_ = tuple(content["classes"])
        for name in _LEARNED:
            if content[name] is not None:
                setattr(student, f"{name}_", content[name])
        if torch.cuda.is_available():
            student.model_.to("cuda")
        return student

    def _fit_in_folder(self, data: Any, used: TrainingRows, objective: Objective, fine_tune: Callable[[Path | None], None]) -> Self:
        """Fine-tune below `output_dir`, or read the run that is already finished there."""
        if self.output_dir is None:
            fine_tune(None)
            return self
        folder = Path(self.output_dir)
        if run_in_folder(folder, fingerprint(self.model, objective, self._parameters(), data, used), fine_tune, self.save):
            finished = type(self).load(folder)
            self.__dict__.update({name: value for name, value in vars(finished).items() if name.endswith("_")})
        return self

    def _schedule(self) -> Schedule:
        if self.tune not in self.learning_rates:
            raise ConfigError(f"{type(self).__name__}: tune is '{self.tune}'; use {', '.join(map(repr, self.learning_rates))}")
        return Schedule(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate if self.learning_rate is not None else self.learning_rates[self.tune],
            warmup=self.warmup,
            weight_decay=self.weight_decay,
            seed=self.seed,
            checkpoint_steps=self.checkpoint_steps,
            progress=self.progress,
            arguments=self.arguments or {},
        )

    def _parameters(self) -> dict[str, Any]:
        """The parameters that decide the result; where, how visibly and from which column it is computed does not."""
        apart = {"model", "objective", "output_dir", "progress", "on", "checkpoint_steps"}
        return {name: value for name, value in self.get_params(deep=False).items() if name not in apart}


def build(auto: Any, model: Any, classes: Sequence[str], *, seed: int, lora: bool = False, **tokenizer_options: Any) -> tuple[Any, Any]:
    """Return a fresh `(model, tokenizer)` with one output per class, the head's random weights drawn from `seed`.

    Parameters
    ----------
    auto
        `AutoModelForSequenceClassification` or `AutoModelForTokenClassification`.
    model
        Hub name, local folder, or a pair (model, tokenizer), which is copied so that a second `fit` starts where the first did.

    Raises
    ------
    TrainingError
        The model cannot be loaded, or the given one has another number of outputs.
    """
    set_seed(seed)
    names = dict(enumerate(classes))
    if isinstance(model, (tuple, list)):
        given, tokenizer = model
        outputs = getattr(given.config, "num_labels", None)
        if outputs != len(classes):
            raise TrainingError(
                f"the given model has {outputs} outputs but there are {len(classes)} classes; build it with num_labels={len(classes)}"
            )
        built, tokenizer = copy.deepcopy(given), copy.deepcopy(tokenizer)
        built.config.id2label, built.config.label2id = names, {name: code for code, name in names.items()}
        return built, tokenizer
    source = TextEncoder(os.fspath(model)).folder_or_name()
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(source, **tokenizer_options)
            built = auto.from_pretrained(
                source,
                id2label=names,
                label2id={name: code for code, name in names.items()},
                # A head made for other classes is replaced by a new one.
                ignore_mismatched_sizes=True,
                # Optimisers need full precision; frozen weights under adapters may stay as they were stored.
                dtype="auto" if lora else torch.float32,
            )
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"model '{model}' cannot be loaded: {str(error).strip().splitlines()[0]}; check the name or give a local folder"
        ) from error
    return built, tokenizer


def add_lora(model: Any, task: str, rank: int) -> Any:
    """Wrap `model` so that only low-rank updates of its linear layers and its head learn (Hu et al. 2022, "LoRA")."""
    from peft import get_peft_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by an old name
        warnings.filterwarnings("ignore", "fan_in_fan_out")  # and sets GPT-2's layers right by itself
        return get_peft_model(model, lora_config(task, rank))


def lora_config(task: str, rank: int) -> Any:
    """Low-rank updates of every linear layer but the head (Hu et al. 2022, "LoRA")."""
    from peft import LoraConfig

    return LoraConfig(
        task_type=task,
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.05,
        target_modules="all-linear",
        # peft trains and saves a classifier's head itself; it may not be adapted as well.
        exclude_modules=None if task == "CAUSAL_LM" else r"(.*\.)?(classifier|score)(\..*)?",
    )


def start_at_zero(model: Any) -> None:
    """Zero the output layer of a classifier and hold its bias there, which makes it bias-free in every saved form.

    Raises
    ------
    TrainingError
        The model has no linear layer with one output per class under a name that heads have.
    """
    found = [
        module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
        and module.out_features == model.config.num_labels
        and _HEADS & set(name.split("."))
        and "lora" not in name
    ]
    if not found:
        raise TrainingError(f"zero_head: {type(model).__name__} has no output layer called one of {', '.join(sorted(_HEADS))}")
    for layer in found:
        torch.nn.init.zeros_(layer.weight)
        if layer.bias is not None:
            torch.nn.init.zeros_(layer.bias)
            layer.bias.requires_grad_(False)


def without_dropout(model: Any) -> None:
    """Switch every dropout of `model` off, the attention's and the adapters' too."""
    for module in model.modules():
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.p = 0.0
        # Some architectures hand a number to a function instead of keeping a layer.
        for name, value in vars(module).items():
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, 0.0)


def run_in_folder(folder: Path, name: str, train: Callable[[Path], None], save: Callable[[Path], None]) -> bool:
    """Train with checkpoints below `folder` and save there, unless the run of this name is already finished; returns whether it was."""
    if start_run(folder, name):
        return True
    train(folder / "checkpoints")
    processes = PartialState()
    if processes.is_main_process:
        save(folder)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    processes.wait_for_everyone()
    return False


def start_run(folder: Path, fingerprint: str) -> bool:
    """Claim `folder` for the run of this fingerprint; returns whether the run is already finished there.

    Raises
    ------
    TrainingError
        The folder holds another run.
    DataError
        It cannot be written to.
    """
    check_output(folder, folder=True)
    if (folder / RUN).exists():
        found = read_json(folder / RUN).get("fingerprint")
        if found != fingerprint:
            raise TrainingError(
                f"output_dir '{folder}' holds another run (other data, targets or parameters: {found}, not {fingerprint}); "
                "choose another folder or delete this one"
            )
        return (folder / DESCRIPTION).exists()
    if (folder / DESCRIPTION).exists() or (folder / "checkpoints").exists():
        raise TrainingError(f"output_dir '{folder}' holds a student of another origin; choose another folder or delete this one")
    write_json(folder / RUN, {"fingerprint": fingerprint})
    return False


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write model and tokenizer to `folder/model`, whole or not at all."""
    part = folder / ".model.part"
    shutil.rmtree(part, ignore_errors=True)
    with quiet():
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
    for file in part.iterdir():
        with open(file, "rb") as stream:
            os.fsync(stream.fileno())
    shutil.rmtree(folder / "model", ignore_errors=True)
    part.rename(folder / "model")


def load_model(auto: Any, folder: Path) -> tuple[Any, Any]:
    """Read what `save_model` wrote.

    Raises
    ------
    TrainingError
        The folder is missing or not readable.
    """
    try:
        with quiet():
            return auto.from_pretrained(folder / "model", local_files_only=True), AutoTokenizer.from_pretrained(folder / "model")
    except (OSError, ValueError) as error:
        raise TrainingError(f"'{folder}' holds no readable model: {str(error).strip().splitlines()[0]}; train it again") from error


def fingerprint(model: Any, objective: Objective, parameters: dict[str, Any], data: Sequence[Any], used: TrainingRows) -> str:
    """Name a run by everything that its result depends on: model, objective, parameters, data and targets."""
    digest = hashlib.sha256()
    for item in data:
        digest.update(repr(item).encode("utf-8", "surrogatepass"))
    digest.update(used.rows.tobytes())
    digest.update(np.ascontiguousarray(used.probabilities).tobytes())
    digest.update(used.weights.tobytes())
    loss = {"name": repr(objective), "state": model_digest(objective)}
    # A name or folder stands for the weights it leads to, not for where they lie.
    is_pair = isinstance(model, (tuple, list))
    start = [repr(model[0].config), model_digest(model[0])] if is_pair else TextEncoder(os.fspath(model)).identity
    return config_hash({"model": start, "objective": loss, "classes": used.classes, "data": digest.hexdigest(), **parameters})


def device_of(model: Any) -> torch.device:
    """The device the model's weights lie on."""
    return next(iter(model.parameters())).device


def model_digest(module: torch.nn.Module) -> str:
    """Name a model by its weights."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
