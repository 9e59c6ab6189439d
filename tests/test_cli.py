"""The ``steelyard`` command as a user meets it: what it writes, how it refuses, how fast it answers, how it stops."""

import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import polars as pl
import pytest
import typer
from typer.testing import CliRunner, Result

from steelyard import recipes
from steelyard.cli import app
from steelyard.cli.console import guarded
from steelyard.cli.run import recipe_app

SOURCES = """
import steelyard as sy

classes = ["HAM", "SPAM"]
asks = sy.keywords(["subscribe", "free"], on="text", label="SPAM")
link = sy.regex(r"https?://", on="text", label="SPAM", name="has_link")
short = sy.expr("len(text) < 12", label="HAM", name="short")

@sy.labeling_function(labels=["HAM"])
def mentions_song(row):
    return "HAM" if "song" in row.text else None
"""
TEXTS = ["subscribe now", "see https://a.b free", "lovely song", "great", "what a song this is", "free money here", "nothing to say at all"]
MAIL = pl.DataFrame({"text": TEXTS * 12, "gold": ["SPAM", "SPAM", "HAM", "HAM", "HAM", "SPAM", "HAM"] * 12})


def steelyard(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "rules.py").write_text(SOURCES)
    MAIL.write_parquet(tmp_path / "mail.parquet")
    return tmp_path


def labelled(work: Path, *options: object, output: str = "labels.parquet") -> Result:
    return steelyard(
        "label", work / "mail.parquet", "-s", work / "rules.py", "-o", work / output, "--label-model", "MajorityVote", *options
    )


class TestLabel:
    def test_writes_the_original_columns_and_the_labels(self, work: Path) -> None:
        done = labelled(work, "--gold", "gold", "--votes", work / "votes.parquet", "--report", work / "r.html")
        assert done.exit_code == 0, done.stderr
        table = pl.read_parquet(work / "labels.parquet")
        assert table.select("text", "gold").equals(MAIL)
        assert table.columns[2:] == ["label", "confidence", "n_votes", "p_HAM", "p_SPAM"]
        assert table.row(0, named=True) | {"text": "", "gold": ""} == {
            **{"text": "", "gold": "", "label": "SPAM", "confidence": 1.0, "n_votes": 1, "p_HAM": 0.0, "p_SPAM": 1.0}
        }
        assert table["n_votes"].to_list()[:7] == [1, 2, 2, 1, 1, 1, 0]
        assert (table["p_HAM"] + table["p_SPAM"]).to_numpy() == pytest.approx(1)
        votes = pl.read_parquet(work / "votes.parquet")
        assert set(votes.columns) >= {"has_link", "short", "mentions_song"}
        assert "<html" in (work / "r.html").read_text()

    def test_formats_and_chunk_sizes_give_the_same_labels(self, work: Path) -> None:
        MAIL.write_csv(work / "mail.csv")
        MAIL.write_ndjson(work / "mail.jsonl")
        labelled(work)
        expected = pl.read_parquet(work / "labels.parquet")
        for name, chunk in (("mail.csv", 5000), ("mail.jsonl", 11), ("mail.parquet", 7)):
            options = ("--label-model", "MajorityVote", "--chunk-rows", chunk)
            done = steelyard("label", work / name, "-s", work / "rules.py", "-o", work / "other.parquet", *options)
            assert done.exit_code == 0, done.stderr
            assert pl.read_parquet(work / "other.parquet").equals(expected)

    def test_json_counts_rows_and_measures_against_gold(self, work: Path) -> None:
        done = labelled(work, "--gold", "gold", "--json")
        found = json.loads(done.stdout)
        assert done.stderr == ""
        assert found["artifacts"]["labels"]["rows"] == 84
        assert found["artifacts"]["labels"]["covered"] == 72
        assert {row["arm"] for row in found["rows"]} == {"majority", "weak"}

    def test_gold_labels_are_hidden_from_the_sources(self, work: Path) -> None:
        (work / "rules.py").write_text(SOURCES + '\ncheat = sy.expr("gold = \'SPAM\'", label="SPAM", name="cheat")\n')
        done = labelled(work, "--gold", "gold")
        assert done.exit_code == 1
        assert "'cheat' reads the column 'gold', which the data lacks" in done.stderr

    def test_a_source_that_fails_on_rows_is_counted_from_the_start_of_the_file(self, work: Path) -> None:
        (work / "rules.py").write_text(
            SOURCES + '\n@sy.labeling_function(labels=["HAM"])\ndef broken(row):\n    return "HAM" if row.text[20] == "x" else None\n'
        )
        done = labelled(work, "--json", "--chunk-rows", 5)
        faults = json.loads(done.stdout)["artifacts"]["faults"]["broken"]
        assert faults["count"] == sum(len(text) <= 20 for text in MAIL["text"])
        assert faults["first_row"] == 0
        stopped = labelled(work, "--strict")
        assert stopped.exit_code == 1
        assert "source 'broken' failed on row 0: IndexError" in stopped.stderr

    def test_other_sources_do_not_reuse_votes_but_another_label_model_does(self, work: Path) -> None:
        labelled(work)
        again = json.loads(labelled(work, "--json").stdout)
        assert again["artifacts"]["labels"]["resumed"] == 84
        (work / "rules.py").write_text(SOURCES.replace('"free"', '"money"'))
        fresh = json.loads(labelled(work, "--json").stdout)
        assert fresh["artifacts"]["labels"]["resumed"] == 0


class TestTrain:
    def test_from_labels_to_a_student_that_is_read_when_finished(self, work: Path) -> None:
        labelled(work)
        options = ("-o", work / "run", "--gold", "gold", "--json")
        done = steelyard("train", work / "labels.parquet", *options)
        assert done.exit_code == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["artifacts"]["training"] == {"rows": 84, "taught": 72, "measured_on": str(work / "labels.parquet")}
        accuracy = next(row["value"] for row in found["rows"] if row["metric"] == "accuracy")
        predictions = pl.read_parquet(work / "run/predictions.parquet")
        assert accuracy == pytest.approx((predictions["predicted"] == predictions["gold"]).mean())
        before = (work / "run/predictions.parquet").stat().st_mtime_ns
        assert json.loads(steelyard("train", work / "labels.parquet", *options).stdout) == found
        assert (work / "run/predictions.parquet").stat().st_mtime_ns == before
        from steelyard.training import load_student

        assert load_student(work / "run/student").predict(["free money"]).tolist() == [1]

    def test_hard_labels_of_any_table(self, work: Path) -> None:
        done = steelyard("train", work / "mail.parquet", "--label", "gold", "-o", work / "run", "--quiet")
        assert done.exit_code == 0, done.stderr
        assert pl.read_parquet(work / "run/predictions.parquet")["predicted"].is_in(["HAM", "SPAM"]).all()

    def test_refusals(self, work: Path) -> None:
        labelled(work)
        steelyard("train", work / "labels.parquet", "-o", work / "run")
        for arguments, message in [
            (("train", work / "mail.parquet", "-o", work / "x"), "holds no labels of `steelyard label`; label it first"),
            (("train", work / "labels.parquet", "-o", work / "run", "--confidence", 0.9), "holds a run with other data or options"),
            (("train", work / "labels.parquet", "-o", work / "x", "--tune", "half"), "tune must be one of full, lora, probe, got 'half'"),
            (("train", work / "labels.parquet", "-o", work / "x", "--gold", "truth"), "has no column 'truth'; its columns are text, gold"),
            (("train", work / "mail.parquet", "-o", work / "x", "--label", "truth"), "has no column 'truth'"),
            (("train", work / "labels.parquet", "-o", work / "x", "--on", "txt"), "has no column 'txt'; its columns are text, gold"),
            (("train", work / "labels.parquet", "-o", work / "x", "--confidence", "nan"), "confidence must lie between 0 and 1, got nan"),
            (("train", work / "labels.parquet", "-o", work / "x", "--gold", "text"), "holds 'free money here', which is not a class"),
        ]:
            refused = steelyard(*arguments)
            assert refused.exit_code == 1
            assert message in refused.stderr


def break_parquet(work: Path) -> None:
    whole = (work / "mail.parquet").read_bytes()
    (work / "mail.parquet").write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (
            SOURCES.replace('return "HAM"', 'return "SPAN"').replace('labels=["HAM"]', ""),
            "'mentions_song' returned 'SPAN' for row 2; classes are HAM, SPAM",
        ),
        (SOURCES + '\ntwin = sy.keywords(["x"], label="HAM", name="short")\n', "two sources in .* are named 'short'"),
        (SOURCES.replace('on="text"', 'on="body"'), "reads the column 'body', which the data lacks; its columns are text, gold"),
        ("classes = ['A', 'B']\n", "defines no source; write for example"),
        ("import steelyard as sy\nx = sy.keywords(['a'], label='A'\n", "line 2: '\\(' was never closed"),
        ("import steelyard as sy\n\n1 / 0\n", "line 3: ZeroDivisionError"),
        ("sources = [len]\n", "which is no source; decorate a function"),
        ("import sys\nsys.exit(3)\n", "line 2: SystemExit: 3"),
        (SOURCES.replace('["HAM", "SPAM"]', '"HAM,SPAM"', 1), "'classes' in '.*' is 'HAM,SPAM'; write a list of names"),
        (SOURCES.replace('["HAM", "SPAM"]', '["HAM", "HAM"]', 1), "class name 'HAM' is used more than once"),
        (SOURCES + '\nhierarchy = ["any"]\n', "'hierarchy' in '.*' is \\['any'\\]; write parents with lists of classes"),
        (SOURCES + '\nbad = sy.regex("(a", label="HAM")\n', "line 13: source 'regex_a': '\\(a' is not a regular expression"),
        (SOURCES.replace("classes =", "names =").replace('labels=["HAM"]', ""), "'mentions_song' in .* does not say which labels it emits"),
    ],
)
def test_mistakes_in_the_sources_file_are_one_sentence(work: Path, sources: str, message: str) -> None:
    (work / "rules.py").write_text(sources)
    refused = labelled(work)
    assert refused.exit_code == 1
    assert refused.stderr.count("\n") == 1
    assert re.search(message, refused.stderr), refused.stderr
    assert not (work / "labels.parquet").exists()


def test_mistakes_in_the_data_are_one_sentence(work: Path) -> None:
    (work / "ragged.csv").write_text("text,gold\na,b\na,b,c\n")
    (work / "empty.csv").write_text("text,gold\n")
    break_parquet(work)
    MAIL.rename({"gold": "label"}).write_parquet(work / "label.parquet")
    MAIL.with_columns(text=pl.lit("nothing that any rule knows about")).write_parquet(work / "silent.parquet")
    MAIL.with_columns(text=1.5).write_parquet(work / "numbers.parquet")
    MAIL.with_columns(gold=pl.lit("SPAN")).write_parquet(work / "span.parquet")
    MAIL.with_columns(gold=pl.lit(None, pl.String)).write_parquet(work / "unknown.parquet")
    rules = ("-s", work / "rules.py", "-o", work / "labels.parquet")
    for data, options, message in [
        ("mail.parquet", rules, "cannot be read as Parquet"),
        ("ragged.csv", rules, "3 fields in the record that ends on line 3, but 2 in its header"),
        ("empty.csv", rules, "has no rows"),
        ("none.csv", rules, "does not exist; check the path"),
        ("label.parquet", rules, "has a column 'label' already; choose other names with --prefix"),
        ("silent.parquet", rules, "no source in .* votes on any row of .*; check their words and the columns"),
        (
            "numbers.parquet",
            rules,
            "no source in .* votes on any row of .*; source 'asks' failed there: InvalidOperationError: expected String",
        ),
        ("span.parquet", (*rules, "--gold", "gold"), "'gold' of '.*' holds 'SPAN', which is not a class; classes are HAM, SPAM"),
        ("unknown.parquet", (*rules, "--gold", "gold"), "'gold' of '.*' holds no label; .* leave --gold out"),
        ("label.parquet", (*rules, "--gold", "truth"), "has no column 'truth'"),
        ("label.parquet", (*rules, "--prefix", "w_", "--label-model", "Median"), "label model must be select or one of"),
        ("label.parquet", ("-s", work / "none.py", "-o", work / "l.parquet"), "sources file .* does not exist"),
        ("label.parquet", ("-s", work / "rules.py", "-o", work / "l.csv"), "name the output .*l.parquet"),
    ]:
        refused = steelyard("label", work / data, *options)
        assert refused.exit_code == 1, message
        assert refused.stderr.count("\n") == 1, refused.stderr
        assert re.search(message, refused.stderr), refused.stderr


class TestNothingIsLost:
    """What a run reads is never written over, and what cannot be written is told before the work begins."""

    def test_outputs_that_would_replace_an_input_are_refused(self, work: Path) -> None:
        (work / "big").mkdir()
        (work / "r.html").write_text("{}")
        MAIL.write_parquet(work / "other.parquet")
        MAIL.write_parquet(work / "big/a.parquet")
        labelled(work)
        steelyard("train", work / "labels.parquet", "-o", work / "run", "--quiet")
        before = {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}
        label = ("label", work / "mail.parquet", "-s", work / "rules.py", "-o")
        for arguments, told in [
            ((*label, work / "mail.parquet"), "this run uses that file already; choose another name"),
            ((*label, work / "x.parquet", "--votes", work / "mail.parquet"), "this run uses that file already"),
            ((*label, work / "x.parquet", "--votes", work / "x.parquet"), "this run uses that file already"),
            ((*label, work / "other.parquet"), "a file that steelyard did not write is there already; move it"),
            ((*label, work / "x.parquet", "--votes", work / "labels.parquet"), "a file that steelyard did not write is there already"),
            ((*label, work / "x.parquet", "--report", work / "rules.py"), "a report is an HTML page; name it"),
            (
                ("label", work / "big", "-s", work / "rules.py", "-o", work / "big/l.parquet"),
                "are read as data; write it to another folder",
            ),
            (("train", work / "labels.parquet", "-o", work / "y", "--report", work / "labels.parquet"), "a report is an HTML page"),
            (("report", work / "run/result.json", "-o", work / "run/result.json"), "a report is an HTML page; name it"),
            (("report", work / "r.html", "-o", work / "r.html"), "this run uses that file already"),
            (("run", "weak-supervision", "--data", work / "mail.parquet", "-o", work / "mail.parquet"), "this run uses that file already"),
        ]:
            refused = steelyard(*arguments)
            assert refused.exit_code == 1
            assert refused.stderr.count("\n") == 1
            assert told in refused.stderr, refused.stderr
        assert {path: path.read_bytes() for path in work.rglob("*") if path.is_file()} == before

    def test_outputs_that_cannot_be_written_are_refused_before_anybody_votes(self, work: Path) -> None:
        (work / "folder.parquet").mkdir()
        (work / "folder.html").mkdir()
        label = ("label", work / "mail.parquet", "-s", work / "rules.py", "-o")
        for arguments, told in [
            ((*label, work / "folder.parquet"), "it is a folder; name a file"),
            ((*label, work / "mail.parquet/x/l.parquet"), "mail.parquet' is a file, not a folder; choose another place"),
            ((*label, work / "l.parquet", "--report", work / "folder.html"), "it is a folder; name a file"),
            (("train", work / "mail.parquet", "--label", "gold", "-o", work / "rules.py"), "it is a file; name a folder"),
            (("demo", "-o", work / "folder.html"), "it is a folder; name a file"),
        ]:
            refused = steelyard(*arguments)
            assert refused.exit_code == 1
            assert refused.stderr.count("\n") == 1
            assert told in refused.stderr, refused.stderr
        assert not list(work.glob("*.work"))

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is read-only to the administrator")
    def test_a_read_only_folder_is_refused(self, work: Path) -> None:
        (work / "closed").mkdir(mode=0o500)
        refused = labelled(work, output="closed/l.parquet")
        assert "is read-only; choose another place" in refused.stderr

    def test_an_error_of_the_system_names_the_file_and_the_reason(self) -> None:
        @guarded("stopped.")
        def command() -> None:
            raise PermissionError(13, "Permission denied", "out/labels.parquet")

        app = typer.Typer()
        app.command()(command)
        refused = CliRunner().invoke(app)
        assert refused.exit_code == 1
        assert refused.stderr.startswith("steelyard: 'out/labels.parquet' cannot be used: Permission denied; check that")

    def test_what_the_sources_print_stays_out_of_the_results(self, work: Path) -> None:
        (work / "rules.py").write_text(SOURCES + '\nprint("loaded")\n')
        done = labelled(work, "--json")
        assert json.loads(done.stdout)["name"] == "label"
        assert "loaded" in done.stderr


class TestRunAndCatalogue:
    def test_run_takes_the_fields_of_the_configuration_as_options(self, work: Path) -> None:
        MAIL.rename({"gold": "label"}).with_columns(split=pl.Series(["train"] * 56 + ["test"] * 28)).write_parquet(work / "set.parquet")
        options = ("--data", work / "set.parquet", "--sources", work / "rules.py", "--label-model", "MajorityVote")
        done = steelyard("run", "weak-supervision", *options, "--seeds", 2, "-o", work / "result.json", "--json")
        assert done.exit_code == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["config"]["seeds"] == [0, 1]
        assert {row["arm"] for row in found["rows"]} == {"majority", "weak", "method", "ceiling"}
        page = steelyard("report", work / "result.json", "-o", work / "page.html", "--quiet")
        assert page.exit_code == 0
        assert "weak-supervision" in (work / "page.html").read_text()

    def test_a_flag_that_is_on_can_be_switched_off(self) -> None:
        command = typer.main.get_command(recipe_app(recipes.get("weaver")))
        parsed = [command.make_context("weaver", ["--data", "x", *flags], resilient_parsing=True).params for flags in ([], ["--no-guard"])]
        assert [options["guard"] for options in parsed] == [True, False]

    def test_help_tells_every_option(self) -> None:
        shown = steelyard("run", "weak-supervision", "--help")
        assert shown.exit_code == 0
        for option in ("--data", "--label-model", "--student", "--seeds", "--report"):
            assert option in shown.stdout
        assert "weak-supervision" in steelyard("run", "--help").stdout

    def test_refusals(self) -> None:
        for arguments, message in [
            (("run", "alchemy"), "no recipe named 'alchemy'; recipes are "),
            (("run", "weak-supervision", "--data", "wine", "--seeds", "few"), "--seeds takes whole numbers separated by commas, got 'few'"),
            (("run", "weak-supervision", "--data", "docstrings"), "has no published votes; name a sources file"),
            (("datasets", "nothing"), "no data set named 'nothing'"),
            (("recipes", "nothing"), "no recipe named 'nothing'"),
            (("report", "nothing.json"), "'nothing.json' does not exist"),
        ]:
            refused = steelyard(*arguments)
            assert refused.exit_code == 1, refused.output
            assert message in refused.stderr

    def test_an_unknown_option_is_a_usage_error(self) -> None:
        assert steelyard("run", "weak-supervision", "--colour", "red").exit_code == 2
        assert steelyard("label", "--colour").exit_code == 2

    def test_lists_and_cards(self) -> None:
        rows = json.loads(steelyard("datasets", "--json").stdout)
        assert {"docstrings", "ws_youtube_spam"} <= {row["name"] for row in rows}
        wine = json.loads(steelyard("datasets", "wine", "--json").stdout)
        assert wine["splits"] == {"train": 124, "test": 54}
        assert "ethics/justice" not in steelyard("datasets").stdout
        assert "steelyard run weak-supervision" in steelyard("recipes", "weak-supervision").stdout


def test_help_is_light_and_shows_examples() -> None:
    code = "import sys, steelyard.cli; print(sorted({'numpy', 'polars', 'sklearn', 'torch', 'rich.table'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    for command in ("demo", "label", "train", "datasets", "recipes", "report"):
        assert f"steelyard {command}" in steelyard(command, "--help").stdout


def test_demo_writes_a_report_with_all_arms(tmp_path: Path) -> None:
    done = steelyard("demo", "--output", tmp_path / "report.html", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    accuracy = {row["arm"]: row["value"] for row in found["rows"] if row["metric"] == "accuracy"}
    assert 0.3 < accuracy["weak"] < accuracy["method"] < accuracy["ceiling"]
    page = (tmp_path / "report.html").read_text()
    assert "axes_and_figures" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert os.path.getsize(tmp_path / "report.html") < 3_000_000


def test_a_warning_is_one_sentence_without_the_line_of_code_it_came_from() -> None:
    @guarded("stopped.")
    def command() -> str:
        return warnings.formatwarning(UserWarning("3 texts were cut"), UserWarning, "file.py", 3, "cut(texts)")

    before = warnings.formatwarning
    assert command() == "steelyard: warning: 3 texts were cut\n"
    assert warnings.formatwarning is before
