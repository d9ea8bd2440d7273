"""Programs whose output is read, and those that give no answer."""

import pytest

from mperceiver.programs import ProgramError, answer


def test_the_output_is_returned():
    assert answer("printf", "%s", "a\nb", seconds=60) == "a\nb"


@pytest.mark.parametrize(
    ("command", "why", "message"),
    [
        (("no-such-program", "x"), "missing", "no-such-program: this program is not on the PATH"),
        (("sh", "-c", "echo one >&2; echo two >&2; exit 3"), "failed", "one two"),
        (("sh", "-c", "exit 3"), "failed", "sh -c exit 3: exit code 3"),
        (("sleep", "60"), "silent", "sleep 60: no answer within 0 s"),
    ],
)
def test_it_is_said_why_there_is_no_answer(command, why, message):
    with pytest.raises(ProgramError) as caught:
        answer(*command, seconds=0.3 if why == "silent" else 60)
    assert caught.value.why == why and str(caught.value).endswith(message)
