"""Class lists of Canvas and Moodle, files as they are downloaded, points by hand, late work, the class report."""

import csv
import json
import os
from datetime import datetime

import pytest

from tinymtl.course import CourseError
from tinymtl.course.grader.report import class_page
from tinymtl.course.grader.roster import Late, Roster, moment, read_manual
from tinymtl.course.grader.submissions import students

CANVAS = """\ufeffStudent,ID,SIS User ID,SIS Login ID,Section,A1 (70),A2 (71)
"    Points Possible",,,,,25,25
"Müller, Jana",501,u1,jmueller,S1,20,
"Ng, Bo",502,u2,bng,S1,,
"Ng, Bo",503,u3,bng2,S2,,
"O'Hara, Zoë",504,u4,zohara,S1,,
"Student, Test",,,,S1,,
"""
MOODLE = """Identifier,Full name,Email address,Status,Grade,Maximum Grade,Last modified (submission),Feedback comments
Participant 11,Jana Müller,jana@uni.example,Submitted,,25.00,"Friday, 1 May 2026, 11:58 PM",
Participant 12,Bo Ng,bo@uni.example,Submitted,,25.00,"Sunday, 3 May 2026, 1:00 AM",
Participant 13,Zoë O'Hara,zoe@uni.example,No submission,,25.00,-,
"""


def rows(path):
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def put(place, name, content):
    path = place / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_canvas_there_and_back(tmp_path, notebook, grade):
    """Files as Canvas names them, the newest resubmission, and a gradebook that Canvas imports."""
    blank = notebook("A2", blank=True)
    put(tmp_path, "subs/muellerjana_501_9001_A2.ipynb", blank)
    put(tmp_path, "subs/muellerjana_LATE_501_9002_A2-1.ipynb", notebook("A2"))
    put(tmp_path, "subs/ngbo_502_9003_A2.ipynb", notebook("A2"))
    put(tmp_path, "subs/ngbo_503_9004_A2.ipynb", blank)
    put(tmp_path, "subs/guest_999_9005_A2.ipynb", blank)
    put(tmp_path, "canvas.csv", CANVAS)
    put(tmp_path, "manual.csv", "student,explain\nmuellerjana,3.5\nngbo_502,4\nngbo_503,0\nguest,0\n")
    grade(
        "A2", [tmp_path / "subs"], csv=tmp_path / "g.csv", manual=tmp_path / "manual.csv",
        roster=Roster.read(tmp_path / "canvas.csv"), gradebook=tmp_path / "import.csv",
    )  # fmt: skip
    found = rows(tmp_path / "import.csv")
    assert list(found[0]) == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "A2 (71)"]
    assert [row["A2 (71)"] for row in found] == ["25", "24.5", "25", "0", "0", ""]
    assert found[0]["Student"].strip() == "Points Possible" and found[4]["Student"] == "O'Hara, Zoë"
    table = {row["student"]: row for row in rows(tmp_path / "g.csv")}
    assert set(table) == {"muellerjana", "ngbo_502", "ngbo_503", "guest", "zohara"}
    assert table["muellerjana"]["file"] == "muellerjana_LATE_501_9002_A2-1.ipynb"
    assert table["guest"]["note"].startswith("not on the class list")
    assert (table["zohara"]["total"], table["zohara"]["note"]) == ("0", "nothing was handed in")


def test_moodle_there_and_back_with_late_work(tmp_path, notebook, grade):
    put(tmp_path, "subs/Jana Müller_11_assignsubmission_file_/solution.ipynb", notebook("A2"))
    put(tmp_path, "subs/Bo Ng_12_assignsubmission_file_/A2.ipynb", notebook("A2"))
    put(tmp_path, "subs/__MACOSX/Bo Ng_12_assignsubmission_file_/._A2.ipynb", "x")
    put(tmp_path, "subs/Bo Ng_12_assignsubmission_file_/.ipynb_checkpoints/A2-checkpoint.ipynb", "x")
    put(tmp_path, "moodle.csv", MOODLE)
    put(tmp_path, "manual.csv", "student;explain\n".replace(";", ",") + 'Jana_Müller,4\nBo_Ng,"3,5"\n')
    late = Late(moment("2026-05-01 23:59"), 10, 50)
    grade(
        "A2", [tmp_path / "subs"], csv=tmp_path / "g.csv", manual=tmp_path / "manual.csv", late=late,
        roster=Roster.read(tmp_path / "moodle.csv"), gradebook=tmp_path / "import.csv", feedback=tmp_path / "pages",
    )  # fmt: skip
    found = rows(tmp_path / "import.csv")
    assert [row["Grade"] for row in found] == ["25", "19.5", "0"]  # two days begun: 5 of 25 points less
    assert found[2]["Feedback comments"] == "nothing was handed in"
    assert list(found[0]) == MOODLE.split("\n")[0].split(",")
    assert {row["student"]: row["days_late"] for row in rows(tmp_path / "g.csv")} == {
        "Jana_Müller": "", "Bo_Ng": "2", "Zoë_O_Hara": "",
    }  # fmt: skip
    page = (tmp_path / "pages" / "Bo_Ng.html").read_text(encoding="utf-8")
    assert "2 days late: 5 points less" in page and "In all: 19.5 of 25" in page


def test_nbgrader_s_folders_and_its_timestamp(tmp_path, notebook, grade):
    for student, time in (("ana", "2026-05-01 20:00:00.123456 UTC"), ("ben", "2026-05-30 20:00:00.0 UTC")):
        put(tmp_path, f"submitted/{student}/A2/A2.ipynb", notebook("A2"))
        put(tmp_path, f"submitted/{student}/A2/timestamp.txt", time)
    put(tmp_path, "submitted/cleo/A2/A2.ipynb", notebook("A2"))
    put(tmp_path, "submitted/cleo/A2/timestamp.txt", "\x00 no time")
    os.utime(tmp_path / "submitted/cleo/A2/A2.ipynb", (0, 0))
    found = grade("A2", [tmp_path / "submitted"], late=Late(datetime(2026, 5, 15), 10, 50))
    assert [(one.student, one.late, one.deduction) for one in found] == [
        ("ana", 0, 0), ("ben", 16, 12.5), ("cleo", 0, 0),
    ]  # fmt: skip


def test_a_total_is_there_when_every_part_has_been_marked(tmp_path, notebook, grade):
    """The table of grades is the form for a person's points: filled in, it is given back."""
    put(tmp_path, "ana.ipynb", notebook("A4"))
    grade("A4", [tmp_path / "ana.ipynb"], csv=tmp_path / "g.csv")
    (row,) = rows(tmp_path / "g.csv")
    assert (row["claim"], row["limits"], row["total"]) == ("", "", "")
    for given, total in (({"claim": "5"}, ""), ({"claim": "5", "limits": "4.5"}, "23.5")):
        with open(tmp_path / "g.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, row)
            writer.writeheader()
            writer.writerow({**row, **given})
        grade("A4", [tmp_path / "ana.ipynb"], csv=tmp_path / "g.csv", manual=tmp_path / "g.csv")
        assert rows(tmp_path / "g.csv")[0]["total"] == total
        assert rows(tmp_path / "g.csv")[0]["claim"] == "5"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("student,explain\nana,5\n", "ana has '5' for explain: give points from 0 to 4"),
        ("student,explain\nana,-1\n", "ana has '-1'"),
        ("student,explain\nana,nan\n", "ana has 'nan'"),
        ("student,explain\nana,good\n", "ana has 'good'"),
        ("student,explain\nana,1\nana,2\n", "has two rows of 'ana'"),
        ("student,other\nana,1\n", "none of the columns explain"),
        ("name,explain\nana,1\n", "no column `student`"),
    ],
)
def test_points_that_do_not_fit(tmp_path, text, message):
    with pytest.raises(CourseError, match=message):
        read_manual(put(tmp_path, "m.csv", text), {"explain": 4})


def test_points_for_somebody_else_are_said(tmp_path, notebook, grade):
    put(tmp_path, "ana.ipynb", notebook("A2"))
    put(tmp_path, "m.csv", "student,explain\nanna,4\n")
    with pytest.raises(CourseError, match="has points for 'anna', of whom there is no submission"):
        grade("A2", [tmp_path / "ana.ipynb"], csv=tmp_path / "g.csv", manual=tmp_path / "m.csv")
    assert rows(tmp_path / "g.csv")[0]["automatic"] == "21"


def test_lists_that_are_none(tmp_path):
    with pytest.raises(CourseError, match="has none of the columns"):
        Roster.read(put(tmp_path, "r.csv", "a,b\n1,2\n"))
    with pytest.raises(CourseError, match="more than one row of 'ana'"):
        Roster.read(put(tmp_path, "r.csv", "student\nana\nana\n"))
    with pytest.raises(CourseError, match="cannot be read"):
        Roster.read(tmp_path / "nowhere.csv")
    assert [one.student for one in Roster.read(put(tmp_path, "r.csv", "student;group\nana;1\nben;2\n")).people] == [
        "ana", "ben",
    ]  # fmt: skip


def test_of_resubmissions_the_newest_counts(tmp_path):
    for i, name in enumerate(("a_1_1_A2.ipynb", "a_1_2_A2-2.ipynb", "a_1_3_A2-10.ipynb", "a_1_4_A2-9.ipynb")):
        os.utime(put(tmp_path, name, "{}"), (1000 - i, 1000 - i))
    assert [path.name for path in students([tmp_path]).values()] == ["a_1_3_A2-10.ipynb"]
    folder = "b/B C_7_assignsubmission_file_"
    for i, name in enumerate(("new.ipynb", "old.ipynb")):
        os.utime(put(tmp_path, f"{folder}/{name}", "{}"), (1000 - i, 1000 - i))
    assert students([tmp_path / "b"]) == {"B_C": tmp_path / folder / "new.ipynb"}


@pytest.fixture(scope="module")
def class_of_nine(tmp_path_factory, notebook, grade):
    place = tmp_path_factory.mktemp("class")
    wrong = {"two_tasks": "def two_task_weight(g1, g2):\n    return (g2 - g1) @ g2 / ((g2 - g1) @ (g2 - g1))"}
    copied = "def min_norm_weights(gradients):\n    {0} = gradients @ gradients.T\n    {1} = np.ones(len({0}))\n"
    copied += "    for step in range(10):\n        {1} = {1} / {1}.sum()\n    return {1}  # {2}\n"
    for i, answers in enumerate([None, None, None, wrong, wrong, wrong]):
        put(place, f"s{i}.ipynb", notebook("A2", answers))
    put(place, "copy1.ipynb", notebook("A2", {"k_tasks": copied.format("gram", "weights", "mine")}))
    put(place, "copy2.ipynb", notebook("A2", {"k_tasks": copied.format("G", "w", "honestly")}))
    put(place, "blank.ipynb", notebook("A2", blank=True))
    put(place, "broken.ipynb", "{")
    grades = grade("A2", [place], report=place / "class.html")
    return grades, (place / "class.html").read_text(encoding="utf-8")


def test_the_report_on_a_class(class_of_nine):
    grades, page = class_of_nine
    assert "10 on the list, 9 notebooks marked, 1 without a result" in page
    assert '<img alt="Students by points: 1 with 0, ' in page and "3 with 21" in page
    assert page.count("<html") == 1 and 'src="http' not in page and "<script" not in page
    said = page[page.index("said most often") : page.index("Answers that are alike")]
    rows = [row.split("</td><td") for row in said.split("<tr>")[2:]]
    limits = [row for row in rows if "the weight is not limited to 0 … 1" in row[2]]
    assert [row[1] for row in limits] == [">one task alone is the answer, whichever it is"]
    assert limits[0][3].startswith(" class=n>3<")
    assert [row[1] for row in rows if row[2] == ">two_task_weight is not answered yet"] == [">all parts"]
    solved = page[page.index("The parts") :]
    assert "<td class=n>89%</td>" in solved  # 8 of 9 have the parts that only the blank one lacks
    again = class_page(__import__("tinymtl.course", fromlist=["ASSIGNMENTS"]).ASSIGNMENTS["A2"], grades)
    assert again == page


def test_answers_that_are_alike_are_listed(class_of_nine):
    page = class_of_nine[1]
    alike = page[page.index("alike") :]
    assert "<td>copy1, copy2</td>" in alike and "<td>s0, s1, s2, s3, s4, s5</td>" in alike
    assert "stationarity" not in alike  # shorter answers are alike for no reason


def test_a_report_on_nobody(tmp_path, grade):
    put(tmp_path, "broken.ipynb", "{")
    grade("A2", [tmp_path / "broken.ipynb"], report=tmp_path / "class.html")
    assert "1 on the list, 0 notebooks marked" in (tmp_path / "class.html").read_text(encoding="utf-8")


def test_a_parser_s_end_is_not_the_grader_s(tmp_path, notebook, grade):
    """Code that is nested deeper than the parser can follow costs its author's question, and no tree is listed."""
    (found,) = grade("A2", [put(tmp_path, "deep.ipynb", notebook("A2", {"two_tasks": "(" * 40_000 + ")" * 40_000}))])
    assert found.points == 15
    (found,) = grade("A2", [put(tmp_path, "minus.ipynb", notebook("A2", {"two_tasks": "x = " + "-" * 49_000 + "1"}))])
    assert found.points == 15


def test_times():
    for text in ("2026-05-01T23:59", "2026-05-01 23:59:00", "Friday, 1 May 2026, 11:59 PM", "1 May 2026, 23:59"):
        assert moment(text) == datetime(2026, 5, 1, 23, 59)
    with pytest.raises(CourseError, match="'soon' is not a time"):
        moment("soon")
    assert Late(datetime(2026, 5, 1), 10, 25).share(3) == 0.25
