"""What is done to figures between the measurement and the page."""

from pathlib import Path

import pytest

from benchmarks import figures
from benchmarks.figures import BEGIN, END, Table, amount, write


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.01234, "0.0123"), (5.0, "5"), (999.4, "999"), (999.7, "1,000"), (1234.0, "1,230"), (1_234_567.0, "1,230,000")],
)
def test_three_digits_count(value: float, text: str) -> None:
    assert amount(value) == text


def test_a_part_that_is_measured_again_takes_the_place_of_its_earlier_tables_and_others_stay(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"# Before\n\n{BEGIN}\n\n{END}\n\n# After\n")
    monkeypatch.setattr(figures, "README", page)

    def tables(cell: str) -> list[Table]:
        return [Table("Jobs", ["rate"], [[cell]])]

    for part, cell in (("second", "old"), ("first", "stays"), ("second", "new")):
        write(part, ["first", "second", "third"], tables(cell), f"Measured: {cell}.")

    text = page.read_text()
    assert text.startswith("# Before\n")
    assert text.endswith("# After\n")
    assert "old" not in text
    assert text.index("| stays |") < text.index("Measured: new.") < text.index("| new |")
