from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgeexport.cli.several import _repeated

_OPTION = "--cfg-options"
_pairs = st.sampled_from(["a=1", "model.x={8: 176}", "reduction.dtop.prune={8:176}", "b-c.0.d='x y'"])


@given(groups=st.lists(st.lists(_pairs, min_size=1, max_size=4), max_size=3))
def test_several_values_are_as_many_options(groups):
    words, wanted = ["recipe.py"], ["recipe.py"]
    for group in groups:
        words += [_OPTION, *group, "--dry-run"]
        wanted += [word for pair in group for word in (_OPTION, pair)] + ["--dry-run"]
    assert _repeated(words) == wanted
    assert _repeated(wanted) == wanted


def test_they_end_where_something_else_begins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "k=v.py").touch()
    assert _repeated([_OPTION, "a=1", "recipe.py", "b=2"]) == [_OPTION, "a=1", "recipe.py", "b=2"]
    assert _repeated([_OPTION, "a=1", "k=v.py"]) == [_OPTION, "a=1", "k=v.py"]
    assert _repeated([f"{_OPTION}=a=1", "b=2"]) == [f"{_OPTION}=a=1", _OPTION, "b=2"]
    assert _repeated([_OPTION, "a=1", "--", "b=2"]) == [_OPTION, "a=1", "--", "b=2"]
    assert _repeated([_OPTION]) == [_OPTION]
