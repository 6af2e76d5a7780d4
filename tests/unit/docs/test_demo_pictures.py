import io

import numpy as np
import pytest
from rich.console import Console

from examples.demo import INK, Answer, Digit, Gallery, held_out, picture, read_predictions, read_tensors

SCAN = np.zeros((8, 8), dtype=np.uint8)
SCAN[0, 0] = INK
SCAN[7, 7] = INK // 2


def shown(color_system: str | None) -> str:
    console = Console(file=io.StringIO(), force_terminal=True, color_system=color_system, width=80)  # type: ignore[arg-type]
    console.print(picture(SCAN, color=console.color_system is not None))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_without_colors_a_scan_is_drawn_in_shades() -> None:
    lines = shown(None).splitlines()

    assert len(lines) == 8
    assert lines[0] == "██" + " " * 14
    assert lines[7] == " " * 14 + "▒▒"


def test_with_colors_it_is_drawn_in_gray_half_blocks() -> None:
    drawn = shown("truecolor")

    assert drawn.count("▀") == 16 * 8
    assert "38;2;0;0;0" in drawn


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_gallery_fits_the_terminal_and_counts_what_is_right(width: int) -> None:
    console = Console(file=io.StringIO(), color_system=None, width=width)
    gallery = Gallery(console)

    gallery.show("Title", [(Digit(SCAN, 3), Answer(3, 0.99, 0.0042)), (Digit(SCAN, 4), Answer(9, 0.5, 0.1))])

    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert "3  99.0%" in text
    assert "9, not 4  50.0%" in text
    assert (gallery.asked, gallery.right) == (2, 1)


def test_the_digits_shown_are_one_of_each_twice() -> None:
    digits = held_out()

    assert [digit.label for digit in digits] == [*range(10), *range(10)]
    assert not np.array_equal(digits[0].scan, digits[10].scan)


def test_both_forms_of_an_answer_are_read() -> None:
    assert read_predictions(b'{"predictions":[{"label":"7","probabilities":{"7":0.9,"1":0.1}}]}') == (7, 0.9)
    tensors = b'{"outputs":[{"name":"label","data":[7]},{"name":"probabilities","data":[0.1,0.9]}]}'
    assert read_tensors(tensors) == (7, 0.9)
