"""Prompts: padding, true positions of text and images, patches in the order in which they merge."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edgeexport.errors import UsageError
from edgeexport.inputs.prompt import image_patches, laid_out_prompt, token_positions
from edgeexport.inputs.tokenizer import TextTokens, chat_text, with_visual_tokens


def test_positions_of_an_image_run_by_row_and_column_and_text_goes_on_behind_the_largest() -> None:
    found = token_positions([1, 9, 9, 9, 9, 9, 9, 2], 9, [(4, 6)], 2, 3)
    assert found.T.tolist() == [[0, 0, 0], *([1, 1 + r, 1 + c] for r in range(2) for c in range(3)), [4, 4, 4]]


def test_a_prompt_is_padded_on_the_left() -> None:
    found = laid_out_prompt([5, 6, 7], 5)
    assert found.input_ids.tolist() == [[0, 0, 5, 6, 7]] and found.attention_mask.tolist() == [[0, 0, 1, 1, 1]]
    assert found.position_ids.tolist() == [[0, 0, 0, 1, 2]] and found.next_position == 3 and found.tokens == 3
    assert found.modality.tolist() == [[0] * 5]


@pytest.mark.parametrize(
    ("ids", "told"), [([1] * 6, "more than the 5 places"), ([], "is empty"), ([9, 9, 1], "do not fit")]
)
def test_prompts_that_do_not_fit_are_refused(ids: list[int], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        laid_out_prompt(ids, 5, image_token=9, grids=[(4, 4)] if 9 in ids else [], merge=2, axes=3)


def test_an_image_that_no_token_stands_for_is_refused() -> None:
    with pytest.raises(UsageError, match="no place for 1"):
        token_positions([1, 2], 9, [(2, 2)], 2, 3)


def test_patches_come_square_by_square_and_repeat_in_time() -> None:
    pixels = np.zeros((4 * 2, 4 * 2, 3), np.uint8)
    for row in range(4):
        for column in range(4):
            pixels[2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = 10 * (4 * row + column)
    patches = image_patches(Image.fromarray(pixels), (4, 4), 2, 2, 2).reshape(16, 3, 2, 2, 2)
    assert np.array_equal(patches[:, :, 0], patches[:, :, 1])
    order = np.argsort(patches[:, 0, 0, 0, 0].argsort()).tolist()
    assert order == [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]


def test_visual_tokens_take_the_place_of_each_images_one() -> None:
    assert with_visual_tokens([1, 9, 2, 9], 9, [2, 3]) == [1, 9, 9, 2, 9, 9, 9]
    assert with_visual_tokens([1, 2], 9, [2]) == [9, 9, 1, 2]
    with pytest.raises(UsageError, match="names 1 images"):
        with_visual_tokens([1, 9], 9, [2, 2])


def test_a_template_is_filled_and_a_harmful_one_refused() -> None:
    part = "{% if c.type == 'image' %}<i>{% else %}{{ c.text }}{% endif %}"
    template = "{% for m in messages %}{% for c in m.content %}" + part + "{% endfor %}{% endfor %}!"
    assert chat_text(template, "hm", 2) == "<i><i>hm!"
    with pytest.raises(UsageError, match="cannot be filled"):
        chat_text("{{ messages.__class__.__mro__[1].__subclasses__() }}", "hm", 0)


def test_bytes_are_tokens_without_a_tokenizer() -> None:
    tokens = TextTokens(None, 300)
    assert tokens.text(tokens.ids("né")) == "né"
    with pytest.raises(UsageError, match="fewer than there are bytes"):
        TextTokens(None, 100)
