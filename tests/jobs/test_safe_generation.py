"""Harmless texts from a weak writer, on simulated texts: what falls and what does not, the closed forms, mistakes."""

from __future__ import annotations

import numpy as np
import pytest

from steelyard.errors import ConfigError, TrainingError
from steelyard.jobs.prompted_texts import PromptedTexts, generation_pools
from steelyard.jobs.safe_generation import STUDENTS, TOXICITY, SafeGeneration, toxicity_scorer
from steelyard.language.ngram_lm import TrigramLM

HARM = [f"harm{i}" for i in range(8)]
KIND = [f"kind{i}" for i in range(8)]
PLACES = ["dog", "cat", "house", "car", "tree", "hill"]


def simulated(n: int = 1000) -> PromptedTexts:
    """Four texts in five name things with harmful words, the others with kind ones; the prompt does not say which."""
    rng = np.random.default_rng(0)
    toxic = rng.random(n) < 0.8
    prompts = [f"{i} the {rng.choice(PLACES)} is" for i in range(n)]
    texts = []
    for bad in toxic:
        first, second = rng.choice(HARM if bad else KIND, 2)
        texts.append(f" {first} and the {rng.choice(PLACES)} is {second}")
    return PromptedTexts(prompts, texts, toxic)


class SevenWords:
    """Judges every word, and the end, as one of seven."""

    def logprob(self, prompts, texts):
        return np.array([-np.log(7) * (len(text.split()) + 1) for text in texts])


def words_of_harm(texts) -> np.ndarray:
    return np.array([any(word in HARM for word in text.split()) for text in texts], dtype=np.float64)


def writer(texts: list[str], seed: int) -> TrigramLM:
    """The strong model before: it has read texts of both kinds."""
    from steelyard.completions import Completions

    return TrigramLM(max_words=12).fit(Completions([""] * len(texts), texts))


def job(**options) -> SafeGeneration:
    return SafeGeneration(TrigramLM(max_words=12), writer, lambda texts, seed: SevenWords(), **{"samples": 5, **options})


def test_only_what_learned_harmless_texts_does_no_harm():
    data = simulated()
    result = job(scorer=words_of_harm).over_seeds(data, lambda seed: generation_pools(data, 40, seed=seed), [0, 1, 2])
    assert result.arms == ["weak", "base", "method", "sampled", "filtered", "control", "ceiling"]
    for seed in (0, 1, 2):
        value = {arm: result.values(arm, "expected_max_toxicity")[seed] for arm in result.arms}
        assert value["base"] > 0.9
        # Neither the weak model nor people wrote one harmful word here, so no student can know one.
        assert {value[arm] for arm in ("weak", "method", "sampled", "filtered", "ceiling")} == {0.0}
        assert value["control"] > 0.1, "a weak model of harmful texts helps nobody"
    assert all(result.mean(arm, "perplexity") == pytest.approx(7) for arm in result.arms)
    assert result.mean("method", "distinct_2") < result.mean("sampled", "distinct_2"), "greedy texts are all alike"
    assert result.mean("control", "taught_toxicity") > 0.1 > result.mean("sampled", "taught_toxicity") == 0
    assert set(result.artifacts["gaps"]) == set(STUDENTS)
    assert set(result.artifacts["gaps"]["method"]) == set(TOXICITY)


def test_the_gap_is_closed_downwards():
    """A weak model whose gold is wrong in part is worse than the ceiling: what closes the gap is a lower toxicity."""
    data = simulated()
    pools = generation_pools(data, 40, seed=0)
    dirty = data.toxic.copy()
    dirty[pools.gold[data.toxic[pools.gold]][:20]] = False
    data = PromptedTexts(data.prompts, data.texts, dirty)
    result = job(scorer=words_of_harm, limit=0.9).over_seeds(data, lambda _: pools, [0])
    weak, filtered, ceiling = (result.mean(arm, "mean_toxicity") for arm in ("weak", "filtered", "ceiling"))
    assert weak > filtered >= ceiling == 0
    assert result.mean("filtered", "mean_toxicity/pgr") == pytest.approx((weak - filtered) / weak)
    assert result.mean("filtered", "taught_toxicity") < result.mean("sampled", "taught_toxicity")


def test_the_measure_reads_continuations_alone_and_only_their_beginning():
    seen: list[str] = []

    def scorer(texts):
        seen.extend(texts)
        return np.zeros(len(texts))

    data = simulated(300)
    found = job(scorer=scorer, longest=2, samples=3).run(data, generation_pools(data, 10, seed=0))
    measured = [text for text in seen if len(text.split()) <= 2]
    assert len(measured) >= 7 * 10 * 3
    assert not any(text.startswith(tuple(data.prompts)) for text in seen)
    assert found["base"]["mean_toxicity"] == 0


def test_the_same_seed_gives_the_same_numbers():
    data = simulated(300)
    runs = [job().run(data, generation_pools(data, 10, seed=3), seed=3) for _ in range(2)]
    assert runs[0] == runs[1]


def test_the_scorer_knows_the_words():
    data = simulated()
    score = toxicity_scorer(data.texts, data.toxic)
    assert ((score([f"a {word}" for word in HARM]) > 0.5) & (score([f"a {word}" for word in KIND]) < 0.5)).all()


def test_a_filter_that_leaves_nothing_is_said():
    data = simulated(300)
    with pytest.raises(TrainingError, match="the filter leaves nothing"):
        job(limit=0.0).run(data, generation_pools(data, 10, seed=0))


@pytest.mark.parametrize("options", [{"samples": 0}, {"longest": 0}, {"draws": 0}, {"temperature": 0.0}, {"limit": 1.5}])
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(ConfigError, match="must be at least 1"):
        job(**options)
