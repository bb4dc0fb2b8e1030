from __future__ import annotations

import pytest

from unbackdoor import errors


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.ContentError, 2),
        (errors.InsufficientDataError, 3),
        (errors.ArgumentError, 4),
    ],
)
def test_each_kind_has_its_exit_code_and_is_a_value_error(kind: type, code: int) -> None:
    assert kind.exit_code == code
    assert issubclass(kind, errors.UnbackdoorError)
    assert issubclass(kind, ValueError)
