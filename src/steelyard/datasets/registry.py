"""The named data sets: licence, citation, files with checksums, and which reader turns the files into a `Dataset`.

The files never ship with the library. Those without a URL have no public download in Parquet form: point ``STEELYARD_DATA`` at a
folder that holds them. The bundled sets need no file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from steelyard.datasets import bundled, crowds, docstrings, images, judges, safety, texts, weak_supervision
from steelyard.datasets.dataset import Dataset
from steelyard.datasets.resolve import DataFile
from steelyard.errors import DataError

Reader = Callable[[Mapping[str, Path], str | None], Dataset]


@dataclass(frozen=True)
class Card:
    """What is known about a named data set without opening it.

    Parameters
    ----------
    name : str
        Its name, which is also its folder.
    about : str
        One line: the task, the size, the kind of votes.
    licence, citation : str
        As stated by its authors.
    reader : callable
        ``reader(paths by file name, subset or None) -> Dataset``.
    files : tuple of DataFile
        Empty for a bundled set, which is built from installed packages.
    subsets : tuple of str
        Names of its parts, when the folder holds several tasks; then one must be chosen, as in ``ethics/justice``.
    aliases : mapping of str to str
        Shorter names, each for the name or ``name/subset`` it stands for.
    """

    name: str
    about: str
    licence: str
    citation: str
    reader: Reader
    files: tuple[DataFile, ...] = ()
    subsets: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_bundled(self) -> bool:
        """Whether it needs neither files nor a network."""
        return not self.files


def find(name: str, *, whole: bool = False) -> tuple[Card, str | None]:
    """The card behind a name, an alias or ``name/subset``, and the subset; with `whole` a set of several parts may be named without one.

    Raises
    ------
    DataError
        No such set or subset; the message lists what there is.

    Examples
    --------
    >>> card, subset = find("yoruba")
    >>> card.name, subset
    ('ws_news_yoruba_hausa', 'yoruba')
    """
    full = next((card.aliases[name] for card in CARDS if name in card.aliases), name)
    folder, _, subset = full.partition("/")
    card = next((card for card in CARDS if card.name == folder), None)
    if card is None:
        raise DataError(f"no data set named '{name}'; known names are {', '.join(names())}, or give the path of a table")
    if card.subsets and subset not in card.subsets and (subset or not whole):
        raise DataError(
            f"data set '{card.name}' has the parts {', '.join(card.subsets)}; choose one, as in '{card.name}/{card.subsets[0]}'"
        )
    if subset and not card.subsets:
        raise DataError(f"data set '{card.name}' has no parts; use '{card.name}' alone")
    return card, subset or None


def names() -> list[str]:
    """Every name, bundled sets first.

    Examples
    --------
    >>> names()[:4]
    ['docstrings', 'breast_cancer', 'digits', 'wine']
    """
    return [card.name for card in CARDS]


def _files(folder: str, **sha256: str) -> tuple[DataFile, ...]:
    return tuple(DataFile(f"{folder}/{stem}.parquet", digest) for stem, digest in sha256.items())


_WRENCH = "Zhang et al. 2021, WRENCH: A Comprehensive Benchmark for Weak Supervision"
_RULES = "Awasthi et al. 2020, Learning from Rules Generalizing Labeled Exemplars"

CARDS: tuple[Card, ...] = (
    Card(
        "docstrings",
        "which library does a docstring come from: 5 classes, parsed from the installed packages, names masked",
        "BSD-3-Clause, MIT and PSF-based licences of the packages",
        "numpy, scipy, scikit-learn, polars, matplotlib: their authors",
        docstrings.read,
    ),
    Card(
        "breast_cancer",
        "tumours benign or malignant, 30 features, 569 rows",
        "CC BY 4.0",
        "Wolberg, Mangasarian, Street, Street 1993, Breast Cancer Wisconsin (Diagnostic)",
        bundled.read_breast_cancer,
    ),
    Card(
        "digits",
        "handwritten digits, 8 × 8 pixels, 1,797 rows",
        "CC BY 4.0",
        "Alpaydin, Kaynak 1998, Optical Recognition of Handwritten Digits",
        bundled.read_digits,
    ),
    Card("wine", "three cultivars, 13 features, 178 rows", "CC BY 4.0", "Aeberhard, Forina 1991, Wine", bundled.read_wine),
    Card(
        "ws_youtube_spam",
        "comments, spam or ham, 2,056 rows, votes of 10 labelling functions",
        "CC BY 4.0",
        f"Alberto, Lochter, Almeida 2015, TubeSpam; {_WRENCH}",
        weak_supervision.read_rows,
        _files(
            "ws_youtube_spam",
            data="345ddd4dd6533dd222108fd10d33a650e8d83fe7bea74ea0197f7e81ab7e3f78",
            lfs="0e3164efd4f8adb82eb5d3573dbcf3aabbf5473ffe5ec26aacd5cc1fca9940a2",
        ),
        aliases={"youtube": "ws_youtube_spam"},
    ),
    Card(
        "ws_sms_spam",
        "messages, spam or ham, 5,571 rows, votes of 73 regular expressions",
        "CC BY 4.0",
        f"Almeida, Hidalgo 2011, SMS Spam Collection; {_RULES}",
        weak_supervision.read_rows,
        _files(
            "ws_sms_spam",
            data="a07736b517505e41f45a55266f0570449875ecdc912e36cd0fb12eac56024f1f",
            lfs="321961f79886c827b43bf7ce3b0cac229e0cbb78b037d44f47ea644309ffddfd",
        ),
        aliases={"sms": "ws_sms_spam"},
    ),
    Card(
        "ws_trec_questions",
        "questions, 6 kinds of answer, 6,033 rows, votes of 68 regular expressions",
        "unknown (redistributed for research)",
        f"Li, Roth 2002, Learning Question Classifiers; {_RULES}",
        weak_supervision.read_rows,
        _files(
            "ws_trec_questions",
            data="2af7b2a40493f48942f5aeb6f9f2704b012f2aa7040f2ef6c23f3ee9234b16ed",
            lfs="5e96939de2bd144a9af94de82a7f3380b44f646067aeef91fbe067f7b42f3f69",
        ),
        aliases={"trec": "ws_trec_questions"},
    ),
    Card(
        "ws_chemprot_relations",
        "chemical–protein relations, 10 classes, 3,214 rows with votes of 26 keyword functions, 11,058 with their majority",
        "free for research (BioCreative VI)",
        f"Krallinger et al. 2017, ChemProt; {_WRENCH}",
        weak_supervision.read_chemprot,
        _files(
            "ws_chemprot_relations",
            votes="434f9dab2a28cad32abe1fa0c7cc5201abd602b292b5332eb2c44c901cad6a06",
            train_majority="1db579aafd971ee9366feca9eebfa191e61da4a0e46d50a59305fd0bbea756f0",
            lfs="67d55e3302350c0000c913111abc982718a367738d1ae58590bdded33def9e8e",
        ),
        aliases={"chemprot": "ws_chemprot_relations"},
    ),
    Card(
        "ws_spouse_relations",
        "sentences with two people, spouses or not, 2,701 test rows, votes of 9 functions",
        "unknown (research use)",
        "Corney et al. 2016, Signal Media articles; Ratner et al. 2017, Snorkel",
        weak_supervision.read_rows,
        _files(
            "ws_spouse_relations",
            data="7622d7ce53ad0844a051998ce0e79af2d5438da84c4f956a3e91962931035566",
            lfs="f0b2819c9ee472035177b1de58917020be2d0936791d8209a2599e70c787ea43",
        ),
        aliases={"spouse": "ws_spouse_relations"},
    ),
    Card(
        "ws_news_yoruba_hausa",
        "headlines by topic: Yoruba (7 topics, 1,908 rows) and Hausa (5 topics, 2,917 rows), one keyword list per topic",
        "unknown",
        "Hedderich et al. 2020, Transfer Learning and Distant Supervision for Multilingual Transformer Models",
        weak_supervision.read_rows,
        _files(
            "ws_news_yoruba_hausa",
            yoruba="1a070d41da36110216a921a75916cb043578570c988c2b2a5f87f9c700209b0d",
            yoruba_lfs="b04bbba4bfe055f410f7a78394655d3fd2eab48b2a7f013bcb223abd342caa51",
            hausa="f22b950fcf75d9dc1df66e8d283b9f915bdf50cc3d67ac7e5d9ffe14e5dc1f3f",
            hausa_lfs="0c66ccfd33500018727948dff281031cff78064abb02fcc79256661fd51383c3",
        ),
        subsets=("yoruba", "hausa"),
        aliases={"yoruba": "ws_news_yoruba_hausa/yoruba", "hausa": "ws_news_yoruba_hausa/hausa"},
    ),
    Card(
        "ws_census_income",
        "people, income above 50,000 dollars or not, 48,842 rows, votes of 16 attribute rules",
        "CC BY 4.0",
        "Becker, Kohavi 1996, Adult",
        weak_supervision.read_census,
        _files(
            "ws_census_income",
            data="8bdc4d05d02dda80988fba5705c3a01551278a173b1f48cf744380336d916a05",
            lfs="dcfffed3642c4d8c62d89d3f974669cc02c9d041692e66519f662670511a1b9c",
        ),
        aliases={"census": "ws_census_income"},
    ),
    Card(
        "ner_ws_bc5cdr",
        "chemicals and diseases in 1,500 abstracts, token votes of 30 labelling functions",
        "free for research (NCBI)",
        "Li et al. 2016, BioCreative V CDR; Safranchik, Luo, Bach 2020, Weakly Supervised Sequence Tagging from Noisy Rules",
        weak_supervision.read_tokens,
        _files(
            "ner_ws_bc5cdr",
            data="d8f330655691fa268e00ba21a0bb367917a2d3e4f8ed56f08362e69c562be99c",
            lfs="062edae3e2e131a60ff8a2e699547cc11f0a76e0a4758f17f63f34f5b38459c6",
        ),
        aliases={"bc5cdr": "ner_ws_bc5cdr"},
    ),
    Card(
        "ner_ws_ncbi_disease",
        "diseases in 790 abstracts, token votes of 17 labelling functions",
        "public domain (US government work)",
        "Doğan, Leaman, Lu 2014, NCBI Disease Corpus; Safranchik, Luo, Bach 2020",
        weak_supervision.read_tokens,
        _files(
            "ner_ws_ncbi_disease",
            data="7b873af9f4df4613c90d69b5e60a6925ab1b20a1c3f2bf988474311fbd2c5e54",
            lfs="f5986f93717d98634627d7aeb1f514314cbea74bc0366e5fe81d3d3ffc15ec8a",
        ),
        aliases={"ncbi_disease": "ner_ws_ncbi_disease"},
    ),
    Card(
        "crowd_bluebirds",
        "108 bird pictures judged by 39 workers (Indigo Bunting or not)",
        "not stated",
        "Welinder et al. 2010, The Multidimensional Wisdom of Crowds",
        crowds.read_bluebirds,
        _files(
            "crowd_bluebirds",
            votes="e9b95a3bccaaa90dc21df0e7d835ed62cdb3a0838200efb2052ae20f4a1be94d",
            gold="ba0f33e0985026eab3121467e7549dd41426e02e180c4088564e1187ee299fce",
        ),
        aliases={"bluebirds": "crowd_bluebirds"},
    ),
    Card(
        "hate_speech_crowd_counts",
        "24,783 tweets: hate, offensive or neither, with the number of crowd votes for each (offensive language)",
        "MIT",
        "Davidson et al. 2017, Automated Hate Speech Detection and the Problem of Offensive Language",
        crowds.read_counts,
        _files("hate_speech_crowd_counts", data="528fbd1d5f4bf1b61d08e7f3ba931004a8e62c99ac2f6d974144f8231e1a206e"),
    ),
    Card(
        "llm_votes_legal",
        "20 legal coding tasks answered by 9 language models with probabilities, expert gold",
        "unknown; the Supreme Court Database is CC BY-NC 3.0 US",
        "Dominguez-Olmedo et al. 2024, Lawma: The Power of Specialization for Legal Tasks",
        crowds.read_model_answers,
        _files(
            "llm_votes_legal",
            cases="aed05f14ba04be48614eb3e9efc5cfe4414fafd2655d2a7657c82ed74cac3001",
            answers="67742ba80637f3fab98195bc6b37f591bc19f15c4633abfa203ea93eafd8feb8",
            tasks="068adcabf6df352ca7f173ff6d625deb2a78ae0709211b54404cf1404510df8b",
        ),
        subsets=(
            *("sc_issuearea", "sc_decisiondirection", "sc_casedisposition", "sc_lcdisposition", "sc_lcdispositiondirection"),
            *("sc_partywinning", "sc_lcdisagreement", "songer_treat", "songer_geniss", "songer_direct1", "songer_origin", "songer_circuit"),
            *("songer_method", "songer_typeiss", "songer_source", "songer_casetyp1_2-2", "songer_summary", "songer_stateclaim"),
            *("songer_procedur", "songer_dueproc"),
        ),
    ),
    Card(
        "judgebench_verdicts",
        "620 pairs of responses, one right and one wrong, with the verdicts of 7 judges in both orders",
        "unknown",
        "Tan et al. 2024, JudgeBench: A Benchmark for Evaluating LLM-based Judges",
        judges.read_verdicts,
        _files(
            "judgebench_verdicts",
            pairs="bf6f4b4a656afd1a4b97b08c1450fbd0b95b3cfb1cab0013f29993bc81e6626f",
            verdicts="f85d0e0e05a73e802de66f749c2e99efbb18482faa7c7aa1a6691db14aac7ca6",
        ),
        aliases={"judgebench": "judgebench_verdicts"},
    ),
    Card(
        "agnews",
        "news descriptions in 4 topics, 17,601 rows",
        "non-commercial research use",
        "Zhang, Zhao, LeCun 2015, Character-level Convolutional Networks for Text Classification",
        texts.read_agnews,
        _files("agnews", data="70f854b0a22ca6acf79eacd8086fd8f7bf2f6ad0adfff251d2a99849f6fe8553"),
    ),
    Card(
        "boolq_dev",
        "yes/no questions with a passage, 3,270 rows",
        "CC BY-SA 3.0",
        "Clark et al. 2019, BoolQ: Exploring the Surprising Difficulty of Natural Yes/No Questions",
        texts.read_boolq,
        _files("boolq_dev", dev="82a3f0b4d8c083fb63dfb7071e3c978bbd3f0a6bb0c2e1e17ce5bad320029b38"),
        aliases={"boolq": "boolq_dev"},
    ),
    Card(
        "ethics",
        "moral judgements: commonsense, deontology, justice, virtue, utilitarianism; 3,813–38,000 rows",
        "MIT",
        "Hendrycks et al. 2021, Aligning AI With Shared Human Values",
        texts.read_ethics,
        _files(
            "ethics",
            commonsense_short="d564ffee3673de9d113811e1bbe274403d965dbaf232b16449062a14d0e3b813",
            deontology="882ff36be5b2fb6ec0f55ea268a61d34960a639c295372d2e3e8bbb53deb8479",
            justice="5e83f3b6bed19e742c7534dec8fedd3313768bdc942c31eac7ef5e664397b4a2",
            virtue="0dce51507555b1ef24ef5b66556b61a9f366c81d63fced6c3111439f560646f5",
            utilitarianism="db812d2881f10f65c03ee7e81188a0cd7ae20f217d8d595711470099e96c25b1",
        ),
        subsets=("commonsense_short", "deontology", "justice", "virtue", "utilitarianism"),
    ),
    Card(
        "reviews_weak_majority",
        "reviews, positive or negative, with the majority vote of sentiment rules: IMDB (5,000 rows) and Yelp (7,600 rows)",
        "research use only",
        "Maas et al. 2011; Zhang, Zhao, LeCun 2015; Ren et al. 2020, Denoising Multi-Source Weak Supervision",
        texts.read_reviews,
        _files(
            "reviews_weak_majority",
            imdb="c99c34c5526e21ff612ab0fd245b82ac0905b62243cc5fa93f959803a8281615",
            yelp="95f7b4f16f07562e41c99c899f802f5ae750d4f760f1e7dc74ba0c56067e28d9",
        ),
        subsets=("imdb", "yelp"),
        aliases={"imdb": "reviews_weak_majority/imdb", "yelp": "reviews_weak_majority/yelp"},
    ),
    Card(
        "clinc150",
        "requests to an assistant, 150 intents in 10 domains and out of scope, 23,700 rows",
        "CC BY 3.0",
        "Larson et al. 2019, An Evaluation Dataset for Intent Classification and Out-of-Scope Prediction",
        texts.read_clinc150,
        _files("clinc150", data="62156dab15b9864de1f1bd04104bceb5a0fe856314b4b73842dd2b91981622a1"),
    ),
    Card(
        "mnist_test_10k",
        "handwritten digits, 28 × 28 pixels, the 10,000 of the official test part",
        "not stated with the files; commonly given as CC BY-SA 3.0",
        "LeCun, Bottou, Bengio, Haffner 1998, Gradient-based Learning Applied to Document Recognition",
        images.read_mnist,
        (DataFile("mnist_test_10k/mnist_test_10k.npz", "af5595f05f0cc260498196e07655cfa443d2d96874d5ba0dcfeaea06defbda81"),),
        aliases={"mnist": "mnist_test_10k"},
    ),
    Card(
        "cifar10_small",
        "photographs of ten kinds of objects, 32 × 32 pixels, 15,000 of 60,000, from JPEG copies",
        "unknown (published without a licence)",
        "Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
        images.read_cifar10,
        _files("cifar10_small", cifar10="f0c444114e646329f4b4020e411b901c678e0e1cd8d208794823b9d966454e02"),
        aliases={"cifar10": "cifar10_small"},
    ),
    Card(
        "safety_prompts",
        "requests to an assistant, safe or unsafe to answer, 11,468 rows as published, 10,709 when cleaned (harmful content)",
        "not stated",
        "Ye, Xiao, Hui 2024, Weak-to-Strong Generalization beyond Accuracy: a Pilot Study in Safety, Toxicity, and Legal Reasoning",
        safety.read_prompts,
        _files("safety_prompts", data="ccecbc9c39c525cf0f8da47334beb48bf969f96d9fbc19b6b484e91d5d0f1231"),
    ),
)
