from __future__ import annotations

import subprocess
import sys

HEAVY = {"torch", "transformers", "matplotlib", "ray", "pyspark", "sklearn", "scipy", "polars", "pyarrow", "pandas"}


def modules_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys; print(' '.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_import_brings_nothing_heavy() -> None:
    assert not modules_after("import steelyard") & HEAVY


def test_votes_and_label_models_need_no_torch() -> None:
    loaded = modules_after("import steelyard as sy; sy.Votes([[0]], classes=['a']); sy.label_models.MajorityVote(); sy.apply; sy.keywords")
    assert not loaded & {"torch", "transformers", "matplotlib", "ray", "pyspark"}


def test_every_public_name_resolves() -> None:
    import steelyard

    assert all(getattr(steelyard, name) is not None for name in steelyard.__all__)


def test_a_misspelt_name_is_answered_with_the_right_one() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import steelyard as sy; sy.labelling_function"], capture_output=True, text=True, check=False
    )
    assert "Did you mean: 'labeling_function'?" in done.stderr
